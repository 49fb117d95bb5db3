"""The lease begun anew, on a fleet in memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fabfile import chain, deployment, lease, observation, run
from fabfile.errors import ClusterError, ProviderRefused, RemoteError, Several, UsageError
from fabfile.machines import MachineState
from fabfile.settings import Settings
from tests.fakes.commands import provision
from tests.fakes.fleet import FakeFleet, FakeHost, installed, new_run
from tests.fakes.provider import MemoryProvider

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


def test_a_cluster_that_is_off_has_no_lease_that_could_be_renewed(fleet, tmp_path):
    it = new_run(fleet, tmp_path, replace(SETTINGS, lease=3600.0))
    found = observation.observe(it).found
    off = replace(found, machines=tuple(replace(one, state=MachineState.STOPPED) for one in found.machines))
    with pytest.raises(ClusterError, match="no machine is on") as error:
        lease.renew(it, off)
    assert "invoke start" in error.value.hint
    assert it.record.lease == 0.0


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


def test_the_provider_hears_of_those_that_were_renewed_and_hides_no_other_failure(fleet, tmp_path, monkeypatch):
    noted: list[tuple[set[str], float | None]] = []

    def note_deadline(self, machines, deadline):
        noted.append(({one.name for one in machines}, deadline))
        raise ProviderRefused("may not tag")

    def reach(machine, *_):
        if machine.name == "engine-0":
            raise RemoteError("no SSH connection", machine=machine.name)
        return FakeHost(fleet, machine)

    monkeypatch.setattr(MemoryProvider, "note_deadline", note_deadline, raising=False)
    monkeypatch.setattr(run, "wait_for_ssh", reach)
    begun = time.time()
    with pytest.raises(Several) as error:
        renew(fleet, tmp_path, 3600.0)
    assert "engine-0: no SSH connection" in str(error.value)
    assert "may not tag" in str(error.value)
    ((names, deadline),) = noted
    assert names == {"controller", "engine-1"}
    assert deadline == pytest.approx(begun + 3600, abs=30)


def test_another_lease_that_is_armed_is_noted_and_one_that_is_taken_away(fleet, tmp_path, monkeypatch):
    noted: list[float | None] = []
    monkeypatch.setattr(
        MemoryProvider, "note_deadline", lambda _, machines, deadline: noted.append(deadline), raising=False
    )
    begun = time.time()
    for seconds in (3600.0, 0.0):
        it = new_run(fleet, tmp_path, replace(SETTINGS, lease=seconds))
        with it.store.lock("provision"):
            observed = observation.observe(it)
            deployment.arm(it, observed.found, chain.plan(it, observed))
    assert noted == [pytest.approx(begun + 3600, abs=30), None]


def test_a_lease_that_not_all_machines_took_is_not_the_clusters_so_that_provision_sets_it(fleet, tmp_path, monkeypatch):
    renew(fleet, tmp_path, 7200.0)

    def reach(machine, *_):
        if machine.name == "engine-0":
            raise RemoteError("no SSH connection", machine=machine.name)
        return FakeHost(fleet, machine)

    monkeypatch.setattr(run, "wait_for_ssh", reach)
    with pytest.raises(RemoteError, match="no SSH connection"):
        renew(fleet, tmp_path, 3600.0)
    assert new_run(fleet, tmp_path, SETTINGS).record.lease == 7200.0


def test_a_lease_that_is_changed_takes_away_what_the_provider_shows_of_the_one_before(fleet, tmp_path, monkeypatch):
    noted: list[float | None] = []
    monkeypatch.setattr(MemoryProvider, "note_deadline", lambda self, some, when: noted.append(when), raising=False)
    renew(fleet, tmp_path, 3600.0)
    for key, one in fleet.world.machines.items():
        fleet.world.machines[key] = replace(one, deadline=noted[0])
    provision(fleet, tmp_path, 2)
    assert noted[1:] == [None]
