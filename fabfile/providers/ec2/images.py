"""Images: the one that machines boot from, whose Python is this computer's, and what must be known of it.

What makes an image of our own is baking.py's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import ProviderRefused
from ...settings import Settings
from ...software import PYTHON
from . import tags
from .api import UNANSWERED, Api, code_of, told

DEBIAN, CANONICAL = "136693071363", "099720109477"  # the accounts that publish their images
USERS = {DEBIAN: "admin", CANONICAL: "ubuntu"}
SOFTWARE = f"{tags.PREFIX}software"
BAKED_PYTHON = f"{tags.PREFIX}python"
LOGIN_USER = tags.USER
NAMES = {"x86_64": "amd64", "arm64": "arm64"}  # Debian's words for EC2's


@dataclass(frozen=True)
class Image:
    """An image: its ``root_device`` is a name like ``/dev/xvda``, ``size_gb`` the least that its disk must have.

    ``python`` is the minor version that it has, "" when that is not known; ``baked`` the id of the software in it.
    """

    id: str
    name: str
    architecture: str
    root_device: str
    login_user: str
    python: str
    size_gb: int
    baked: str = ""


@dataclass(frozen=True)
class Distribution:
    """A release that publishes images: its Python, where its newest image is told, and how its images are called.

    ``parameter`` and ``pattern`` have a place for the architecture.
    """

    name: str
    python: str
    owner: str
    parameter: str
    pattern: str


def _debian(number: int, python: str) -> Distribution:
    return Distribution(
        f"Debian {number}",
        python,
        DEBIAN,
        f"/aws/service/debian/release/{number}/latest/{{}}",
        f"debian-{number}-{{}}-*",
    )


def _ubuntu(number: str, code_name: str, python: str) -> Distribution:
    return Distribution(
        f"Ubuntu {number}",
        python,
        CANONICAL,
        f"/aws/service/canonical/ubuntu/server/{number}/stable/current/{{}}/hvm/ebs-gp3/ami-id",
        f"ubuntu/images/hvm-ssd*/ubuntu-{code_name}-{number}-{{}}-server-*",
    )


DISTRIBUTIONS = (
    _debian(13, "3.13"),
    _debian(12, "3.11"),
    _ubuntu("26.04", "resolute", "3.14"),
    _ubuntu("24.04", "noble", "3.12"),
)
"""Releases with Python 3.11 or newer, in the order of preference.

https://wiki.debian.org/Cloud/AmazonEC2Image, https://documentation.ubuntu.com/aws/aws-how-to/instances/find-ubuntu-images/
"""


def choose(api: Api, settings: Settings, architecture: str, software_id: str = "") -> Image:
    """The image for machines of this architecture: ``image``, else one of ours with that software, else a release's.

    Raises ProviderRefused when there is none, or when ``image`` does not fit, with the way out.
    """
    with told("looking for an image"):
        if settings.image:
            return _given(api, settings, architecture)
        baked = find_baked(api, software_id, architecture) if software_id else None
        return baked or _released(api, settings, architecture)


def find_baked(api: Api, software_id: str, architecture: str) -> Image | None:
    """The newest image of ours that has this software, for this architecture; None when there is none."""
    found = api.paged(
        "describe_images",
        "Images",
        Owners=["self"],
        Filters=[
            {"Name": f"tag:{SOFTWARE}", "Values": [software_id]},
            {"Name": "architecture", "Values": [architecture]},
            {"Name": "state", "Values": ["available"]},
        ],
    )
    newest = _newest(found)
    return _image(newest, tags.read(newest).get(LOGIN_USER, "")) if newest else None


def _given(api: Api, settings: Settings, architecture: str) -> Image:
    try:
        (found,) = api.paged("describe_images", "Images", ImageIds=[settings.image])
    except Exception as error:
        if not isinstance(error, ValueError) and not code_of(error).startswith("InvalidAMIID"):
            raise
        raise ProviderRefused(
            f"there is no image {settings.image} in {api.region}, or you may not use it",
            hint="correct `image`, or leave it empty: images belong to one region",
        ) from error
    if found["Architecture"] != architecture:
        raise ProviderRefused(
            f"{settings.image} ({found.get('Name', '')}) is for {found['Architecture']}, but machines will be "
            f"{architecture}",
            hint="choose another `image`, or `machine_type` and `controller_type` of that architecture",
        )
    if found.get("State", "available") != "available":
        raise ProviderRefused(
            f"{settings.image} ({found.get('Name', '')}) cannot be used: it is {found['State']}",
            hint="wait until it is available if it is being made, or choose another `image`",
        )
    user = settings.login_user or _user(found)
    if not user:
        raise ProviderRefused(
            f"nobody says which user may log in to machines of {settings.image} ({found.get('Name', '')})",
            hint="set `login_user`: whoever made the image knows it, often ubuntu, admin or ec2-user",
        )
    return _image(found, user)


def _released(api: Api, settings: Settings, architecture: str) -> Image:
    fitting = [one for one in DISTRIBUTIONS if one.python == PYTHON]
    for release in fitting:
        found = _by_parameter(api, release, architecture) or _by_name(api, release, architecture)
        if found:
            return _image(found, settings.login_user or USERS[release.owner], release.python)
    if fitting:
        names = " and ".join(one.name for one in fitting)
        raise ProviderRefused(
            f"no image of {names} for {architecture} is to be seen in {api.region}",
            hint="name one yourself: `image: ami-…` (and `login_user`)",
        )
    others = ", ".join(f"{one.python} ({one.name})" for one in DISTRIBUTIONS)
    raise ProviderRefused(
        f"no release publishes images with Python {PYTHON}, which this computer's ipyfleet runs under",
        hint=f"run ipyfleet under one of {others}; or name an `image` that has Python {PYTHON}",
    )


def _by_parameter(api: Api, release: Distribution, architecture: str) -> dict[str, Any] | None:
    """The image that the release's public parameter names; None without one, the right, or a way to read it."""
    name = release.parameter.format(NAMES[architecture])
    try:
        told_id = api.ssm.get_parameter(Name=name)["Parameter"]["Value"]
        found = api.paged("describe_images", "Images", ImageIds=[told_id])
    except Exception as error:
        code = code_of(error)
        unknown = re.match("ParameterNotFound|AccessDenied|Unauthorized|InvalidAMIID|ValidationException", code)
        if unknown or UNANSWERED.fullmatch(code):  # a private network may lead to EC2 alone
            return None
        raise
    return next((one for one in found if one["OwnerId"] == release.owner), None)  # a name is no proof of its maker


def _by_name(api: Api, release: Distribution, architecture: str) -> dict[str, Any] | None:
    filters = {
        "name": release.pattern.format(NAMES[architecture]),
        "architecture": architecture,
        "state": "available",
        "virtualization-type": "hvm",
        "root-device-type": "ebs",
    }
    found = api.paged(
        "describe_images",
        "Images",
        Owners=[release.owner],
        Filters=[{"Name": name, "Values": [value]} for name, value in filters.items()],
    )
    return _newest([one for one in found if "daily" not in one["Name"]])


def _newest(found: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    return max(found, key=lambda one: str(one.get("CreationDate", "")), default=None)


def _user(found: Mapping[str, Any]) -> str:
    """Who may log in, as far as the image's own tags, its owner or its name tell."""
    tagged = tags.read(found).get(LOGIN_USER, "")
    by_name = {"debian": "admin", "ubuntu": "ubuntu"}
    named = next((user for word, user in by_name.items() if word in str(found.get("Name", "")).lower()), "")
    return tagged or USERS.get(str(found.get("OwnerId")), "") or named


def _image(found: Mapping[str, Any], user: str, python: str = "") -> Image:
    its = tags.read(found)
    root = str(found.get("RootDeviceName") or "/dev/xvda")
    return Image(
        id=str(found["ImageId"]),
        name=str(found.get("Name", "")),
        architecture=str(found["Architecture"]),
        root_device=root,
        login_user=user,
        python=its.get(BAKED_PYTHON, "") or python,
        size_gb=next(_sizes(found, root), 8),
        baked=its.get(SOFTWARE, ""),
    )


def _sizes(found: Mapping[str, Any], root: str) -> Iterator[int]:
    for mapping in found.get("BlockDeviceMappings", ()):
        if mapping.get("DeviceName") == root and "VolumeSize" in mapping.get("Ebs", {}):
            yield int(mapping["Ebs"]["VolumeSize"])
