"""chain.py and observation.py together, on a fleet in memory."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from fabfile import chain, observation, tunnel
from fabfile.client_file import client_file_path
from fabfile.connection_files import ENGINE
from fabfile.errors import RemoteError, ServiceFailed, UsageError
from fabfile.machines import Cluster, Found, MachineState
from fabfile.settings import Settings
from tests.fakes.commands import (
    SETTINGS,
    assert_nothing_left,
    engines_known,
    provision,
    take_down,
)
from tests.fakes.fleet import FakeManager, new_run
from tests.fakes.provider import MemoryProvider, World


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


def test_a_machine_that_its_provider_took_away_is_replaced_though_the_hub_still_lists_its_engine(fleet, tmp_path):
    provision(fleet, tmp_path, 2)
    before = fleet.machine("engine-1")
    fleet.world.machines["lab", "engine-1"] = replace(before, state=MachineState.LOST, endpoint=None)
    seen = observation.look(new_run(fleet, tmp_path, SETTINGS))
    assert (seen.state, seen.engines, seen.expected) == ("degraded", 1, 2)
    provision(fleet, tmp_path, 2)
    assert fleet.machine("engine-1").state is MachineState.RUNNING
    assert observation.look(new_run(fleet, tmp_path, SETTINGS)).state == "healthy"


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
        chain.deploy(run, observed, observed.found, todo, chain.connection_of(run), None)
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


def test_a_status_that_looks_again_sees_what_another_command_changed(fleet, tmp_path):
    provision(fleet, tmp_path, 1)
    run = new_run(fleet, tmp_path, SETTINGS)
    assert observation.look(run).expected == 1
    take_down(fleet, tmp_path)
    assert observation.look(run).state == "none"
    provision(fleet, tmp_path, 2)
    fleet.on(fleet.machine("engine-1")).running.clear()
    assert (observation.look(run).engines, observation.look(run).expected) == (1, 2)


def test_hosts_that_do_not_answer_at_all_are_a_cluster_in_trouble_and_not_none(fleet, tmp_path, monkeypatch):
    provision(fleet, tmp_path, 1)
    failed = Found(None, tuple(replace(one, state=MachineState.FAILED) for one in fleet.world.machines.values()))
    monkeypatch.setattr(MemoryProvider, "find", lambda *args: failed)
    run = new_run(fleet, tmp_path, SETTINGS)
    assert observation.look(run).state == "degraded"
    assert run.record.cluster


def test_a_tunnel_opened_without_the_lock_is_closed_when_the_cluster_was_removed_meanwhile(
    fleet, tmp_path, monkeypatch
):
    provision(fleet, tmp_path, 1)
    fleet.tunnels.clear()
    run = new_run(fleet, tmp_path, SETTINGS)
    open_tunnel = tunnel.ensure_tunnel

    def slowly(*args: Any, **options: Any) -> tunnel.Tunnel:
        opened = open_tunnel(*args, **options)
        take_down(fleet, tmp_path)
        return opened

    monkeypatch.setattr(tunnel, "ensure_tunnel", slowly)
    assert observation.look(run).hub == "in use"
    assert_nothing_left(fleet, tmp_path)


def test_who_comes_from_elsewhere_is_let_in_by_a_command_that_may_change_the_cluster(fleet, tmp_path, monkeypatch):
    provision(fleet, tmp_path, 1)
    fleet.tunnels.clear()
    let_in: list[str] = []
    open_tunnel = tunnel.ensure_tunnel

    def shut_out(*args: Any, **options: Any) -> tunnel.Tunnel:
        if not let_in:
            raise RemoteError("no answer")
        return open_tunnel(*args, **options)

    def admit(self: MemoryProvider, cluster: Cluster) -> bool:
        let_in.append(cluster.name)
        return len(let_in) == 1

    monkeypatch.setattr(tunnel, "ensure_tunnel", shut_out)
    monkeypatch.setattr(MemoryProvider, "let_in", admit, raising=False)
    run = new_run(fleet, tmp_path, SETTINGS)
    assert (observation.look(run).hub, let_in) == ("silent", [])
    with run.store.lock("provision"):
        assert observation.observe(run).hub == "answers"
    assert let_in == ["lab"]


def test_who_goes_on_from_elsewhere_with_machines_that_were_made_is_let_in_first(fleet, tmp_path, monkeypatch):
    let_in: list[str] = []

    def admit(provider: object, cluster: Cluster) -> bool:
        let_in.append(cluster.name)
        return True

    monkeypatch.setattr(MemoryProvider, "let_in", admit, raising=False)
    run = new_run(fleet, tmp_path, replace(SETTINGS, engines=2))
    with run.store.lock("step.machines"):
        observed = observation.observe(run)
        chain.create(run, observed, chain.plan(run, observed))
    assert let_in == []  # making them does it
    provision(fleet, tmp_path, 2)
    assert let_in == ["lab"]


def test_machines_that_an_earlier_run_made_and_that_have_no_address_yet_are_waited_for(fleet, tmp_path, monkeypatch):
    run = new_run(fleet, tmp_path, replace(SETTINGS, engines=2))
    with run.store.lock("step.machines"):
        observed = observation.observe(run)
        chain.create(run, observed, chain.plan(run, observed))
    there = dict(fleet.world.machines)
    for key, one in there.items():
        fleet.world.machines[key] = replace(one, state=MachineState.PENDING, endpoint=None)
    plain = MemoryProvider.create

    def create(self: MemoryProvider, cluster: Cluster, specs: Any, on_event: Any) -> Any:
        fleet.world.machines |= {("lab", spec.name): there["lab", spec.name] for spec in specs}
        return plain(self, cluster, specs, on_event)

    monkeypatch.setattr(MemoryProvider, "create", create)
    todo = provision(fleet, tmp_path, 2)
    assert todo.create == ()
    assert fleet.world.machines == there


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
        left = chain.deploy(run, observed, found, todo, connection, secret)
        assert [str(slot) for slot in left.engines] == ["engine-0 engine 1", "engine-2 engine 1"]
        assert chain.count(run, observed, found, left, connection) == 2
        run.settings = replace(run.settings, min_engines=3)
        with pytest.raises(ServiceFailed, match="no"):
            chain.deploy(run, observed, found, todo, connection, secret)
    assert observation.look(run).problems == (
        "engine-1 engine 1 is not in the hub (service: offline): `invoke provision` puts it right",
    )


def test_a_lease_is_armed_on_all_machines_shown_and_taken_away(fleet, tmp_path):
    def with_lease(seconds: float, engines: int) -> float | None:
        settings = Settings(cluster="lab", provider="memory", engines=engines, lease=seconds)
        run = new_run(fleet, tmp_path, settings)
        with run.store.lock("provision"):
            observed = observation.observe(run)
            todo = chain.plan(run, observed)
            found = chain.create(run, observed, todo)
            connection, secret = chain.connect(run, found, todo)
            chain.deploy(run, observed, found, todo, connection, secret)
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
