"""The tokens of method commands: what startd puts in their place, and the shell characters it escapes in values."""

from __future__ import annotations

import re

from .repository import Groups, Property
from .values import escaped


class Unexpandable(Exception):
    """The command cannot be expanded: its method fails without being run."""


def expanded(command: str, running: Groups, editing: Groups, fmri: str, method: str) -> str:
    """The command with its tokens replaced. Raises Unexpandable.

    A property is looked for in the running snapshot, and where it is missing there in what is being edited.
    """
    service, _, instance = fmri.removeprefix("svc:/").partition(":")
    plain = {"%": "%", "s": service, "i": instance, "f": fmri, "m": method, "r": "svc.startd"}

    def fail(why: str) -> Unexpandable:
        return Unexpandable(f'Could not expand method tokens in "{command}": {why}')

    result, place = [], 0
    while place < len(command):
        char = command[place]
        if char != "%":
            result.append(char)
            place += 1
            continue
        token = command[place + 1 : place + 2]
        if token == "{":
            end = command.find("}", place)
            if end < 0:
                raise fail("parse error.")
            name = command[place + 2 : end]
            separator = " "
            if name.endswith((",", ":")):
                name, separator = name[:-1], name[-1]
            path = name if "/" in name else f"application/{name}"
            found = _found(running, path) or _found(editing, path)
            if not re.fullmatch(r"[^/{},:]+/[^/{},:]+", path):
                raise fail("parse error.")
            if found is None:
                raise fail(f'property "{path}" not found.')
            result.append(separator.join(escaped(value) for value in found.values))
            place = end + 1
        elif token in plain and token:
            result.append(plain[token])
            place += 2
        else:
            raise fail(f'unknown method token "{token}".')
    return "".join(result)


def _found(groups: Groups, path: str) -> Property | None:
    group, _, name = path.partition("/")
    return groups[group].properties.get(name) if group in groups else None
