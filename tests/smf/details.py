"""svcs -l, -L, -d and -D: one instance at length, its log, its relatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from .contracts import members
from .places import Place
from .repository import Group, Instance, Repository, enabled, first
from .states import State
from .times import long

DEFAULT_RESTARTER = "svc:/system/svc/restarter:default"


def log_path(place: Place, fmri: str) -> Path:
    """The file that holds an instance's log."""
    return place.logs / (fmri.removeprefix("svc:/").replace("/", "-") + ".log")


def dependencies(repository: Repository, instance: Instance) -> list[Group]:
    """The dependencies of an instance, its service's included."""
    return [group for group in repository.composed(instance).values() if group.type == "dependency"]


def entities(group: Group) -> list[str]:
    """What a dependency names."""
    found = group.properties.get("entities")
    return found.values if found else []


def meant(repository: Repository, fmri: str) -> list[Instance]:
    """The instances that a dependency's name means: of a service, all of them."""
    service, colon, name = fmri.removeprefix("svc:/").partition(":")
    found = repository.services.get(service)
    if found is None:
        return []
    return [one for one in found.instances.values() if not colon or one.name == name]


def related(repository: Repository, instances: Sequence[Instance], *, dependents: bool) -> list[Instance]:
    """What these depend on, or what depends on these."""
    if not dependents:
        found = [
            other
            for one in instances
            for group in dependencies(repository, one)
            for fmri in entities(group)
            for other in meant(repository, fmri)
        ]
    else:
        wanted = {one.fmri for one in instances} | {f"svc:/{one.service}" for one in instances}
        found = [
            other
            for other in repository.instances()
            if any(wanted & set(entities(group)) for group in dependencies(repository, other))
        ]
    return list({one.fmri: one for one in found}.values())


def describe(
    place: Place, repository: Repository, now: Mapping[str, State], found: Sequence[Instance], *, processes: bool
) -> None:
    """Print instances at length, with an empty line between two."""
    for number, instance in enumerate(found):
        if number:
            print()
        groups = repository.composed(instance)
        state = now.get(instance.fmri)
        lines = [
            ("fmri", instance.fmri),
            ("name", first(groups, "tm_common_name/C", "")),
            ("enabled", _enabled(instance)),
            ("state", state.state if state else "?"),
            ("next_state", state.next if state else "?"),
        ]
        if state:
            lines.append(("state_time", long(state.since)))
            if state.log:
                lines.append(("logfile", state.log))
        lines.append(("restarter", first(groups, "general/restarter", DEFAULT_RESTARTER)))
        if state and state.contract:
            lines.append(("contract_id", f"{state.contract} "))
        for group in dependencies(repository, instance):
            kind = "/".join(group.properties[name].values[0] for name in ("grouping", "restart_on"))
            what = " ".join(f"{fmri} ({_condition(repository, now, fmri)})" for fmri in entities(group))
            lines.append(("dependency", f"{kind} {what}"))
        if processes and state:
            lines += [("process", f"{pid:<6} {_words(pid)}") for pid in members(state.holder)]
        for name, value in lines:
            print(f"{name:13}{value}")


def _words(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
    except OSError:
        return "-"


def _enabled(instance: Instance) -> str:
    over = first(instance.groups, "general_ovr/enabled")
    return f"{over} (temporary)" if over else first(instance.groups, "general/enabled", "-")


def _condition(repository: Repository, now: Mapping[str, State], fmri: str) -> str:
    if not fmri.startswith("svc:"):
        return "online" if Path(fmri.removeprefix("file://").removeprefix("localhost")).exists() else "absent"
    found = meant(repository, fmri)
    if not found:
        return "absent"
    if enabled(found[0]) is None:
        return "-"
    state = now.get(found[0].fmri)
    return state.state if state else "?"
