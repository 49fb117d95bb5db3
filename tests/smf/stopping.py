"""What happens to an instance that runs: why it stops, and how."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Generator
from typing import TYPE_CHECKING

from .contracts import Contract
from .dependencies import ERROR, REFRESH, RESTART
from .methods import Method, kill_signal
from .repository import first
from .tokens import Unexpandable

if TYPE_CHECKING:
    from .lives import Life

Steps = Generator[None, None, None]
FAILURES = 3  # of a method, in a row
AT_ONCE = (95, 96, 99, 100)  # exit codes that no second try follows
CONFIGURATION = 96
QUICK = 1.0  # seconds between start and failure that make startd pause


def react(life: Life) -> Steps:
    """Look once at an instance that runs, and stop it if there is a reason."""
    if not life.enabled:
        life.starts.clear()
        yield from _stop(life, "service disabled", "disabled", RESTART)
    elif life.wish("maintenance"):
        yield from _stop(life, "", "maintenance", RESTART)
    elif life.wish("restart"):
        life.starts.clear()
        yield from _stop(life, "service restarting", "offline", RESTART)
    elif life.wish("dependency"):
        yield from _stop(life, "dependency activity requires stop", "offline", RESTART)
    elif life.contract is not None:
        _flap(life, life.contract)
        life.contract.look()
        if life.style == "child":
            yield from _child(life, life.contract)
        else:
            yield from _contract(life, life.contract)
    life.wishes = [wish for wish in life.wishes if wish not in ("clear", "degraded", "enabled", "disabled")]


def refresh(life: Life) -> Steps:
    """Run the refresh method where there is one; the service goes on meanwhile."""
    try:
        chosen = life.method("refresh")
    except Unexpandable as error:
        life.note(str(error))
        return
    if chosen is not None and not chosen.command.startswith(":"):
        life.note(f'Executing refresh method ("{chosen.command}").')
        contract = life.run(chosen)
        yield from life.ended(contract, chosen)
        life.restarter.abandoned.append(contract)
    life.restarter.tell(life.fmri, REFRESH)


def _flap(life: Life, contract: Contract) -> None:
    seconds = life.restarter.setting("flapping").get(life.fmri)
    if seconds is not None and time.time() - life.state.since > seconds:
        contract.kill(signal.SIGKILL)


def _child(life: Life, contract: Contract) -> Steps:
    """The process is the service: whatever its end, it is started again, except for one exit code."""
    status = contract.status()
    if status is None:
        return
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0
    if code == CONFIGURATION:
        life.note("Stopping because service exited with a configuration error.")
        life.drop()
        life.state.start_status = status
        life.enter("maintenance", "method_failed")
        life.restarter.tell(life.fmri, ERROR)
        return
    life.note(f"Stopping because {'service exited with an error' if code else 'all processes in service exited'}.")
    if code and time.time() - life.state.start_time < QUICK:
        life.note("Failing too quickly, throttling.")
        yield from life.pause(life.restarter.setting("throttle"))
    yield from life.towards("offline")
    life.drop()  # no stop method: it has ended, and what it had started must too
    life.enter("offline", "none")
    life.restarter.tell(life.fmri, ERROR if code else RESTART)


def _contract(life: Life, contract: Contract) -> Steps:
    """All processes are the service: one that is killed, or the end of the last, stops it."""
    ignored = first(life.groups, "startd/ignore_error").split(",")
    new, life.seen = contract.deaths[life.seen :], len(contract.deaths)
    for _, status in new:
        if os.WIFSIGNALED(status):
            core = os.WCOREDUMP(status)
            if ("core" if core else "signal") not in ignored:
                reason = "process dumped core" if core else "process received fatal signal from outside the service"
                yield from _stop(life, reason, "offline", ERROR)
                return
    if contract.empty:
        yield from _stop(life, "all processes in service exited", "offline", RESTART)


def _stop(life: Life, reason: str, target: str, cause: str) -> Steps:
    """Stop for a reason; without one an administrator wants maintenance."""
    life.note(f"Stopping because {reason}." if reason else "Stopping for maintenance due to administrative_request.")
    yield from life.towards(target)
    failure = yield from _run_stop(life)
    life.leave()
    if failure:
        life.enter("maintenance", failure)
    else:
        life.enter(target, {"disabled": "disable_request", "maintenance": "administrative_request"}.get(target, "none"))
    life.restarter.tell(life.fmri, ERROR if failure else cause)


def _run_stop(life: Life) -> Generator[None, None, str]:
    """Run the stop method; why it failed, "" when it did not."""
    try:
        chosen = life.method("stop")
    except Unexpandable as error:
        life.note(str(error))
        return "method_failed"
    if chosen is None:
        return ""
    if chosen.command == ":true":
        life.note("Executing stop method (null).")
        return ""  # the processes stay, and are nobody's
    number = kill_signal(chosen.command)
    if number is None:
        return (yield from _run_command(life, chosen))
    if life.style == "transient" or number == 0:
        return "method_failed"  # there is nothing that it could kill, or nothing to kill with
    life.note(f"Executing stop method ({chosen.command}).")
    if life.contract is not None:
        life.contract.kill(number)
    return (yield from _until_empty(life, chosen.timeout))


def _run_command(life: Life, chosen: Method) -> Generator[None, None, str]:
    for _ in range(FAILURES):
        life.note(f'Executing stop method ("{chosen.command}").')
        contract = life.run(chosen)
        status = yield from life.ended(contract, chosen)
        life.restarter.abandoned.append(contract)
        if status == 0:
            return (yield from _until_empty(life, chosen.timeout))
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) in AT_ONCE:
            return "method_failed"
    return "fault_threshold_reached"


def _until_empty(life: Life, seconds: float) -> Generator[None, None, str]:
    """Wait until the last process has ended; those that have not when the time is over are killed, a failure."""
    contract, end = life.contract, time.monotonic() + seconds
    if contract is None:
        return ""
    failure = ""
    while True:
        contract.look()
        if contract.empty:
            return failure
        if time.monotonic() > end:
            if not failure:
                life.note(f"Method or service exit timed out.  Killing contract {contract.number}.")
            failure = "method_failed"
            contract.kill(signal.SIGKILL)
        yield
