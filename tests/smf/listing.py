"""svcs: which instances, in which columns."""

from __future__ import annotations

import getopt
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import details, explaining
from .contracts import members
from .names import matching
from .places import Place
from .repository import Instance, Repository, enabled, first, load
from .states import SHORT, State, states
from .times import short

USAGE = """Usage: svcs [-aHpv] [-o col[,col ... ]] [-R restarter] [-sS col] [<service> ...]
       svcs -d | -D [-Hpv] [-o col[,col ... ]] [-sS col] [<service> ...]
       svcs [-l | -L] [-Zz] <service> ...
       svcs -x [-v] [<service> ...]
       svcs -?
"""
ORDER = ("uninitialized", "disabled", "maintenance", "offline", "degraded", "online", "legacy_run")
LETTERS = {"uninitialized": "u", "disabled": "d", "offline": "o", "online": "O", "degraded": "D", "maintenance": "m"}


@dataclass(frozen=True)
class Row:
    """One instance with its state; without one startd has not adopted it yet."""

    instance: Instance
    state: State | None
    repository: Repository
    starred: bool  # whether a transition is to be marked by an asterisk


def _state(row: Row, text: Callable[[str], str]) -> str:
    if row.state is None:
        return "?"
    moving = row.starred and row.state.next != "none"
    return text(row.state.state) + ("*" if moving else "")


def _next(row: Row, text: Callable[[str], str]) -> str:
    if row.state is None:
        return "?"
    return "-" if row.state.next == "none" else text(row.state.next)


def _abbreviated(state: str) -> str:
    return SHORT.get(state, "?")


def _letter(state: str) -> str:
    return LETTERS.get(state, "?")


COLUMNS: dict[str, tuple[int, Callable[[Row], str]]] = {
    "CTID": (6, lambda row: str(row.state.contract) if row.state and row.state.contract else "-"),
    "DESC": (65, lambda row: first(row.repository.composed(row.instance), "tm_common_name/C", "-")),
    "FMRI": (50, lambda row: row.instance.fmri),
    "INST": (16, lambda row: row.instance.name),
    "N": (1, lambda row: _next(row, _letter)),
    "NSTA": (4, lambda row: _next(row, _abbreviated)),
    "NSTATE": (14, lambda row: _next(row, str)),
    "S": (2, lambda row: _state(row, _letter)),
    "SCOPE": (8, lambda row: "localhost"),
    "SN": (3, lambda row: _state(row, _letter).rstrip("*") + _next(row, _letter)),
    "SVC": (30, lambda row: row.instance.service),
    "STA": (4, lambda row: _state(row, _abbreviated)),
    "STATE": (14, lambda row: _state(row, str)),
    "STIME": (8, lambda row: short(row.state.since) if row.state else "?"),
}


def run(place: Place, words: Sequence[str]) -> int:
    """Print what is asked; the exit code."""
    try:
        options, patterns = getopt.getopt(list(words), "aHpvlLxdDo:s:S:R:?")
    except getopt.GetoptError as error:
        sys.stderr.write(f"svcs: illegal option -- {error.opt}\n{USAGE}")
        return 2
    given = {name for name, _ in options}
    columns = [c.upper() for name, value in options if name == "-o" for c in value.split(",")]
    if "-v" in given and not columns:
        columns = ["STATE", "NSTATE", "STIME", "CTID", "FMRI"]
    columns = columns or ["STATE", "STIME", "FMRI"]
    unknown = [column for column in columns if column not in COLUMNS]
    if "-?" in given or unknown or (given & {"-l", "-L", "-d", "-D"} and not patterns):
        if unknown:
            sys.stderr.write(f'svcs: Unknown column "{unknown[0].lower()}".\n')
        sys.stderr.write(USAGE)
        return 2
    repository, now = load(place), states(place)
    if "-x" in given and not patterns:
        found, missing = explaining.troubled(repository, now), False
    else:
        found, missing = _chosen(repository, patterns, every="-a" in given)
    if given & {"-d", "-D"}:
        found = details.related(repository, found, dependents="-D" in given)
    if "-x" in given:
        explaining.explain(place, repository, now, found, verbose="-v" in given)
    elif "-L" in given:
        for instance in found:
            print(details.log_path(place, instance.fmri))
    elif "-l" in given:
        details.describe(place, repository, now, found, processes="-p" in given)
    else:
        starred = not {"NSTA", "NSTATE", "N", "SN"} & set(columns)
        rows = [Row(instance, now.get(instance.fmri), repository, starred) for instance in found]
        rows.sort(key=_position)
        _print(rows, columns, header="-H" not in given, processes="-p" in given)
    return int(missing)


def _chosen(repository: Repository, patterns: Sequence[str], *, every: bool) -> tuple[list[Instance], bool]:
    """The instances, each once, and whether a pattern matched none, which is said."""
    if not patterns:
        return [one for one in repository.instances() if every or enabled(one)], False
    found: dict[str, Instance] = {}
    missing = False
    for pattern in patterns:
        matches = matching(repository, pattern)
        if not matches:
            sys.stderr.write(f"svcs: Pattern '{pattern}' doesn't match any instances\n")
            missing = True
        found.update({one.fmri: one for one in matches})
    return list(found.values()), missing


def _position(row: Row) -> tuple[int, float, str]:
    state = row.state
    rank = ORDER.index(state.state) if state and state.state in ORDER else -1
    return rank, state.since if state else 0.0, row.instance.fmri


def _print(rows: Sequence[Row], columns: Sequence[str], *, header: bool, processes: bool) -> None:
    if header:
        print("".join(f"{name:{COLUMNS[name][0]}} " for name in columns).rstrip())
    for row in rows:
        print("".join(f"{COLUMNS[name][1](row):{COLUMNS[name][0]}} " for name in columns).rstrip(" "))
        if processes and row.state:
            for line in process_lines(row.state):
                print(f"               {line}")


def process_lines(state: State) -> list[str]:
    """The processes of an instance, each with its start time, id and name."""
    lines = []
    for pid in sorted(members(state.holder)):
        try:
            started = Path(f"/proc/{pid}").stat().st_mtime
            name = Path(f"/proc/{pid}/comm").read_text().strip()
        except OSError:
            continue  # it has just ended
        lines.append(f"{short(started):8}   {pid:6} {_program(pid, name):.15}")
    return lines


def _program(pid: int, name: str) -> str:
    """The name of the file that is executed: for a script its interpreter's, as illumos shows it."""
    try:
        return Path(f"/proc/{pid}/exe").readlink().name.removesuffix(" (deleted)")
    except OSError:
        return name
