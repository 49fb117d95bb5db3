"""svcs -x: why an instance does not run."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence

from .dependencies import blocked, hopeless
from .details import log_path, related
from .places import Place
from .repository import Instance, Repository, enabled, first
from .states import RUNNING, State
from .times import long

EXITS = {95: "$SMF_EXIT_ERR_FATAL", 96: "$SMF_EXIT_ERR_CONFIG", 99: "$SMF_EXIT_ERR_NOSMF", 100: "$SMF_EXIT_ERR_PERM"}
SIGNALS = {signal.SIGKILL: "Killed", signal.SIGTERM: "Terminated", signal.SIGSEGV: "Segmentation Fault"}
SIGNALS |= {signal.SIGABRT: "Abort", signal.SIGINT: "Interrupt", signal.SIGHUP: "Hangup", signal.SIGBUS: "Bus Error"}


def troubled(repository: Repository, now: Mapping[str, State]) -> list[Instance]:
    """What svcs -x shows without being given names: what is enabled and does not run."""
    found = []
    for instance in repository.instances():
        state = now.get(instance.fmri)
        if enabled(instance) and (state is None or state.state not in RUNNING):
            found.append(instance)
    return found


def explain(
    place: Place, repository: Repository, now: Mapping[str, State], found: Sequence[Instance], *, verbose: bool
) -> None:
    """Print a block about each instance, with an empty line between two."""
    for number, instance in enumerate(found):
        if number:
            print()
        name = first(repository.composed(instance), "tm_common_name/C", "?")
        state = now.get(instance.fmri)
        print(f"{instance.fmri} ({name})")
        if state is None:
            print(" State: -\nReason: Restarter has not initialized service state.")
            print("   See: http://illumos.org/msg/SMF-8000-4D\nImpact: This service is not running.")
            continue
        print(f" State: {state.state} since {long(state.since)}")
        reason = _reason(repository, now, instance, state)
        if reason:
            print(f"Reason: {reason[0]}")
            print(f"   See: http://illumos.org/msg/SMF-8000-{reason[1]}")
        log = log_path(place, instance.fmri)
        if state.log:
            print(f"   See: {log}")
        print(f"Impact: {_impact(repository, now, instance, state, verbose)}")


def _impact(repository: Repository, now: Mapping[str, State], one: Instance, state: State, verbose: bool) -> str:
    if state.state in RUNNING:
        return "None."
    waiting = [
        other.fmri
        for other in related(repository, [one], dependents=True)
        if enabled(other) and (other.fmri not in now or now[other.fmri].state not in RUNNING)
    ]
    if not waiting:
        return "This service is not running."
    count = len(waiting)
    if verbose:
        names = "".join(f"\n        {fmri}" for fmri in waiting)
        return f"{count} dependent service{'s are' if count > 1 else ' is'} not running:{names}"
    tail = "(Use -v for list.)"
    return f"{count} dependent service{'s are' if count > 1 else ' is'} not running.  {tail}"


def _reason(repository: Repository, now: Mapping[str, State], one: Instance, state: State) -> tuple[str, str] | None:
    if state.state == "maintenance":
        return _maintenance(state)
    if state.state == "disabled":
        temporary = first(one.groups, "general_ovr/enabled") != ""
        return (
            ("Temporarily disabled by an administrator.", "1S")
            if temporary
            else (
                "Disabled by an administrator.",
                "05",
            )
        )
    if state.state == "uninitialized":
        return "Restarter svc:/system/svc/restarter:default has not initialized the service.", "4D"
    if state.state == "offline":
        return _waiting(repository, now, one, state)
    return None


def _waiting(repository: Repository, now: Mapping[str, State], one: Instance, state: State) -> tuple[str, str]:
    if state.next == "online":
        return "Start method is running.", "C4"
    name = blocked(repository, now, one)
    if name is None:
        return "Unknown.", "AR"
    why = hopeless(repository, now, name)
    if why == "absent":
        return f"Dependency {name} is absent.", "E2"
    if why == "disabled":
        return f"Service {name} is disabled.", "GE"
    if why == "maintenance":
        return f"Service {name} is in maintenance.", "GE"
    return f"Service {name} is not running.", "GE"


def _maintenance(state: State) -> tuple[str, str]:
    if state.auxiliary == "administrative_request":
        return "Maintenance requested by an administrator.", "63"
    if state.auxiliary == "restarting_too_quickly":
        return "Restarting too quickly.", "L5"
    status = state.start_status
    if status == 0:
        repeatedly = state.auxiliary == "fault_threshold_reached"
        return ("Method failed repeatedly." if repeatedly else "Method failed."), "8Q"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        name = f"{SIGNALS.get(signal.Signals(number), signal.Signals(number).name)} ({number})"
        verb = "dumped core on" if os.WCOREDUMP(status) else "died on"
        return f"Start method {verb} {name}.", "KS"
    code = os.WEXITSTATUS(status)
    if state.auxiliary == "fault_threshold_reached":
        return f"Start method failed repeatedly, last exited with status {code}.", "KS"
    return f"Start method exited with {EXITS.get(code, f'status {code}')}.", "KS"
