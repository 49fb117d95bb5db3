"""Questions to the hub: who is registered, how much waits, and does each engine answer a task.

The hub's answer is the only proof that a controller is up, an engine's answer to a task the only proof that it is of
use. Talks to a client document that is reachable as it stands (through a tunnel or on the spot); knows no hosts.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from .errors import HubSilent

Info = Mapping[str, Any]
DELIMITER = b"<IDS|MSG>"
POLL = 0.05  # seconds between two questions; each costs the hub 2 ms


@dataclass(frozen=True)
class EngineLoad:
    """What the hub knows to wait for one engine: direct tasks and load-balanced ones, and those done so far."""

    queue: int
    tasks: int
    completed: int

    @property
    def busy(self) -> bool:
        """Whether anything runs or waits there."""
        return bool(self.queue or self.tasks)


@dataclass(frozen=True)
class Queues:
    """The load of every engine by id, and the load-balanced tasks that no engine has taken yet."""

    engines: dict[int, EngineLoad]
    unassigned: int


class Questions:
    """One socket to the hub for any number of questions; a context manager.

    Messages are made by hand (https://jupyter-client.readthedocs.io/en/stable/messaging.html#the-wire-protocol):
    importing jupyter_client would cost each command 0.12 s.
    """

    def __init__(self, info: Info) -> None:
        import zmq

        self._key = str(info["key"]).encode()
        self._digest = getattr(hashlib, str(info["signature_scheme"]).removeprefix("hmac-"))
        self._session = uuid.uuid4().hex
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        if info["curve_serverkey"]:
            self._socket.curve_publickey, self._socket.curve_secretkey = zmq.curve_keypair()
            self._socket.curve_serverkey = str(info["curve_serverkey"]).encode()
        self._socket.connect(f"{info['interface']}:{info['registration']}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket; twice is fine."""
        self._socket.close()
        self._context.term()

    def ask(
        self, request: str, content: Mapping[str, Any] | None = None, timeout: float = 2.0
    ) -> dict[str, Any] | None:
        """The content of the hub's answer; None when it does not answer in ``timeout`` seconds.

        Down, not yet up and a wrong key look the same from here.
        """
        name = self._send(request, content or {})
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0 and self._socket.poll(int(left * 1000)):
            answer = self._opened(self._socket.recv_multipart(), name)
            if answer is not None:
                return answer
        return None

    def _send(self, request: str, content: Mapping[str, Any]) -> str:
        """Send a message; its id, which an answer names."""
        name = uuid.uuid4().hex
        header = {
            "msg_id": name,
            "msg_type": request,
            "username": "ipyfleet",
            "session": self._session,
            "date": datetime.now(UTC).isoformat(),
            "version": "5.3",
        }
        parts = [json.dumps(part).encode() for part in (header, {}, {}, content)]
        self._socket.send_multipart([DELIMITER, self._sign(parts), *parts])
        return name

    def _opened(self, frames: list[bytes], question: str) -> dict[str, Any] | None:
        """The content, if this answers that question and was signed with our key."""
        start = frames.index(DELIMITER)
        signature, *parts = frames[start + 1 : start + 6]
        if not hmac.compare_digest(signature, self._sign(parts)):
            return None
        parent, content = json.loads(parts[1]), json.loads(parts[3])
        return dict(content) if parent.get("msg_id") == question else None

    def _sign(self, parts: Iterable[bytes]) -> bytes:
        if not self._key:
            return b""
        return hmac.new(self._key, b"".join(parts), self._digest).hexdigest().encode()

    def registered(self, timeout: float = 2.0) -> dict[int, str] | None:
        """The idents of the engines that the hub knows, by id; None when it does not answer."""
        answer = self.ask("connection_request", timeout=timeout)
        if answer is None or answer.get("status") != "ok":
            return None
        return {int(number): str(ident) for number, ident in answer["engines"].items()}

    def give_up(self, numbers: Iterable[int], timeout: float = 2.0) -> None:
        """Have the hub give up engines that have certainly ended, by their ids; it says nothing to that itself.

        What they tell it themselves when they end may be lost on the way. An id is never given twice.
        """
        for number in numbers:
            self._send("unregistration_request", {"id": number})
        self.registered(timeout)  # questions are answered in their order: it has heard those before

    def queues(self, timeout: float = 2.0) -> Queues | None:
        """What waits where, of engines that are registered now; None when the hub does not answer."""
        known = self.registered(timeout)
        answer = self.ask("queue_request", {"targets": None}, timeout) if known is not None else None
        if known is None or answer is None or answer.get("status") != "ok":
            return None
        # The hub lists dead engines for ever.
        loads = {
            number: EngineLoad(load["queue"], load["tasks"], load["completed"])
            for number in known
            if (load := answer.get(str(number)))
        }
        return Queues(loads, answer.get("unassigned", 0))


def ask(
    info: Info, request: str, content: Mapping[str, Any] | None = None, timeout: float = 2.0
) -> dict[str, Any] | None:
    """One question over a socket of its own: see Questions.ask."""
    with Questions(info) as questions:
        return questions.ask(request, content, timeout)


def registered(info: Info, timeout: float = 2.0) -> dict[int, str] | None:
    """The idents of the engines that the hub knows, by id; None when it does not answer within ``timeout`` seconds."""
    with Questions(info) as questions:
        return questions.registered(timeout)


def queues(info: Info, timeout: float = 2.0) -> Queues | None:
    """What waits where, of engines that are registered now; None when the hub does not answer in time."""
    with Questions(info) as questions:
        return questions.queues(timeout)


def wait_for_engines(
    info: Info,
    missing: Callable[[Collection[str]], int],
    *,
    timeout: float = 60.0,
    beat: Callable[[int], None] = lambda number: None,
    pause: Callable[[float], None] = time.sleep,
) -> dict[int, str]:
    """Wait until nothing is ``missing`` among the idents that the hub knows: all of them by then, by id.

    ``missing`` is given the idents and says how many engines are still to come; some are when ``timeout`` seconds are
    over. ``beat`` hears every change of that number. Raises HubSilent when the hub did not answer a single time. Asks
    the hub itself: a Client opened while engines register can miss some for good.
    """
    deadline = time.monotonic() + timeout
    found: dict[int, str] | None = None
    before: int | None = None
    with Questions(info) as questions:
        while True:
            # A question lost on a connection that broke is asked again after a second.
            answer = questions.registered(min(1.0, max(POLL, deadline - time.monotonic())))
            if answer is not None:
                found, left = answer, missing(answer.values())
                if left != before:
                    beat(left)
                if not left:
                    return found
                before = left
            if time.monotonic() >= deadline:
                break
            # Always the same short pause: the first answer is slow while the controller comes up, the next is not.
            pause(POLL)
    if found is None:
        raise HubSilent(
            f"the hub did not answer in {timeout:.0f} s",
            hint="`invoke status` shows the state of the controller's service and what helps",
        )
    return found


def warm_up() -> None:
    """Import what ``probe`` needs: while engines start it costs nobody anything."""
    import ipyparallel  # noqa: F401  (the import is the work)


def probe(info: Info, engines: Iterable[int], timeout: float = 10.0) -> frozenset[int]:
    """Those of these engines that answer a direct, a load-balanced and a broadcast task within ``timeout`` seconds.

    One that answers on one channel only does not count: half-open firewalls look like that. What is sent is a builtin,
    by name: compiled code kills an engine of another minor version of Python. Its result, an empty tuple, is one that
    ipyparallel does not look at more closely, for which it would import numpy on every engine: 0.1 s of each one's
    processor (tried with ipyparallel 9.2: tests/test_hub.py).
    """
    wanted = sorted(engines)
    if not wanted:
        return frozenset()
    import ipyparallel
    import zmq

    deadline = time.monotonic() + timeout
    with zmq.Context() as context, _without_numpy():
        try:
            client = ipyparallel.Client(dict(info), context=context, timeout=max(0.1, timeout))
        except (OSError, ipyparallel.TimeoutError):
            return frozenset()
        try:
            asked = {
                number: (
                    client[number].apply_async(tuple),
                    client.load_balanced_view(number).apply_async(tuple),
                    client.broadcast_view(number).apply_async(tuple),
                )
                for number in wanted
                if number in client.ids
            }
            left = max(0.0, deadline - time.monotonic())  # below zero would mean for ever
            client.wait([task for tasks in asked.values() for task in tasks], timeout=left)
            return frozenset(
                number for number, tasks in asked.items() if all(task.ready() and task.successful() for task in tasks)
            )
        finally:
            client.close(linger=0)


@contextmanager
def _without_numpy() -> Iterator[None]:
    """Have ipyparallel not import numpy for what it sends meanwhile, which is no array."""
    from ipyparallel.serialize import canning

    array = "numpy.ndarray"
    canner = canning.can_map.pop(array, None)
    try:
        yield
    finally:
        if canner:
            canning.can_map[array] = canner
