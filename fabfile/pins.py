"""The versions of packages that this computer has, followed through everything that they need on a host.

Reads installed metadata only: no pip, no network. Knows nothing of hosts but that they run Linux or illumos, and this
Python.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from .errors import UsageError
from .pkgsrc import MACHINE


def pins(wanted: Sequence[str], python: str, machine: str) -> tuple[list[str], list[str]]:
    """Everything that the wanted packages need on a host, in two sorted lists.

    First the packages that this computer has, as ``name==version``; then the requirements that it cannot fill.
    ``python`` is a minor version, ``machine`` as ``uname -m`` says it. Raises UsageError for packages that cannot be
    meant.
    """
    here: dict[str, str] = {}
    lacking: set[str] = set()
    todo = [_wanted(text) for text in wanted]
    seen: set[str] = set()
    while todo:
        requirement = todo.pop()
        if str(requirement) in seen:
            continue
        seen.add(str(requirement))
        name = canonicalize_name(requirement.name)
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            lacking.add(str(requirement))
        else:
            here[name] = pin(name, distribution.version)
            todo += _needs(distribution.requires or (), requirement.extras, python, machine)
    return sorted(here.values()), sorted(lacking)


def pin(name: str, version: str) -> str:
    """One package held to one version."""
    return f"{canonicalize_name(name)}=={version}"


def installed() -> list[str]:
    """A pin for every package that this computer has."""
    return [pin(found.name, found.version) for found in metadata.distributions()]


def _wanted(text: str) -> Requirement:
    """A package as the user names it, checked against the version that this computer has."""
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        raise UsageError(f"packages: {text!r} is no package name: {error}", hint="name it as pip does") from None
    if requirement.url:
        raise UsageError(
            f"packages: {text!r} is an address; hosts get packages by name and version",
            hint="put the wheel where your pip finds it (`pip config set global.find-links FOLDER`) and give its name",
        )
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return requirement
    if not requirement.specifier.contains(version, prereleases=True):
        raise UsageError(
            f"packages: {text!r} is asked for, but this computer has {requirement.name} {version}",
            hint=f"hosts get this computer's versions: pip install '{text}' here first, or change `packages`",
        )
    return requirement


def _needs(requires: Sequence[str], extras: set[str], python: str, machine: str) -> Iterator[Requirement]:
    """Those of a package's requirements that hold on a host, whatever this computer is; their conditions taken off."""
    system, name = ("SunOS", "sunos5") if machine == MACHINE else ("Linux", "linux")
    host = {
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_machine": machine,
        "platform_python_implementation": "CPython",
        "platform_system": system,
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": name,
    }
    for text in requires:
        requirement = Requirement(text)
        marker, requirement.marker = requirement.marker, None
        if marker is None or any(marker.evaluate({**host, "extra": extra}) for extra in extras or {""}):
            yield requirement
