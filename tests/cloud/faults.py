"""Faults that a test plans, and how much room the cloud has. Nothing goes wrong that nobody planned."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests import turns

from .calls import Call

Tags = Mapping[str, str]
Capacity = None | int | Mapping[Any, int]


def anyone(tags: Tags) -> bool:
    """Every machine."""
    return True


@dataclass
class Fault:
    """Answers of ``action`` ("" for any) that are errors: ``times`` of them, after the first ``skip`` calls.

    ``after``: the call is carried out and only its answer lost; ``code`` "" closes the connection without any answer.
    """

    action: str
    code: str
    status: int = 400
    times: float = 1
    skip: int = 0
    after: bool = False
    message: str = "injected"
    when: Callable[[Call], bool] = lambda call: True
    service: str = ""

    def fits(self, call: Call) -> bool:
        """Whether it is this call's turn; counts the call."""
        if self.action not in ("", call.action) or self.service not in ("", call.service) or not self.when(call):
            return False
        return turns.take(self)


@dataclass
class Ailment:
    """What is wrong with machines that boot: ``kind`` for the next ``times`` whose tags ``fits`` accepts."""

    kind: str
    times: float
    fits: Callable[[Tags], bool]
    text: str = ""


@dataclass
class Faults:
    """All that was planned, for one test."""

    capacity: Capacity = None
    planned: list[Fault] = field(default_factory=list)
    ailments: list[Ailment] = field(default_factory=list)
    hidden_seconds: float = 0.0
    hidden_looks: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _born: dict[str, float] = field(default_factory=dict, repr=False)
    _looks: dict[str, int] = field(default_factory=dict, repr=False)

    def plan(self, action: str, code: str, status: int = 400, **details: Any) -> Fault:
        """Plan errors; ``details`` are further fields of Fault. The fault, whose ``times`` shows what is left of it."""
        fault = Fault(action, code, status, **details)
        self.planned.append(fault)
        return fault

    def throttle(self, action: str = "", times: float = 1, skip: int = 0) -> Fault:
        """Answer that there were too many requests."""
        return self.plan(action, "RequestLimitExceeded", 503, times=times, skip=skip, message="Request limit exceeded.")

    def lose_reply(self, action: str, times: float = 1, skip: int = 0) -> Fault:
        """Carry calls out and close the connection without an answer."""
        return self.plan(action, "", 0, times=times, skip=skip, after=True)

    def deny(self, action: str, service: str = "") -> Fault:
        """Answer that the account's policy does not allow this, from now on."""
        message = f"You are not authorized to perform this operation: {action}."
        return self.plan(action, "UnauthorizedOperation", 403, times=float("inf"), service=service, message=message)

    def expire_credentials(self, after: int = 0) -> Fault:
        """Take the credentials for expired once this number of calls has passed."""
        return self.plan("", "RequestExpired", 400, times=float("inf"), skip=after, message="Request has expired.")

    def hide_new_instances(self, *, seconds: float = 0.0, looks: int = 0) -> None:
        """Leave new instances out of answers for so long, or the first so many answers that would show them."""
        self.hidden_seconds, self.hidden_looks = seconds, looks

    def silence_ssh(self, fits: Callable[[Tags], bool] = anyone, times: float = 1) -> None:
        """The next machines to boot run, but their sshd never answers; ``fits`` chooses them by their tags."""
        self.ailments.append(Ailment("silent", times, fits))

    def break_boot(self, text: str, fits: Callable[[Tags], bool] = anyone, times: float = 1) -> None:
        """The first boot of the next machines ends with this error, as cloud-init reports it."""
        self.ailments.append(Ailment("boot", times, fits, text))

    def end_early(self, code: str, fits: Callable[[Tags], bool] = anyone, times: float = 1) -> None:
        """The next instances never run: they end while pending, for this reason, such as Client.InternalError."""
        self.ailments.append(Ailment("ends", times, fits, code))

    def due(self, call: Call, after: bool) -> Fault | None:
        """The fault that hits this call, before or after it is carried out; counts it."""
        with self._lock:
            return next((fault for fault in self.planned if fault.after is after and fault.fits(call)), None)

    def ailing(self, kind: str, tags: Tags) -> str | None:
        """What is wrong with a machine of these tags, "" or a text; None when nothing is. Counts it."""
        with self._lock:
            for ailment in self.ailments:
                if ailment.kind == kind and ailment.times > 0 and ailment.fits(tags):
                    ailment.times -= 1
                    return ailment.text
            return None

    def born(self, instance_id: str) -> None:
        """Note when an instance came to be."""
        self._born[instance_id] = time.monotonic()

    def hides(self, instance_id: str) -> bool:
        """Whether this answer must do without that instance; counts the look."""
        with self._lock:
            if time.monotonic() < self._born.get(instance_id, 0.0) + self.hidden_seconds:
                return True
            looks = self._looks[instance_id] = self._looks.get(instance_id, 0) + 1
            return looks <= self.hidden_looks

    def room(self, alive: list[tuple[str, str, bool]], zone: str, kind: str, spot: bool) -> float:
        """How many more machines of that type fit in that zone beside those alive (zone, type, on spot each)."""
        if self.capacity is None:
            return float("inf")
        if isinstance(self.capacity, int):
            return self.capacity - len(alive)
        room = float("inf")
        for key, most in self.capacity.items():
            if _covers(key, zone, kind, spot):
                room = min(room, most - sum(_covers(key, *one) for one in alive))
        return max(0, room)


def _covers(key: Any, zone: str, kind: str, spot: bool) -> bool:
    """Whether a key of a mapping of capacities (a zone, a type, "spot", or several of these) means such a machine."""
    words = key if isinstance(key, tuple) else (key,)
    return all(word in (zone, kind) or (word == "spot" and spot) for word in words)
