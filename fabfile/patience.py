"""How long controller and engines wait for each other's heartbeat: every number from two settings, in one place.

Pure arithmetic; what the numbers are put into (a configuration file, a unit) is not known here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .settings import Settings

ENGINE_CHECK_MS = 500  # an engine looks for beats every period + 500 ms (ipyparallel 9, engine/app.py)
ENGINE_SHARE = 0.75  # engines give up before the hub does, so that none is dropped while it still hopes
LEAVING_S = 1.0  # what an engine needs from giving up to being gone


@dataclass(frozen=True)
class Patience:
    """``period`` in ms, misses as counts of beats, the rest in seconds.

    ``hub_misses``: the hub drops an engine after more missed beats than this. ``engine_misses``: an engine leaves after
    so many looks without a beat. ``spacing``: the least time from a controller's end to its next start; engines that
    are still there by then would serve a hub that does not know them, for ever. ``registration_timeout``: how long an
    engine may be pending before the hub forgets it.
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
    engines_gone = (engine_misses + 1) * look / 1000 + LEAVING_S
    return Patience(
        period=period,
        hub_misses=max(1, round(whole / period)),
        engine_misses=engine_misses,
        spacing=math.ceil(engines_gone),
        registration_timeout=max(30, math.ceil(3 * settings.patience)),
    )
