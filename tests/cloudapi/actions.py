"""POST and DELETE of one machine, and its audit: accepted at once, done later, or not."""

from __future__ import annotations

import time
from collections.abc import Callable

from .answers import Answer, Refusal, invalid, missing
from .asked import Asked
from .creation import check_name
from .listing import find
from .vms import Vm
from .world import World

INTERNAL = {"start": "start", "stop": "stop", "reboot": "reboot"}  # everything else is an update
AUDITED = {"rename": "rename", "resize": "resize"}


def act(world: World, asked: Asked) -> Answer:
    """POST with an action."""
    vm = find(world, asked)
    action = asked.params.get("action")
    if not action:
        raise missing("action is required")
    if action not in ACTIONS:
        raise invalid(f"{action} is not a valid action")
    if vm.gone:
        world.complain(f"{action} of the deleted machine {vm.id}, which can take the server down")
        return Answer(410, vm.body(world.stale))
    work = ACTIONS[action](world, vm, asked)
    if vm.state == "provisioning":
        word = INTERNAL.get(action, "update")
        message = f"Cannot call {word} for a VM that has not been provisioned yet"
        raise Refusal(409, "UnallocatedVM", message)

    def run() -> None:
        if not vm.gone:
            work()
            vm.touch()

    world.job(vm, action, run)
    return Answer(202)


def delete(world: World, asked: Asked) -> Answer:
    """DELETE, of a running machine too."""
    vm = find(world, asked)
    if vm.gone:
        if time.monotonic() - vm.destroying < world.stale.deleted:
            return Answer(410, vm.id)
        return Answer(410, vm.body(world.stale))
    if vm.deletion_protection:
        message = 'Instance has "deletion_protection" enabled, preventing deletion'
        raise Refusal(409, "CannotDestroyMachineError", message)
    if not vm.placed(world.stale):
        raise Refusal(409, "ConflictError", "Cannot delete a VM with no server_uuid")

    def run() -> None:
        if not vm.gone:
            vm.machine.destroy()
            vm.destroying = time.monotonic()
            vm.state = "destroyed"
            vm.touch()

    world.job(vm, "destroy", run)
    return Answer(204)


def audit(world: World, asked: Asked) -> Answer:
    """GET of what was done, the newest first."""
    return Answer(body=list(find(world, asked).audit))


Plan = Callable[[World, Vm, Asked], Callable[[], None]]


def _start(world: World, vm: Vm, asked: Asked) -> Callable[[], None]:
    def work() -> None:
        if vm.state == "running":
            return
        vm.machine.start()
        vm.state = "running"

    return work


def _stop(world: World, vm: Vm, asked: Asked) -> Callable[[], None]:
    def work() -> None:
        vm.machine.stop()
        vm.state = "stopped"

    return work


def _reboot(world: World, vm: Vm, asked: Asked) -> Callable[[], None]:
    def work() -> None:
        vm.machine.stop()
        vm.machine.start()
        vm.state = "running"

    return work


def _rename(world: World, vm: Vm, asked: Asked) -> Callable[[], None]:
    name = asked.params.get("name")
    if not name:
        raise missing("New name must be specified")
    if len(name) > 189:
        raise invalid("Name cannot be longer than 189 characters.")
    if name != vm.name:
        check_name(world, name, "update parameters")
    return lambda: setattr(vm, "name", name)


def _resize(world: World, vm: Vm, asked: Asked) -> Callable[[], None]:
    wanted = asked.params.get("package")
    if not wanted:
        raise missing("package must be specified")
    package = world.find_package(wanted)
    if package is None:
        raise invalid(f"{wanted} is not a valid package")

    def work() -> None:
        vm.package, vm.memory, vm.disk = package["name"], package["memory"], package["disk"]

    return work


def _set(field: str, value: bool) -> Plan:
    def plan(world: World, vm: Vm, asked: Asked) -> Callable[[], None]:
        return lambda: setattr(vm, field, value)

    return plan


ACTIONS: dict[str, Plan] = {
    "start": _start,
    "stop": _stop,
    "reboot": _reboot,
    "rename": _rename,
    "resize": _resize,
    "enable_firewall": _set("firewall_enabled", True),
    "disable_firewall": _set("firewall_enabled", False),
    "enable_deletion_protection": _set("deletion_protection", True),
    "disable_deletion_protection": _set("deletion_protection", False),
}
