"""Faults that a test plans, how late things are, and how much room there is. Nothing goes wrong that nobody planned."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from tests import turns

from .answers import Answer
from .asked import Asked

PROXY_503 = {"code": "ServiceUnavailable", "message": "CloudAPI service is currently unavailable"}
Tags = Mapping[str, Any]


@dataclass
class Pace:
    """How long what takes, in seconds; creations are placed one at a time."""

    provision: float = 0.05
    job: float = 0.03
    place: float = 0.0


@dataclass
class Stale:
    """For how long what is not seen yet, in seconds. On unless a test switches it off: real ones lag."""

    listed: float = 0.05  # a new machine is not in lists
    addresses: float = 0.02  # nor has it nics
    unplaced: float = 0.01  # nor can it be deleted, having no server
    deleted: float = 0.02  # a deleted one has no more than its id
    keys: float = 0.2  # a new key is not believed

    def none(self) -> None:
        """Let everything be seen at once."""
        for one in fields(self):
            setattr(self, one.name, 0.0)


@dataclass
class Fault:
    """What hits the calls of ``call`` (``POST /my/machines``, "" for any): ``times`` of them, after the first ``skip``.

    ``after``: the call is carried out first. ``answer`` None closes the connection without any. ``seconds`` is waited
    before; a fault of nothing but seconds only slows the call down.
    """

    call: str
    answer: Answer | None = None
    times: float = 1
    skip: int = 0
    after: bool = False
    seconds: float = 0.0
    only_slow: bool = False
    when: Callable[[Asked], bool] = lambda asked: True

    def fits(self, asked: Asked) -> bool:
        """Whether it is this call's turn; counts the call."""
        if self.call not in ("", asked.name) or not self.when(asked):
            return False
        return turns.take(self)


@dataclass
class Ailment:
    """What becomes of machines that are made: the next ``times`` whose tags ``fits`` accepts."""

    kind: str
    times: float
    fits: Callable[[Tags], bool]


@dataclass
class Faults:
    """All that was planned, for one test."""

    planned: list[Fault] = field(default_factory=list)
    ailments: list[Ailment] = field(default_factory=list)
    capacity: float = float("inf")
    read_only: bool = False
    back_at: str = ""  # the date of Retry-After in read-only mode
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def plan(self, call: str, status: int, body: Any = None, **details: Any) -> Fault:
        """Plan answers; ``details`` are further fields of Fault, ``headers`` and ``bare`` those of the answer."""
        answer = Answer(status, body, details.pop("headers", {}), details.pop("bare", False), details.pop("raw", None))
        answer.content_type = details.pop("content_type", answer.content_type)
        return self._add(Fault(call, answer, **details))

    def cut(self, call: str = "", times: float = 1, **details: Any) -> Fault:
        """Close the connection before anything is done."""
        return self._add(Fault(call, times=times, **details))

    def lose_reply(self, call: str = "", times: float = 1, **details: Any) -> Fault:
        """Carry calls out and close the connection without an answer."""
        return self._add(Fault(call, times=times, after=True, **details))

    def slow(self, seconds: float, call: str = "", times: float = 1, **details: Any) -> Fault:
        """Let calls wait before they are carried out."""
        return self._add(Fault(call, times=times, seconds=seconds, only_slow=True, **details))

    def throttle(self, call: str = "", times: float = 1, **details: Any) -> Fault:
        """Answer that there were too many requests."""
        body = {"code": "TooManyRequestsError", "message": "You have exceeded your request rate of 10 r/s."}
        return self.plan(call, 429, body, times=times, **details)

    def proxy_down(self, call: str = "", times: float = 1, **details: Any) -> Fault:
        """The answer of the proxy when there is no CloudAPI behind it."""
        return self.plan(call, 503, PROXY_503, times=times, bare=True, **details)

    def fail_inside(self, call: str = "", times: float = 1, message: str = "boom", **details: Any) -> Fault:
        """A 500 without a code."""
        return self.plan(call, 500, {"message": message}, times=times, **details)

    def idle(self, call: str = "", times: float = 1, **details: Any) -> Fault:
        """The proxy's 408, which has neither code nor message."""
        body = {"IdleClientError": "Server waited too long for data"}
        return self.plan(call, 408, body, times=times, bare=True, **details)

    def page(self, call: str = "", times: float = 1, status: int = 502, **details: Any) -> Fault:
        """A load balancer's page."""
        raw = b"<html><body><h1>Bad Gateway</h1></body></html>"
        return self.plan(call, status, raw=raw, content_type="text/html", times=times, bare=True, **details)

    def maintain(self, back_at: str = "") -> None:
        """Be read-only from now on; ``back_at`` is the HTTP date that Retry-After says, none without."""
        self.read_only, self.back_at = True, back_at

    def fail_provisioning(self, fits: Callable[[Tags], bool] = lambda tags: True, times: float = 1) -> None:
        """The next machines fail after their 201."""
        self.ailments.append(Ailment("fails", times, fits))

    def stick(self, fits: Callable[[Tags], bool] = lambda tags: True, times: float = 1) -> None:
        """The next machines stay provisioning for ever."""
        self.ailments.append(Ailment("sticks", times, fits))

    def fail_job(self, fits: Callable[[Tags], bool] = lambda tags: True, times: float = 1) -> None:
        """The next actions are accepted and then fail without a word."""
        self.ailments.append(Ailment("job", times, fits))

    def _add(self, fault: Fault) -> Fault:
        with self._lock:
            self.planned.append(fault)
        return fault

    def due(self, asked: Asked, after: bool) -> Fault | None:
        """The fault that hits this call, before or after it is carried out; counts it, and waits."""
        with self._lock:
            found = next((one for one in self.planned if one.after is after and one.fits(asked)), None)
        if found and found.seconds:
            time.sleep(found.seconds)
        return None if found and found.only_slow else found

    def ailing(self, kind: str, tags: Tags) -> bool:
        """Whether a machine of these tags has that ailment; counts it."""
        with self._lock:
            for one in self.ailments:
                if one.kind == kind and one.times > 0 and one.fits(tags):
                    one.times -= 1
                    return True
        return False
