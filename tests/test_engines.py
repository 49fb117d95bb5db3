"""engines.py: what is put on one host, without a cluster's record or plan, as `fab -H` does it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fabfile import engines
from fabfile.connection import Connection, make
from fabfile.machines import Cluster, Machine, MachineSpec, silent
from fabfile.plan import Deployment
from fabfile.settings import Settings
from tests.fakes.fleet import SOFTWARE, FakeFleet, FakeHost, Killed, installed


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeFleet]:
    fleet = FakeFleet()
    with installed(fleet, monkeypatch, tmp_path):
        yield fleet


@pytest.fixture
def machine(fleet: FakeFleet) -> Machine:
    cluster = Cluster("lab", "c0ffee", "ada@desk", 0.0)
    return fleet.provider().create(cluster, [MachineSpec("engine", 0)], silent)[0]


@pytest.fixture
def connection() -> Connection:
    return make("10.0.0.1", Settings())[0]


def deploy(fleet: FakeFleet, machine: Machine, connection: Connection, settings: Settings, numbers=(1, 2)) -> None:
    host = FakeHost(fleet, machine)
    seen = engines.survey(host)
    digest = engines.engine_digest(settings, connection, SOFTWARE)
    surplus = [number for number in seen.marks["ipengine"][1] if number not in numbers]
    one = Deployment("engine", 0, numbers)
    engines.deploy_engines(host, seen, one, connection, settings, digest, surplus)


def test_a_second_time_nothing_is_started_anew(fleet, machine, connection):
    deploy(fleet, machine, connection, Settings())
    before = dict(fleet.on(machine).running)
    fleet.live_again()
    deploy(fleet, machine, connection, Settings())
    assert fleet.on(machine).running == before
    assert fleet.events == []


def test_killed_at_any_point_the_next_time_no_engine_is_left_with_the_old_values(fleet, machine, connection):
    new = Settings(engine_env=(("OMP_NUM_THREADS", "1"),))
    for k in range(1, 30):
        fleet.live_again()
        deploy(fleet, machine, connection, Settings())
        fleet.live_again()
        fleet.kill_at = k
        try:
            deploy(fleet, machine, connection, new)
            break
        except Killed:
            fleet.live_again()
        deploy(fleet, machine, connection, new)
        state = fleet.on(machine)
        assert set(state.started_with.values()) == {state.files["/values/ipengine"]}, f"killed at {k}"
    assert k > 5


def test_engines_that_are_too_many_end(fleet, machine, connection):
    deploy(fleet, machine, connection, Settings())
    deploy(fleet, machine, connection, Settings(), numbers=(2,))
    assert set(fleet.on(machine).running) == {("ipengine", "2")}


def test_the_digest_is_another_for_other_software_values_and_keys(connection):
    other = make("10.0.0.1", Settings())[0]
    digests = {
        engines.engine_digest(Settings(), connection, SOFTWARE),
        engines.engine_digest(Settings(engine_options=("--x=y",)), connection, SOFTWARE),
        engines.engine_digest(Settings(), other, SOFTWARE),
        engines.engine_digest(Settings(), connection, engines.Software("other", "3.11", (), "x86_64")),
        engines.controller_digest(Settings(), connection, SOFTWARE),
        engines.controller_digest(Settings(patience=30.0), connection, SOFTWARE),
    }
    assert len(digests) == 6
    assert engines.engine_digest(Settings(), None, SOFTWARE) == ""


def test_engines_wait_until_they_may_start(fleet, machine, connection):
    host, settings = FakeHost(fleet, machine), Settings()

    def ready() -> None:
        assert not fleet.on(machine).running
        asked.append("ready")

    asked: list[str] = []
    digest = engines.engine_digest(settings, connection, SOFTWARE)
    one = Deployment("engine", 0, (1,))
    engines.deploy_engines(host, engines.survey(host), one, connection, settings, digest, ready=ready)
    assert asked == ["ready"]
    assert set(fleet.on(machine).running) == {("ipengine", "1")}


@pytest.mark.parametrize("proved", [True, False])
def test_the_service_manager_is_asked_only_without_a_better_proof(fleet, machine, connection, proved, monkeypatch):
    looks = []
    monkeypatch.setattr(engines, "wait_for_svc", lambda manager, host, service, **options: looks.append(service.name))
    host, settings = FakeHost(fleet, machine), Settings()
    one = Deployment("engine", 0, (1,))
    engines.deploy_engines(host, engines.survey(host), one, connection, settings, "d", proved=lambda: proved)
    assert looks == ([] if proved else ["ipengine"])
