"""Firewall rules of the account."""

from __future__ import annotations

import uuid
from typing import Any

from . import fwrules
from .answers import Answer, Refusal, missing, unknown
from .asked import Asked
from .listing import find, version
from .world import World

CHANGEABLE = ("enabled", "log", "description")


def rules(world: World, asked: Asked) -> Answer:
    """GET of all."""
    return Answer(body=list(world.rules.values()))


def add(world: World, asked: Asked) -> Answer:
    """POST of a new one, which is off unless it says otherwise."""
    text = asked.params.get("rule")
    if not text:
        raise missing("rule is a required argument")
    rule: dict[str, Any] = {"id": str(uuid.uuid4()), "rule": fwrules.parse(str(text)).text()}
    rule |= {"enabled": asked.params.get("enabled") is True, "log": asked.params.get("log") is True}
    if asked.params.get("description"):
        rule["description"] = asked.params["description"]
    world.rules[rule["id"]] = rule
    return Answer(201, dict(rule))


def rule(world: World, asked: Asked) -> Answer:
    """GET of one."""
    return Answer(body=dict(_find(world, asked)))


def change(world: World, asked: Asked) -> Answer:
    """POST of what shall be otherwise."""
    found = _own(world, asked)
    if asked.params.get("rule") and "rule" in asked.given:
        found["rule"] = fwrules.parse(str(asked.given["rule"])).text()
    found.update({name: asked.given[name] for name in CHANGEABLE if name in asked.given})
    return Answer(body=dict(found))


def enable(world: World, asked: Asked) -> Answer:
    """POST …/enable."""
    found = _own(world, asked)
    found["enabled"] = True
    return Answer(body=dict(found))


def disable(world: World, asked: Asked) -> Answer:
    """POST …/disable."""
    found = _own(world, asked)
    found["enabled"] = False
    return Answer(body=dict(found))


def remove(world: World, asked: Asked) -> Answer:
    """DELETE."""
    del world.rules[_own(world, asked)["id"]]
    return Answer(204)


def of_machine(world: World, asked: Asked) -> Answer:
    """GET of the rules that a machine is touched by."""
    vm = find(world, asked)
    return Answer(body=[one for one in world.rules.values() if fwrules.parse(one["rule"]).concerns(vm)])


def machines(world: World, asked: Asked) -> Answer:
    """GET of the machines that a rule touches."""
    found = fwrules.parse(_find(world, asked)["rule"])
    body = [vm.body(world.stale, version(asked)) for vm in world.machines.values() if vm.active and found.concerns(vm)]
    return Answer(body=body, headers={"x-resource-count": str(len(body))})


def _find(world: World, asked: Asked) -> dict[str, Any]:
    found = world.rules.get(asked.steps["rule"])
    if found is None:
        raise unknown("Rule not found")
    return found


def _own(world: World, asked: Asked) -> dict[str, Any]:
    found = _find(world, asked)
    if found.get("global"):
        raise Refusal(409, "InvalidArgument", "global rules cannot be modified")
    return found
