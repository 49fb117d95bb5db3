"""Pace: calls spread over time as EC2 lets them through, instead of being refused and tried again by many threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Pace:
    """``burst`` calls at once, further ones at ``rate`` a second; what is not used up is there again later."""

    def __init__(
        self,
        burst: float,
        rate: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._burst, self._rate = burst, rate
        self._clock, self._sleep = clock, sleep
        self._left, self._seen = burst, clock()
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Wait for this call's turn; from any thread."""
        with self._lock:
            now = self._clock()
            self._left = min(self._burst, self._left + (now - self._seen) * self._rate) - 1
            self._seen = now
            pause = max(0.0, -self._left / self._rate)
        if pause:
            self._sleep(pause)
