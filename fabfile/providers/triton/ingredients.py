"""What machines are made of: image, package and networks as the settings name them, and what they are told at boot.

Raises UsageError or ProviderRefused, naming the nearest that there is, for what the data center does not have.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ... import boot
from ...errors import ProviderRefused, UsageError
from ...kinds import nearest
from ...machines import Cluster, MachineSpec, Role
from ...settings import Settings
from . import catalog, joining, marks
from .api import Api
from .catalog import Image, Network, Package
from .creation import ID, Order

USUAL_IMAGE = "base-64-lts"
LEAST_MEMORY = 2048  # MiB of the package that is taken when none is named
SMARTOS = "smartos"


@dataclass(frozen=True)
class Ingredients:
    """What the machines of one role are made of; no ``networks`` means those that the package or account has."""

    image: Image
    package: Package
    networks: tuple[Network, ...]


def gather(api: Api, settings: Settings, role: Role) -> Ingredients:
    """All of it for one role; CloudAPI is asked."""
    return Ingredients(image(api, settings), package(api, settings, role), networks(api, settings))


def image(api: Api, settings: Settings) -> Image:
    """The image by id, by ``name@version``, or the newest of a name; without any the newest base-64-lts."""
    wanted = settings.image or USUAL_IMAGE
    if ID.fullmatch(wanted):
        found = catalog.image(api, wanted)
        if found is None:
            raise ProviderRefused(f"there is no image {wanted}", hint="`triton image list` shows those that there are")
        return _usable(found)
    name, _, version = wanted.partition("@")
    several = catalog.images(api, name, version)
    if several:
        return _usable(several[0])
    others = catalog.images(api, name) if version else []
    if others:
        versions = ", ".join(one.version for one in others[:5])
        raise ProviderRefused(f"there is no image {name} of version {version}", hint=f"there is {versions}")
    names = {one.name for one in catalog.images(api) if one.os == SMARTOS}
    raise ProviderRefused(
        f"there is no image {name}{nearest(name, names)}", hint="`triton image list` shows those that there are"
    )


def _usable(found: Image) -> Image:
    if found.os != SMARTOS:
        raise UsageError(
            f"the image {found.name}@{found.version} is of {found.os or 'an unknown system'}, not of SmartOS",
            hint=f"take one of SmartOS, such as {USUAL_IMAGE}; Linux machines can be used by `provider: static`",
        )
    return found


def package(api: Api, settings: Settings, role: Role) -> Package:
    """The package of that role; without a name the smallest with 2 GB of memory."""
    names = settings.controller_type if role == "controller" else settings.machine_type
    if not names:
        all_of_them = catalog.packages(api)
        fitting = [one for one in all_of_them if one.memory >= LEAST_MEMORY] or all_of_them[-1:]
        if not fitting:
            raise ProviderRefused("this account may use no package", hint="ask who runs the data center")
        return fitting[0]
    found = catalog.package(api, names[0])
    if found is None:
        near = nearest(names[0], [one.name for one in catalog.packages(api)])
        setting = "controller_type" if role == "controller" else "machine_type"
        raise ProviderRefused(
            f"there is no package {names[0]}{near}",
            hint=f"correct `{setting}`: `invoke types` shows those that there are",
        )
    return found


def networks(api: Api, settings: Settings) -> tuple[Network, ...]:
    """The networks of the setting, by name or id, in its order."""
    if not settings.networks:
        return ()
    there = catalog.networks(api)
    found, unknown = [], []
    for wanted in settings.networks:
        named = [one for one in there if wanted in (one.name, one.id)]
        if not named and ID.fullmatch(wanted) and (alone := catalog.network(api, wanted)):
            named = [alone]  # one that is part of a pool is in no list
        found += named[:1]
        unknown += [] if named else [f"{wanted}{nearest(wanted, [one.name for one in there])}"]
    if unknown:
        names = ", ".join(one.name for one in there)
        raise ProviderRefused(f"there is no network {', '.join(unknown)}", hint=f"correct `networks`: there is {names}")
    return tuple(found)


def engines_per_machine(package: Package) -> int:
    """One engine a processor; a package that does not say how many it has gets one."""
    return max(1, package.vcpus)


def order(
    settings: Settings, cluster: Cluster, spec: MachineSpec, made_of: Ingredients, deadline: float | None
) -> Order:
    """The machine of that specification, with its tags and all that it is told."""
    engine = spec.role == "engine"
    tags = dict(settings.tags) | marks.of_machine(cluster, spec.role, spec.index)
    if deadline is not None:
        tags[marks.DEADLINE] = f"{deadline:.0f}"
    return Order(
        name=marks.machine_name(cluster, spec.name),
        image=made_of.image.id,
        package=made_of.package.id,
        tags=tags,
        networks=tuple(one.id for one in made_of.networks),
        metadata=metadata(settings, spec.authorized_keys, spec.role),
        affinity=tuple(re.sub(r"^role\b", marks.ROLE, rule) for rule in settings.affinity) if engine else (),
        marks=marks.LASTING,
    )


def metadata(settings: Settings, authorized_keys: Sequence[str], role: Role) -> dict[str, str]:
    """What the machine reads at its boots (bootscripts/smartos-boot.sh); no secret is in it."""
    told = {
        "user-script": boot.script("smartos-boot.sh").read_text(encoding="utf-8"),
        marks.KEYS: "".join(f"{key}\n" for key in authorized_keys),
    }
    if settings.lease:
        told[marks.LEASE] = str(math.ceil(settings.lease))
    if role == "engine" and settings.join == "metadata":
        told |= joining.listener()
    if script := boot.users_script(settings.userdata):
        try:
            told[marks.USERDATA] = script.decode()
        except UnicodeDecodeError:
            raise UsageError(
                f"userdata: {settings.userdata} is not a text, and metadata takes no other",
                hint="have a script of text fetch what is none",
            ) from None
    return told
