"""What one look at one machine has found, read from the words of bootscripts/examine.sh. Pure: asks nothing.

What it means is judged in diagnosis.py.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from packaging.utils import canonicalize_name

from . import service_managers
from .services import Look, Service, ServiceManager, instance_name


@dataclass(frozen=True)
class Disk:
    """Room in the file system that is mounted at ``mount`` and holds ``paths``; bytes."""

    mount: str
    paths: tuple[str, ...]
    used: int
    free: int


@dataclass(frozen=True)
class Watched:
    """A service that shall run: ``name`` as it is told of everywhere, ``own`` as the host's own commands call it."""

    name: str
    own: str
    look: Look


@dataclass(frozen=True)
class Facts:
    """A machine, as it said itself; "", None and nothing where it did not.

    ``machine`` is what ``uname -m`` says, ``software`` the id of its environment, ``python`` the whole version of the
    Python in it, ``packages`` their versions by canonical name, ``broken`` what that Python said instead. ``ahead``
    holds the limits between which its clock is ahead of this computer's (s). ``files`` are the soft and the hard limit
    of open files, the least of the processes that run; ``memory`` is what is available, in bytes. ``closed`` are the
    controller's ports that it does not reach, with the reason.
    """

    manager: str = ""
    machine: str = ""
    software: str = ""
    python: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)
    broken: str = ""
    services: tuple[Watched, ...] = ()
    files: tuple[int, int] | None = None
    disks: tuple[Disk, ...] = ()
    memory: int | None = None
    ahead: tuple[float, float] | None = None
    closed: Mapping[int, str] = field(default_factory=dict)


def asked(services: Sequence[Service]) -> tuple[str, ...]:
    """What the script must be told of the services, for every service manager that a host may have."""
    known = [service_managers.get(name) for name in service_managers.NAMES]
    return tuple(" ".join(own for service in services for own in manager.names(service)) for manager in known)


def parse(text: str, services: Sequence[Service], sent: float, received: float) -> Facts:
    """The facts in what the script said, asked at ``sent`` and answered at ``received`` (epoch seconds, ours)."""
    said: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, _, value = line.partition("=")
        said.setdefault(name, []).append(value)

    def one(name: str) -> str:
        return said.get(name, [""])[-1]

    manager = one("manager")
    looks = "\n".join(said.get("look", ()))
    known = manager in service_managers.NAMES
    return Facts(
        manager=manager,
        machine=one("machine"),
        software=one("software"),
        python=one("python"),
        packages={
            canonicalize_name(line.partition(" ")[0]): line.partition(" ")[2] for line in said.get("package", ())
        },
        broken=one("broken"),
        services=_watched(service_managers.get(manager), looks, services) if known else (),
        files=_least([tuple(map(_limit, line.split())) for line in said.get("files", ())]),
        disks=_disks(said.get("disk", ())),
        memory=int(one("memory")) * 1024 if one("memory") else None,
        # It read its clock after our question had left, and again before its answer was here.
        ahead=(float(one("ended")) - received, float(one("begun")) - sent) if one("ended") else None,
        closed={int(line.partition(" ")[0]): line.partition(" ")[2] for line in said.get("closed", ())},
    )


def _watched(manager: ServiceManager, looks: str, services: Sequence[Service]) -> tuple[Watched, ...]:
    return tuple(
        Watched(instance_name(service, instance), own, look)
        for service in services
        for own, (instance, look) in zip(manager.names(service), manager.read(looks, service).items(), strict=True)
    )


def _limit(word: str) -> int:
    return int(word) if word.isdigit() else sys.maxsize


def _least(limits: Sequence[tuple[int, ...]]) -> tuple[int, int] | None:
    return (min(soft for soft, _ in limits), min(hard for _, hard in limits)) if limits else None


def _disks(lines: Sequence[str]) -> tuple[Disk, ...]:
    found: dict[str, Disk] = {}
    for line in lines:
        path, used, free, mount = line.split(" ", 3)
        before = found[mount].paths if mount in found else ()
        found[mount] = Disk(mount, (*before, path), int(used) * 1024, int(free) * 1024)
    return tuple(found.values())
