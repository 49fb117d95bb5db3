"""What hosts must have: the client's versions, followed, fetched once by a real pip from a folder of tiny wheels."""

from __future__ import annotations

import os
import platform
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import packaging.markers
import packaging.requirements
import packaging.utils
import platformdirs
import pytest

from fabfile import pins
from fabfile import software as software_module
from fabfile.errors import ClusterError, UsageError
from fabfile.machines import Event
from fabfile.settings import Settings
from fabfile.software import PYTHON, Software, software, wheelhouse
from tests.wheels import make_wheel, seem_installed

NEEDED_ALREADY = (packaging.requirements, packaging.utils, platformdirs, pins)
"""Imported before sys.path is changed."""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The client's installed packages: ipyparallel 9.0 with one requirement, and pip 1.0; an empty cache."""
    folder = tmp_path / "site-packages"
    seem_installed(folder, "ipyparallel", "9.0", ["tinyzmq>=2"])
    seem_installed(folder, "tinyzmq", "27.3")
    seem_installed(folder, "pip", "1.0")
    monkeypatch.setattr(sys, "path", [str(folder)])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where the client's pip is configured to look, and nowhere else."""
    folder = tmp_path / "index"
    for name, version in (("ipyparallel", "9.0"), ("tinyzmq", "27.3"), ("tinyzmq", "28.0"), ("pip", "1.0")):
        make_wheel(folder, name, version)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    config = tmp_path / "pip.conf"
    config.write_text(f"[global]\nno-index = true\nfind-links = {folder}\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    return folder


def asked(*packages: str, machine: str = "x86_64") -> Software:
    return software(Settings(packages=packages), machine)


def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "ipyfleet" / "wheelhouse"


class TestVersions:
    def test_hosts_get_the_versions_of_this_computer_for_everything_that_is_needed(self, site: Path) -> None:
        assert asked().requirements == ("ipyparallel==9.0", "pip==1.0", "tinyzmq==27.3")

    def test_hosts_get_the_python_of_this_computer(self, site: Path) -> None:
        assert asked().python == PYTHON == ".".join(platform.python_version_tuple()[:2])

    def test_the_machine_is_this_computers_unless_said_otherwise(
        self, site: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(platform, "machine", lambda: "arm64")
        assert asked(machine="").platform == "aarch64"

    def test_requirements_are_those_that_hold_on_a_host_and_not_here(
        self, site: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        here = {**packaging.markers.default_environment(), "sys_platform": "darwin", "platform_machine": "arm64"}
        monkeypatch.setattr(packaging.markers, "default_environment", lambda: here)
        seem_installed(
            site,
            "ipyparallel",
            "9.1",
            [
                'appkit; sys_platform == "darwin"',
                'tinyzmq; sys_platform == "linux"',
                'armour; platform_machine == "aarch64"',
                'ancient; python_version < "3.11"',
                'extra1; extra == "test"',
            ],
        )
        assert asked().requirements == ("ipyparallel==9.1", "pip==1.0", "tinyzmq==27.3")

    def test_extras_that_the_user_names_are_followed(self, site: Path) -> None:
        seem_installed(site, "Frame_Lib", "2.0", ['fast_io; extra == "io"', 'plotting; extra == "plot"'])
        seem_installed(site, "fast_io", "0.1")
        assert {"frame-lib==2.0", "fast-io==0.1"} < set(asked("frame.lib[io]").requirements)
        assert not any(pin.startswith("plotting") for pin in asked("frame.lib[io]").requirements)

    def test_packages_that_need_each_other_are_no_endless_walk(self, site: Path) -> None:
        seem_installed(site, "hen", "1", ["egg"])
        seem_installed(site, "egg", "2", ["hen"])
        assert {"hen==1", "egg==2"} < set(asked("hen").requirements)

    def test_the_id_stands_for_versions_and_machine(self, site: Path) -> None:
        before = asked()
        assert asked() == before
        assert asked(machine="aarch64").id != before.id
        seem_installed(site, "tinyzmq", "27.4")
        assert asked().id != before.id

    def test_a_package_of_no_concern_does_not_change_the_id(self, site: Path) -> None:
        before = asked()
        seem_installed(site, "pytest_thing", "1.0")
        assert asked() == before

    def test_the_second_time_no_metadata_is_read(self, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        before = asked()
        monkeypatch.setattr(pins, "pins", lambda *words: pytest.fail("read again"))
        assert asked() == before

    def test_a_spoilt_note_is_made_again(self, site: Path, tmp_path: Path) -> None:
        before = asked()
        (note,) = cache(tmp_path).glob("pins-*.json")
        note.write_text('{"seen": [')
        assert asked() == before

    @pytest.mark.parametrize(
        ("package", "says"),
        [
            ("num py", "'num py' is no package name"),
            ("tiny @ file:///tmp/tiny.whl", "is an address"),
            ("tinyzmq<27", "this computer has tinyzmq 27.3"),
        ],
    )
    def test_a_package_that_cannot_be_meant_is_refused_by_name(self, site: Path, package: str, says: str) -> None:
        with pytest.raises(UsageError, match=says):
            asked(package)


class TestPackagesThatTheClientLacks:
    def test_the_newest_is_taken_with_all_that_it_needs_and_the_clients_versions_of_it(
        self, site: Path, index: Path
    ) -> None:
        make_wheel(index, "solver", "1.0")
        make_wheel(index, "solver", "2.0", needs=["tinyzmq", "matrix"])
        make_wheel(index, "matrix", "5.0")
        assert {"solver==2.0", "matrix==5.0", "tinyzmq==27.3"} < set(asked("solver").requirements)

    def test_versions_that_hosts_cannot_use_are_not_the_newest(self, site: Path, index: Path) -> None:
        make_wheel(index, "solver", "1.0", tag="cp311-abi3-manylinux_2_17_aarch64")
        make_wheel(index, "solver", "2.0", tag="cp311-abi3-manylinux_2_17_x86_64")
        make_wheel(index, "solver", "3.0", tag="cp311-abi3-manylinux_2_41_aarch64")
        make_wheel(index, "solver", "4.0", tag="cp311-abi3-macosx_11_0_arm64")
        assert "solver==1.0" in asked("solver", machine="aarch64").requirements

    def test_a_requirement_of_hosts_alone_counts_as_lacking(self, site: Path, index: Path) -> None:
        seem_installed(site, "ipyparallel", "9.1", ['epoll>1; sys_platform == "linux"'])
        make_wheel(index, "epoll", "2.0")
        assert "epoll==2.0" in asked().requirements

    def test_the_answer_is_kept_when_a_newer_one_appears(self, site: Path, index: Path) -> None:
        make_wheel(index, "solver", "1.0")
        before = asked("solver")
        make_wheel(index, "solver", "2.0")
        seem_installed(site, "pytest_thing", "1.0")
        assert asked("solver") == before

    def test_the_answer_is_sought_again_when_the_clients_versions_have_changed(self, site: Path, index: Path) -> None:
        make_wheel(index, "solver", "1.0", needs=["tinyzmq"])
        before = asked("solver")
        seem_installed(site, "tinyzmq", "28.0")
        assert {"solver==1.0", "tinyzmq==28.0"} < set(asked("solver").requirements)
        assert asked("solver").id != before.id

    def test_a_name_that_nobody_has_is_an_error_with_pips_words(self, site: Path, index: Path) -> None:
        with pytest.raises(
            ClusterError, match=r"Linux x86_64(.|\n)*No matching distribution found for solvr(.|\n)*next"
        ):
            asked("solvr")


class TestWheelhouse:
    def test_it_holds_one_wheel_a_package_its_pins_and_its_python(self, site: Path, index: Path) -> None:
        wanted = asked()
        with tarfile.open(wheelhouse(wanted)) as tar:
            names = sorted(name.removeprefix("./") for name in tar.getnames() if name != ".")
            pinned = tar.extractfile("./requirements.txt")
            python = tar.extractfile("./python")
            assert pinned is not None
            assert python is not None
            assert pinned.read().decode().split() == list(wanted.requirements)
            assert python.read().decode().strip() == PYTHON
        assert names == [
            "ipyparallel-9.0-py3-none-any.whl",
            "pip-1.0-py3-none-any.whl",
            "python",
            "requirements.txt",
            "tinyzmq-27.3-py3-none-any.whl",
        ]

    def test_wheels_are_those_for_the_hosts_machine(self, site: Path, index: Path) -> None:
        seem_installed(site, "solver", "1.0")
        for machine in ("x86_64", "aarch64"):
            make_wheel(index, "solver", "1.0", tag=f"cp311-abi3-manylinux_2_17_{machine}")
        with tarfile.open(wheelhouse(asked("solver", machine="aarch64"))) as tar:
            assert [name for name in tar.getnames() if "solver" in name] == [
                "./solver-1.0-cp311-abi3-manylinux_2_17_aarch64.whl"
            ]

    def test_the_second_time_pip_is_not_asked(self, site: Path, index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        tar = wheelhouse(asked())
        monkeypatch.setattr(sys, "executable", "/bin/false")
        events: list[Event] = []
        assert wheelhouse(asked(), events.append) == tar
        assert not events

    def test_two_commands_at_once_make_one(self, site: Path, index: Path) -> None:
        wanted = asked()
        events: list[Event] = []
        with ThreadPoolExecutor(4) as pool:
            tars = set(pool.map(lambda _: wheelhouse(wanted, events.append), range(4)))
        assert len(tars) == 1
        assert [event.what for event in events if event.seconds is None] == ["software: fetching 3 packages"]

    def test_a_failure_shows_pips_words_and_leaves_nothing_that_could_be_taken_for_complete(
        self, site: Path, index: Path, tmp_path: Path
    ) -> None:
        (index / "tinyzmq-27.3-py3-none-any.whl").unlink()
        with pytest.raises(ClusterError, match=r"No matching distribution found for tinyzmq==27\.3") as caught:
            wheelhouse(asked())
        assert "pip wheel" in caught.value.hint
        assert not list(cache(tmp_path).glob("*.tar"))
        assert not [path for path in cache(tmp_path).iterdir() if path.is_dir()]
        make_wheel(index, "tinyzmq", "27.3")
        assert wheelhouse(asked()).exists()


def test_the_real_client_has_everything_that_hosts_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "executable", "/bin/false")
    real = software(Settings())
    for name in ("ipyparallel", "numpy", "pyzmq", "ipykernel", "pip"):
        assert f"{name}=={metadata.version(name)}" in real.requirements


def test_a_cache_that_cannot_be_written_is_told_with_the_way_out(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    with pytest.raises(ClusterError, match="/proc/nowhere/ipyfleet/wheelhouse cannot be written") as refused:
        asked()
    assert "XDG_CACHE_HOME" in refused.value.hint


def test_a_note_that_cannot_be_read_counts_as_not_there(tmp_path: Path) -> None:
    (tmp_path / "pins.json").mkdir()
    assert software_module._read(tmp_path / "pins.json") == {}
