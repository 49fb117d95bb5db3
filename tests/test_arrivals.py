"""arrivals.py: waiting for engines that another thread sees arrive."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fabfile import arrivals, hub
from fabfile.arrivals import Arrivals
from fabfile.plan import Slot

ONE, OTHER = Slot(0, 1), Slot(1, 1)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> dict[int, str]:
    """What the hub knows; it may change at any time."""
    idents: dict[int, str] = {}

    class Questions:
        def __init__(self, info: object) -> None:
            pass

        def __enter__(self) -> Questions:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def registered(self, timeout: float) -> dict[int, str] | None:
            return dict(idents) or None

    monkeypatch.setattr(hub, "Questions", Questions)
    monkeypatch.setattr(arrivals, "POLL", 0.005)
    return idents


@contextmanager
def followed(its: Arrivals) -> Iterator[threading.Thread]:
    thread = threading.Thread(target=its.follow, args=({},))
    thread.start()
    yield thread
    thread.join(5)
    assert not thread.is_alive()


def test_who_waits_hears_of_his_engine_when_it_arrives_and_not_of_others(known):
    its = Arrivals((), 1)
    with followed(its):
        known[0] = "engine-1-1-aa"
        assert not its.wait_for([ONE], 0.05)
        known[1] = "engine-0-1-bb"
        assert its.wait_for([ONE], 5.0)
        assert its.wait_for([ONE, OTHER], 5.0)
        its.leave()


def test_an_ident_of_before_is_no_arrival(known):
    its = Arrivals({"engine-0-1-old"}, 1)
    known[0] = "engine-0-1-old"
    with followed(its):
        assert not its.wait_for([ONE], 0.05)
        known[1] = "engine-0-1-new"
        assert its.wait_for([ONE], 5.0)
        its.leave()


def test_it_ends_when_all_have_left_and_waits_end_by_themselves(known):
    its = Arrivals((), 2)
    with followed(its) as thread:
        its.leave()
        time.sleep(0.05)
        assert thread.is_alive()
        assert not its.wait_for([ONE], 0.01)
        its.leave()
