"""bootscripts/controller-spacing.sh, run by sh with a clock and a sleep of our own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "bootscripts" / "controller-spacing.sh"


class Controller:
    """Runs the script at a given time of the clock; ``slept`` are the seconds of each wait."""

    def __init__(self, folder: Path, spacing: str = "17") -> None:
        self.folder = folder
        self.values = folder / "values"
        self.values.write_text(f"spacing {spacing}\noptions --spacing 3\n")
        self.sleeps = folder / "sleeps"
        self.sleeps.touch()
        self._program("date", 'cat "$CLOCK"')
        self._program("sleep", 'echo "$1" >>"$SLEEPS"')

    def __call__(self, verb: str, now: int = 0) -> subprocess.CompletedProcess[str]:
        clock = self.folder / "clock"
        clock.write_text(f"{now}\n")
        environment = {
            "PATH": f"{self.folder}:/usr/bin:/bin",
            "CLOCK": str(clock),
            "SLEEPS": str(self.sleeps),
            "IPYFLEET_VALUES": str(self.values),
            "IPYFLEET_NOTE": str(self.folder / "note"),
        }
        return subprocess.run(["sh", SCRIPT, verb], env=environment, capture_output=True, text=True, check=False)

    @property
    def slept(self) -> list[int]:
        return [int(line) for line in self.sleeps.read_text().split()]

    def _program(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)


@pytest.fixture
def controller(tmp_path: Path) -> Controller:
    return Controller(tmp_path)


def test_the_very_first_start_does_not_wait(controller: Controller) -> None:
    assert controller("wait", 1000).returncode == 0
    assert controller.slept == []


def test_a_start_waits_for_what_is_left_of_the_spacing(controller: Controller) -> None:
    controller("wait", 1000)
    controller("stopped", 5000)
    assert "waiting 12 s" in controller("wait", 5005).stdout
    assert controller.slept == [12]


def test_a_start_long_after_the_end_does_not_wait(controller: Controller) -> None:
    controller("wait", 1000)
    controller("stopped", 5000)
    controller("wait", 5017)
    assert controller.slept == []


def test_without_a_noted_end_a_start_waits_for_the_whole_spacing(controller: Controller) -> None:
    controller("wait", 1000)
    controller("wait", 9000)
    assert controller.slept == [17]


def test_a_clock_that_was_set_back_makes_no_longer_wait_than_the_spacing(controller: Controller) -> None:
    controller("wait", 9000)
    controller("stopped", 9500)
    controller("wait", 1000)
    assert controller.slept == [17]


def test_a_stop_while_waiting_is_no_end_of_a_controller(controller: Controller) -> None:
    controller("wait", 1000)
    controller("stopped", 5000)
    controller("stopped", 5010)
    controller("wait", 5015)
    assert controller.slept == [2]


def test_a_start_after_the_engines_were_stopped_does_not_wait(controller: Controller) -> None:
    controller("wait", 1000)
    controller("stopped", 5000)
    controller("forget")
    controller("wait", 5001)
    assert controller.slept == []
    controller("stopped", 6000)
    controller("wait", 6001)
    assert controller.slept == [16]


def test_forgetting_nothing_is_fine(controller: Controller) -> None:
    assert controller("forget").returncode == 0


def test_an_unreadable_note_counts_as_a_power_cut(controller: Controller) -> None:
    (controller.folder / "note").write_text("")
    controller("wait", 1000)
    assert controller.slept == [17]


@pytest.mark.parametrize("spacing", ["", "x", "-1", "1.5"])
def test_a_spacing_that_is_no_whole_number_is_an_error(tmp_path: Path, spacing: str) -> None:
    done = Controller(tmp_path, spacing)("wait", 1000)
    assert done.returncode == 1
    assert "no whole number of seconds" in done.stderr


def test_an_unknown_verb_is_an_error(controller: Controller) -> None:
    assert controller("now").returncode == 2
