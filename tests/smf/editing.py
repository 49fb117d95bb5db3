"""Property values as svccfg sets them."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from .complaints import Complaint
from .repository import Group, Groups, Instance, Property, Repository, Service
from .values import TYPES, checked

UNQUOTED = "Multiple string values or string values with spaces must be quoted with '\\\"'."


def split(groups: Groups, path: str) -> tuple[Group, str]:
    """The group that ``group/property`` names, and the property's name."""
    name, slash, prop = path.partition("/")
    if not slash:
        raise Complaint("Property names must contain a `/'.")
    if name not in groups:
        raise Complaint(f'No such property group "{name}".')
    return groups[name], prop


def set_values(groups: Groups, path: str, kind: str | None, words: Sequence[str], values: Sequence[str] | None) -> None:
    """Set a property to one word or string, or to ``values``, whose strings must have kept their quotes."""
    if "/" not in path:
        raise Complaint("Property names must contain a `/'.")
    named = _type(kind) if kind is not None else None
    group, prop = split(groups, path)
    there = group.properties.get(prop)
    if named is None and there is None:
        raise Complaint("Type required for new properties.")
    final = named or (there.type if there else "")
    strict = values is not None and final in ("astring", "ustring", "opaque", "host", "hostname", "fmri", "uri")
    given = words if values is None else values
    group.properties[prop] = Property(final, [_value(final, text, strict) for text in given])


def add_value(groups: Groups, path: str, kind: str | None, text: str) -> None:
    """Append one value to a property, which is made when there is none of that name."""
    if "/" not in path:
        raise Complaint("Property names must contain a `/'.")
    named = _type(kind) if kind is not None else None
    group, prop = split(groups, path)
    there = group.properties.get(prop)
    if there is None:
        if named is None:
            raise Complaint("Type required for new properties.")
        there = group.properties[prop] = Property(named)
    elif named is not None and named != there.type:
        raise Complaint(f'Property "{prop}" is not of type "{named}".')
    there.values.append(_value(there.type, text, False))


def delete_values(group: Group, path: str, prop: str, pattern: str) -> None:
    """Take away the values that a pattern matches."""
    there = group.properties.get(prop)
    if there is None:
        raise Complaint(f"No such property {path}.")
    plain = _unquoted(pattern)
    there.values = [value for value in there.values if not fnmatchcase(value, plain)]


def environment(repository: Repository, entity: Service | Instance, words: Sequence[str], *, unset: bool) -> None:
    """setenv and unsetenv: ``[-i | -s] [-m method] NAME [VALUE]``, for one method or for all."""
    rest = [_unquoted(word) for word in words]
    group = "method_context"
    while rest and rest[0] in ("-i", "-s", "-m"):
        option = rest.pop(0)
        if option == "-m" and rest:
            group = rest.pop(0)
        if option == "-s" and isinstance(entity, Instance):
            entity = repository.services[entity.service]
    if len(rest) != (1 if unset else 2):
        raise Complaint("Syntax error.")
    name = rest[0]
    if group != "method_context" and group not in entity.groups:
        raise Complaint(f'Failed to get the "{group}" method\'s property group.')
    properties = entity.groups.setdefault(group, Group("framework")).properties
    there = properties.setdefault("environment", Property("astring"))
    there.values = [value for value in there.values if value.partition("=")[0] != name]
    if not unset:
        there.values.append(f"{name}={rest[1]}")


def _type(kind: str) -> str:
    name = kind.removesuffix(":")
    if not kind.endswith(":") or name not in TYPES:
        raise Complaint(f'Unknown type "{kind}".')
    return name


def _unquoted(text: str) -> str:
    return text[1:-1] if text.startswith('"') else text


def _value(kind: str, text: str, strict: bool) -> str:
    if strict and not (len(text) > 1 and text[0] == text[-1] == '"'):
        raise Complaint(UNQUOTED)
    plain = _unquoted(text)
    good = checked(kind, plain)
    if good is None:
        raise Complaint(f'Invalid "{kind}" value "{plain}".')
    return good
