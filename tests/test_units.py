"""The unit files and the scripts beside them, judged by systemd's and the shell's own checkers."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBEXEC = "/opt/ipyfleet/libexec/"
UNITS = sorted([*(ROOT / "systemd").glob("*.service"), *(ROOT / "systemd").glob("*.timer")])
SCRIPTS = sorted([*(ROOT / "systemd").glob("*.sh"), *(ROOT / "bootscripts").glob("*.sh")])


def test_systemd_has_nothing_to_say_about_the_units(tmp_path: Path) -> None:
    # It looks for the programs, too: they are found in the checkout instead of on a host.
    for unit in UNITS:
        text = re.sub(f"{LIBEXEC}([a-z-]+)", rf"{ROOT}/bootscripts/\1.sh", unit.read_text())
        (tmp_path / unit.name).write_text(text)
    words = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=yes", *map(str, tmp_path.iterdir())]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_has_nothing_to_say_about_a_script(script: Path) -> None:
    done = subprocess.run(["shellcheck", "--shell=sh", script], capture_output=True, text=True, check=False)
    assert done.stdout == ""


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_no_unit_hands_anything_over_by_environment(unit: Path) -> None:
    assert "Environment" not in unit.read_text()
