"""What hosts with pkgsrc, SmartOS' source of packages, get from there: everything compiled, for which PyPI has nothing.

Pure: names and versions in, names out. Which of the packages a host really offers is found out on it
(bootscripts/software-pkgsrc.sh).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

MACHINE = "i86pc"
"""What ``uname -m`` says on illumos."""
NAMES = {"pyzmq": "zmq", "pyyaml": "yaml", "pillow": "Pillow"}
FITTING = ("ipykernel<7", "nest-asyncio<2")
"""Older ones of what depends on compiled packages, for a pkgsrc whose tornado is older than this computer's.

ipykernel 7 wants a newer one than pkgsrc may have, and 6 wants nest-asyncio (tried with ipykernel 7.4 and tornado
6.4.2; tests/e2e/test_smf_hosts.py).
"""


@dataclass(frozen=True)
class Native:
    """A package that pkgsrc has to give: its pin on this computer, and its name there."""

    pin: str
    package: str

    def __str__(self) -> str:
        return f"{self.pin} {self.package}"


def native(pin: str, python: str) -> Native:
    """The package of pkgsrc that stands for a pin under that minor version of Python: ``py312-zmq`` for pyzmq."""
    name = canonicalize_name(Requirement(pin).name)
    return Native(pin, f"py{python.replace('.', '')}-{NAMES.get(name, name)}")


def is_pure(pin: str) -> bool:
    """Whether this computer has the package from a wheel that fits any computer."""
    try:
        wheel = metadata.distribution(Requirement(pin).name).read_text("WHEEL") or ""
    except metadata.PackageNotFoundError:
        return False
    return any(line.startswith("Tag:") and line.rstrip().endswith("-none-any") for line in wheel.splitlines())


def chosen(requirements: Iterable[str], wanted: Iterable[str]) -> list[str]:
    """Those of the pins that were asked for by name, and not for the sake of others."""
    names = {canonicalize_name(Requirement(one).name) for one in wanted}
    return [pin for pin in requirements if canonicalize_name(Requirement(pin).name) in names]
