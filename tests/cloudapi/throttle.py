"""The throttle: a bucket of calls for each group of routes, filled again at a steady rate."""

from __future__ import annotations

import threading
import time

from .answers import Refusal


class Throttle:
    """``burst`` calls at once and ``rate`` a second for each group."""

    def __init__(self, burst: float = 30, rate: float = 10) -> None:
        self.burst, self.rate = burst, rate
        self._buckets: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def take(self, group: str) -> None:
        """One call of this group; raises Refusal when there were too many."""
        with self._lock:
            now = time.monotonic()
            left, seen = self._buckets.get(group, (self.burst, now))
            left = min(self.burst, left + (now - seen) * self.rate)
            self._buckets[group] = (left - 1 if left >= 1 else left), now
        if left < 1:
            # There is no Retry-After.
            raise Refusal(429, "TooManyRequestsError", f"You have exceeded your request rate of {self.rate:g} r/s.")
