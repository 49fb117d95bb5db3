"""A new manifest over an older one: three sides, and what an administrator changed stays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from .repository import Group, Groups, Property, from_plain, to_plain

Value = TypeVar("Value")


def merged(now: Groups, before: Groups | None, new: Groups) -> Groups:
    """The groups after an upgrade; ``before`` is what the last manifest said, None when there was none."""
    old = before or {}
    result: Groups = {}
    for name in [*now, *(name for name in new if name not in now)]:
        group = _group(now.get(name), old.get(name), new.get(name))
        if group is not None:
            result[name] = group
    return from_plain(to_plain(result))  # nothing shared with the manifest


def _group(now: Group | None, before: Group | None, new: Group | None) -> Group | None:
    if now is None:
        return None if before is not None else new  # somebody deleted it
    if new is None:
        return None if before is not None and _same(now, before) else now
    properties = three_sides(now.properties, before.properties if before else {}, new.properties)
    changed = before is not None and now.type != before.type
    return Group(now.type if changed else new.type, properties, now.flags)


def _same(one: Group, other: Group) -> bool:
    return one.properties == other.properties


def three_sides(
    now: Mapping[str, Property], before: Mapping[str, Property], new: Mapping[str, Property]
) -> dict[str, Property]:
    """The properties of one group: the new ones, except where they are no longer as the last manifest had them."""
    result = {}
    for name in [*now, *(name for name in new if name not in now)]:
        current, old, wanted = now.get(name), before.get(name), new.get(name)
        chosen = wanted if current == old else current
        if chosen is not None:
            result[name] = chosen
    return result
