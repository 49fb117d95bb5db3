"""The states of instances as the restarter publishes them and every command reads them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .places import Place, read, write

SHORT = {
    "uninitialized": "UN",
    "disabled": "DIS",
    "offline": "OFF",
    "online": "ON",
    "degraded": "DGD",
    "maintenance": "MNT",
    "legacy_run": "LRC",
    "none": "-",
}
RUNNING = ("online", "degraded")


@dataclass
class State:
    """One instance: ``next`` is "none" when no transition goes on; ``since`` counts seconds of the clock."""

    state: str = "uninitialized"
    next: str = "none"
    since: float = 0.0
    auxiliary: str = "none"
    contract: int = 0
    start_pid: int = 0
    start_time: float = 0.0
    start_status: int = 0  # as wait(2) gives it
    log: str = ""
    holder: int = 0  # the process whose descendants are the service's


def states(place: Place) -> dict[str, State]:
    """The states of all instances that startd has adopted, by full name."""
    return {fmri: State(**plain) for fmri, plain in read(place.states, {}).items()}


def publish(place: Place, all_states: dict[str, State]) -> None:
    """Let everybody see these states."""
    plain: dict[str, Any] = {fmri: asdict(state) for fmri, state in all_states.items()}
    write(place.states, plain)
