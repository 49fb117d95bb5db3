"""wait_for_svc against a manager that says what it is told to, on a clock that only waiting moves."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from fabfile.errors import ServiceFailed
from fabfile.remote import Host
from fabfile.services import (
    CONTROLLER,
    LOOPING,
    SLOWEST,
    Look,
    Service,
    ServiceState,
    engine_service,
    wait_for_svc,
)

ENGINES = engine_service([1, 2])
ONLINE = Look(ServiceState.ONLINE, "a", "active/running")
STARTING = Look(ServiceState.STARTING, "", "activating/start")


class ScriptedManager:
    """Gives one look after the other, the last one for ever."""

    name = "scripted"

    def __init__(self, *looks: Mapping[str, Look]) -> None:
        self.looks = list(looks)
        self.asked = 0

    def state(self, host: Host, service: Service) -> dict[str, Look]:
        self.asked += 1
        return dict(self.looks.pop(0) if len(self.looks) > 1 else self.looks[0])

    def logs(self, host: Host, service: Service, lines: int = 50) -> str:
        return f"the last {lines} lines of {service.name}"


class Clock:
    """Seconds pass only by pausing."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds


class NamedHost:
    name = "engine-0"
    address = "ipyfleet@10.0.0.2"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def wait(clock: Clock) -> Callable[..., dict[str, Look]]:
    def waiting(*looks: Mapping[str, Look], service: Service = CONTROLLER, **options: object) -> dict[str, Look]:
        manager = ScriptedManager(*looks)
        return wait_for_svc(manager, NamedHost(), service, pause=clock.pause, clock=clock, **options)  # type: ignore[arg-type]

    return waiting


def test_two_equal_looks_at_an_online_service_are_needed(wait: Callable, clock: Clock) -> None:
    assert wait({"": STARTING}, {"": ONLINE}, {"": ONLINE}, settle=0.5) == {"": ONLINE}
    assert clock.now == 100.0 + 0.5 + 0.65


def test_the_first_look_waits_for_its_delay(wait: Callable, clock: Clock) -> None:
    wait({"": ONLINE}, settle=0.5, delay=0.25)
    assert clock.now == 100.75


def test_a_service_that_takes_long_is_looked_at_less_and_less(wait: Callable, clock: Clock) -> None:
    wait(*[{"": STARTING}] * 40, {"": ONLINE}, settle=0.25, timeout=1000)
    slow = clock.now
    wait(*[{"": STARTING}] * 39, {"": ONLINE}, settle=0.25, timeout=1000)
    assert clock.now - slow == pytest.approx(slow - 100.0 - SLOWEST)


def test_a_restart_between_two_looks_starts_the_count_anew(wait: Callable, clock: Clock) -> None:
    after = Look(ServiceState.ONLINE, "b", "active/running")
    assert wait({"": ONLINE}, {"": after}, {"": after}, settle=0.5) == {"": after}
    assert clock.now == 100.0 + 0.5 + 0.65


def test_every_instance_is_waited_for(wait: Callable, clock: Clock) -> None:
    half = {"1": ONLINE, "2": STARTING}
    assert wait(half, half, {"1": ONLINE, "2": ONLINE}, service=ENGINES, settle=SLOWEST).keys() == {"1", "2"}
    assert clock.now == 100.0 + 3 * SLOWEST


@pytest.mark.parametrize("state", [ServiceState.MAINTENANCE, ServiceState.ABSENT])
def test_what_no_waiting_mends_is_an_error_at_once_with_the_last_lines(
    wait: Callable, clock: Clock, state: ServiceState
) -> None:
    with pytest.raises(ServiceFailed) as error:
        wait({"1": ONLINE, "2": Look(state, "x", "failed/failed")}, service=ENGINES)
    assert clock.now == 100.0
    assert "ipengine@2 cannot come up by waiting" in str(error.value)
    assert "failed/failed" in str(error.value)
    assert "the last 12 lines of ipengine" in error.value.seen
    assert error.value.machine == "engine-0"
    assert "fab -H ipyfleet@10.0.0.2 service-logs" in error.value.hint


def test_a_service_that_ends_again_and_again_is_an_error_after_three_restarts(wait: Callable, clock: Clock) -> None:
    looks = []
    for start in "abcd":
        looks += [{"": Look(ServiceState.ONLINE, start)}, {"": Look(ServiceState.STARTING, start, "auto-restart")}]
    with pytest.raises(ServiceFailed, match="ipcontroller ends each time soon after its start"):
        wait(*looks, settle=SLOWEST, timeout=1000)
    assert clock.now == 100.0 + 2 * LOOPING * SLOWEST


def test_restarts_of_the_past_do_not_count(wait: Callable) -> None:
    often = Look(ServiceState.ONLINE, "z", "active/running, restarted 70 times")
    assert wait({"": often}, {"": often}) == {"": often}


def test_a_service_not_yet_started_has_no_mark_and_that_is_no_restart(wait: Callable) -> None:
    marks = ["", "a", "", "b", "", "c"]
    looks = [{"": Look(ServiceState.STARTING, mark)} for mark in marks]
    assert wait(*looks, {"": ONLINE}, {"": ONLINE}) == {"": ONLINE}


def test_waiting_ends_when_its_time_is_over(wait: Callable, clock: Clock) -> None:
    with pytest.raises(ServiceFailed, match=r"ipcontroller not online after 5 s .*activating/start"):
        wait({"": STARTING}, timeout=5.0, settle=2.5)
    assert clock.now == 105.0


def test_each_look_is_told(wait: Callable) -> None:
    heard: list[str] = []
    wait({"1": STARTING, "2": ONLINE}, {"1": ONLINE, "2": ONLINE}, service=ENGINES, beat=heard.append)
    assert heard[0] == "ipengine@1 activating/start, ipengine@2 active/running"


def test_engines_go_by_their_numbers_and_none_means_all() -> None:
    assert engine_service(range(1, 3)) == Service("ipengine", ("1", "2"))
    assert engine_service(()).instances == ()


def test_without_named_instances_those_that_the_host_has_are_waited_for(wait: Callable) -> None:
    both = {"1": ONLINE, "2": ONLINE}
    assert sorted(wait({"1": STARTING}, both, service=engine_service(()))) == ["1", "2"]


def test_no_instance_at_all_is_no_service_that_is_up(wait: Callable) -> None:
    with pytest.raises(ServiceFailed, match="no instance of ipengine is there"):
        wait({}, service=engine_service(()))
