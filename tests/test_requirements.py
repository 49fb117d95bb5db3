"""requirements.lock: the versions that the project is tested with, complete and fitting pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LOCK = [
    line
    for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    if not line.lstrip().startswith("#")
]
AGAIN = "the first lines of requirements.lock say how to make it anew"


def declared() -> Iterator[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for text in (*project["dependencies"], *project["optional-dependencies"]["test"]):
        yield Requirement(text)


def pins() -> dict[str, str]:
    """The locked version by name, of what holds for this Python on this computer."""
    locked = (Requirement(line) for line in LOCK)
    return {
        canonicalize_name(one.name): str(one.specifier).removeprefix("==")
        for one in locked
        if one.marker is None or one.marker.evaluate()
    }


@pytest.mark.parametrize("wanted", list(declared()), ids=lambda one: one.name)
def test_every_declared_dependency_is_locked_to_a_version_in_its_range(wanted: Requirement) -> None:
    version = pins().get(canonicalize_name(wanted.name))
    assert version, f"{wanted.name} is not locked; {AGAIN}"
    assert wanted.specifier.contains(version), f"{wanted} is locked to {version}; {AGAIN}"


@pytest.mark.parametrize("line", LOCK)
def test_a_locked_line_is_one_exact_version_and_no_address(line: str) -> None:
    assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][^\s;/]*( ; [^/]+)?", line), line


def test_what_locked_packages_need_is_locked_too() -> None:
    locked = pins()
    needed = {
        canonicalize_name(one.name)
        for name, version in locked.items()
        for one in _needs(name, version)
        if one.marker is None or one.marker.evaluate({"extra": ""})
    }
    assert not needed - locked.keys(), AGAIN


def _needs(name: str, version: str) -> list[Requirement]:
    """What a package needs as it is installed here; nothing can be said of another version than the locked one."""
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return []
    return [Requirement(text) for text in found.requires or ()] if found.version == version else []
