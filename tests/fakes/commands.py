"""The commands of the user on a fleet in memory: what the tasks do, without asking and printing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fabfile import chain, observation, power, removal, session
from fabfile.client_file import client_file_path
from fabfile.plan import Plan
from fabfile.run import Run
from fabfile.settings import Settings
from tests.fakes.fleet import FakeFleet, new_run

SETTINGS = Settings(cluster="lab", provider="memory")


def provision(
    fleet: FakeFleet, folder: Path, engines: int, *, yes: bool = False, per_machine: int = 1, **changes: Any
) -> Plan:
    """The task of tasks.py without its printing; ``changes`` are further settings."""
    settings = Settings(cluster="lab", provider="memory", engines=engines, **changes)
    run = new_run(fleet, folder, settings, per_machine)
    with run.store.lock("provision"):
        observed = observation.observe(run)
        todo = chain.plan(run, observed)
        session.agree(todo.disturbs, yes=yes)
        found = chain.create(run, observed, todo)
        connection, secret = chain.connect(run, found, todo)
        chain.deploy(run, observed, found, todo, connection, secret)
        chain.arm(run, found, todo)
        answering = chain.count(run, observed, found, todo, connection)
        assert answering == engines
        removal.retire(run, observed, todo)
        chain.hand_over(run, found, connection)
    return todo


def take_down(fleet: FakeFleet, folder: Path) -> None:
    """The task teardown."""
    run = new_run(fleet, folder, SETTINGS)
    with run.store.lock("teardown"):
        removal.take_down(run)


def engines_known(fleet: FakeFleet) -> list[str]:
    """Machine and number of every engine that the hub knows."""
    return sorted(ident.rpartition("-")[0] for ident in (fleet.registered() or {}).values())


def assert_nothing_left(fleet: FakeFleet, folder: Path) -> None:
    """No machine, tunnel, client file or record."""
    assert fleet.world.empty
    assert not fleet.tunnels
    assert not client_file_path("lab").exists()
    assert not (folder / "state" / "lab").exists()


def switch_off(fleet: FakeFleet, folder: Path, *names: str) -> None:
    """The task stop."""
    run = new_run(fleet, folder, SETTINGS)
    with run.store.lock("stop"):
        found = observation.observe(run).found
        for name in names:
            power.stop(run, power.chosen(found, name))


def switch_on(fleet: FakeFleet, folder: Path, name: str) -> tuple[Plan, Run]:
    """The task of commands/machines.py without its printing."""
    run = new_run(fleet, folder, SETTINGS)
    with run.store.lock("start"):
        observed = observation.observe(run)
        observed = power.as_if_only(observed, power.chosen(observed.found, name))
        power.settle_for(run, observed)
        todo = chain.plan(run, observed)
        found = chain.create(run, observed, todo)
        connection, secret = chain.connect(run, found, todo)
        chain.deploy(run, observed, found, todo, connection, secret)
        assert chain.count(run, observed, found, todo, connection) == len(todo.engines)
    return todo, run
