"""bootscripts/engine-stopped.sh on control groups as they look on other computers, with real processes to be killed."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "bootscripts" / "engine-stopped.sh"
UNIT = "/system.slice/system-ipengine.slice/ipengine@1.service"
LAYOUTS = {
    "v2 alone": (f"0::{UNIT}\n", f"{UNIT[1:]}"),
    "v1 with v2 beside it": (f"4:memory:/\n1:name=systemd:{UNIT}\n0::{UNIT}\n", f"systemd{UNIT}"),
    "v1 alone": (f"9:name=systemd:{UNIT}\n8:cpu,cpuacct:{UNIT}\n", f"systemd{UNIT}"),
}


@pytest.fixture
def left_over() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_left_after_three_seconds_is_killed(
    tmp_path: Path, layout: str, left_over: subprocess.Popen[bytes]
) -> None:
    own, folder = LAYOUTS[layout]
    slept = run(tmp_path, own, folder, f"{left_over.pid}\n")
    assert left_over.wait(timeout=5) == -signal.SIGKILL
    assert slept > 30


def test_where_nothing_is_left_nothing_is_waited_for(tmp_path: Path, left_over: subprocess.Popen[bytes]) -> None:
    own, folder = LAYOUTS["v2 alone"]
    assert run(tmp_path, own, folder, "") == 0
    assert left_over.poll() is None


def run(folder: Path, own: str, group: str, members: str) -> int:
    """Run the script in a group that holds these processes; how often it slept, for a tenth of a second each."""
    members_file = folder / "groups" / group / "cgroup.procs"
    members_file.parent.mkdir(parents=True)
    members_file.write_text(members)
    (folder / "own").write_text(own)
    sleeps = folder / "sleeps"
    sleeps.touch()
    (folder / "sleep").write_text(f"#!/bin/sh\necho $1 >>{sleeps}\n")
    (folder / "sleep").chmod(0o755)
    environment = {
        "PATH": f"{folder}:/usr/bin:/bin",
        "IPYFLEET_GROUPS": str(folder / "groups"),
        "IPYFLEET_OWN_GROUPS": str(folder / "own"),
    }
    done = subprocess.run(["sh", SCRIPT, "no-such-engine"], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return sleeps.read_text().count("0.1")
