"""The ways of instances through their states, and what several of them, or several callers, do to each other."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.smf.playground import Playground
from tests.smf.states import states
from tests.smf_steps import service

ONE, TWO = "svc:/site/x:one", "svc:/site/y:two"
SLEEP = {"start": "/bin/sleep 60", "duration": "child"}
SETTINGS: dict[str, Any] = {"adoption": 0.0, "pace": 0.0, "throttle": 0.2, "hanging": []}
PACE = 0.25  # s; each state on the way is held so long


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Playground]:
    zone = Playground(tmp_path_factory.mktemp("smf") / "zone", smartos=False, **SETTINGS)
    zone.begin()
    yield zone
    zone.close()
    assert (zone.place.state / "restarter.err").read_text() == ""


@pytest.fixture
def zone(shared: Playground) -> Iterator[Playground]:
    yield shared
    for fmri in (ONE, TWO):
        shared.call("svccfg", "delete", "-f", fmri)
    shared.place.change(SETTINGS)
    until(lambda: not {ONE, TWO} & states(shared.place).keys())
    for log in shared.place.logs.glob("site-*"):
        log.unlink()


def script(zone: Playground, text: str) -> str:
    """A method that runs this."""
    path = zone.folder / f"method-{len(list(zone.folder.iterdir()))}"
    path.write_text(text)
    return f"/bin/sh {path}"


def until(good: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for something."""
    deadline = time.monotonic() + seconds
    while not good():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def walk(zone: Playground, fmri: str, act: Callable[[], object], end: str) -> list[str]:
    """The states that an instance goes through after an act, the one before included."""
    seen = [zone.state(fmri)]
    act()
    deadline = time.monotonic() + 10
    while len(seen) == 1 or seen[-1] != end:
        assert time.monotonic() < deadline, seen
        now = zone.state(fmri)
        if now != seen[-1]:
            seen.append(now)
        time.sleep(0.01)
    return seen


def depends(on: str, restart_on: str) -> dict[str, object]:
    needs = {"entities": ["fmri", on], "grouping": ["astring", "require_all"], "restart_on": ["astring", restart_on]}
    return {**SLEEP, "properties": {f"dep/{name}": value for name, value in needs.items()}}


def test_enable_restart_and_disable_go_their_ways(zone: Playground) -> None:
    service(zone, ONE, SLEEP)
    zone.wait(ONE, "DIS -")
    zone.place.change({"pace": PACE})
    ways = [walk(zone, ONE, lambda: zone.call("svcadm", "enable", ONE), "ON -")]
    ways.append(walk(zone, ONE, lambda: zone.call("svcadm", "restart", ONE), "ON -"))
    ways.append(walk(zone, ONE, lambda: zone.call("svcadm", "disable", ONE), "DIS -"))
    shown = [[state for state in way if state != "OFF -"] for way in ways]  # too short to be seen for certain
    assert shown == [["DIS -", "OFF ON", "ON -"], ["ON -", "ON OFF", "OFF ON", "ON -"], ["ON -", "ON DIS", "DIS -"]]


def test_an_exit_of_a_child_goes_its_way(zone: Playground) -> None:
    service(zone, ONE, SLEEP, enabled=True)
    zone.wait(ONE, "ON -")
    zone.place.change({"pace": PACE})
    pid = states(zone.place)[ONE].start_pid
    way = walk(zone, ONE, lambda: os.kill(pid, 9), "ON -")
    assert [state for state in way if state != "OFF -"] == ["ON -", "ON OFF", "OFF ON", "ON -"]
    assert states(zone.place)[ONE].start_pid != pid


def test_a_failure_stays_in_its_transition_until_maintenance_and_clear_repeats_it(zone: Playground) -> None:
    service(zone, ONE, {"start": script(zone, "sleep 0.1; exit 1")})
    zone.wait(ONE, "DIS -")
    zone.place.change({"pace": PACE})
    way = walk(zone, ONE, lambda: zone.call("svcadm", "enable", ONE), "MNT -")
    assert [state for state in way if state != "OFF -"] == ["DIS -", "OFF ON", "MNT -"]
    way = walk(zone, ONE, lambda: zone.call("svcadm", "clear", ONE), "MNT -")
    assert [state for state in way if state not in ("OFF -", "UN -")] == ["MNT -", "MNT UN", "OFF ON", "MNT -"]


def test_a_crash_loop_of_a_child_looks_online_most_of_the_time(zone: Playground) -> None:
    service(zone, ONE, {"start": "/bin/false", "duration": "child"}, enabled=True)
    zone.wait(ONE, "ON -")
    zone.place.change({"throttle": 1.0})
    looks = []
    for _ in range(60):
        looks.append(zone.state(ONE))
        time.sleep(0.02)
    assert looks.count("ON -") > 40
    assert zone.notes(ONE).count("Failing too quickly, throttling.") >= 1


def test_a_service_waits_until_what_it_depends_on_runs(zone: Playground) -> None:
    service(zone, ONE, SLEEP)
    service(zone, TWO, depends(ONE, "none"), enabled=True)
    zone.wait(TWO, "OFF -")
    assert f"Reason: Service {ONE} is disabled." in zone.call("svcs", "-x", TWO).stdout
    zone.call("svcadm", "enable", ONE)
    zone.wait(TWO, "ON -")


@pytest.mark.parametrize(
    ("restart_on", "act", "stops"),
    [
        ("none", "restart", False),
        ("none", "kill", False),
        ("error", "restart", False),
        ("error", "fail", True),
        ("restart", "restart", True),
        ("restart", "refresh", False),
        ("refresh", "refresh", True),
    ],
)
def test_what_happens_to_a_dependency_reaches_those_that_want_it(
    zone: Playground, restart_on: str, act: str, stops: bool
) -> None:
    zone.place.change({"throttle": 0.0})
    start = script(zone, "trap 'exit 1' USR1\nwhile :; do sleep 0.02; done")
    service(zone, ONE, {"start": start, "duration": "child"}, enabled=True)
    service(zone, TWO, depends(ONE, restart_on), enabled=True)
    zone.wait(TWO, "ON -")
    if act in ("kill", "fail"):
        time.sleep(0.2)
        before = states(zone.place)[ONE].start_pid
        os.kill(before, 9 if act == "kill" else 10)
        until(lambda: states(zone.place)[ONE].start_pid not in (before, 0))
    else:
        zone.call("svcadm", act, ONE)
        expected = {"restart": "Stopping because service restarting.", "refresh": "Rereading configuration."}[act]
        until(lambda: expected in zone.notes(ONE))
    time.sleep(0.2)
    zone.wait(TWO, "ON -")
    assert ("Stopping because dependency activity requires stop." in zone.notes(TWO)) is stops


def test_enable_r_enables_what_is_needed(zone: Playground) -> None:
    service(zone, ONE, SLEEP)
    service(zone, TWO, depends(ONE, "none"))
    zone.ok("svcadm", "enable", "-rs", TWO)
    assert (zone.state(ONE), zone.state(TWO)) == ("ON -", "ON -")


@pytest.mark.parametrize(
    ("waiting", "other", "text"),
    [
        ("enable", "disable", "has been disabled by another entity."),
        ("disable", "enable", "has been enabled by another entity."),
    ],
)
def test_who_waits_is_told_that_another_one_wants_the_opposite(
    zone: Playground, waiting: str, other: str, text: str
) -> None:
    stubborn = script(zone, "trap : TERM\nwhile :; do sleep 0.1; done")
    service(zone, ONE, {"start": stubborn, "duration": "child"}, enabled=waiting == "disable")
    zone.wait(ONE, "DIS -" if waiting == "enable" else "ON -")
    if waiting == "enable":
        zone.place.change({"hanging": [ONE]})
    time.sleep(0.2)
    words = [str(zone.bin / "svcadm"), waiting, "-s", ONE]
    environment = {**os.environ, **zone.environment}
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment) as waiter:
        zone.wait(ONE, "OFF ON" if waiting == "enable" else "ON DIS")
        zone.call("svcadm", other, ONE)
        _, err = waiter.communicate(timeout=10)
    assert (waiter.returncode, err) == (3, f'svcadm: Instance "{ONE}" {text}\n')
    zone.place.change({"hanging": []})


def test_what_is_for_the_time_being_ends_with_a_boot_and_services_start_again(zone: Playground) -> None:
    service(zone, ONE, SLEEP, enabled=True)
    service(zone, TWO, SLEEP)
    zone.wait(TWO, "DIS -")
    zone.ok("svcadm", "enable", "-ts", TWO)
    old = states(zone.place)[ONE].start_pid
    zone.close()
    assert not Path(f"/proc/{old}").exists()
    zone.begin()
    zone.wait(ONE, "ON -")
    zone.wait(TWO, "DIS -")


def test_a_running_instance_that_is_deleted_leaves_its_processes(zone: Playground) -> None:
    service(zone, ONE, SLEEP, enabled=True)
    zone.wait(ONE, "ON -")
    pid = states(zone.place)[ONE].start_pid
    assert zone.run("svccfg", "delete", ONE).returncode == 1
    zone.ok("svccfg", "delete", "-f", ONE)
    until(lambda: ONE not in states(zone.place))
    assert zone.run("svcs", ONE).returncode == 1
    assert Path(f"/proc/{pid}").exists()


def test_a_new_command_begins_the_restarter_where_none_runs(tmp_path: Path) -> None:
    zone = Playground(tmp_path / "other", smartos=False)
    zone.run("svcs")
    zone.wait("svc:/milestone/multi-user:default", "ON -")
    zone.close()
