"""What a word of a command line can be completed to: tasks, flags, and the values of flags that this computer knows.

Asked by the scripts in completion/ at each press of a key: nothing here asks a machine or a cloud, and what cannot be
read counts as not there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from inspect import getdoc
from typing import Any

from invoke.collection import Collection
from invoke.parser.context import ParserContext

from . import layers, settings, state
from .cloud_kinds import EVENTS
from .errors import ClusterError

FILES = "<files>"  # said instead of candidates: the shell knows files better
TAKING_FILES = (
    *("file", "files", "config", "search-root"),
    *("path", "package", "script", "requirements", "bundle"),
)
SHELLS = ("bash", "zsh", "fish")
HARMLESS = r"[\w.@:+=,-]+"  # a word that no shell makes something else of


@dataclass(frozen=True)
class Candidate:
    """A word, and what it means."""

    word: str
    meaning: str = ""


@dataclass
class Place:
    """What stands before the word that is completed: the last task, and the flag whose value the word is, if any.

    ``given`` are values by flag, ``used`` the flags of this task so far; ``closed`` means that ``--`` came before.
    """

    task: ParserContext | None = None
    flag: str = ""
    given: dict[str, str] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    closed: bool = False


def candidates(
    words: Sequence[str], namespace: Collection, core: ParserContext, environ: Mapping[str, str] = os.environ
) -> list[Candidate]:
    """What the last of the words, which may be "", can become; the words are those after the program's name.

    ``core`` are the program's own flags. FILES alone means that the word is the path of a file.
    """
    tasks = {context.name or "": context for context in namespace.to_contexts()}
    place = _place(words[:-1], tasks, core)
    word = "" if words[-1] == "=" else words[-1]
    if place.closed:
        return []
    if place.flag:
        return list(_values(place, word, "", namespace, environ))
    if word.startswith("-"):
        name, equals, begun = word.partition("=")
        argument = _argument(name, place.task, core)
        if equals and argument:
            place.flag = _flag(argument)
            return list(_values(place, begun, f"{name}=", namespace, environ))
        return list(_flags(place, core))
    if place.task is not None and not word:
        return list(_flags(place, None))
    return [Candidate(name, _first_line(namespace, name)) for name in sorted(tasks, key=lambda one: ("." in one, one))]


def _place(words: Iterable[str], tasks: Mapping[str, ParserContext], core: ParserContext) -> Place:
    place = Place()
    for word in words:
        if place.flag:
            if word != "=":  # bash takes --cluster=lab apart
                place.given[place.flag], place.flag = word, ""
        elif word == "--":
            place.closed = True
        elif word.startswith("-"):
            name, equals, value = word.partition("=")
            argument = _argument(name, place.task, core)
            if argument is None:
                continue
            place.used.add(_flag(argument))
            if argument.takes_value and equals:
                place.given[_flag(argument)] = value
            elif argument.takes_value:
                place.flag = _flag(argument)
        elif word in tasks:
            place.task, place.used = tasks[word], set()
    return place


def _argument(name: str, task: ParserContext | None, core: ParserContext) -> Any:
    """The argument that a flag is of; the task's own is meant before the program's."""
    for context in (task, core):
        if context is not None and name in context.flags:
            return context.flags[name]
    return None


def _flag(argument: Any) -> str:
    """What a flag is called in words, whichever of its spellings was used: ``config`` for ``-f``."""
    return str(argument.name).replace("_", "-")


def _flags(place: Place, core: ParserContext | None) -> Iterator[Candidate]:
    """The long flags of the task, or else of the program, that are not there yet."""
    context = place.task if place.task is not None else core
    for argument in dict.fromkeys(context.flags.values()) if context is not None else ():
        if _flag(argument) not in place.used and _flag(argument) != "complete":
            yield Candidate(f"--{_flag(argument)}", _one_line(argument.help))
    if place.task is not None and core is not None and "help" not in place.used:
        yield Candidate("--help", "what the task does, and its flags")


def _values(
    place: Place, word: str, before: str, namespace: Collection, environ: Mapping[str, str]
) -> Iterator[Candidate]:
    """The values of the flag; ``before`` stands in the same word before the value."""
    if place.flag in TAKING_FILES:
        yield Candidate(FILES)
        return
    if place.flag == "on":
        *named, _ = word.split(",")
        before += "".join(f"{one}," for one in named)
    else:
        named = []
    for value in _known(place, namespace, environ):
        if value not in named and re.fullmatch(HARMLESS, value):
            yield Candidate(before + value)


def _known(place: Place, namespace: Collection, environ: Mapping[str, str]) -> Sequence[str]:
    """What this computer knows of a flag's values."""
    runtime_file = place.given.get("config", "")
    with suppress(ClusterError):
        match place.flag:
            case "cluster":
                return [one for one in state.records() if re.fullmatch(settings.NAME, one)]
            case "template":
                return _templates(runtime_file, environ)
            case "machine" | "on":
                return _machines(place, runtime_file, environ)
            case "what":
                return ("engines", "controller", "all")
            case "event":
                return EVENTS
            case "provider":
                return settings.PROVIDERS
            case "shell":
                return SHELLS
            case "help":
                return sorted(namespace.task_names)
            case "list":
                return sorted(namespace.collections)
    return ()


def _templates(runtime_file: str, environ: Mapping[str, str]) -> list[str]:
    shipped = layers.project_file(settings.PROJECT_FILE)
    users = layers.File()
    with suppress(ClusterError):  # a broken file of the user's takes away no more than what is in it
        path = layers.users_path(runtime_file, environ)
        users = layers.users_file(path) if path else users
    return list(layers.merge_templates(shipped, users))


def _machines(place: Place, runtime_file: str, environ: Mapping[str, str]) -> list[str]:
    """The machines of the record, and for --on what several of them are called together."""
    from . import record
    from .machines import ROLES

    roles = ROLES if place.flag == "on" else ROLES[:1]
    machines: tuple[str, ...] = ()
    with suppress(ClusterError, ValueError):  # ValueError: what cannot be the name of a cluster
        cluster = place.given.get("cluster") or settings.load(runtime_file=runtime_file, environ=environ).cluster
        machines = record.load(state.Store(cluster)).machines
    return list(dict.fromkeys((*roles, *machines)))


def _first_line(namespace: Collection, name: str) -> str:
    return _one_line(getdoc(namespace[name]))


def _one_line(text: str | None) -> str:
    return " ".join((text or "").strip().partition("\n")[0].split())
