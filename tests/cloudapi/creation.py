"""POST /my/machines: what CloudAPI checks, what is refused behind it, and what becomes of the machine."""

from __future__ import annotations

import re
import time
from typing import Any

from .answers import Answer, Refusal, invalid, missing, unfit, unknown
from .asked import Asked
from .machines import MachineFailed
from .vms import Vm
from .world import UUID, World

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
RULE = re.compile(r"([a-zA-Z_][a-zA-Z0-9_.-]+)\s*(==~?|!=~?)(.+)")
OWN_WORDS = re.compile(r"metadata\.(credentials|.*_pw)")


def load(world: World, asked: Asked) -> None:
    """What is looked for by its id before anything else is checked; raises Refusal."""
    image, package = asked.params.get("image"), asked.params.get("package")
    if isinstance(image, str) and UUID.fullmatch(image) and image not in world.images:
        raise unknown("image not found")
    if isinstance(package, str) and UUID.fullmatch(package) and package not in world.packages:
        raise unknown("package not found")


def create(world: World, asked: Asked) -> Answer:
    """Make a machine."""
    params = asked.params
    _watch(world, asked)
    image, package = _image(world, params), _package(world, params)
    vm = Vm("", image["id"], package["name"], memory=package["memory"], disk=package["disk"])
    name = params.get("name", "{{shortId}}")
    if not isinstance(name, str):
        raise Refusal(500, "", "params.name.replace is not a function")
    vm.name = name.replace("{{shortId}}", vm.id[:8])
    networks = _networks(world, params)
    if params.get("brand", "kvm") not in ("bhyve", "kvm"):
        raise invalid(f'Unknown brand "{params["brand"]}". Brand is restricted to one of ["bhyve","kvm"]')
    _affinity(params)
    vm.tags, vm.metadata = _labels(params, "tag."), _labels(params, "metadata.")
    vm.deletion_protection = params.get("deletion_protection") is True
    if not world.keys:
        raise Refusal(409, "KeyRequired", "At least one SSH key is required to provision")
    if not world.approved:
        raise invalid("User is not currently approved for provisioning")
    with world.placing:  # one lock for the whole data center
        if world.pace.place:
            time.sleep(world.pace.place)
        with world.lock:
            _check_behind(world, vm, params)
            vm.nics = world.nics(networks)
            vm.metadata["root_authorized_keys"] = world.authorized()
            vm.born = time.monotonic()
            world.machines[vm.id] = vm
            vm.machine = world.machine(vm)
            _provision(world, vm)
    return Answer(201, vm.body(world.stale, just_made=True), {"Location": f"/{world.login}/machines/{vm.id}"})


def check_name(world: World, name: str, what: str = "parameters") -> None:
    """The rule for names, for creation and renaming."""
    message = f"Invalid VM {what}: Invalid machine name" if what == "parameters" else "Invalid VM update parameters"
    longest = 63 if world.names_in_dns else 189
    if not NAME.fullmatch(name) or len(name) > longest:
        raise unfit(message, "alias", "Invalid", f"String does not match regexp: /^{NAME.pattern}$/")
    if world.named(name):
        raise unfit(message, "alias", "Duplicate", f"Already exists for this owner_uuid {world.id}")


def _provision(world: World, vm: Vm) -> None:
    if world.faults.ailing("sticks", vm.tags):
        return

    def work() -> None:
        vm.touch()
        if world.faults.ailing("fails", vm.tags):
            vm.state = "failed"
            raise MachineFailed("planned")
        try:
            vm.machine.start()
        except Exception:
            vm.state = "failed"
            raise
        vm.state = "running"

    world.job(vm, "provision", work, world.pace.provision)


def _image(world: World, params: dict[str, Any]) -> dict[str, Any]:
    if params.get("dataset") and params.get("image"):
        raise invalid("image and dataset are mutually exclusive parameters.")
    wanted = params.get("image") or params.get("dataset")
    if not wanted:
        raise missing("image must be specified")
    if not UUID.fullmatch(str(wanted)):
        raise invalid(f"{wanted} is not a valid image")
    image = world.images[wanted]
    if image["state"] != "active":
        raise invalid(f"image {wanted} is not active")
    return image


def _package(world: World, params: dict[str, Any]) -> dict[str, Any]:
    wanted = params.get("package")
    if not wanted:
        raise missing("package must be specified")
    package = world.find_package(str(wanted))
    if package is None:
        raise invalid(f"{wanted} is not a valid package")
    if not package.get("active", True):
        raise invalid(f"{wanted} is inactive. Must use an active package")
    return package


def _networks(world: World, params: dict[str, Any]) -> list[str]:
    wanted = params.get("networks")
    if not isinstance(wanted, list):
        public = [one["id"] for one in world.networks.values() if one["public"]]
        private = [one["id"] for one in world.networks.values() if not one["public"]]
        return [*public[:1], *private[:1]]
    found: list[str] = []
    for place, one in enumerate(wanted):
        id = one.get("ipv4_uuid") if isinstance(one, dict) else one
        if not isinstance(id, str):
            raise invalid(f'property "networks[{place}]": array of strings or objects expected')
        if not UUID.fullmatch(id):
            raise Refusal(500, "", "netUuid (uuid) is required")
        if id not in world.networks and id not in world.pooled:
            raise invalid("Invalid Networks")
        if isinstance(one, dict) and "ipv4_ips" in one:
            raise invalid(f"ipv4_uuid: {id} cannot specify IP on a public network")
        if id not in found:
            found.append(id)
    if sum((world.networks.get(id) or world.pooled[id])["public"] for id in found) > 1:
        raise invalid("Can specify a maximum of 1 public networks")
    return found


def _affinity(params: dict[str, Any]) -> None:
    rules = params.get("affinity") or []
    rules = rules if isinstance(rules, list) else [rules]
    if rules and params.get("locality"):
        raise invalid('cannot specify both "locality" (deprecated) and "affinity"')
    for rule in rules:
        if not RULE.fullmatch(str(rule)):
            raise invalid(f"could not find operator in affinity rule: {rule}")


def _labels(params: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {
        name.removeprefix(prefix): value
        for name, value in params.items()
        if name.startswith(prefix) and not OWN_WORDS.fullmatch(name)
    }


def _check_behind(world: World, vm: Vm, params: dict[str, Any]) -> None:
    """What is refused behind CloudAPI."""
    if params.get("networks") == []:
        raise unfit("Invalid VM parameters: Invalid networks", "networks", "Invalid", "Must not be empty")
    if params.get("firewall_enabled", False) not in (True, False, "true", "false"):
        raise unfit("Invalid VM parameters: Invalid firewall_enabled", "firewall_enabled", "Invalid", "Must be boolean")
    vm.firewall_enabled = params.get("firewall_enabled") in (True, "true")
    for field, labels in (("tags", vm.tags), ("customer_metadata", vm.metadata)):
        if any(isinstance(value, (dict, list)) for value in labels.values()):
            raise unfit(f"Invalid VM parameters: Invalid {field}", field, "Invalid", "Forbidden Data Type")
    if any(name.startswith(("triton.", "docker:label:")) for name in vm.tags):
        raise unfit("Invalid VM parameters: Invalid tags", "tags", "Invalid", "Reserved")
    check_name(world, vm.name)
    if sum(one.active for one in world.machines.values()) >= world.faults.capacity:
        raise Refusal(409, "NoAllocatableServersError", "No compute resources available")


def _watch(world: World, asked: Asked) -> None:
    """Note what is silently ignored, or harms later."""
    for name in ("tags", "metadata"):
        if isinstance(asked.given.get(name), dict):
            world.complain(f"nested {name} in {asked.name} are ignored")
    if "networks" in asked.given and not isinstance(asked.given["networks"], list):
        world.complain(f"networks in {asked.name} is no array, and ignored")
    for name, value in asked.given.items():
        if name.startswith(("tag.", "metadata.")) and not isinstance(value, str):
            world.complain(f"{name} in {asked.name} is no text")
