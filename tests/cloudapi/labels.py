"""Tags and metadata of a machine: told at once as they will be, changed later."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from .answers import Answer, Refusal, invalid, unknown
from .asked import Asked
from .listing import find
from .vms import Vm
from .world import World

PARAMETERS = ("account", "machine", "tag", "key")
KEPT = ("root_authorized_keys", "administrator_pw", "credentials")
NOT_TAGS = ("uuid", "owner_uuid", "context", "image")
NOT_METADATA = ("uuid", "owner_uuid", "credentials", "image")


def tags(world: World, asked: Asked) -> Answer:
    """GET, also of a deleted machine."""
    return Answer(body=dict(find(world, asked).tags))


def tag(world: World, asked: Asked) -> Answer:
    """GET of one; what is no text is told as an empty one."""
    vm, name = find(world, asked), asked.params["tag"]
    if name not in vm.tags:
        raise unknown(f'tag "{name}" not found')
    value = vm.tags[name]
    return Answer(body=value if isinstance(value, str) else "")


def add_tags(world: World, asked: Asked) -> Answer:
    """POST: these beside those there are."""
    vm = _alive(world, asked)
    given = _given_tags(world, asked)
    if not given:
        raise Refusal(409, "ValidationFailed", "error adding tags: Invalid tag parameters")
    return _change(world, vm, "set_tags", "tags", lambda: {**vm.tags, **given})


def replace_tags(world: World, asked: Asked) -> Answer:
    """PUT: these and no others."""
    vm = _alive(world, asked)
    given = _given_tags(world, asked)
    return _change(world, vm, "replace_tags", "tags", lambda: given)


def remove_tag(world: World, asked: Asked) -> Answer:
    """DELETE of one."""
    vm, name = _alive(world, asked), asked.params["tag"]
    if name not in vm.tags:
        raise unknown(f'tag "{name}" not found')
    _change(world, vm, "remove_tags", "tags", lambda: {key: one for key, one in vm.tags.items() if key != name})
    return Answer(204)


def remove_tags(world: World, asked: Asked) -> Answer:
    """DELETE of all."""
    _change(world, _alive(world, asked), "remove_tags", "tags", dict)
    return Answer(204)


def metadata(world: World, asked: Asked) -> Answer:
    """GET."""
    return Answer(body=dict(_heard(find(world, asked)).metadata))


def metadatum(world: World, asked: Asked) -> Answer:
    """GET of one; what is no text is as good as not there."""
    vm, name = _heard(find(world, asked)), asked.params["key"]
    if name == "credentials":
        return Answer(body=vm.metadata.get(name, {}))
    if name not in vm.metadata:
        raise unknown(f'metadatum "{name}" not found')
    if not isinstance(vm.metadata[name], str):
        raise unknown(f"{name} is not metadata")
    return Answer(body=vm.metadata[name])


def add_metadata(world: World, asked: Asked) -> Answer:
    """POST: these beside those there are."""
    vm = _alive(world, asked)
    given = {
        name: value
        for name, value in asked.given.items()
        if name not in (*NOT_METADATA, "account", "machine") and not name.endswith("_pw")
    }
    _watch(world, asked, given)
    if any(isinstance(value, (dict, list)) for value in given.values()):
        raise Refusal(409, "ValidationFailed", "Invalid metadata: Forbidden Data Type")
    return _change(world, vm, "set_metadata", "metadata", lambda: {**vm.metadata, **given})


def remove_metadatum(world: World, asked: Asked) -> Answer:
    """DELETE of one."""
    vm, name = _heard(_alive(world, asked)), asked.params["key"]
    if name in KEPT:
        raise invalid(f"Metadata key {name} can not be deleted")
    if name not in vm.metadata:
        raise unknown(f'metadatum "{name}" not found')
    _change(
        world, vm, "remove_metadata", "metadata", lambda: {key: one for key, one in vm.metadata.items() if key != name}
    )
    return Answer(204)


def remove_metadata(world: World, asked: Asked) -> Answer:
    """DELETE of all; by a mistake of the server's two new ones turn up."""
    vm = _alive(world, asked)

    def left() -> dict[str, Any]:
        kept = {name: value for name, value in vm.metadata.items() if name in KEPT}
        return {"uuid": vm.id, "owner_uuid": world.id, **kept}

    _change(world, vm, "replace_metadata", "metadata", left)
    return Answer(204)


def _change(world: World, vm: Vm, action: str, field: str, value: Callable[[], dict[str, Any]]) -> Answer:
    """Change all tags or metadata when the job is done; what they will be is told now."""

    def work() -> None:
        if not vm.gone:
            setattr(_heard(vm), field, value())
            vm.touch()
            if field == "metadata":
                vm.machine.hear(vm.metadata)

    told = value()
    world.job(vm, action, work)
    return Answer(body=told, headers={"x-job-uuid": str(uuid.uuid4())})


def _heard(vm: Vm) -> Vm:
    """The instance, with what its machine has written into its metadata since."""
    said = None if vm.gone else vm.machine.said()
    if said is not None:
        vm.metadata = said
    return vm


def _given_tags(world: World, asked: Asked) -> dict[str, Any]:
    given = {key: one for key, one in asked.given.items() if key not in (*NOT_TAGS, "account", "machine")}
    _watch(world, asked, given)
    odd = [key for key, one in given.items() if isinstance(one, (dict, list)) or key.startswith(("triton.", "docker:"))]
    if odd:
        raise Refusal(409, "ValidationFailed", "error adding tags: Invalid tag parameters")
    return given


def _watch(world: World, asked: Asked, given: dict[str, Any]) -> None:
    for name, value in given.items():
        if not isinstance(value, str):
            world.complain(f"{name} in {asked.name} is no text")


def _alive(world: World, asked: Asked) -> Vm:
    vm = find(world, asked)
    if vm.gone:
        world.complain(f"{asked.name} of the deleted machine {vm.id}")
        raise Gone(vm.body(world.stale))
    return vm


class Gone(Refusal):
    """The machine is deleted: 410 with the machine."""

    def __init__(self, body: dict[str, Any]) -> None:
        super().__init__(410, "", "")
        self.answer.body = body
