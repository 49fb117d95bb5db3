"""Images as the distributions publish them: names, owners, root devices, and the public parameters that name them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from moto.ec2.models.amis import Ami
from moto.ssm.models import Parameter, ssm_backends

DEBIAN, CANONICAL, STRANGER = "136693071363", "099720109477", "123450000001"
ARCHITECTURES = {"amd64": "x86_64", "arm64": "arm64"}
DEBIANS = {"11": "bullseye", "12": "bookworm", "13": "trixie"}
UBUNTUS = {"22.04": ("jammy", "hvm-ssd", "ebs-gp2"), "24.04": ("noble", "hvm-ssd-gp3", "ebs-gp3")}
DATES = ("20250106", "20250703")  # an older one and the newest


@dataclass(frozen=True)
class Published:
    """An image of the catalogue; ``parameters`` are the public parameters that name it."""

    name: str
    owner: str
    architecture: str
    root_device: str
    date: str
    parameters: tuple[str, ...] = ()

    def id(self, region: str) -> str:
        """Its id, another one in each region."""
        return "ami-0" + hashlib.sha256(f"{region} {self.name}".encode()).hexdigest()[:16]


def catalogue() -> Iterator[Published]:
    """Everything that there is, older images and some that nobody should take among them."""
    for date in DATES:
        newest = date == DATES[-1]
        for short, architecture in ARCHITECTURES.items():
            for number, name in DEBIANS.items():
                paths = [f"/aws/service/debian/release/{release}/latest/{short}" for release in (number, name)]
                full = f"debian-{number}-{short}-{date}-2160"
                yield Published(full, DEBIAN, architecture, "/dev/xvda", date, tuple(paths) if newest else ())
                backports = f"debian-{number}-backports-{short}-{date}-2160"
                yield Published(backports, DEBIAN, architecture, "/dev/xvda", date)
            for number, (name, folder, storage) in UBUNTUS.items():
                path = f"/aws/service/canonical/ubuntu/server/{number}/stable/current/{short}/hvm/{storage}/ami-id"
                full = f"ubuntu/images/{folder}/ubuntu-{name}-{number}-{short}-server-{date}"
                yield Published(full, CANONICAL, architecture, "/dev/sda1", date, (path,) if newest else ())
    yield Published("debian-12-amd64-20990101-6666", STRANGER, "x86_64", "/dev/xvda", "20990101")


class PublishedImage(Ami):
    """An image whose root volume is as the distributions make it: 8 GB, gone with its instance."""

    size = 8

    def __init__(self, backend: Any, published: Published) -> None:
        """Make it in a region."""
        super().__init__(
            backend,
            published.id(backend.region_name),
            name=published.name,
            description=published.name,
            owner_id=published.owner,
            owner_alias="amazon" if published.owner != STRANGER else None,
            public=True,
            virtualization_type="hvm",
            architecture=published.architecture,
            creation_date=datetime.strptime(published.date, "%Y%m%d").replace(tzinfo=UTC),
            image_location=f"{published.owner}/{published.name}",
            hypervisor="xen",
            root_device_type="ebs",
            root_device_name=published.root_device,
        )

    @property
    def block_device_mappings(self) -> list[dict[str, Any]]:
        """Its one disk."""
        ebs = {"SnapshotId": self.ebs_snapshot.id, "VolumeSize": self.size, "VolumeType": "gp3"}
        root = {**ebs, "DeleteOnTermination": True, "Encrypted": False}
        return [{"DeviceName": self.root_device_name, "Ebs": root}]


def publish(backend: Any) -> None:
    """Put the catalogue's images into a region that is just being made."""
    for published in catalogue():
        image = PublishedImage(backend, published)
        backend.amis[image.id] = image
        backend.snapshots.pop(image.ebs_snapshot.id, None)  # theirs, not the account's


def publish_parameters(account: str, region: str) -> None:
    """Put the public parameters that name them into a region; moto's API refuses such names."""
    parameters = ssm_backends[account][region]._parameters
    for published in catalogue():
        for name in published.parameters:
            parameters[name].append(
                Parameter(  # type: ignore[abstract]  # moto makes them so itself
                    account_id=account,
                    name=name,
                    value=published.id(region),
                    parameter_type="String",
                    description=None,
                    allowed_pattern=None,
                    keyid=None,
                    last_modified_date=datetime.now(UTC),
                    version=1,
                    data_type="aws:ec2:image",
                )
            )
