"""The test cloud with whole machines behind its instances: systemd-nspawn, and in them a real cloud-init.

They stand in the network of a cluster that provider local's root program makes; the default VPC is that network. What
an instance was told as user-data, cloud-init finds in a folder (its NoCloud), with the account's key pair.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from fabfile.providers.local import LocalProvider
from fabfile.providers.local.root import cgroups, image, limits, machines, network, nspawn, processes, tree
from fabfile.providers.local.root.command import ENVIRONMENT
from fabfile.providers.local.root.store import ClusterRecord, MachineRecord, Place
from fabfile.settings import Settings
from tests.cloud.fixtures import cloud_settings, environment
from tests.cloud.machines import Ailing, tags_of
from tests.cloud.network import Blocks
from tests.cloud.server import Cloud
from tests.e2e.machines import audit, root_folder

POOL = IPv4Network("10.203.0.0/16")
ELSEWHERE = IPv4Network("198.51.100.0/24")  # of the other VPC, where no machine can stand
PACKAGES = ("cloud-init", "python3-pip-whl")  # what an image of a cloud has beside those of every machine here
USERS = {"debian": "admin", "ubuntu": "ubuntu"}
CLOUD = """\
datasource_list: [NoCloud, None]
network: {{config: disabled}}
locale: false
system_info: {{default_user: {{name: {user}}}}}
"""
ORDERLY = 30.0  # s for a machine to power off


@dataclass(frozen=True)
class CloudImage:
    """The image of the cloud's machines: which release it is of, and the name of its layer."""

    distribution: str
    layer: str


def cloud_image() -> CloudImage:
    """An image with cloud-init, of a release whose Python is this one's; built unless it is there."""
    chosen = LocalProvider(Settings(), bare=True)._image
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image, "PACKAGES", sorted([*image.PACKAGES, *PACKAGES]))
        wanted = image.Image(chosen["distribution"], chosen["suite"])
        image.build_base(root_folder(), wanted)
        return CloudImage(wanted.distribution, wanted.base)


@dataclass
class Site:
    """Where the machines stand: the network and the folder of a cluster of provider local that has no others."""

    name: str
    image: CloudImage = field(default_factory=cloud_image)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.place = Place(root_folder(), os.getuid(), self.name)
        self.layout = cgroups.observe()

    def open(self) -> Blocks:
        """Make the network; what a test that was killed has left there goes."""
        self.close()
        nspawn.need_machine_id()
        with self.place.alone():
            made = ClusterRecord(os.getuid(), self.name, "site", "tests@here", time.time())
            self.place.save_cluster(made)
            self.subnet = network.up(self.place, made, [POOL]).subnet
        vpc = IPv4Network(self.subnet)
        *_, public = vpc.subnets(prefixlen_diff=2)
        return Blocks(vpc, ELSEWHERE, public)

    def close(self) -> None:
        """Remove all machines and the network."""
        with self.place.alone():
            machines.destroy(self.place, [(record.name, record.id) for record in self.place.records()])
            machines.clean(self.place)

    def hosts(self) -> str:
        """What the VPC's name server would say."""
        lines = ["127.0.0.1 localhost", *(f"{address} {_name(str(address))}" for address in IPv4Network(self.subnet))]
        return "".join(f"{line}\n" for line in lines)


def _name(address: str) -> str:
    return f"ip-{address.replace('.', '-')}"


class NspawnMachine:
    """A whole machine: boots systemd and cloud-init, and powers itself off when it wants."""

    def __init__(self, instance: Any, site: Site, ailing: Ailing) -> None:
        """``ailing`` says what is wrong with it, asked at its first boot: silent (no sshd)."""
        self.instance = instance
        self.site = site
        self.ailing = ailing
        self.name = _name(instance.private_ip)
        self.process: subprocess.Popen[bytes] | None = None
        self._console = ""

    @property
    def record(self) -> MachineRecord | None:
        """What is known of it where all machines of this computer are known."""
        record = self.site.place.machine(self.name)
        return record if record and record.id == self.instance.id else None

    def boot(self) -> None:
        """Launch it; it boots while this returns."""
        place = self.site.place
        with self.site.lock:
            record = self.record or self._new()
            layers = [place.root / "images" / layer / "tree" for layer in record.layers]
            root = tree.mount(place.machines / self.name, layers)
            tree.place(root, "/etc/hosts", self.site.hosts())
            tree.place(root, "/etc/hostname", f"{self.name}\n")
            tree.place(root, "/etc/systemd/network/10-host0.network", self._interface())
            limits.suffice(place.root, len(place.records()))
            self._launch(record)

    def _new(self) -> MachineRecord:
        """Its record, and a disk with what its cloud tells it."""
        place = self.site.place
        made = MachineRecord(self.name, self.instance.id, "engine", 0, time.time(), (self.site.image.layer,))
        record = place.save_machine(made)
        disk = place.machines / self.name / "upper"
        captured = self._image(self.instance.image_id)
        if captured.exists():
            subprocess.run(["cp", "-a", str(captured), str(disk)], check=True)
            (disk / "etc/machine-id").write_text("")
        seed = disk / "var/lib/cloud/seed/nocloud"
        seed.mkdir(parents=True, exist_ok=True)
        pair = self.instance.ec2_backend.key_pairs.get(self.instance.key_name)
        keys = [key.decode() if isinstance(key, bytes) else key for key in ([pair.material_public] if pair else [])]
        about = {"instance-id": self.instance.id, "local-hostname": self.name, "public-keys": keys}
        (seed / "meta-data").write_text(json.dumps(about))
        (seed / "user-data").write_bytes(b64decode(str(self.instance.user_data or "")))
        (disk / "etc/cloud/cloud.cfg.d").mkdir(parents=True, exist_ok=True)
        config = CLOUD.format(user=USERS[self.site.image.distribution])
        (disk / "etc/cloud/cloud.cfg.d/95-tests.cfg").write_text(config)
        if self.ailing("silent", tags_of(self.instance)) is not None:
            (disk / "etc/systemd/system").mkdir(parents=True, exist_ok=True)
            (disk / "etc/systemd/system/ssh.service").symlink_to("/dev/null")
        return record

    def _interface(self) -> str:
        """systemd-networkd's file for its interface: all its addresses, no way out."""
        addresses = sorted({one for one in (self.instance.private_ip, self.instance.public_ip) if one})
        lines = [f"Address={address}/{IPv4Network(self.site.subnet).prefixlen}" for address in addresses]
        rest = ["DHCP=no", "LinkLocalAddressing=no", "IPv6AcceptRA=no"]
        return "\n".join(["[Match]", "Name=host0", "", "[Network]", *lines, *rest, ""])

    def _launch(self, record: MachineRecord) -> None:
        place, layout, name = self.site.place, self.site.layout, record.name
        unit = nspawn.unit(place, name)
        cgroups.make(layout, unit)
        with (place.machines / name / "console.log").open("ab") as console:
            self.process = subprocess.Popen(
                cgroups.joined(layout, unit, nspawn.words(place, name, place.machines / name / "root")),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env=ENVIRONMENT,
                cwd="/",
                start_new_session=True,
            )
        launched = place.save_machine(record, process=processes.identify(self.process.pid), off=False)
        nspawn.watch(place, [launched])

    def halt(self, *, orderly: bool = False) -> None:
        """Power it off, or cut its power."""
        record, process = self.record, self.process
        if record is None or process is None:
            return
        if orderly:
            nspawn.halt([record], ORDERLY)
        with self.site.lock:
            nspawn.kill(self.site.place, [record], self.site.layout)
            self.site.place.save_machine(record, off=True)
        process.wait()
        self.process = None

    def wait(self) -> None:
        """Until it is off."""
        if self.process is not None:
            self.process.wait()

    def console(self) -> str:
        """Its boot console; the last words of one that is gone."""
        if self.record is not None:
            self._console = nspawn.console_text(self.site.place, self.name)
        return self._console

    def capture(self, image: str) -> None:
        """Copy what it has of its own."""
        target = self._image(image)
        target.parent.mkdir(exist_ok=True)
        subprocess.run(["cp", "-a", str(self.site.place.machines / self.name / "upper"), str(target)], check=True)

    def _image(self, image: str) -> Path:
        return self.site.place.folder / "captured" / image

    def scrap(self) -> None:
        """Remove its disk."""
        self.console()
        with self.site.lock:
            machines.destroy(self.site.place, [(self.name, self.instance.id)])


@contextmanager
def whole_machines(cloud: Cloud, name: str) -> Iterator[Site]:
    """A new account whose instances are whole machines; ``name`` is a cluster's that nobody else uses.

    Leads every AWS client to it, child processes included, and leaves nothing behind.
    """
    site = Site(name)
    with pytest.MonkeyPatch.context() as patch:
        for variable in [variable for variable in os.environ if variable.startswith("AWS_")]:
            patch.delenv(variable)
        for variable, value in environment(cloud).items():
            patch.setenv(variable, value)
        try:
            cloud.reset(site.open())
            cloud.machine = lambda instance: NspawnMachine(instance, site, cloud.faults.ailing)
            yield site
        finally:
            try:
                cloud.reset()
            finally:
                site.close()
    assert audit() == []


def site_settings(cloud: Cloud, site: Site, **changes: Any) -> Settings:
    """Settings for the provider ec2 on whole machines: the image's own user logs in."""
    given = {"login_user": "", "ssh_from": (site.subnet,), "boot_timeout": 120.0}
    return cloud_settings(cloud, **{**given, **changes})
