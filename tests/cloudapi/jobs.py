"""Jobs: what CloudAPI says that it will do and does some time later; those of one machine one after the other."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .machines import MachineFailed

Work = Callable[[], None]


class Jobs:
    """A clock that starts each job when its time has come; ``errors`` holds what they raised."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self._changed = threading.Condition()
        self._due: list[tuple[float, int, str, Work]] = []
        self._last: dict[str, float] = {}
        self._queues: dict[str, deque[Work]] = defaultdict(deque)
        self._under_way = 0
        self._over = False
        self._held = False
        self._count = itertools.count()
        self._pool = ThreadPoolExecutor(32, thread_name_prefix="cloudapi-job")
        self._clock = threading.Thread(target=self._run, daemon=True)
        self._clock.start()

    def later(self, key: str, seconds: float, work: Work) -> None:
        """Do this so many seconds after the machine's last job."""
        with self._changed:
            if self._over:
                return
            at = self._last[key] = max(time.monotonic(), self._last.get(key, 0.0)) + seconds
            heapq.heappush(self._due, (at, next(self._count), key, work))
            self._changed.notify_all()

    def hold(self) -> None:
        """Begin no jobs until they are released, or waited for."""
        with self._changed:
            self._held = True

    def release(self) -> None:
        """Begin the jobs that were held."""
        with self._changed:
            self._held = False
            self._changed.notify_all()

    def settle(self, timeout: float = 10.0) -> None:
        """Wait until all jobs are done, those that were held too; then they are held no more."""
        self.release()
        with self._changed:
            if not self._changed.wait_for(lambda: not self._due and not self._under_way, timeout):
                raise TimeoutError(f"{len(self._due)} jobs are left, {self._under_way} under way")

    def close(self) -> None:
        """Begin no more jobs, and wait for those under way."""
        with self._changed:
            self._over = True
            self._due.clear()
            self._queues.clear()
            self._changed.notify_all()
        self._clock.join()
        self._pool.shutdown(wait=True)

    def _run(self) -> None:
        with self._changed:
            while not self._over:
                if not self._due or self._held:
                    self._changed.wait()
                    continue
                left = self._due[0][0] - time.monotonic()
                if left > 0:
                    self._changed.wait(left)
                    continue
                _, _, key, work = heapq.heappop(self._due)
                queue = self._queues[key]
                queue.append(work)
                self._under_way += 1
                if len(queue) == 1:
                    self._pool.submit(self._drain, key)

    def _drain(self, key: str) -> None:
        """Do what is queued for one machine, in order."""
        while True:
            with self._changed:
                queue: Any = self._queues.get(key)
                if not queue:
                    return
                work = queue[0]
            try:
                work()
            except MachineFailed:
                pass  # shown by the state, and in the audit
            except BaseException as error:
                self.errors.append(error)
            with self._changed:
                self._under_way -= 1
                if queue:
                    queue.popleft()
                self._changed.notify_all()
                if not queue:
                    return
