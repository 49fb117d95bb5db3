"""The life of one instance: its states, one after the other, as the restarter leads it through them."""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

from . import journal, stopping
from .contracts import Contract
from .details import log_path
from .methods import FOREVER, Method, become, environment, method
from .repository import Groups, first
from .states import State
from .stopping import AT_ONCE, FAILURES
from .tokens import Unexpandable

if TYPE_CHECKING:
    from .restarter import Restarter

Steps = Generator[None, None, None]
Outcome = Generator[None, None, str]
STARTS = 5  # so many, less than RATE seconds apart on average, are too many
RATE = 600.0


class Life:
    """One instance while startd knows it; ``wishes`` are what it was asked for and has not got to yet."""

    def __init__(self, restarter: Restarter, fmri: str, *, enabled: bool) -> None:
        self.restarter = restarter
        self.fmri = fmri
        self.enabled = enabled
        self.wishes: list[str] = []
        self.contract: Contract | None = None
        self.log = log_path(restarter.place, fmri)
        self.state = State(since=time.time(), log=str(self.log))
        self.starts: deque[float] = deque(maxlen=STARTS)
        self.seen = 0  # deaths in the contract
        self.steps = self._live()

    @property
    def groups(self) -> Groups:
        """The configuration that startd works with."""
        instance = self.restarter.repository.instance(self.fmri)
        return self.restarter.repository.running(instance) if instance else {}

    @property
    def style(self) -> str:
        """child, transient or contract; every other word means contract."""
        word = first(self.groups, "startd/duration")
        return word if word in ("child", "transient") else "contract"

    def note(self, text: str) -> None:
        """Write a line of startd's into the log."""
        journal.note(self.log, text, missing=self.fmri in self.restarter.setting("log_missing"))

    def wish(self, what: str) -> bool:
        """Whether that was asked for; it is fulfilled then."""
        if what not in self.wishes:
            return False
        self.wishes = [one for one in self.wishes if one != what]
        return True

    def pause(self, seconds: float) -> Steps:
        """Let time pass."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            yield

    def towards(self, target: str) -> Steps:
        """Begin a transition."""
        self.state.next = target
        yield
        yield from self.pause(self.restarter.setting("pace"))

    def enter(self, state: str, auxiliary: str = "none") -> None:
        """Be in a state."""
        self.state.state, self.state.next, self.state.auxiliary = state, "none", auxiliary
        self.state.since = time.time()

    def begin_again(self, state: str, auxiliary: str) -> None:
        """Be in a state, whatever went on."""
        self.enter(state, auxiliary)
        self.steps = self._live()

    def _live(self) -> Steps:
        yield
        while True:
            state = self.state.state
            if self.wish("refresh"):
                self.note("Rereading configuration.")
                if state == "online":
                    yield from stopping.refresh(self)
            if state == "uninitialized" or (state == "disabled" and self.enabled):
                self.wishes = [wish for wish in self.wishes if wish == "refresh"]
                self.note("Enabled." if self.enabled else "Disabled.")
                self.enter(*(("offline",) if self.enabled else ("disabled", "disable_request")))
            elif state == "disabled":
                self.wishes = [wish for wish in self.wishes if wish == "refresh"]
            elif state == "offline":
                yield from self._offline()
            elif state == "maintenance":
                yield from self._maintenance()
            else:
                yield from stopping.react(self)
            yield

    def _offline(self) -> Steps:
        self.wishes = [wish for wish in self.wishes if wish in ("refresh", "maintenance")]
        if not self.enabled:
            self.note("Disabled.")
            self.enter("disabled", "disable_request")
        elif self.wish("maintenance"):
            self.note("Stopping for maintenance due to administrative_request.")
            self.enter("maintenance", "administrative_request")
        elif self.restarter.may_start(self.fmri):
            yield from self._start()
        elif self.state.auxiliary == "none":
            self.state.auxiliary = "dependencies_unsatisfied"

    def _maintenance(self) -> Steps:
        cleared, disabled = self.wish("clear"), self.wish("disabled")
        self.wishes = [wish for wish in self.wishes if wish == "refresh"]
        if not cleared and not disabled:
            return
        self.note(f"Leaving maintenance because {'clear' if cleared else 'disable'} requested.")
        self.starts.clear()
        if self.restarter.setting("pace"):
            yield from self.towards("uninitialized")
        self.enter("uninitialized")
        yield

    def _start(self) -> Steps:
        yield from self.towards("online")
        while self.fmri in self.restarter.setting("hanging"):
            yield
        failures = 0
        while True:
            outcome = yield from self._try_start()
            if outcome == "failed":
                failures += 1
                if failures < FAILURES:
                    continue
                outcome = "fault_threshold_reached"
            break
        if outcome:
            self.drop()
            self.enter("maintenance", outcome)
        else:
            self.enter("online", "dependencies_satisfied")

    def _try_start(self) -> Outcome:
        """One start: "" when it went well, "failed" when it may be tried again, else why it is in maintenance."""
        self.state.start_status = 0
        try:
            chosen = self.method("start")
        except Unexpandable as error:
            self.note(str(error))
            return "method_failed"
        if chosen is None:
            return "method_failed"
        if self.style == "contract" and self._too_many_starts():
            self.note("Restarting too quickly, changing state to maintenance.")
            return "restarting_too_quickly"
        path = chosen.command.split(" ")[0]
        if self.style == "child" and path.startswith("/") and not Path(path).exists():
            self.note(f"Missing start method ({path}), changing state to maintenance.")
            return "method_failed"
        self.state.start_time = time.time()
        if chosen.command == ":true":
            self.note("Executing start method (null).")
            return ""
        self.note(f'Executing start method ("{chosen.command}").')
        self.contract = self.run(chosen)
        self.state.start_pid, self.state.contract = self.contract.first, self.contract.number
        self.state.holder, self.seen = self.contract.holder, 0
        if self.style == "child":
            return ""
        status = yield from self.ended(self.contract, chosen)
        self.state.start_status = status
        if self.style == "transient" and status == 0:
            self.leave()  # what it left in the background is nobody's affair
        if status == 0:
            self.seen = len(self.contract.deaths) if self.contract else 0
            return ""
        self.drop()
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
        return "method_failed" if code in AT_ONCE else "failed"

    def _too_many_starts(self) -> bool:
        self.starts.append(time.monotonic())
        number, seconds = STARTS, RATE
        groups = self.groups
        given = first(groups, "startd/critical_failure_count"), first(groups, "startd/critical_failure_period")
        if all(given):
            number, period = int(given[0]), float(given[1])
            self.starts = deque(self.starts, maxlen=number)
            seconds = period / number
        full = len(self.starts) >= number
        return full and (self.starts[-1] - self.starts[0]) / max(1, number - 1) < seconds

    def method(self, name: str) -> Method | None:
        """A method as it is configured now. Raises Unexpandable."""
        instance = self.restarter.repository.instance(self.fmri)
        editing = self.restarter.repository.composed(instance) if instance else {}
        return method(name, self.groups, editing, self.fmri)

    def run(self, chosen: Method) -> Contract:
        """Run a method in a contract of its own."""
        variables = environment(chosen, self.fmri, self.restarter.setting("default_init"))
        log = os.devnull if self.fmri in self.restarter.setting("log_missing") else str(self.log)
        return Contract(self.restarter.next_contract(), lambda: become(chosen, variables, log))

    def ended(self, contract: Contract, chosen: Method) -> Generator[None, None, int]:
        """Wait until the process that runs a method has ended, at most for its time; its status."""
        end = time.monotonic() + chosen.timeout
        while True:
            contract.look()
            status = contract.status()
            if status is not None:
                break
            if time.monotonic() > end:
                self.note(f"Method or service exit timed out.  Killing contract {contract.number}.")
                contract.kill(signal.SIGKILL)
                end = FOREVER
            yield
        if os.WIFEXITED(status):
            self.note(f'Method "{chosen.name}" exited with status {os.WEXITSTATUS(status)}.')
        else:
            name = signal.Signals(os.WTERMSIG(status)).name.removeprefix("SIG")
            self.note(f'Method "{chosen.name}" failed due to signal {name}.')
        return status

    def leave(self) -> None:
        """Let the processes be: they are no longer the service's."""
        if self.contract is not None:
            self.restarter.abandoned.append(self.contract)
        self.contract = None
        self.state.contract = self.state.start_pid = self.state.holder = 0

    def drop(self) -> None:
        """End whatever is left of the processes."""
        if self.contract is not None:
            self.contract.kill(signal.SIGKILL)
        self.leave()
