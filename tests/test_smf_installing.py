"""The stand-in on a machine: which files are put where, and that they are all it needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.smf.installing import install
from tests.smf.playground import Playground
from tests.smf.program import COMMANDS


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    install(tmp_path, python=os.path.realpath(sys.executable), metadata={"a": "b"}, settings={"adoption": 0.5})
    return tmp_path


def test_commands_are_links_where_illumos_has_them(root: Path) -> None:
    folders = ("usr/bin", "usr/sbin", "opt/local/bin")
    found = {path.name: folder for folder in folders for path in (root / folder).iterdir()}
    assert found.keys() == set(COMMANDS)
    assert [found[name] for name in ("svcs", "svcprop", "svcadm", "svccfg", "mdata-get", "pkgin")] == [
        *["usr/bin"] * 2,
        *["usr/sbin"] * 3,
        "opt/local/bin",
    ]
    assert os.readlink(root / "usr/bin/svcs") == "/usr/lib/smf-standin/command"


def test_a_boot_begins_the_restarter_anew(root: Path) -> None:
    unit = (root / "etc/systemd/system/smf-standin.service").read_text()
    assert "ExecStart=/usr/lib/smf-standin/command svc.startd\n" in unit
    assert "ExecStartPre=/bin/rm -f /var/lib/smf-standin/stopped\n" in unit
    assert (root / "etc/systemd/system/multi-user.target.wants/smf-standin.service").is_symlink()


def test_what_is_installed_needs_nothing_but_python(root: Path) -> None:
    library = root / "usr/lib/smf-standin"
    state = root / "var/lib/smf-standin"
    (state / "stopped").touch()  # no restarter for this
    program = library / "command"
    program.write_text(program.read_text().replace("'/usr/lib/smf-standin'", repr(str(library))))
    environment = {"SMF_STANDIN_STATE": str(state)}
    for words, text in (
        (["svcs", "-Ho", "FMRI", "mdata:fetch"], "svc:/smartdc/mdata:fetch\n"),
        (["mdata-get", "a"], "b\n"),
    ):
        done = subprocess.run([str(program), *words], capture_output=True, text=True, env=environment, cwd="/")
        assert (done.stdout, done.stderr) == (text, "")


def test_installing_again_begins_with_a_fresh_machine(root: Path) -> None:
    (root / "var/lib/smf-standin/left").touch()
    install(root)
    assert not (root / "var/lib/smf-standin/left").exists()


def test_settings_are_known_by_name(tmp_path: Path) -> None:
    zone = Playground(tmp_path / "zone", smartos=False)
    assert zone.call("smf-standin", "set", "pace", "1.5").returncode == 0
    assert zone.call("smf-standin", "get", "pace").stdout == "1.5\n"
    with pytest.raises(KeyError):
        zone.place.change({"nonsense": 1})


def test_whoever_does_not_own_the_zone_reads_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zone = Playground(tmp_path / "zone", smartos=False)
    network = "svc:/milestone/network:default"
    monkeypatch.setattr("os.geteuid", lambda: 65534)
    done = zone.call("svcadm", "enable", network)
    assert (done.returncode, done.stderr) == (1, f"svcadm: {network}: Permission denied.\n")
    done = zone.call("svccfg", "-s", network, "addpg", "config", "application")
    assert (done.returncode, done.stderr) == (1, "svccfg: Permission denied.\n")
    assert zone.call("svcs", "-Ho", "FMRI", network).stdout == f"{network}\n"
    monkeypatch.undo()


def test_what_is_not_played_says_so(tmp_path: Path) -> None:
    zone = Playground(tmp_path / "zone", smartos=False)
    assert zone.call("svccfg", "archive").returncode == 70
