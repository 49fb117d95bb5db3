"""What svccfg's commands do to the repository."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase

from .complaints import Complaint
from .editing import add_value, delete_values, environment, set_values, split
from .grammar import Command
from .names import matching_entities
from .places import Place
from .repository import Entity, Group, Instance, Repository, Service, load, locked
from .requests import ask
from .states import RUNNING, states
from .values import listed

READERS = ("list", "listpg", "listprop", "listsnap", "export", "validate", "select", "unselect", "help", "selectsnap")
DENIED = "Permission denied."
NOT_SELECTED = "An entity is not selected."


class Session:
    """One run of svccfg, with what it has selected."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.selected: tuple[str, str | None] | None = None
        self._verbs: dict[str, Callable[[Command, Repository], None]] = {
            "import": self._import,
            "validate": self._validate,
            "export": self._export,
            "list": self._list,
            "add": self._add,
            "delete": self._delete,
            "listpg": self._listpg,
            "addpg": self._addpg,
            "delpg": self._delpg,
            "listprop": self._listprop,
            "setprop": self._setprop,
            "delprop": self._delprop,
            "addpropvalue": self._addpropvalue,
            "delpropvalue": self._delpropvalue,
            "setenv": self._setenv,
            "unsetenv": self._setenv,
            "listsnap": self._listsnap,
            "refresh": self._refresh,
        }

    def carry_out(self, command: Command) -> bool:
        """Carry out one command; False when it was the last. Raises Complaint."""
        name = command.name
        if name in ("end", "exit", "quit"):
            return False
        if name == "":
            raise Complaint(f'Unknown command "{command.words[0]}".')
        if name == "select":
            self.select(command.words[0])
        elif name == "unselect":
            self.selected = None
        elif name not in self._verbs:
            raise Complaint(f"the stand-in does not play {name}", 70)
        elif name in READERS:
            self._verbs[name](command, load(self.place))
        elif not self.place.privileged():
            raise Complaint(DENIED)
        else:
            with locked(self.place) as repository:
                self._verbs[name](command, repository)
        return True

    def select(self, text: str) -> None:
        """Select a service or an instance: the selected service's own instance, else by name."""
        repository = load(self.place)
        if self.selected and not self.selected[1] and text in repository.services[self.selected[0]].instances:
            self.selected = (self.selected[0], text)
            return
        found = matching_entities(repository, text)
        if not found:
            raise Complaint(f"Pattern '{text}' doesn't match any instances or services")
        if len(found) > 1:
            names = "".join(f"\n\t{entity.fmri}" for entity in found)
            raise Complaint(f"Pattern '{text}' matches multiple instances:{names}")
        one = found[0]
        self.selected = (one.service, one.name) if isinstance(one, Instance) else (one.name, None)

    def _entity(self, repository: Repository) -> Service | Instance:
        if self.selected is None:
            raise Complaint(NOT_SELECTED)
        service = repository.services.get(self.selected[0])
        if service is None:
            raise Complaint(NOT_SELECTED)
        if self.selected[1] is None:
            return service
        if self.selected[1] not in service.instances:
            raise Complaint(NOT_SELECTED)
        return service.instances[self.selected[1]]

    def _import(self, command: Command, repository: Repository) -> None:
        from . import importing

        importing.import_files(self.place, repository, command.words)

    def _validate(self, command: Command, repository: Repository) -> None:
        if command.words:
            from . import importing

            importing.read_manifest(self.place, command.words[0])
        else:
            self._entity(repository)

    def _export(self, command: Command, repository: Repository) -> None:
        name = command.words[-1]
        found = [entity for entity in matching_entities(repository, name) if isinstance(entity, Service)]
        if not found:
            raise Complaint(f'"{name}" is not a service.')
        from .exporting import manifest

        text = manifest(found[0])
        if command.target:
            with open(command.target, "w", encoding="utf-8") as stream:
                stream.write(text)
        else:
            print(text, end="")

    def _list(self, command: Command, repository: Repository) -> None:
        pattern = command.words[0] if command.words else "*"
        if self.selected is None:
            names = sorted(repository.services)
        else:
            entity = self._entity(repository)
            names = [] if isinstance(entity, Instance) else sorted(entity.instances)
            names.insert(0, ":properties")
        for name in names:
            if fnmatchcase(name, pattern):
                print(name)

    def _add(self, command: Command, repository: Repository) -> None:
        name = command.words[0]
        if self.selected is None:
            if name in repository.services:
                raise Complaint("Service already exists.")
            repository.services[name] = Service(name)
            return
        entity = self._entity(repository)
        if isinstance(entity, Instance):
            raise Complaint("Cannot add entities to instances.")
        if name in entity.instances:
            raise Complaint("Instance already exists.")
        repository.add_instance(entity, name)

    def _delete(self, command: Command, repository: Repository) -> None:
        name = command.words[-1]
        found = matching_entities(repository, name)
        if not found:
            raise Complaint(f"Pattern '{name}' doesn't match any instances or services")
        if len(found) > 1:
            names = "".join(f"\n\t{entity.fmri}" for entity in found)
            raise Complaint(f"Pattern '{name}' matches multiple instances:{names}")
        entity = found[0]
        instances = [entity] if isinstance(entity, Instance) else list(entity.instances.values())
        now = states(self.place)
        if len(command.words) == 1:
            for one in instances:
                if one.fmri in now and now[one.fmri].state in RUNNING:
                    raise Complaint(f"Instance {one.fmri} may be running.  Use delete -f if it is not.")
        if isinstance(entity, Instance):
            del repository.services[entity.service].instances[entity.name]
        else:
            del repository.services[entity.name]
        ask(self.place, "", "look")

    def _listpg(self, command: Command, repository: Repository) -> None:
        pattern = command.words[0] if command.words else "*"
        chosen = {n: g for n, g in self._entity(repository).groups.items() if fnmatchcase(n, pattern)}
        width = max(map(len, chosen), default=0)
        kinds = max((len(group.type) for group in chosen.values()), default=0)
        for name, group in sorted(chosen.items()):
            print(f"{name:{width}}  {group.type:{kinds}}  {group.flags}".rstrip())

    def _addpg(self, command: Command, repository: Repository) -> None:
        entity = self._entity(repository)
        name, kind, *flags = command.words
        if name in entity.groups:
            raise Complaint(f'Property group "{name}" already exists.')
        entity.groups[name] = Group(kind, {}, "".join(flags))

    def _delpg(self, command: Command, repository: Repository) -> None:
        name = command.words[0]
        if self._entity(repository).groups.pop(name, None) is None:
            raise Complaint(f'No such property group "{name}".')

    def _listprop(self, command: Command, repository: Repository) -> None:
        pattern = command.words[0] if command.words else "*"
        lines = []
        for name, group in sorted(self._entity(repository).groups.items()):
            if fnmatchcase(name, pattern):
                lines.append((name, group.type))
            hidden = "read_authorization" in group.properties and not self.place.privileged()
            for prop, value in sorted(group.properties.items()):
                if fnmatchcase(f"{name}/{prop}", pattern):
                    shown = "" if hidden else listed(value.type, value.values)
                    lines.append((f"{name}/{prop}", f"{value.type:7} {shown}"))
        width = max((len(name) for name, _ in lines), default=0)
        for name, text in lines:
            print(f"{name:{width}}  {text}")

    def _setprop(self, command: Command, repository: Repository) -> None:
        entity = self._entity(repository)
        set_values(entity.groups, command.words[0], command.kind, command.words[1:], command.values)
        self._look_if_enabling(entity, command.words[0])

    def _look_if_enabling(self, entity: Entity, path: str) -> None:
        if path.startswith("general") and isinstance(entity, Instance):
            ask(self.place, "", "look")

    def _delprop(self, command: Command, repository: Repository) -> None:
        groups = self._entity(repository).groups
        name, slash, prop = command.words[0].partition("/")
        if name not in groups:
            raise Complaint(f'No such property group "{name}".')
        if not slash:
            del groups[name]
        elif groups[name].properties.pop(prop, None) is None:
            raise Complaint(f"No such property {name}/{prop}.")

    def _addpropvalue(self, command: Command, repository: Repository) -> None:
        add_value(self._entity(repository).groups, command.words[0], command.kind, command.words[1])

    def _delpropvalue(self, command: Command, repository: Repository) -> None:
        group, prop = split(self._entity(repository).groups, command.words[0])
        delete_values(group, command.words[0], prop, command.words[1])

    def _setenv(self, command: Command, repository: Repository) -> None:
        environment(repository, self._entity(repository), command.words, unset=command.name == "unsetenv")

    def _listsnap(self, command: Command, repository: Repository) -> None:
        entity = self._entity(repository)
        if not isinstance(entity, Instance):
            raise Complaint("Instance not selected.")
        print("initial\nlast-import\nprevious\nrunning\nstart")

    def _refresh(self, command: Command, repository: Repository) -> None:
        entity = self._entity(repository)
        if not isinstance(entity, Instance):
            raise Complaint("Instance not selected.")
        ask(self.place, entity.fmri, "refresh")
