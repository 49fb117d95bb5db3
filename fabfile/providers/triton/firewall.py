"""Firewall rules, which CloudAPI keeps for the whole account and which only say whose they are by their own text.

CloudAPI rewrites what it is given into a form of its own. Rules made here have that form from the beginning, so that
one of them is found again by its text.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import UsageError
from .api import Api, entries, step, thing
from .refusals import Doubtful

MOST_PORTS = 8  # of one rule, says the documentation
MOST_TARGETS = 24
Ports = Sequence[int | tuple[int, int]]  # single ones and ranges; none at all means every port


@dataclass(frozen=True)
class Rule:
    """A rule as CloudAPI keeps it; those that are ``everywhere`` belong to the operator and cannot be changed."""

    id: str
    text: str
    enabled: bool
    description: str = ""
    everywhere: bool = False


def among(tag: str, value: str, protocol: str = "tcp", ports: Ports = ()) -> str:
    """The rule that lets machines with this tag reach each other."""
    target = tagged(tag, value)
    return f"FROM {target} TO {target} ALLOW {protocol} {_ports(ports)}"


def from_networks(networks: Sequence[str], tag: str, value: str, protocol: str = "tcp", ports: Ports = ()) -> str:
    """The rule that lets in from these networks (``198.51.100.0/24``, or one address) to machines with this tag."""
    if not 0 < len(networks) <= MOST_TARGETS:
        raise UsageError(f"a firewall rule takes 1 to {MOST_TARGETS} networks, not {len(networks)}")
    sources = sorted({_source(one) for one in networks})
    source = sources[0] if len(sources) == 1 else f"({' OR '.join(sources)})"
    return f"FROM {source} TO {tagged(tag, value)} ALLOW {protocol} {_ports(ports)}"


def tagged(tag: str, value: str) -> str:
    """Machines with this tag, as a part of a rule."""
    return f"tag {_quoted(tag)} = {_quoted(value)}"


def rules(api: Api) -> list[Rule]:
    """All rules of the account."""
    doing = "looking for firewall rules"
    return [_rule(one) for one in entries(api.get("/fwrules", doing), doing)]


def add(api: Api, text: str, description: str = "") -> Rule:
    """Have the rule in force; one with the same text is taken as it is, and switched on if it was off.

    Reaches the machines some time later, and only those whose firewall is on.
    """
    doing = f"adding the firewall rule {text!r}"
    body: dict[str, Any] = {"rule": text, "enabled": True}
    if description:
        body["description"] = description
    if found := _find(api, text):
        return found if found.enabled else enable(api, found.id)
    try:
        return _rule(thing(api.call("POST", "/fwrules", doing, body=body, repeat=False), doing))
    except Doubtful:
        if found := _find(api, text):
            return found
    return _rule(thing(api.call("POST", "/fwrules", doing, body=body, repeat=False), doing))


def enable(api: Api, id: str) -> Rule:
    """Switch a rule on."""
    doing = f"enabling the firewall rule {id}"
    return _rule(thing(api.call("POST", f"/fwrules/{step(id)}/enable", doing), doing))


def remove(api: Api, id: str) -> None:
    """Remove a rule; silent when it is gone already."""
    api.call("DELETE", f"/fwrules/{step(id)}", f"removing the firewall rule {id}", passing=(404,))


def _find(api: Api, text: str) -> Rule | None:
    same = [one for one in rules(api) if one.text == text and not one.everywhere]
    return max(same, key=lambda one: one.enabled, default=None)


def _rule(body: Mapping[str, Any]) -> Rule:
    return Rule(
        id=str(body.get("id") or ""),
        text=str(body.get("rule") or ""),
        enabled=body.get("enabled") is True,
        description=str(body.get("description") or ""),
        everywhere=body.get("global") is True,
    )


def _source(network: str) -> str:
    try:
        found = ipaddress.ip_network(network)
    except ValueError as error:
        raise UsageError(f"{network!r} is no network for a firewall rule: {error}") from error
    return f"ip {found.network_address}" if found.num_addresses == 1 else f"subnet {found}"


def _ports(ports: Ports) -> str:
    """Ports in the order and form that CloudAPI gives them."""
    if not ports:
        return "PORT all"
    pairs = sorted({(one, one) if isinstance(one, int) else one for one in ports})
    if len(pairs) > MOST_PORTS or any(not 1 <= low <= high <= 65535 for low, high in pairs):
        raise UsageError(f"a firewall rule takes up to {MOST_PORTS} ports or ranges from 1 to 65535, not {list(ports)}")
    if all(low == high for low, high in pairs):
        singles = [f"PORT {low}" for low, _ in pairs]
        return singles[0] if len(singles) == 1 else f"({' AND '.join(singles)})"
    return "PORTS " + ", ".join(str(low) if low == high else f"{low} - {high}" for low, high in pairs)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
