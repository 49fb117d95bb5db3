"""Values of properties: their types, and how svccfg and svcprop write them."""

from __future__ import annotations

import re

TYPES = (
    "astring",
    "ustring",
    "boolean",
    "count",
    "integer",
    "time",
    "opaque",
    "host",
    "hostname",
    "net_address",
    "net_address_v4",
    "net_address_v6",
    "fmri",
    "uri",
)
STRINGS = frozenset(TYPES) - {"boolean", "count", "integer", "time"}
SPECIAL = ";&()|^<>\n \t\\\"'`"  # what libscf's list of shell characters holds; $ * ? ~ # and others are not in it


def checked(kind: str, text: str) -> str | None:
    """The value as the repository keeps it; None when it is none of that type."""
    if kind == "boolean":
        return {"true": "true", "false": "false", "1": "true", "0": "false"}.get(text)
    if kind == "count":
        return _number(text, r"\+?\d+", 0, 2**64 - 1)
    if kind == "integer":
        return _number(text, r"[+-]?\d+", -(2**63), 2**63 - 1)
    if kind == "time":
        return text if re.fullmatch(r"\d+(\.\d{1,9})?", text) else None
    if kind == "opaque":
        return text if re.fullmatch(r"([0-9a-fA-F]{2})*", text) else None
    return text


def _number(text: str, form: str, least: int, most: int) -> str | None:
    return str(int(text)) if re.fullmatch(form, text) and least <= int(text) <= most else None


def escaped(text: str) -> str:
    """A value as a word of a shell command, in the way of svcprop and of method tokens."""
    return "".join(f"\\{char}" if char in SPECIAL else char for char in text)


def quoted(text: str) -> str:
    """A value in double quotes, as svccfg reads it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def listed(kind: str, values: list[str]) -> str:
    """The values as ``svccfg listprop`` shows them, each after a blank."""
    strings = kind in STRINGS
    several = len(values) > 1
    return "".join(
        f" {quoted(v) if strings and (several or not v or any(c in v for c in _UNSAFE)) else v}" for v in values
    )


_UNSAFE = ' \t\n"()'
