"""Labels: the tags and metadata of machines. Both are texts by name, changed some time after the call that says so.

Tags can be searched for and are what firewall rules go by; metadata can be read, and written, inside the machine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from ...errors import UsageError
from .api import Api, step, thing

Kind = Literal["tag", "metadata"]
PATHS: dict[Kind, str] = {"tag": "tags", "metadata": "metadata"}
# CloudAPI takes these for parameters of the call: the first two make it mean another account or machine.
RESERVED = ("account", "machine", "uuid", "owner_uuid", "image", "context", "origin", "credentials")
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@/-]{0,127}")


def checked(kind: Kind, labels: Mapping[str, str]) -> dict[str, str]:
    """The labels, if CloudAPI will keep all of them as they are; raises UsageError with those that it would not."""
    complaints = [f"{name!r} {why}" for name, value in labels.items() if (why := _unfit(kind, name, value))]
    if complaints:
        raise UsageError(
            f"CloudAPI would not keep {'these tags' if kind == 'tag' else 'this metadata'}: {'; '.join(complaints)}",
            hint="choose other names, and texts for values",
        )
    return dict(labels)


def read(api: Api, kind: Kind, machine: str) -> dict[str, str]:
    """The labels of a machine, all as text; for a while after a change the old ones."""
    doing = f"reading the {PATHS[kind]} of {machine}"
    return _texts(thing(api.get(f"/machines/{step(machine)}/{PATHS[kind]}", doing), doing))


def add(api: Api, kind: Kind, machine: str, labels: Mapping[str, str]) -> dict[str, str]:
    """Set these labels beside those there are, some time later; all that there will be then."""
    if not labels:
        return read(api, kind, machine)
    doing = f"changing the {PATHS[kind]} of {machine}"
    body = checked(kind, labels)
    return _texts(thing(api.call("POST", f"/machines/{step(machine)}/{PATHS[kind]}", doing, body=body), doing))


def replace_tags(api: Api, machine: str, tags: Mapping[str, str]) -> dict[str, str]:
    """Let the machine have these tags and no others; all that there will be."""
    doing = f"changing the tags of {machine}"
    body = checked("tag", tags)
    return _texts(thing(api.call("PUT", f"/machines/{step(machine)}/tags", doing, body=body), doing))


def remove(api: Api, kind: Kind, machine: str, name: str) -> None:
    """Take one label away; silent when it is not there, or when the machine is gone."""
    path = f"/machines/{step(machine)}/{PATHS[kind]}/{step(name)}"
    api.call("DELETE", path, f"removing {name} from the {PATHS[kind]} of {machine}", passing=(404, 410))


def _unfit(kind: Kind, name: str, value: object) -> str:
    if not isinstance(value, str):
        return f"is {value!r}, which is no text"
    if name in RESERVED or name.startswith("credentials."):
        return "is a word of CloudAPI's own"
    if name.endswith("_pw"):
        return "ends in _pw, and such are dropped"
    if kind == "tag" and name.startswith(("triton.", "docker:")):
        return "begins with a word of CloudAPI's own"
    return "" if NAME.fullmatch(name) else "is no name"


def _texts(body: Mapping[str, Any]) -> dict[str, str]:
    return {str(key): str(one).lower() if isinstance(one, bool) else str(one) for key, one in body.items()}
