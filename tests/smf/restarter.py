"""The restarter, startd's part: one process a machine that leads every enabled instance through its states."""

from __future__ import annotations

import contextlib
import ctypes  # noqa: F401  # the holders need it, and find it here without looking
import fcntl
import os
import signal
import time
import traceback
from typing import Any

from .contracts import Contract
from .dependencies import blocked, stopped_by
from .lives import Life
from .places import Place
from .repository import Repository, enabled, load, locked
from .requests import Request, taken
from .states import State, publish

TICK = 0.01  # s between two looks while something goes on, and for a while after
REST = 0.05  # s otherwise
AWAKE = 1.0  # s
PATIENCE = 1.0  # s


class Restarter:
    """All instances of a machine, until ``over``."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.repository = Repository()
        self.abandoned: list[Contract] = []
        self.over = False
        self._lives: dict[str, Life] = {}
        self._first_seen: dict[str, float] = {}
        self._queue: list[tuple[float, Request]] = []
        self._contracts = 100
        self._read: tuple[int, int] = (0, 0)
        self._settings: dict[str, Any] = place.settings()
        self._published: dict[str, State] = {}
        self._busy = 0.0

    def setting(self, name: str) -> Any:
        """A setting as it is now."""
        return self._settings[name]

    def next_contract(self) -> int:
        """The number of a new contract."""
        self._contracts += 1
        return self._contracts

    def may_start(self, fmri: str) -> bool:
        """Whether dependencies let an instance start, and no refresh asked for earlier is still to come."""
        if any(request.fmri == fmri and request.what == "refresh" for _, request in self._queue):
            return False
        instance = self.repository.instance(fmri)
        now = {name: life.state for name, life in self._lives.items()}
        return instance is not None and blocked(self.repository, now, instance) is None

    def tell(self, fmri: str, cause: str) -> None:
        """Let the dependents of an instance that stopped, or was refreshed, know why."""
        other = self.repository.instance(fmri)
        if other is None:
            return
        for name, life in self._lives.items():
            instance = self.repository.instance(name)
            if instance and life.state.state == "online" and stopped_by(self.repository, instance, other, cause):
                life.wishes.append("dependency")

    def run(self) -> None:
        """Work until told to end, or until the state's folder is gone."""
        end = self.setting("lifetime") and time.monotonic() + self.setting("lifetime")
        while not self.over and self.place.state.is_dir() and not (end and time.monotonic() > end):
            with contextlib.suppress(FileNotFoundError):  # the folder may vanish while it is worked in
                self._look()
                if self._queue or any(life.state.next != "none" for life in self._lives.values()):
                    self._busy = time.monotonic()
                time.sleep(TICK if time.monotonic() < self._busy + AWAKE else REST)
        contracts = [*self.abandoned, *(life.contract for life in self._lives.values() if life.contract)]
        deadline = time.monotonic() + PATIENCE
        while any(not contract.empty for contract in contracts) and time.monotonic() < deadline:
            for contract in contracts:
                contract.kill(signal.SIGKILL)
                contract.look()
            time.sleep(TICK)

    def _look(self) -> None:
        """One look at everything. The repository is read before the requests, which speak of what it holds."""
        self._settings = self.place.settings()
        self._reload()
        now = time.monotonic()
        for request in taken(self.place):
            delay = self.setting("refresh") if request.what == "refresh" else 0.0
            self._queue.append((now + delay, request))
        while self._queue and self._queue[0][0] <= now:
            self._carry_out(self._queue[0][1])
            self._queue.pop(0)
        self._adopt()
        for fmri, life in list(self._lives.items()):
            instance = self.repository.instance(fmri)
            life.enabled = bool(instance and enabled(instance))
            try:
                next(life.steps)
            except Exception:  # a mistake of the stand-in's: one instance suffers, and tests see restarter.err
                traceback.print_exc()
                life.begin_again("maintenance", "method_failed")
        for contract in self.abandoned:
            contract.look()
        self.abandoned = [contract for contract in self.abandoned if not contract.empty]
        self._publish()

    def _reload(self) -> None:
        found = self.place.repository.stat()
        mark = (found.st_mtime_ns, found.st_ino)
        if mark != self._read:
            self._read = mark
            self._busy = time.monotonic()
            self.repository = load(self.place)

    def _carry_out(self, request: Request) -> None:
        if request.what == "look":
            return
        if request.what == "refresh":
            self._snapshot([request.fmri])
        life = self._lives.get(request.fmri)
        # Being disabled takes out of maintenance only what is there already, not what fails while it stops.
        if life is not None and (request.what != "disabled" or life.state.state == "maintenance"):
            life.wishes.append(request.what)

    def _snapshot(self, fmris: list[str]) -> None:
        with locked(self.place) as repository:
            for fmri in fmris:
                instance = repository.instance(fmri)
                if instance is not None:
                    repository.snapshot(instance)
        self._reload()

    def _adopt(self) -> None:
        """Take on what is new, some time after it appeared, and let go what is no longer configured."""
        there = {one.fmri: one for one in self.repository.instances() if enabled(one) is not None}
        adoption = self.setting("adoption")
        now = time.monotonic()
        for fmri in there:
            self._first_seen.setdefault(fmri, now)
        ready = [
            fmri
            for fmri in there
            if fmri not in self._lives and adoption is not None and now >= self._first_seen[fmri] + adoption
        ]
        fresh = [fmri for fmri in ready if there[fmri].running is None]
        if fresh:
            self._snapshot(fresh)
        for fmri in ready:
            self._lives[fmri] = Life(self, fmri, enabled=bool(enabled(there[fmri])))
        for fmri in [fmri for fmri in self._lives if fmri not in there]:
            life = self._lives.pop(fmri)
            life.leave()
        self._first_seen = {fmri: when for fmri, when in self._first_seen.items() if fmri in there}

    def _publish(self) -> None:
        states = {fmri: State(**vars(life.state)) for fmri, life in self._lives.items()}
        if states != self._published:
            publish(self.place, states)
            self._published = states


def serve(place: Place) -> int:
    """Be the restarter of a machine; at once over when there is one already."""
    lock = (place.state / "restarter.lock").open("a")
    for last in (False, False, False, True):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:  # perhaps only somebody who asks whether it runs
            if last:
                return 0
            time.sleep(TICK)
    if place.stopped.exists():
        return 0
    (place.state / "restarter.pid").write_text(f"{os.getpid()}\n")
    os.chdir("/")
    place.logs.mkdir(parents=True, exist_ok=True)
    _boot(place)
    restarter = Restarter(place)

    def end(number: int, frame: object) -> None:
        restarter.over = True

    signal.signal(signal.SIGTERM, end)
    restarter.run()
    return 0


def _boot(place: Place) -> None:
    """What ends with each boot: the states, and what was enabled or disabled for the time being."""
    publish(place, {})
    with locked(place) as repository:
        for instance in repository.instances():
            instance.groups.pop("general_ovr", None)
