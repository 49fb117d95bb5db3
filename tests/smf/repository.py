"""The configuration repository: services, instances, property groups, snapshots; and how they are read as one."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from .places import Place, read, write


@dataclass
class Property:
    """A property: its type and its values, none, one or several."""

    type: str
    values: list[str] = field(default_factory=list)


@dataclass
class Group:
    """A property group."""

    type: str
    properties: dict[str, Property] = field(default_factory=dict)
    flags: str = ""


Groups = dict[str, Group]


@dataclass
class Entity:
    """A service or an instance: ``groups`` is what is being edited, ``imported`` what its last manifest said."""

    name: str
    groups: Groups = field(default_factory=dict)
    imported: Groups | None = None


@dataclass
class Instance(Entity):
    """An instance; ``running`` is the snapshot that startd works with, composed, None before the first."""

    service: str = ""
    running: Groups | None = None

    @property
    def fmri(self) -> str:
        """The full name, with its scheme."""
        return f"svc:/{self.service}:{self.name}"


@dataclass
class Service(Entity):
    """A service with its instances."""

    instances: dict[str, Instance] = field(default_factory=dict)

    @property
    def fmri(self) -> str:
        """The full name, with its scheme."""
        return f"svc:/{self.name}"


@dataclass
class Repository:
    """Everything that is configured on a machine."""

    services: dict[str, Service] = field(default_factory=dict)

    def instances(self) -> Iterator[Instance]:
        """All instances."""
        for service in self.services.values():
            yield from service.instances.values()

    def instance(self, fmri: str) -> Instance | None:
        """The instance of that full name."""
        service, _, name = fmri.removeprefix("svc:/").partition(":")
        found = self.services.get(service)
        return found.instances.get(name) if found else None

    def add_instance(self, service: Service, name: str) -> Instance:
        """A new instance without any property: for startd it does not exist until it has general/enabled."""
        instance = service.instances[name] = Instance(name, service=service.name)
        return instance

    def composed(self, entity: Entity) -> Groups:
        """What is being edited: for an instance, property by property, its own or else its service's."""
        if not isinstance(entity, Instance):
            return entity.groups
        groups = {name: Group(g.type, dict(g.properties), g.flags) for name, g in entity.groups.items()}
        for name, group in self.services[entity.service].groups.items():
            own = groups.setdefault(name, Group(group.type, {}, group.flags))
            own.properties = {**group.properties, **own.properties}
        return groups

    def snapshot(self, instance: Instance) -> None:
        """Take the running snapshot anew."""
        instance.running = from_plain(to_plain(self.composed(instance)))

    def running(self, instance: Instance) -> Groups:
        """The running snapshot; before the first one, what is being edited."""
        return self.composed(instance) if instance.running is None else instance.running


def first(groups: Groups, path: str, default: str = "") -> str:
    """The first value of ``group/property``."""
    name, _, prop = path.partition("/")
    group = groups.get(name)
    found = group.properties.get(prop) if group else None
    return found.values[0] if found and found.values else default


def enabled(instance: Instance) -> bool | None:
    """Whether an instance is to run, ``svcadm enable -t`` and ``disable -t`` included; None: startd ignores it."""
    if not first(instance.groups, "general/enabled"):
        return None
    return (first(instance.groups, "general_ovr/enabled") or first(instance.groups, "general/enabled")) == "true"


def set_property(groups: Groups, path: str, group_type: str, kind: str, *values: str) -> None:
    """Give a property its values, with its group where that is missing."""
    name, _, prop = path.partition("/")
    groups.setdefault(name, Group(group_type)).properties[prop] = Property(kind, list(values))


def to_plain(groups: Groups | None) -> Any:
    """Groups as JSON has them."""
    return None if groups is None else {name: asdict(group) for name, group in groups.items()}


def from_plain(plain: Any) -> Groups:
    """Groups from what JSON has."""
    return {
        name: Group(g["type"], {p: Property(**v) for p, v in g["properties"].items()}, g["flags"])
        for name, g in plain.items()
    }


def load(place: Place) -> Repository:
    """The repository as it is now."""
    repository = Repository()
    for name, plain in read(place.repository, {}).items():
        service = repository.services[name] = Service(name, *_entity(plain))
        for one, its in plain["instances"].items():
            running = None if its["running"] is None else from_plain(its["running"])
            service.instances[one] = Instance(one, *_entity(its), service=name, running=running)
    return repository


def _entity(plain: Any) -> tuple[Groups, Groups | None]:
    imported = plain["imported"]
    return from_plain(plain["groups"]), None if imported is None else from_plain(imported)


def _plain(entity: Entity) -> dict[str, Any]:
    return {"groups": to_plain(entity.groups), "imported": to_plain(entity.imported)}


@contextmanager
def locked(place: Place) -> Iterator[Repository]:
    """The repository for a change, which nobody else makes meanwhile; written unless an exception ends it."""
    with (place.state / "repository.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        repository = load(place)
        yield repository
        plain = {
            name: {
                **_plain(service),
                "instances": {
                    one: {**_plain(instance), "running": to_plain(instance.running)}
                    for one, instance in service.instances.items()
                },
            }
            for name, service in repository.services.items()
        }
        write(place.repository, plain)
