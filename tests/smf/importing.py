"""svccfg import: manifests into the repository."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from . import manifests
from .complaints import Complaint
from .documents import parsed
from .manifests import Part
from .merging import merged
from .places import Place
from .repository import Entity, Repository, Service, from_plain, set_property, to_plain
from .requests import ask


def read_manifest(place: Place, path: str) -> list[Part]:
    """The services of a manifest. Raises Complaint when it is none."""
    return list(manifests.services(parsed(path, place.setting("dtd"))))


def import_files(place: Place, repository: Repository, words: Sequence[str]) -> None:
    """Import the files that the words name, and of a folder all its ``*.xml``, which are counted on stderr."""
    rest = [word for word in words if word != "-V"]
    if not rest:
        raise Complaint("Syntax error.")
    for word in rest:
        path = Path(word)
        if not path.is_dir():
            _import(place, repository, word)
            continue
        files = sorted(path.glob("*.xml"))
        for file in files:
            _import(place, repository, str(file))
        sys.stderr.write(f"Loaded {len(files)} smf(5) service descriptions\n")


def _import(place: Place, repository: Repository, path: str) -> None:
    root = parsed(path, place.setting("dtd"))
    try:
        parts = list(manifests.services(root))
    except Complaint as complaint:
        sys.stderr.write(f"svccfg: {complaint.text}\n")
        raise Complaint(f"Import of {path} failed.") from complaint
    for part in parts:
        service = repository.services.setdefault(part.name, Service(part.name))
        _merge(service, part)
        _make_depend(repository, part)
        for one in part.parts:
            new = one.name not in service.instances
            instance = repository.add_instance(service, one.name) if new else service.instances[one.name]
            _merge(instance, one)
            if new:  # of those that are there, not even a change in the manifest reaches general/enabled
                value = "true" if one.enabled else "false"
                set_property(instance.groups, "general/enabled", "framework", "boolean", value)
            _make_depend(repository, one)
        for instance in service.instances.values():
            ask(place, instance.fmri, "refresh")


def _merge(entity: Entity, part: Part) -> None:
    entity.groups = merged(entity.groups, entity.imported, part.groups)
    entity.imported = from_plain(to_plain(part.groups))


def _make_depend(repository: Repository, part: Part) -> None:
    for other, group in part.dependents:
        service, _, one = other.removeprefix("svc:/").partition(":")
        found: Entity | None = repository.services.get(service)
        if isinstance(found, Service) and one:
            found = found.instances.get(one)
        if found is not None:
            found.groups[group.properties["name"].values[0]] = group
