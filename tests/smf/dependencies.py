"""Whether the dependencies of an instance let it run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from .details import dependencies, entities, meant
from .repository import Group, Instance, Repository, enabled, first
from .states import RUNNING, State

ERROR, RESTART, REFRESH = "error", "restart", "refresh"
STOPS = {"none": (), "error": (ERROR,), "restart": (ERROR, RESTART), "refresh": (ERROR, RESTART, REFRESH)}


def blocked(repository: Repository, now: Mapping[str, State], instance: Instance) -> str | None:
    """The name that an instance waits for; None when it need not wait.

    ``exclude_all`` waits for what must not run.
    """
    for group in dependencies(repository, instance):
        name = _blocked_by(repository, now, group)
        if name is not None:
            return name
    return None


def _blocked_by(repository: Repository, now: Mapping[str, State], group: Group) -> str | None:
    grouping = first({"d": group}, "d/grouping")
    names = entities(group)
    if not names:
        return None

    def running(fmri: str) -> bool:
        return satisfied(repository, now, fmri)

    def settled(fmri: str) -> bool:
        return running(fmri) or hopeless(repository, now, fmri) != ""

    def quiet(fmri: str) -> bool:
        return not running(fmri) and settled(fmri)

    if grouping == "require_any":
        return None if any(map(running, names)) else names[0]
    tests: dict[str, Callable[[str], bool]] = {"optional_all": settled, "exclude_all": quiet}
    test = tests.get(grouping, running)
    return next((name for name in names if not test(name)), None)


def satisfied(repository: Repository, now: Mapping[str, State], fmri: str) -> bool:
    """Whether what a dependency names is there and runs."""
    if not fmri.startswith("svc:"):
        return Path(fmri.removeprefix("file://").removeprefix("localhost")).exists()
    states = [now.get(one.fmri) for one in meant(repository, fmri)]
    return any(state is not None and state.state in RUNNING for state in states)


def hopeless(repository: Repository, now: Mapping[str, State], fmri: str) -> str:
    """Why it will not run without somebody's help: absent, disabled or maintenance; "" when it may."""
    if not fmri.startswith("svc:"):
        return "" if satisfied(repository, now, fmri) else "absent"
    found = [one for one in meant(repository, fmri) if enabled(one) is not None]
    if not found:
        return "absent"
    states = [now.get(one.fmri) for one in found]
    if all(state is not None and state.state == "maintenance" for state in states):
        return "maintenance"
    return "" if any(enabled(one) for one in found) else "disabled"


def never(repository: Repository, now: Mapping[str, State], instance: Instance) -> bool:
    """Whether the instance waits for something that will not come by itself."""
    for group in dependencies(repository, instance):
        grouping = first({"d": group}, "d/grouping")
        reasons = [hopeless(repository, now, name) != "" for name in entities(group)]
        if (grouping == "require_all" and any(reasons)) or (grouping == "require_any" and reasons and all(reasons)):
            return True
    return False


def stopped_by(repository: Repository, instance: Instance, other: Instance, cause: str) -> bool:
    """Whether the end of ``other``, for this cause, is to stop the instance."""
    for group in dependencies(repository, instance):
        if any(other in meant(repository, name) for name in entities(group) if name.startswith("svc:")):
            restart_on = first({"d": group}, "d/restart_on", "none")
            if cause in STOPS.get(restart_on, ()):
                return True
    return False
