"""chain.py, observation.py, removal.py, power.py together, on a fleet in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fabfile import chain, observation, power, removal, session
from fabfile.client_file import client_file_path
from fabfile.connection_files import ENGINE
from fabfile.errors import ClusterError, HubSilent, ProviderRefused, ServiceFailed, UsageError
from fabfile.machines import MachineState
from fabfile.plan import Plan
from fabfile.run import Run
from fabfile.settings import Settings
from tests.fakes.fleet import FakeFleet, FakeManager, FakeQuestions, Killed, installed, new_run
from tests.fakes.provider import MemoryProvider, World

SETTINGS = Settings(cluster="lab", provider="memory")


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeFleet]:
    fleet = FakeFleet()
    with installed(fleet, monkeypatch, tmp_path):
        yield fleet


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
        chain.deploy(run, found, todo, connection, secret)
        chain.arm(run, found, todo)
        answering = chain.count(run, observed, found, todo, connection)
        assert answering == engines
        removal.retire(run, observed, todo)
        chain.hand_over(run, found, connection)
    return todo


def take_down(fleet: FakeFleet, folder: Path) -> None:
    run = new_run(fleet, folder, SETTINGS)
    with run.store.lock("teardown"):
        removal.take_down(run)


def engines_known(fleet: FakeFleet) -> list[str]:
    return sorted(ident.rpartition("-")[0] for ident in (fleet.registered() or {}).values())


def assert_nothing_left(fleet: FakeFleet, folder: Path) -> None:
    assert fleet.world.empty
    assert not fleet.tunnels
    assert not client_file_path("lab").exists()
    assert not (folder / "state" / "lab").exists()


def test_from_nothing_to_engines_that_the_hub_knows(fleet, tmp_path):
    provision(fleet, tmp_path, 3)
    assert engines_known(fleet) == ["engine-0-1", "engine-1-1", "engine-2-1"]
    assert client_file_path("lab").exists()


def test_a_second_provision_changes_nothing(fleet, tmp_path):
    provision(fleet, tmp_path, 3)
    fleet.live_again()
    assert provision(fleet, tmp_path, 3).empty
    assert fleet.events == ["install_client_file"]


def test_growing_leaves_the_engines_that_are_there_alone(fleet, tmp_path):
    provision(fleet, tmp_path, 2)
    before = set((fleet.registered() or {}).values())
    fleet.busy = {"engine-0-1", "engine-1-1"}
    provision(fleet, tmp_path, 4)
    assert before < set((fleet.registered() or {}).values())
    assert len(engines_known(fleet)) == 4


def test_shrinking_asks_before_an_engine_at_work_goes(fleet, tmp_path, monkeypatch):
    provision(fleet, tmp_path, 3)
    fleet.busy = {"engine-0-1", "engine-1-1", "engine-2-1"}
    monkeypatch.setattr(session.report, "can_ask", lambda: False)
    with pytest.raises(UsageError, match="engine-1 engine 1, engine-2 engine 1: at work"):
        provision(fleet, tmp_path, 1)
    assert len(engines_known(fleet)) == 3
    provision(fleet, tmp_path, 1, yes=True)
    assert engines_known(fleet) == ["engine-0-1"]


def test_an_engine_that_got_work_after_the_plan_is_spared(fleet, tmp_path):
    provision(fleet, tmp_path, 3)
    run = new_run(fleet, tmp_path, Settings(cluster="lab", provider="memory", engines=1))
    with run.store.lock("provision"):
        observed = observation.observe(run)
        todo = chain.plan(run, observed)
        fleet.busy = {"engine-2-1"}
        with pytest.raises(UsageError, match="engine-2 got work"):
            removal.retire(run, observed, todo)
    assert engines_known(fleet) == ["engine-0-1", "engine-2-1"]


def test_an_engine_at_work_goes_when_that_was_agreed_to(fleet, tmp_path, monkeypatch):
    provision(fleet, tmp_path, 2)
    fleet.busy = {"engine-0-1", "engine-1-1"}
    monkeypatch.setattr(session.report, "can_ask", lambda: True)
    monkeypatch.setattr(session.report, "confirm", lambda question: True)
    provision(fleet, tmp_path, 1)
    assert engines_known(fleet) == ["engine-0-1"]


def test_no_machine_goes_when_the_hub_does_not_say_what_is_at_work(fleet, tmp_path, monkeypatch):
    provision(fleet, tmp_path, 2)
    run = new_run(fleet, tmp_path, Settings(cluster="lab", provider="memory", engines=1))
    with run.store.lock("provision"):
        observed = observation.observe(run)
        todo = chain.plan(run, observed)
        monkeypatch.setattr(FakeQuestions, "queues", lambda *args: None)
        with pytest.raises(HubSilent, match="no machine was removed"):
            removal.retire(run, observed, todo)
        assert observation.observe(run).hub == "silent"
    assert len(engines_known(fleet)) == 2


def test_several_engines_share_a_machine(fleet, tmp_path):
    provision(fleet, tmp_path, 4, per_machine=2)
    assert engines_known(fleet) == ["engine-0-1", "engine-0-2", "engine-1-1", "engine-1-2"]
    provision(fleet, tmp_path, 3, per_machine=2)
    assert len(engines_known(fleet)) == 3


def test_a_machine_that_was_lost_is_replaced(fleet, tmp_path):
    provision(fleet, tmp_path, 3)
    lost = fleet.machine("engine-1")
    del fleet.world.machines["lab", "engine-1"], fleet.world.keys[lost.id]
    assert [one.name for one in provision(fleet, tmp_path, 3).create] == ["engine-1"]
    assert len(engines_known(fleet)) == 3


@pytest.mark.parametrize("broken", [False, True], ids=["gone", "failed"])
def test_a_machine_that_was_lost_and_is_not_needed_any_more_is_forgotten(broken, fleet, tmp_path):
    provision(fleet, tmp_path, 3)
    lost = fleet.machine("engine-1")
    if broken:
        fleet.on(lost).running.clear()
        fleet.world.machines["lab", "engine-1"] = replace(lost, state=MachineState.FAILED)
    else:
        del fleet.world.machines["lab", "engine-1"], fleet.world.keys[lost.id]
    provision(fleet, tmp_path, 2)
    status = observation.look(new_run(fleet, tmp_path, SETTINGS))
    assert (status.state, status.problems) == ("healthy", ())
    assert (status.engines, status.expected) == (2, 2)


def test_a_lost_controller_gets_new_keys_and_all_engines_follow(fleet, tmp_path):
    provision(fleet, tmp_path, 2)
    lost = fleet.machine("controller")
    before = fleet.on(lost).files["/etc/ipyfleet/curve.json"]
    del fleet.world.machines["lab", "controller"], fleet.world.keys[lost.id]
    provision(fleet, tmp_path, 2)
    assert fleet.on(fleet.machine("controller")).files["/etc/ipyfleet/curve.json"] != before
    assert len(engines_known(fleet)) == 2


def test_the_secret_half_of_the_keys_is_never_in_the_record(fleet, tmp_path):
    provision(fleet, tmp_path, 1)
    secret = json.loads(fleet.on(fleet.machine("controller")).files["/etc/ipyfleet/curve.json"])["secret"]
    for path in (tmp_path / "state" / "lab").iterdir():
        assert secret not in path.read_text()


def test_new_options_for_the_engines_restart_them_and_not_the_controller(fleet, tmp_path):
    provision(fleet, tmp_path, 2)
    start = fleet.on(fleet.machine("controller")).running["ipcontroller", ""]
    settings = Settings(cluster="lab", provider="memory", engines=2, engine_env=(("OMP_NUM_THREADS", "1"),))
    run = new_run(fleet, tmp_path, settings)
    observed = observation.observe(run)
    todo = chain.plan(run, observed)
    assert [(one.name, one.restart) for one in todo.deploy] == [("engine-0", (1,)), ("engine-1", (1,))]
    assert fleet.on(fleet.machine("controller")).running["ipcontroller", ""] == start


def test_new_options_for_the_controller_stop_the_engines_first(fleet, tmp_path):
    provision(fleet, tmp_path, 2)
    settings = Settings(cluster="lab", provider="memory", engines=2, patience=30.0)
    run = new_run(fleet, tmp_path, settings)
    fleet.live_again()
    with run.store.lock("provision"):
        observed = observation.observe(run)
        todo = chain.plan(run, observed)
        assert todo.restart_controller
        chain.deploy(run, observed.found, todo, chain.connection_of(run), None)
    order = [event for event in fleet.events if event.startswith(("stop", "start ", "run forget"))]
    assert order[:4] == [
        "stop ipengine 1 on engine-0",
        "stop ipengine 1 on engine-1",
        "stop ipcontroller  on controller",
        "run forget",
    ]
    assert len(engines_known(fleet)) == 2


def test_a_cluster_that_is_not_in_the_record_is_left_alone_until_it_is_adopted(fleet, tmp_path):
    provision(fleet, tmp_path, 2)
    elsewhere = tmp_path / "elsewhere"
    with pytest.raises(UsageError, match="not in your record"):
        provision(fleet, elsewhere, 2)
    run = new_run(fleet, elsewhere, SETTINGS)
    with run.store.lock("adopt"):
        observed = observation.adopt(run)
    assert observed.ours
    assert len(observed.seen.registered) == 2
    assert provision(fleet, elsewhere, 2).empty


def test_a_cluster_whose_record_is_lost_can_be_taken_down(fleet, tmp_path):
    provision(fleet, tmp_path, 2)
    elsewhere = tmp_path / "elsewhere"
    take_down(fleet, elsewhere)
    assert fleet.world.empty


def switch_off(fleet: FakeFleet, folder: Path, *names: str) -> None:
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
        chain.deploy(run, found, todo, connection, secret)
        assert chain.count(run, observed, found, todo, connection) == len(todo.engines)
    return todo, run


def test_a_machine_that_was_stopped_comes_back_alone(fleet, tmp_path):
    provision(fleet, tmp_path, 2)
    switch_off(fleet, tmp_path, "engine-0", "engine-1")
    assert engines_known(fleet) == []
    _, run = switch_on(fleet, tmp_path, "engine-1")
    assert engines_known(fleet) == ["engine-1-1"]
    assert fleet.machine("engine-0").state is MachineState.STOPPED
    assert len(run.record.assigned) == 2


@pytest.mark.parametrize(("name", "engines"), [("controller", []), ("engine-1", ["engine-1-1"])])
def test_of_a_cluster_that_is_off_the_controller_starts_with_any_machine(name, engines, fleet, tmp_path):
    provision(fleet, tmp_path, 2)
    keys = fleet.on(fleet.machine("controller")).files["/etc/ipyfleet/curve.json"]
    switch_off(fleet, tmp_path, "")
    todo, run = switch_on(fleet, tmp_path, name)
    assert todo.create == ()
    assert engines_known(fleet) == engines
    assert fleet.on(fleet.machine("controller")).files["/etc/ipyfleet/curve.json"] == keys
    assert fleet.machine("engine-0").state is MachineState.STOPPED
    assert len(run.record.assigned) == 2


@pytest.mark.parametrize("change", [{"encryption": "hmac"}, {"first_port": 20101}])
def test_a_connection_of_other_settings_is_made_anew_and_back(change, fleet, tmp_path):
    def engine_file() -> dict[str, Any]:
        return json.loads(fleet.on(fleet.machine("engine-0")).files[ENGINE])

    provision(fleet, tmp_path, 2)
    before = engine_file()
    assert provision(fleet, tmp_path, 2, **change).restart_controller
    changed = engine_file()
    assert bool(changed["curve_serverkey"]) == (change.get("encryption") != "hmac")
    assert changed["registration"] == change.get("first_port", before["registration"])
    assert provision(fleet, tmp_path, 2, **change).empty
    provision(fleet, tmp_path, 2)
    assert engine_file()["registration"] == before["registration"]
    assert engine_file()["curve_serverkey"]


def test_a_record_of_a_cluster_that_is_no_more_stands_in_the_way_of_nothing(fleet, tmp_path):
    provision(fleet, tmp_path, 3)
    fleet.world = World()
    provision(fleet, tmp_path, 1)
    status = observation.look(new_run(fleet, tmp_path, SETTINGS))
    assert (status.state, status.engines, status.expected) == ("healthy", 1, 1)
    assert len(fleet.tunnels) == 1


def test_a_client_file_of_somebody_else_is_said_before_anything_is_made(fleet, tmp_path):
    path = client_file_path("lab")
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    with pytest.raises(UsageError, match="is of another controller"):
        provision(fleet, tmp_path, 1)
    assert fleet.world.empty
    assert not (tmp_path / "state" / "lab").exists()


def test_a_teardown_leaves_no_client_file_of_a_cluster_that_was_there_before(fleet, tmp_path):
    provision(fleet, tmp_path, 1)
    fleet.world = World()
    there = client_file_path("lab").read_bytes()
    client_file_path("lab").unlink()
    provision(fleet, tmp_path / "elsewhere", 1)
    client_file_path("lab").write_bytes(there)
    take_down(fleet, tmp_path)
    assert not client_file_path("lab").exists()


def test_with_min_engines_the_rest_is_counted_without_waiting_for_what_failed(fleet, tmp_path, monkeypatch):
    run = new_run(fleet, tmp_path, replace(SETTINGS, engines=3, min_engines=2))
    start = FakeManager.start

    def failing(self: FakeManager, host: Any, service: Any) -> None:
        if host.name == "engine-1":
            raise ServiceFailed("no", machine=host.name)
        start(self, host, service)

    monkeypatch.setattr(FakeManager, "start", failing)
    monkeypatch.setattr(FakeManager, "restart", failing)
    with run.store.lock("provision"):
        observed = observation.observe(run)
        todo = chain.plan(run, observed)
        found = chain.create(run, observed, todo)
        connection, secret = chain.connect(run, found, todo)
        left = chain.deploy(run, found, todo, connection, secret)
        assert [str(slot) for slot in left.engines] == ["engine-0 engine 1", "engine-2 engine 1"]
        assert chain.count(run, observed, found, left, connection) == 2
        run.settings = replace(run.settings, min_engines=3)
        with pytest.raises(ServiceFailed, match="no"):
            chain.deploy(run, found, todo, connection, secret)
    assert observation.look(run).problems == ("engine-1 engine 1 is not in the hub (service: offline)",)


def test_an_unknown_machine_is_refused_with_the_names_there_are(fleet, tmp_path):
    provision(fleet, tmp_path, 1)
    found = fleet.provider().find("lab")
    with pytest.raises(UsageError, match="no machine 'engine-9'") as refused:
        power.chosen(found, "engine-9")
    assert "controller, engine-0" in refused.value.hint


def test_rolling_back_removes_a_new_cluster_whole_and_of_an_old_one_only_what_was_made(fleet, tmp_path):
    def failing(engines: int) -> None:
        run = new_run(fleet, tmp_path, Settings(cluster="lab", provider="memory", engines=engines))
        with run.store.lock("provision"):
            observed = observation.observe(run)
            todo = chain.plan(run, observed)
            with suppress(ZeroDivisionError), removal.rolling_back(run, observed, todo, wanted=True):
                chain.create(run, observed, todo)
                raise ZeroDivisionError

    failing(2)
    assert_nothing_left(fleet, tmp_path)
    provision(fleet, tmp_path, 2)
    failing(4)
    assert engines_known(fleet) == ["engine-0-1", "engine-1-1"]
    assert provision(fleet, tmp_path, 2).empty


def test_a_rollback_that_fails_does_not_hide_why_it_was_made(fleet, tmp_path, monkeypatch):
    run = new_run(fleet, tmp_path, replace(SETTINGS, engines=1))

    def refuse(*args: object) -> None:
        raise ProviderRefused("cannot remove")

    monkeypatch.setattr(run.provider, "destroy", refuse)
    with run.store.lock("provision"):
        observed = observation.observe(run)
        todo = chain.plan(run, observed)
        chain.create(run, observed, todo)
        rolling_back = removal.rolling_back(run, observed, todo, wanted=True)
        with pytest.raises(ClusterError, match="no room\ncannot remove"), rolling_back:
            raise ClusterError("no room")


def test_hosts_that_stay_lose_their_services_when_a_new_cluster_is_rolled_back(fleet, tmp_path, monkeypatch):
    monkeypatch.setattr(MemoryProvider, "owns_machines", False)
    run = new_run(fleet, tmp_path, replace(SETTINGS, engines=1))
    with run.store.lock("provision"):
        observed = observation.observe(run)
        todo = chain.plan(run, observed)
        with suppress(ZeroDivisionError), removal.rolling_back(run, observed, todo, wanted=True):
            found = chain.create(run, observed, todo)
            connection, secret = chain.connect(run, found, todo)
            chain.deploy(run, found, todo, connection, secret)
            raise ZeroDivisionError
    assert [state.running for state in fleet.hosts.values()] == [{}, {}]


def test_a_lease_is_armed_on_all_machines_shown_and_taken_away(fleet, tmp_path):
    def with_lease(seconds: float, engines: int) -> float | None:
        settings = Settings(cluster="lab", provider="memory", engines=engines, lease=seconds)
        run = new_run(fleet, tmp_path, settings)
        with run.store.lock("provision"):
            observed = observation.observe(run)
            todo = chain.plan(run, observed)
            found = chain.create(run, observed, todo)
            connection, secret = chain.connect(run, found, todo)
            chain.deploy(run, found, todo, connection, secret)
            chain.arm(run, found, todo)
            return observation.look(run).lease_left

    def armed() -> list[str]:
        states = {name: fleet.on(machine) for (_, name), machine in fleet.world.machines.items()}
        return sorted(name for name, state in states.items() if ("ipyfleet-lease", "") in state.running)

    assert with_lease(0.0, 1) is None
    assert armed() == []
    assert with_lease(3600.0, 2) == 60.0
    assert armed() == ["controller", "engine-0", "engine-1"]
    assert with_lease(3600.0, 3) == 60.0
    assert len(armed()) == 4
    assert with_lease(0.0, 3) is None
    assert armed() == []


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
