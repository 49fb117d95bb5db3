"""chain.count: which engines are there, of those that the hub lists; and the tunnel that it asks through."""

from __future__ import annotations

import time

import pytest

from fabfile import chain, hub, tunnel
from fabfile.errors import HubSilent
from tests.fakes.commands import SETTINGS, assert_nothing_left, provision, take_down
from tests.fakes.fleet import new_run


def test_an_engine_that_was_started_anew_after_it_had_registered_is_waited_for(fleet, tmp_path, monkeypatch):
    """A machine's boot starts its engines; when they are configured anew then, the hub has known the first ones."""
    asked: list[list[int]] = []

    def probe(info, numbers, timeout):
        asked.append(list(numbers))
        if len(asked) > 1:
            return frozenset(numbers)
        fleet.on(fleet.machine("engine-1")).running["ipengine", "1"] = next(fleet.starts)  # another ident from now on
        time.sleep(timeout)  # the dead one never answers: an asker that gives it all the time has none for the other
        return frozenset(number for number in numbers if number != max(numbers))

    monkeypatch.setattr(hub, "probe", probe)
    monkeypatch.setattr(chain, "MUTE", 0.1)
    provision(fleet, tmp_path, 2, start_timeout=5.0)
    assert [len(numbers) for numbers in asked] == [2, 1]


def test_an_engine_that_did_not_answer_in_the_time_of_the_first_try_is_asked_again(fleet, tmp_path, monkeypatch):
    patiences: list[float] = []

    def probe(info, numbers, timeout):
        patiences.append(timeout)
        return frozenset(list(numbers)[: 1 if len(patiences) < 3 else 2])

    monkeypatch.setattr(hub, "probe", probe)
    provision(fleet, tmp_path, 3)
    assert patiences == [chain.MUTE, 2 * chain.MUTE, 4 * chain.MUTE]


def test_the_dead_twin_of_an_engine_is_waited_for_until_the_hub_has_given_it_up(fleet, tmp_path, monkeypatch):
    """A client that is made before might hold it for alive."""
    waits: list[int] = []
    registered, wait_for_engines = fleet.registered, hub.wait_for_engines

    def wait(info, missing, **options):
        known = wait_for_engines(info, missing, **options)
        waits.append(missing(known.values()))
        return known

    monkeypatch.setattr(fleet, "registered", lambda: registered() and {**registered(), 99: "engine-1-1-twin"})
    monkeypatch.setattr(hub, "probe", lambda info, numbers, timeout: frozenset(numbers) - {99})
    monkeypatch.setattr(hub, "wait_for_engines", wait)
    provision(fleet, tmp_path, 2)
    assert waits == [0, 1]


def test_of_two_commands_that_open_a_tunnel_at_the_same_moment_one_uses_the_others(fleet, tmp_path, monkeypatch):
    """Neither has the lock, as with `status`; a tunnel that nobody has noted would stay open for ever."""
    provision(fleet, tmp_path, 1)
    monkeypatch.setattr(tunnel, "alive", lambda one: one.pid in fleet.tunnels)
    fleet.tunnels.clear()  # the computer was started anew
    one, other = (new_run(fleet, tmp_path, SETTINGS) for _ in range(2))
    for it in (one, other):
        it.tunnel_to(it.provider.find("lab").controller, it.record.connection)
    assert fleet.tunnels == {one.record.tunnel.pid}
    assert other.record.tunnel == one.record.tunnel
    take_down(fleet, tmp_path)
    assert_nothing_left(fleet, tmp_path)


def test_an_engine_that_never_answers_is_missing_when_the_time_is_over(fleet, tmp_path, monkeypatch):
    monkeypatch.setattr(hub, "probe", lambda info, numbers, timeout: frozenset({0}.intersection(numbers)))
    with pytest.raises(HubSilent, match="1 of 2 engines answer; missing: engine-1 engine 1"):
        provision(fleet, tmp_path, 2, start_timeout=1.0)
