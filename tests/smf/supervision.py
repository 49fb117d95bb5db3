"""Whether the restarter runs, and how it begins and ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable

from .places import Place

TICK = 0.02  # s between two looks


def ensure(place: Place, program: str) -> None:
    """Start the restarter unless it runs; whoever starts it need not wait for it, nor hold its end."""
    if not place.state.is_dir() or place.stopped.exists() or not place.privileged() or running(place):
        return
    import subprocess  # most commands do without it

    errors = (place.state / "restarter.err").open("a")
    subprocess.Popen(
        [sys.executable, "-IS", program, "svc.startd"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=errors,
        start_new_session=True,
        cwd="/",
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SMF_STANDIN_STATE": str(place.state)},
    )


def running(place: Place) -> bool:
    """Whether the restarter runs."""
    try:
        with (place.state / "restarter.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def stop(place: Place, seconds: float = 10.0) -> bool:
    """End the restarter and all that it runs, until ``begin``; whether it has ended."""
    if place.state.is_dir():
        place.stopped.touch()

    def ended() -> bool:
        # Again and again: another one may have been about to begin when the first was told to end.
        if not running(place):
            return True
        _signal(place, signal.SIGTERM)
        return False

    return _wait(ended, time.monotonic() + seconds)


def begin(place: Place, program: str, seconds: float = 10.0) -> bool:
    """Start the restarter unless it runs, and wait until it does; whether it does."""
    place.stopped.unlink(missing_ok=True)
    ensure(place, program)
    return _wait(lambda: running(place), time.monotonic() + seconds)


def _signal(place: Place, number: int) -> None:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
        os.kill(int((place.state / "restarter.pid").read_text()), number)


def _wait(done: Callable[[], bool], deadline: float) -> bool:
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(TICK)
    return True
