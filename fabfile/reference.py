"""invoke.yaml as a person reads it: sections of settings, each with its default and what is said about it.

Reads the text, since comments are not part of what YAML says; what the values mean is settings.py's matter.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from .settings import PROJECT_FILE

TEMPLATES = "templates"


@dataclass(frozen=True)
class Entry:
    """A setting: its key, its value as it is written, and the lines of comment beside and below it."""

    key: str
    value: str
    comment: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """Settings under one title."""

    title: str
    entries: tuple[Entry, ...] = ()


@dataclass(frozen=True)
class Template:
    """A shipped template: what it is for, and the values that it sets."""

    name: str
    comment: str
    entries: tuple[Entry, ...] = ()


def sections(path: Path = PROJECT_FILE) -> tuple[Section, ...]:
    """All settings but the templates, in the order of the file."""
    found: list[Section] = []
    for line in _lines(path)[0]:
        if title := re.fullmatch(r" *# -- (.+?) -+", line):
            found.append(Section(title[1]))
        elif entry := _entry(line, found[-1].entries if found else ()):
            found[-1] = replace(found[-1], entries=entry)
    return tuple(found)


def templates(path: Path = PROJECT_FILE) -> dict[str, Template]:
    """The shipped templates by name."""
    found: list[Template] = []
    for line in _lines(path)[1]:
        if named := re.fullmatch(r"    (\S+):(?: +# (.+))?", line):
            found.append(Template(named[1], named[2] or ""))
        elif entry := _entry(line, found[-1].entries if found else ()):
            found[-1] = replace(found[-1], entries=entry)
    return {one.name: one for one in found}


def _lines(path: Path) -> tuple[list[str], list[str]]:
    """The lines of the settings, and those of the templates."""
    lines = path.read_text(encoding="utf-8").splitlines()
    first, then = lines.index("ipyfleet:"), lines.index(f"  {TEMPLATES}:")
    return lines[first + 1 : then - 1], lines[then + 1 :]


def _entry(line: str, before: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """The entries with what the line adds: one more, or a line of comment to the last; () when it says nothing."""
    if named := re.fullmatch(r" +([a-z_]+): (.+?)(?: +# (.+))?", line):
        return (*before, Entry(named[1], named[2], (named[3],) if named[3] else ()))
    if before and (more := re.fullmatch(r" {20,}# (.+)", line)):
        return (*before[:-1], replace(before[-1], comment=(*before[-1].comment, more[1])))
    return ()
