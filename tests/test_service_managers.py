"""Which service manager a host has."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from fabfile import service_managers
from fabfile.boot import script
from fabfile.errors import ServiceFailed
from fabfile.remote import Result


class SurveyedHost:
    """A host on which the survey, which is run for real on this computer, is said to have seen this."""

    name = "engine-0"

    def __init__(self, manager: str) -> None:
        self.manager = manager
        self.asked = 0

    def script(self, path: Path) -> Result:
        self.asked += 1
        shown = subprocess.run(["sh", path], capture_output=True, text=True, check=True).stdout
        return Result((), 0, "\n".join([f"manager={self.manager}", *shown.splitlines()[1:]]), "")


@pytest.mark.parametrize("name", service_managers.NAMES)
def test_what_is_there_is_seen_in_one_round_trip(name: str) -> None:
    host = SurveyedHost(name)
    assert service_managers.detect(host).name == name  # type: ignore[arg-type]
    assert host.asked == 1


def test_a_host_with_neither_is_refused_with_what_was_looked_for() -> None:
    with pytest.raises(ServiceFailed) as error:
        service_managers.detect(SurveyedHost(""))  # type: ignore[arg-type]
    assert "/run/systemd/system" in error.value.seen
    assert error.value.machine == "engine-0"


def test_the_survey_names_everything_that_is_looked_at() -> None:
    facts = service_managers.facts(SurveyedHost("systemd"))  # type: ignore[arg-type]
    assert list(facts) == ["manager", "machine", "software", "ipcontroller", "ipengine"]


def test_this_computer_has_systemd_if_it_was_booted_by_it() -> None:
    shown = subprocess.run(["sh", script("survey.sh")], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[0] == f"manager={'systemd' if Path('/run/systemd/system').is_dir() else ''}"


@pytest.mark.parametrize("name", service_managers.NAMES)
def test_each_name_has_its_module(name: str) -> None:
    assert service_managers.get(name).name == name
