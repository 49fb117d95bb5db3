"""Pace: calls spread over time as CloudAPI lets them through, and all of them held back once one was refused.

CloudAPI counts the calls of an account in groups, machines with all that belongs to them in one; it says neither how
many it allows nor when to come back.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

BURST, RATE = 20.0, 8.0  # calls at once, and a second: somewhat less than CloudAPI's own 30 and 10


class Pace:
    """``burst`` calls at once, further ones at ``rate`` a second; what is not used up is there again later."""

    def __init__(
        self,
        burst: float = BURST,
        rate: float = RATE,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._burst, self._rate = burst, rate
        self._clock, self._sleep = clock, sleep
        self._left, self._seen = burst, clock()
        self._held_until = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Wait for this call's turn; from any thread."""
        with self._lock:
            now = self._clock()
            self._left = min(self._burst, self._left + max(0.0, now - self._seen) * self._rate) - 1
            self._seen = max(self._seen, now)
            pause = max(0.0, -self._left / self._rate) + max(0.0, self._held_until - now)
        if pause > 0:
            self._sleep(pause)

    def hold(self, seconds: float) -> None:
        """Let no call through for so long, and then no burst: one was refused for being one too many."""
        with self._lock:
            self._held_until = max(self._held_until, self._clock() + seconds)
            self._left, self._seen = min(self._left, 1.0), max(self._seen, self._held_until)
