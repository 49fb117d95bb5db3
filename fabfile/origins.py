"""The resolved settings for a person and for programs: each value, and where it came from. Secrets are not among it.

No setting is a secret of ours, but users may put one of theirs into a variable for engines, an address or an option.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from . import kinds
from .kinds import UNITS
from .settings import PROJECT_FILE, Resolved, Settings

HIDDEN = "…"
WIDEST = 44  # characters of a value in the table
KINDS_OF_TIME = kinds.duration.__qualname__ + "."  # what the checks of all settings that are times are called
PAIRS = "tuple[tuple["
OPTIONS = ("controller_options", "engine_options")


@dataclass(frozen=True)
class Origin:
    """A setting: its value as JSON has it, the same as a settings file has it, and where that stands.

    ``where`` is "" for a default; times are seconds in ``value``.
    """

    key: str
    value: Any
    text: str
    where: str = ""


def origins(resolved: Resolved, project_file: Path = PROJECT_FILE) -> tuple[Origin, ...]:
    """All settings in the order of ``Settings``, with what may be a secret left out."""
    found = []
    for field in fields(Settings):
        value = getattr(resolved.settings, field.name)
        where = resolved.origins[field.name]
        if where.startswith(f"{project_file} ") and value == field.default:
            where = ""
        shown = _plain(field.name, str(field.type), value)
        is_time = field.metadata["kind"].__qualname__.startswith(KINDS_OF_TIME)
        found.append(Origin(field.name, shown, time(value) if is_time else _text(shown), where))
    return tuple(found)


def changed(found: tuple[Origin, ...]) -> tuple[Origin, ...]:
    """Those that are not defaults, whatever their value."""
    return tuple(one for one in found if one.where)


def document(found: tuple[Origin, ...]) -> dict[str, dict[str, Any]]:
    """The settings by key, each with its value (times: seconds) and where it came from, null for a default."""
    return {one.key: {"value": one.value, "from": one.where or None} for one in found}


def table(found: tuple[Origin, ...]) -> list[str]:
    """The settings as a person reads them, in columns."""
    home = os.path.expanduser("~")
    rows = [("setting", "value", "from")]
    for one in found:
        where = one.where.removeprefix(f"{PROJECT_FILE.parent}/")
        where = f"~{where.removeprefix(home)}" if where.startswith(f"{home}/") else where
        text = one.text if len(one.text) <= WIDEST else one.text[: WIDEST - 1] + "…"
        rows.append((one.key, text, where or "default"))
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return [f"{key:<{widths[0]}}  {text:<{widths[1]}}  {where}" for key, text, where in rows]


def time(seconds: float) -> str:
    """A time as a settings file has it, in its largest whole unit: ``8h``, ``90s``, ``100ms``; ``off`` for 0."""
    if not seconds:
        return "off"
    for unit, length in sorted(UNITS.items(), key=lambda one: -one[1]):
        number = round(seconds / length, 9)
        if unit and number >= 1 and number == int(number):
            return f"{int(number)}{unit}"
    return f"{seconds:g}s"


def _plain(key: str, kind: str, value: Any) -> Any:
    """The value as JSON has it, without what may be a secret."""
    if key == "engine_env":
        return {name: HIDDEN for name, _ in value}
    if kind.startswith(PAIRS):
        return {name: _plain("", "", content) for name, content in value}
    if isinstance(value, tuple):
        return [_without_secrets(key, str(one)) for one in value]
    return _without_secrets(key, value) if isinstance(value, str) else value


def _without_secrets(key: str, text: str) -> str:
    """A text without the password in an address, or an option's value that its name calls a secret."""
    text = re.sub(r"(?<=://)[^/@\s]+(?=@)", HIDDEN, text)
    if key in OPTIONS:
        text = re.sub(r"(?i)(key|token|secret|passw[a-z]*|passphrase)=.+", rf"\1={HIDDEN}", text)
    return text


def _text(value: Any) -> str:
    """A value of JSON's kinds as a settings file has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name}: {_text(content)}' for name, content in value.items())}}}"
    return f"{value:g}" if isinstance(value, float) else value or '""' if isinstance(value, str) else str(value)
