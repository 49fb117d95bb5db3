"""The program killed at every point of a command, on a fleet in memory."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from fabfile import chain, observation, removal
from fabfile.client_file import client_file_path
from tests.fakes.commands import (
    SETTINGS,
    assert_nothing_left,
    engines_known,
    provision,
    take_down,
)
from tests.fakes.fleet import FakeFleet, Killed, installed, new_run


def undisturbed(fleet: FakeFleet, folder: Path, steps: tuple[int, ...]) -> int:
    """Provision to each number of engines in turn; how many events the last one took."""
    for engines in steps:
        fleet.live_again()
        provision(fleet, folder, engines, yes=True)
    return len(fleet.events)


@pytest.mark.parametrize("steps", [(2,), (1, 3), (3, 1)], ids=["make", "grow", "shrink"])
def test_killed_at_any_point_provision_resumes_and_teardown_leaves_nothing(steps, monkeypatch, tmp_path):
    *before, last = steps
    with installed(probe := FakeFleet(), monkeypatch, tmp_path / "probe"):
        total = undisturbed(probe, tmp_path / "probe", steps)
    assert total > 5
    for k in range(1, total + 1):
        for resume in (True, False):
            folder = tmp_path / f"{k}-{resume}"
            fleet = FakeFleet()
            with installed(fleet, monkeypatch, folder):
                undisturbed(fleet, folder, tuple(before))
                fleet.live_again()
                fleet.kill_at = k
                with pytest.raises(Killed):
                    provision(fleet, folder, last, yes=True)
                at = fleet.events[-1]
                fleet.live_again()
                if resume:
                    provision(fleet, folder, last, yes=True)
                    assert len(engines_known(fleet)) == last, f"killed at {k}, {at}"
                    assert provision(fleet, folder, last).empty, f"killed at {k}, {at}"
                take_down(fleet, folder)
                assert fleet.world.empty, f"killed at {k}, {at}"
                assert not fleet.tunnels, f"killed at {k}, {at}"
                assert not client_file_path("lab").exists(), f"killed at {k}, {at}"


@pytest.mark.parametrize("back", [False, True], ids=["on", "back"])
@pytest.mark.parametrize(
    "changes", [{"engine_env": (("OMP_NUM_THREADS", "1"),)}, {"patience": 30.0}], ids=["engines", "everything"]
)
def test_killed_while_new_settings_are_deployed_the_next_provision_makes_all_engines_run_with_its_own(
    changes, back, monkeypatch, tmp_path
):
    k, total = 0, 1
    while k <= total:
        folder = tmp_path / str(k)
        fleet = FakeFleet()
        with installed(fleet, monkeypatch, folder):
            provision(fleet, folder, 2)
            fleet.live_again()
            fleet.kill_at = k or None
            with suppress(Killed):
                provision(fleet, folder, 2, **changes)
            total = total if k else len(fleet.events)
            fleet.live_again()
            provision(fleet, folder, 2, **({} if back else changes))
            assert len(engines_known(fleet)) == 2, f"killed at {k}"
            for (_, name), machine in fleet.world.machines.items():
                state = fleet.on(machine)
                for service, values in state.started_with.items():
                    assert values == state.files[f"/values/{service[0]}"], f"{service} on {name}, killed at {k}"
        k += 1
    assert total > 10


def test_killed_at_any_point_of_a_teardown_the_next_one_leaves_nothing(monkeypatch, tmp_path):
    k, total = 0, 1
    while k < total:
        k += 1
        folder = tmp_path / str(k)
        fleet = FakeFleet()
        with installed(fleet, monkeypatch, folder):
            provision(fleet, folder, 2)
            fleet.live_again()
            if k == 1:
                run = new_run(fleet, folder, SETTINGS)
                with run.store.lock("teardown"):
                    removal.take_down(run)
                total = len(fleet.events)
                continue
            fleet.kill_at = k - 1
            with pytest.raises(Killed):
                take_down(fleet, folder)
            fleet.live_again()
            take_down(fleet, folder)
            assert_nothing_left(fleet, folder)


def test_killed_while_a_lease_was_armed_the_next_provision_takes_it_away_where_it_shall_be_off(monkeypatch, tmp_path):
    k, total = 0, 1
    while k <= total:
        folder = tmp_path / str(k)
        fleet = FakeFleet()
        with installed(fleet, monkeypatch, folder):
            fleet.kill_at = k or None
            with suppress(Killed):
                provision(fleet, folder, 2, lease=3600.0)
            total = total if k else len(fleet.events)
            fleet.live_again()
            provision(fleet, folder, 2)
            for machine in fleet.world.machines.values():
                services = {name for name, _ in fleet.on(machine).running}
                assert "ipyfleet-lease" not in services, f"{machine.name}, killed at {k}"
        k += 1
    assert total > 10


def test_a_lease_that_machines_got_at_their_first_boot_is_taken_away_when_it_is_off_by_then(monkeypatch, tmp_path):
    fleet = FakeFleet()
    with installed(fleet, monkeypatch, tmp_path):
        run = new_run(fleet, tmp_path, replace(SETTINGS, engines=2, lease=3600.0))
        with run.store.lock("step.machines"):
            observed = observation.observe(run)
            chain.create(run, observed, chain.plan(run, observed))
        for machine in fleet.world.machines.values():
            fleet.on(machine).running["ipyfleet-lease", ""] = 1
        provision(fleet, tmp_path, 2)
        for machine in fleet.world.machines.values():
            assert ("ipyfleet-lease", "") not in fleet.on(machine).running
