"""How long controller and engines wait for each other's heartbeat: every number from two settings, in one place.

Pure arithmetic; what the numbers are put into (a configuration file, a unit) is not known here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .settings import Settings

ENGINE_CHECK_MS = 500  # an engine looks for beats every period + 500 ms (ipyparallel 9, engine/app.py)
ENGINE_SHARE = 0.75  # engines give up before the hub does, so that none is dropped while it still hopes
EXIT_S = 1.0  # an engine's time from giving up to being gone
LINGER_S = 3.0  # its nanny's, for a sign-out that no hub takes (ipyparallel 9, engine/nanny.py)
CLOCK_S = 1.0  # hosts note a controller's end in whole seconds


@dataclass(frozen=True)
class Patience:
    """``period`` in ms, misses as counts of beats, the rest in seconds.

    ``hub_misses``: the hub drops an engine after more missed beats than this. ``engine_misses``: an engine leaves after
    so many looks without a beat. ``spacing``: the least time from a controller's end to its next start. Engines that
    are still there would serve a hub that does not know them, for ever; and a sign-out that a nanny still tries to
    deliver goes by number alone, so that it takes away a new engine (tried with ipyparallel 9.2: tests/test_hub.py).
    ``registration_timeout``: how long an engine may be pending before the hub forgets it.
    """

    period: int
    hub_misses: int
    engine_misses: int
    spacing: int
    registration_timeout: int


def patience(settings: Settings) -> Patience:
    """All waiting times from ``heartbeat`` and ``patience`` (s) of the settings."""
    period = max(1, round(settings.heartbeat * 1000))
    whole = settings.patience * 1000
    look = period + ENGINE_CHECK_MS
    engine_misses = max(1, int(whole * ENGINE_SHARE) // look)
    # The first look after the controller's end may still find a beat: one look more than the misses.
    engines_gone = (engine_misses + 1) * look / 1000 + EXIT_S + LINGER_S
    return Patience(
        period=period,
        hub_misses=max(1, round(whole / period)),
        engine_misses=engine_misses,
        spacing=math.ceil(engines_gone + CLOCK_S),
        registration_timeout=max(30, math.ceil(3 * settings.patience)),
    )
