"""GET /my/machines and GET of one of them."""

from __future__ import annotations

import hashlib
from typing import Any

from .answers import Answer, Refusal, invalid, unfit, unknown
from .asked import Asked
from .creation import NAME
from .versions import chosen
from .vms import Vm
from .world import UUID, World

MOST = 1000
ACTIVE = ("active", "provisioning", "stopping")
PASSED = ("running", "stopped", "destroyed", *ACTIVE)


def machines(world: World, asked: Asked) -> Answer:
    """The machines that a list shows."""
    query = asked.query
    check(world, asked)
    if query.get("tags") == "*":
        found = [vm for vm in world.machines.values() if vm.tags]
        return _page(world, asked, found, {})
    limit, offset = _number(query, "limit", MOST, 1, MOST), _number(query, "offset", 0, 0, 10**9)
    found = [vm for vm in world.machines.values() if _shows(world, query, vm)]
    # No order is promised; but one page must go on where the other ended.
    found.sort(key=lambda vm: hashlib.sha256(vm.id.encode()).digest())
    return _page(world, asked, found[offset : offset + limit], {"x-query-limit": str(limit)})


def machine(world: World, asked: Asked) -> Answer:
    """One machine; a deleted one is gone, and told whole."""
    vm = find(world, asked)
    return Answer(410 if vm.gone else 200, vm.body(world.stale, version(asked)))


def find(world: World, asked: Asked) -> Vm:
    """The machine that a request is about; raises Refusal."""
    vm = world.machines.get(str(asked.params.get("machine")))
    if vm is None:
        raise unknown("VM not found")
    return vm


def version(asked: Asked) -> tuple[int, int, int]:
    """The version that a request is answered in."""
    return chosen(asked.headers.get("Accept-Version") or asked.headers.get("X-Api-Version") or "*") or (9, 0, 0)


def _page(world: World, asked: Asked, found: list[Vm], headers: dict[str, str]) -> Answer:
    body = [vm.body(world.stale, version(asked)) for vm in found]
    return Answer(body=body, headers={**headers, "x-resource-count": str(len(body))})


def _shows(world: World, query: dict[str, Any], vm: Vm) -> bool:
    """Whether a list with these filters shows the machine; raises Refusal for filters that are none."""
    checks = [_in_state(query, vm)]
    if vm.age() < world.stale.listed:
        checks.append(False)
    for name, value in query.items():
        if name.startswith("tag."):
            key = name.removeprefix("tag.")
            checks.append(key in vm.tags and _text(vm.tags[key]) == value)
    for name in ("brand", "memory", "type", "image"):
        if name in query:
            checks.append(str(getattr(vm, name)) == query[name])
    if "name" in query:
        checks.append(vm.name.startswith(query["name"]))
    return all(checks)


def check(world: World, asked: Asked) -> None:
    """The filters, whatever there is to list; raises Refusal."""
    query = asked.query
    if "state" in query and query["state"] not in (*PASSED, "unknown"):
        raise invalid(f"{query['state']} is not a valid state")
    if query.get("type", "smartmachine") not in ("smartmachine", "virtualmachine"):
        raise invalid(f"{query['type']} is not a valid type")
    if query.get("docker", "true") not in ("true", "false"):
        raise invalid(f"{query['docker']} is not a valid boolean")
    if query.get("state") == "unknown":
        raise unfit("Invalid Parameters", "state", "Invalid", "Must be a valid state")
    if "image" in query and not UUID.fullmatch(query["image"]):
        raise unfit("Invalid Parameters", "image_uuid", "Invalid", "Invalid UUID")
    if "name" in query and not NAME.fullmatch(query["name"]):
        raise unfit("Invalid Parameters", "alias", "Invalid", "String does not match regexp")


def _in_state(query: dict[str, Any], vm: Vm) -> bool:
    if "state" in query:
        state = query["state"]
        return vm.active if state in ACTIVE else vm.shown == {"destroyed": "deleted"}.get(state, state)
    return query.get("tombstone") == "true" or vm.active


def _number(query: dict[str, Any], name: str, otherwise: int, least: int, most: int) -> int:
    text = str(query.get(name, otherwise))
    if not text.isdecimal() or not least <= int(text) <= most:
        raise Refusal(
            409,
            "ValidationFailed",
            "Invalid Parameters",
            errors=[{"field": name, "code": "Invalid", "message": f"Must be {least} to {most}"}],
        )
    return int(text)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
