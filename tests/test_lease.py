"""The lease begun anew, on a fleet in memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fabfile import lease, observation, run
from fabfile.errors import RemoteError, UsageError
from fabfile.settings import Settings
from tests.fakes.commands import provision
from tests.fakes.fleet import FakeFleet, FakeHost, installed, new_run

SETTINGS = Settings(cluster="lab", provider="memory", engines=2)


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeFleet]:
    fleet = FakeFleet()
    with installed(fleet, monkeypatch, tmp_path):
        provision(fleet, tmp_path, 2)
        fleet.live_again()
        yield fleet


def renew(fleet: FakeFleet, folder: Path, seconds: float) -> float:
    it = new_run(fleet, folder, replace(SETTINGS, lease=seconds))
    with it.store.lock("renew"):
        return lease.renew(it, observation.observe(it).found)


def test_every_machines_timer_starts_anew_each_time(fleet, tmp_path):
    for _ in range(2):
        fleet.live_again()
        begun = time.time()
        assert renew(fleet, tmp_path, 3600.0) == pytest.approx(begun + 3600, abs=30)
        started = {event for event in fleet.events if event.startswith("started ipyfleet-lease")}
        assert started == {f"started ipyfleet-lease  on {name}" for name in ("controller", "engine-0", "engine-1")}
    assert new_run(fleet, tmp_path, SETTINGS).record.lease == 3600.0


def test_a_lease_that_is_off_cannot_be_renewed(fleet, tmp_path):
    with pytest.raises(UsageError, match="there is no lease to renew"):
        renew(fleet, tmp_path, 0.0)
    assert fleet.events == []


def test_a_machine_that_cannot_be_reached_is_named_and_the_others_have_theirs(fleet, tmp_path, monkeypatch):
    def reach(machine, *_):
        if machine.name == "engine-0":
            raise RemoteError("no SSH connection", machine=machine.name)
        return FakeHost(fleet, machine)

    monkeypatch.setattr(run, "wait_for_ssh", reach)
    with pytest.raises(RemoteError, match="no SSH connection") as error:
        renew(fleet, tmp_path, 3600.0)
    assert error.value.machine == "engine-0"
    assert {event.split()[-1] for event in fleet.events if event.startswith("started ipyfleet-lease")} == {
        "controller",
        "engine-1",
    }
    assert new_run(fleet, tmp_path, SETTINGS).record.lease == 3600.0
