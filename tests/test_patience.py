from __future__ import annotations

import pytest

from fabfile.patience import patience
from fabfile.settings import Settings


def test_the_numbers_of_the_defaults():
    waits = patience(Settings())
    assert (waits.period, waits.hub_misses, waits.engine_misses, waits.spacing) == (100, 200, 25, 21)


@pytest.mark.parametrize("heartbeat", [0.02, 0.1, 0.25, 1.0, 3.0])
@pytest.mark.parametrize("wanted", [5.0, 20.0, 60.0, 300.0])
def test_engines_give_up_first_and_a_controller_starts_only_when_they_are_gone(heartbeat, wanted):
    waits = patience(Settings(heartbeat=heartbeat, patience=wanted))
    look = (waits.period + 500) / 1000
    engines_leave = waits.engine_misses * look
    assert waits.engine_misses >= 1
    assert engines_leave <= max(look, wanted * 0.75)
    # the first look after the controller's end may still find a beat; a nanny then tries for 3 s to sign out
    assert waits.spacing > engines_leave + look + 3.0
    assert abs(waits.hub_misses * heartbeat - wanted) <= heartbeat
    assert waits.registration_timeout >= 30


def test_a_heartbeat_longer_than_the_patience_still_gives_one_miss():
    waits = patience(Settings(heartbeat=10.0, patience=2.0))
    assert (waits.hub_misses, waits.engine_misses) == (1, 1)
