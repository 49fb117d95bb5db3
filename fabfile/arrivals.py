"""Who has arrived at the hub, while engines start: one thread asks the hub, those that started engines wait for theirs.

That the hub knows an engine proves more than its service manager's word, and costs its machine nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection

from . import hub
from .plan import Slot
from .status import slot_of

POLL = 0.1  # seconds between two questions


class Arrivals:
    """The engines that the hub knows, but for those it knew before: ``stale`` are idents of engines that start anew."""

    def __init__(self, stale: Collection[str]) -> None:
        self._stale = frozenset(stale)
        self._known: frozenset[Slot] = frozenset()
        self._changed = threading.Condition()
        self._over = False

    def follow(self, info: hub.Info) -> None:
        """Ask the hub again and again, until ``close`` is called."""
        with hub.Questions(info) as questions:
            while not self._over:
                self._note((questions.registered(timeout=1.0) or {}).values())
                time.sleep(POLL)

    def wait_for(self, slots: Collection[Slot], timeout: float) -> bool:
        """Whether all these engines are known within ``timeout`` seconds; False at once when nobody follows any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._over or self._known.issuperset(slots), timeout)
            return self._known.issuperset(slots)

    def close(self) -> None:
        """End ``follow`` and every wait."""
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _note(self, idents: Collection[str]) -> None:
        with self._changed:
            self._known = frozenset(slot for ident in idents if ident not in self._stale and (slot := slot_of(ident)))
            self._changed.notify_all()
