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
    """The engines that the hub knows, but for those it knew before: ``stale`` are idents of engines that start anew.

    ``interested`` is how many there are who may wait for some; each of them has to ``leave``.
    """

    def __init__(self, stale: Collection[str], interested: int) -> None:
        self._stale = frozenset(stale)
        self._known: frozenset[Slot] = frozenset()
        self._changed = threading.Condition()
        self._interested = interested

    def follow(self, info: hub.Info) -> None:
        """Ask the hub again and again, until nobody is interested any more."""
        with hub.Questions(info) as questions:
            while self._interested > 0:
                self._note((questions.registered(timeout=1.0) or {}).values())
                time.sleep(POLL)

    def wait_for(self, slots: Collection[Slot], timeout: float) -> bool:
        """Whether all these engines are known within ``timeout`` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._known.issuperset(slots), timeout)

    def leave(self) -> None:
        """Be interested no more."""
        with self._changed:
            self._interested -= 1

    def _note(self, idents: Collection[str]) -> None:
        with self._changed:
            self._known = frozenset(slot for ident in idents if ident not in self._stale and (slot := slot_of(ident)))
            self._changed.notify_all()
