"""svcadm: it asks the restarter and, with -s, waits for what comes of it."""

from __future__ import annotations

import getopt
import sys
import time
from collections.abc import Callable, Sequence

from .complaints import Complaint
from .dependencies import never
from .details import dependencies, entities, meant
from .names import is_pattern, matching
from .places import Place
from .repository import Instance, Repository, enabled, load, locked, set_property
from .requests import ask
from .states import RUNNING, states

USAGE = """Usage: svcadm [-v] [cmd [args ... ]]

\tsvcadm enable [-rst] <service> ...\t- enable and online service(s)
\tsvcadm disable [-st] <service> ...\t- disable and offline service(s)
\tsvcadm restart <service> ...\t\t- restart specified service(s)
\tsvcadm refresh <service> ...\t\t- re-read service configuration
\tsvcadm mark [-It] <state> <service> ...\t- set maintenance state
\tsvcadm clear <service> ...\t\t- clear maintenance state
"""
OPTIONS = {"enable": "rst", "disable": "st", "restart": "", "refresh": "", "clear": "", "mark": "It"}
LOOK = 0.02  # s between two looks


def run(place: Place, words: Sequence[str]) -> int:
    """Carry out one command; the exit code. Raises Complaint."""
    rest = list(words)
    while rest[:1] == ["-v"]:
        rest.pop(0)
    if not rest or rest[0] not in OPTIONS:
        sys.stderr.write(USAGE)
        return 2
    verb = rest.pop(0)
    try:
        options, names = getopt.getopt(rest, OPTIONS[verb])
    except getopt.GetoptError as error:
        sys.stderr.write(f"svcadm: illegal option -- {error.opt}\n{USAGE}")
        return 2
    given = {name for name, _ in options}
    wanted = names.pop(0) if verb == "mark" and names else ""
    if not names or (verb == "mark" and wanted not in ("degraded", "maintenance")):
        sys.stderr.write(USAGE)
        return 2
    repository = load(place)
    code = 0
    chosen: list[Instance] = []
    for name in names:
        try:
            chosen += _chosen(repository, name)
        except Complaint as complaint:
            sys.stderr.write(f"svcadm: {complaint.text}\n")
            code = 1
    if "-r" in given:
        chosen = _with_dependencies(repository, chosen)
    for instance in chosen:
        try:
            _act(place, verb, wanted, given, instance)
        except Complaint as complaint:
            sys.stderr.write(f"svcadm: {complaint.text}\n")
            code = complaint.code
    if "-s" in given and code == 0:
        return _await(place, chosen, verb)
    return code


def _chosen(repository: Repository, name: str) -> list[Instance]:
    found = matching(repository, name)
    if not found:
        raise Complaint(f"Pattern '{name}' doesn't match any instances")
    if len(found) > 1 and not is_pattern(name):
        names = "".join(f"\n\t{one.fmri}" for one in found)
        raise Complaint(f"Partial FMRI '{name}' matches multiple instances:{names}")
    return found


def _with_dependencies(repository: Repository, chosen: Sequence[Instance]) -> list[Instance]:
    """These and all that they need to be satisfied."""
    found: dict[str, Instance] = {}
    todo = list(chosen)
    while todo:
        one = todo.pop()
        if one.fmri not in found:
            found[one.fmri] = one
            for group in dependencies(repository, one):
                if group.properties["grouping"].values == ["require_all"]:
                    todo += [other for fmri in entities(group) for other in meant(repository, fmri)[:1]]
    return list(found.values())


def _act(place: Place, verb: str, wanted: str, given: set[str], instance: Instance) -> None:
    fmri = instance.fmri
    if not place.privileged():
        raise Complaint(f"{fmri}: Permission denied.")
    state = states(place).get(fmri)
    if verb in ("enable", "disable"):
        _enable(place, fmri, "true" if verb == "enable" else "false", temporary="-t" in given)
        ask(place, fmri, f"{verb}d")
    elif verb == "clear":
        if state is None or state.state not in ("maintenance", "degraded"):
            raise Complaint(f'Instance "{fmri}" is not in a maintenance or degraded state.')
        ask(place, fmri, "clear")
    elif verb == "mark":
        if wanted == "degraded" and (state is None or state.state not in RUNNING):
            raise Complaint(f'Instance "{fmri}" is not online.')
        ask(place, fmri, wanted)
    else:
        ask(place, fmri, verb)


def _enable(place: Place, fmri: str, value: str, *, temporary: bool) -> None:
    with locked(place) as repository:
        instance = repository.instance(fmri)
        if instance is None:
            raise Complaint(f"Pattern '{fmri}' doesn't match any instances")
        if temporary:
            set_property(instance.groups, "general_ovr/enabled", "framework", "boolean", value)
            if enabled(instance) is None:
                set_property(instance.groups, "general/enabled", "framework", "boolean", "false")
        else:
            instance.groups.pop("general_ovr", None)
            set_property(instance.groups, "general/enabled", "framework", "boolean", value)


def _await(place: Place, chosen: Sequence[Instance], verb: str) -> int:
    """Wait until all are where they were told to go, for ever if need be; the worst of their exit codes."""
    judge: Callable[[Place, str, float], int | None] = _enabled if verb == "enable" else _disabled
    begin = time.time()
    codes: dict[str, int] = {}
    while len(codes) < len(chosen):
        for instance in chosen:
            if instance.fmri not in codes:
                code = judge(place, instance.fmri, begin)
                if code is not None:
                    codes[instance.fmri] = code
        time.sleep(LOOK)
    found = set(codes.values()) - {0}
    return 3 if 3 in found else max(found, default=0)


def _enabled(place: Place, fmri: str, begin: float) -> int | None:
    repository, now = load(place), states(place)
    instance, state = repository.instance(fmri), now.get(fmri)
    if instance is None or not enabled(instance):
        return _tell(fmri, "has been disabled by another entity.", 3)
    if state is None or state.next != "none":
        return None
    if state.state in RUNNING:
        return 0
    if state.state == "maintenance":
        return _tell(fmri, "is in maintenance state.", 3)
    if state.state == "offline" and never(repository, now, instance):
        return _tell(fmri, "has unsatisfied dependencies.", 4)
    return None


def _disabled(place: Place, fmri: str, begin: float) -> int | None:
    instance, state = load(place).instance(fmri), states(place).get(fmri)
    if instance is not None and enabled(instance):
        return _tell(fmri, "has been enabled by another entity.", 3)
    if state is not None and state.state == "maintenance" and state.since > begin:
        return _tell(fmri, "is in maintenance state.", 3)  # its stop method failed
    return 0 if state is None or (state.state == "disabled" and state.next == "none") else None


def _tell(fmri: str, text: str, code: int) -> int:
    sys.stderr.write(f'svcadm: Instance "{fmri}" {text}\n')
    return code
