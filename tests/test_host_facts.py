"""What a host has, and what of it would keep our services off it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fabfile.host_facts import HostFacts, ask, obstacles
from fabfile.software import Software
from fabfile.ssh import connect
from tests.sshd import serving

WANTED = Software("id", "3.11", (), "x86_64")
FIT = HostFacts("Linux", "x86_64", "3.11", "systemd", True, "192.0.2.7", "")


def test_a_host_is_asked_in_one_go_and_says_what_it_has(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        host = connect(server.endpoint, "here", server.credentials)
        facts = ask(host)
        host.close()
    assert facts.system == "Linux"
    assert facts.address == "127.0.0.1"
    assert facts.python.startswith("3.") or not facts.python


def test_a_host_that_has_everything_has_no_obstacles() -> None:
    assert not list(obstacles(FIT, WANTED))


@pytest.mark.parametrize(
    ("change", "text", "fix"),
    [
        ({"python": ""}, "has no python3", "install python3.11"),
        ({"python": "3.13"}, "has Python 3.13", "under Python 3.13"),
        ({"manager": "", "system": "SunOS"}, "runs no service manager that we know (SunOS", "booted with systemd"),
        ({"manager": "smf", "system": "SunOS", "machine": "i86pc", "python": ""}, "has no pkgin", "base-64-lts"),
        ({"root": False}, "cannot become root", "NOPASSWD"),
        ({"machine": "aarch64"}, "is aarch64, but the wheels of this computer are for x86_64", "hosts that are x86_64"),
    ],
)
def test_each_obstacle_names_what_is_wrong_and_the_cure(change: dict[str, Any], text: str, fix: str) -> None:
    ((found, cure),) = obstacles(replace(FIT, **change), WANTED)
    assert text in found
    assert fix in cure


def test_a_host_with_pkgsrc_needs_neither_python_nor_this_computers_processors() -> None:
    zone = replace(FIT, manager="smf", system="SunOS", machine="i86pc", python="", pkgin=True)
    assert not list(obstacles(zone, WANTED))


def test_all_obstacles_are_told_at_once() -> None:
    bare = HostFacts("Linux", "riscv64", "", "", False, "", "")
    assert len(list(obstacles(bare, WANTED))) == 4
