"""pkgsrc.py, and the wheelhouse for hosts that get compiled packages from there."""

from __future__ import annotations

import os
import sys
import tarfile
from pathlib import Path

import packaging.requirements
import packaging.utils
import platformdirs
import pytest

from fabfile import pins, pkgsrc
from fabfile.settings import Settings
from fabfile.software import PYTHON, Software, software, wheelhouse
from tests.wheels import make_wheel, seem_installed

NEEDED_ALREADY = (packaging.requirements, packaging.utils, platformdirs, pins)
"""Imported before sys.path is changed."""
SHORT = PYTHON.replace(".", "")


@pytest.mark.parametrize(
    ("pin", "package"),
    [("pyzmq==27.1.0", "py312-zmq"), ("PSUtil==7", "py312-psutil"), ("scikit_learn==1", "py312-scikit-learn")],
)
def test_a_compiled_package_has_a_name_of_its_own_in_pkgsrc(pin: str, package: str) -> None:
    assert str(pkgsrc.native(pin, "3.12")) == f"{pin} {package}"


def test_what_this_computer_has_compiled_is_no_wheel_for_any_computer() -> None:
    assert not pkgsrc.is_pure("pyzmq==1")
    assert pkgsrc.is_pure("ipyparallel==1")
    assert not pkgsrc.is_pure("nobody-has-this==1")


def test_requirements_are_those_of_illumos() -> None:
    needs = ['a; sys_platform == "sunos5"', 'b; platform_system == "Linux"', 'c; platform_machine == "i86pc"', "d"]
    found = pins._needs(needs, set(), PYTHON, pkgsrc.MACHINE)
    assert [one.name for one in found] == ["a", "c", "d"]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Software:
    """Software for illumos of a client whose zmq and numpy are compiled; pip finds a pure wheel of another one."""
    site, index = tmp_path / "site-packages", tmp_path / "index"
    seem_installed(site, "ipyparallel", "9.0", ["pyzmq>=2", "ipykernel", "debugpy"])
    for name, version in (("pyzmq", "27.3"), ("numpy", "2.4"), ("debugpy", "1.8")):
        seem_installed(site, name, version)
    for name, version in (("ipykernel", "7.4"), ("pip", "1.0")):
        seem_installed(site, name, version)
    for name in ("ipyparallel-9.0", "ipykernel-7.4", "pip-1.0"):
        (site / f"{name}.dist-info" / "WHEEL").write_text("Wheel-Version: 1.0\nTag: py3-none-any\n")
    wheels = {"ipyparallel": "9.0", "pip": "1.0", "debugpy": "1.8", "nest_asyncio": "1.6"}
    for name, version in (*wheels.items(), ("ipykernel", "7.4"), ("ipykernel", "6.9")):
        make_wheel(index, name, version)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    (tmp_path / "pip.conf").write_text(f"[global]\nno-index = true\nfind-links = {index}\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", [str(site)])
    return software(Settings(packages=("numpy",)), pkgsrc.MACHINE)


def test_a_wheelhouse_for_pkgsrc_has_pure_wheels_and_the_names_of_what_is_missing(made: Software) -> None:
    with tarfile.open(wheelhouse(made)) as archive:
        names = {Path(name).name for name in archive.getnames()}
        texts = {name: archive.extractfile(f"./{name}").read().decode() for name in ("native", "wanted.txt", "python")}  # type: ignore[union-attr]
    assert {name.partition("-py3")[0] for name in names if name.endswith(".whl")} == {
        *("ipyparallel-9.0", "pip-1.0", "debugpy-1.8", "nest_asyncio-1.6"),
        *("ipykernel-7.4", "ipykernel-6.9"),  # pip on the host takes the one that fits
    }
    assert texts["native"].splitlines() == [f"numpy==2.4 py{SHORT}-numpy", f"pyzmq==27.3 py{SHORT}-zmq"]
    assert texts["wanted.txt"].splitlines() == ["ipyparallel==9.0", "pip==1.0"]
    assert texts["python"] == f"{PYTHON}\n"


def test_it_is_other_software_than_that_of_linux(made: Software) -> None:
    assert software(Settings(packages=("numpy",)), "x86_64").id != made.id
    assert made.wanted == ("ipyparallel==9.0", "numpy==2.4", "pip==1.0")
