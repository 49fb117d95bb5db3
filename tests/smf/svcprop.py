"""svcprop: property values, of the running snapshot unless told otherwise."""

from __future__ import annotations

import getopt
import sys
from collections.abc import Sequence

from .complaints import Complaint
from .names import matching_entities
from .places import Place
from .repository import Entity, Groups, Instance, Property, Repository, Service, load, set_property
from .states import states
from .values import escaped

USAGE = "Usage: svcprop [-afqtv] [-C | -c | -s snapshot] [-z zone] [-p [name/]name]... \n"
USAGE += "         {FMRI | pattern}...\n"


def run(place: Place, words: Sequence[str]) -> int:
    """Print what is asked; the exit code."""
    try:
        options, patterns = getopt.getopt(list(words), "afqtvCcs:z:p:w")
    except getopt.GetoptError as error:
        sys.stderr.write(f"svcprop: illegal option -- {error.opt}\n{USAGE}")
        return 2
    if not patterns:
        sys.stderr.write(USAGE)
        return 2
    given = {name for name, _ in options}
    paths = [value for name, value in options if name == "-p"]
    quiet = "-q" in given
    repository = load(place)
    chosen: list[Service | Instance] = []
    code = 0
    for pattern in patterns:
        found = matching_entities(repository, pattern)
        if not found:
            code = _complain(f"Pattern '{pattern}' doesn't match any entities", quiet=quiet)
        chosen += found
    several = len(chosen) > 1
    typed = bool(given & {"-t", "-v"}) or len(paths) != 1 or several or "-f" in given
    for entity in chosen:
        groups = _groups(place, repository, entity, editing="-c" in given, own="-C" in given)
        kind = "instance" if isinstance(entity, Instance) else "service"
        name = entity.fmri if several or "-f" in given else ""
        for path in paths or list(groups):
            try:
                lines = _lines(place, groups, path, name, typed, f"{kind} `{entity.fmri}'")
            except Complaint as complaint:
                code = _complain(complaint.text, quiet=quiet)
                continue
            if not quiet:
                print("".join(f"{line}\n" for line in lines), end="")
    return code


def _complain(text: str, *, quiet: bool) -> int:
    sys.stdout.flush()
    if not quiet:
        sys.stderr.write(f"svcprop: {text}\n")
    return 1


def _groups(place: Place, repository: Repository, entity: Entity, *, editing: bool, own: bool) -> Groups:
    if not isinstance(entity, Instance):
        return entity.groups
    found = dict(entity.groups) if own else dict(repository.composed(entity) if editing else repository.running(entity))
    # These are not part of any snapshot.
    for name in ("general", "general_ovr"):
        if name in entity.groups:
            found[name] = entity.groups[name]
    state = states(place).get(entity.fmri)
    if state is not None:
        for name, kind, value in (
            ("auxiliary_state", "astring", state.auxiliary),
            ("logfile", "astring", state.log),
            ("contract", "count", str(state.contract)),
            ("start_pid", "count", str(state.start_pid)),
            ("start_method_timestamp", "time", f"{state.start_time:.9f}"),
            ("start_method_waitstatus", "integer", str(state.start_status)),
            ("next_state", "astring", state.next),
            ("state", "astring", state.state),
            ("state_timestamp", "time", f"{state.since:.9f}"),
        ):
            missing = (name == "start_pid" and not state.start_pid) or (name == "contract" and not state.contract)
            if not missing and not (name.startswith("start_") and not state.start_time):
                set_property(found, f"restarter/{name}", "framework", kind, value)
    return found


def _lines(place: Place, groups: Groups, path: str, name: str, typed: bool, entity: str) -> list[str]:
    group, slash, prop = path.partition("/")
    if group not in groups:
        if slash:
            raise Complaint(f"Couldn't find property `{path}' for {entity}.")
        raise Complaint(f"Couldn't find property group `{group}' for {entity}.")
    properties = groups[group].properties
    hidden = "read_authorization" in properties and not place.privileged()
    if slash:
        if prop not in properties:
            raise Complaint(f"Couldn't find property `{path}' for {entity}.")
        if hidden:
            raise Complaint("Permission denied.")
        return [_line(group, prop, properties[prop], name, typed)]
    if hidden:
        return []
    return [_line(group, prop, value, name, True) for prop, value in properties.items()]


def _line(group: str, prop: str, value: Property, name: str, typed: bool) -> str:
    words = " ".join(escaped(one) if one else '""' for one in value.values)
    where = f"{name}/:properties/{group}/{prop}" if name else f"{group}/{prop}"
    return f"{where} {value.type} {words}" if typed else words
