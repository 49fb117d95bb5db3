"""Where machines stand in the network: the subnets that they may be put into, and what would keep them from working.

Only asks. The rules about who may reach them are rules.py's; which of the subnets has room is found out by launching.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import ProviderRefused
from ...kinds import nearest
from ...machines import Finding
from ...settings import Settings
from .api import Api, told

EVERYWHERE = "0.0.0.0/0"  # in IPv4, which is what machines are reached by
HOW = "name one in your settings: `subnet: [subnet-…]`; `aws ec2 describe-subnets` or the VPC console shows them"


@dataclass(frozen=True)
class Subnet:
    """One subnet: its availability zone, its VPC, how many addresses are ``free``, and whether it is ``public``.

    That is whether its route table leads to the internet through a gateway that lets answers and callers in.
    """

    id: str
    zone: str
    vpc: str
    free: int
    public: bool


def choose(api: Api, settings: Settings) -> tuple[Subnet, ...]:
    """The subnets to try, in their order: those of ``subnet``, else the default ones of ``vpc`` or the default VPC.

    ``zones`` leaves out those of other zones and says the order. Where machines get public addresses and nobody named
    subnets, those that such an address is of no use in are left out, unless all are so. A constant number of questions.
    Raises ProviderRefused when none is left, with the way out.
    """
    with told("looking for a subnet"):
        found = _given(api, settings) if settings.subnet else _default(api, settings)
        tables = api.paged("describe_route_tables", "RouteTables", Filters=_filters("vpc-id", found[0]["VpcId"]))
    ways = _ways_out(tables)
    main = ways.get("", False)
    subnets = tuple(
        Subnet(
            id=one["SubnetId"],
            zone=one["AvailabilityZone"],
            vpc=one["VpcId"],
            free=int(one.get("AvailableIpAddressCount", 0)),
            public=ways.get(one["SubnetId"], main),
        )
        for one in _in_order(found, settings)
    )
    public = tuple(one for one in subnets if one.public)
    return public if public and settings.public_address and not settings.subnet else subnets


def findings(subnets: Sequence[Subnet], settings: Settings, machines: int) -> Iterator[Finding]:
    """What is wrong with these subnets for so many new machines."""
    named = ", ".join(f"{one.id} ({one.zone})" for one in subnets)
    free = sum(one.free for one in subnets)
    if free < machines:
        yield Finding(
            "error",
            f"{machines} machines need an address each, but {named} have {free} left",
            "name more or larger subnets (`subnet`), or ask for fewer engines",
        )
    closed = [one for one in subnets if not one.public]
    if settings.public_address and closed:
        yield Finding(
            "error",
            f"{', '.join(one.id for one in closed)}: no route to an internet gateway, so a public address is of no use",
            "name a subnet that has one, or set `public_address: false` and name a `gateway` to go through",
        )
    if not settings.public_address and not settings.gateway:
        yield Finding(
            "warning",
            "machines will have private addresses only, and no `gateway` is set",
            "that works from inside the VPC; for a network of your own that leads there, name it in `ssh_from`, since "
            "`auto` is the VPC then",
        )


def _given(api: Api, settings: Settings) -> list[dict[str, Any]]:
    """The subnets that the settings name, in that order, checked against each other and against ``vpc``."""
    known = {one["SubnetId"]: one for one in api.paged("describe_subnets", "Subnets")}
    missing = [name for name in settings.subnet if name not in known]
    if missing:
        raise ProviderRefused(
            f"there is no subnet {', '.join(missing)} in {api.region}{nearest(missing[0], known)}",
            hint=f"correct `subnet`; there are: {_some(known)}" if known else HOW,
        )
    found = [known[name] for name in settings.subnet]
    vpcs = sorted({one["VpcId"] for one in found})
    if len(vpcs) > 1:
        raise ProviderRefused(
            f"the subnets are of different VPCs ({', '.join(vpcs)}), but a cluster is in one of them",
            hint="name subnets of one VPC in `subnet`",
        )
    if settings.vpc and vpcs != [settings.vpc]:
        raise ProviderRefused(
            f"{', '.join(settings.subnet)} belong to {vpcs[0]}, not to {settings.vpc}",
            hint="correct `vpc` or `subnet`; with `subnet` no `vpc` is needed",
        )
    return found


def _default(api: Api, settings: Settings) -> list[dict[str, Any]]:
    """The subnets of the VPC that the settings name, or of the default one."""
    if settings.vpc:
        found = api.paged("describe_subnets", "Subnets", Filters=_filters("vpc-id", settings.vpc))
        if not found:
            raise ProviderRefused(
                f"{settings.vpc} is not in {api.region}, or has no subnet", hint=f"correct `vpc`, or {HOW}"
            )
        return [one for one in found if one.get("DefaultForAz")] or found
    found = api.paged("describe_subnets", "Subnets", Filters=_filters("default-for-az", "true"))
    if not found:
        raise ProviderRefused(
            f"this account has no default subnet in {api.region}",
            hint=f"{HOW}; or make one: `aws ec2 create-default-vpc`",
        )
    return found


def _in_order(found: Sequence[dict[str, Any]], settings: Settings) -> list[dict[str, Any]]:
    if not settings.zones:
        return list(found) if settings.subnet else sorted(found, key=lambda one: str(one["AvailabilityZone"]))
    there = {one["AvailabilityZone"] for one in found}
    chosen = [one for zone in settings.zones for one in found if one["AvailabilityZone"] == zone]
    if not chosen:
        raise ProviderRefused(
            f"none of the subnets is in {', '.join(settings.zones)}{nearest(settings.zones[0], there)}",
            hint=f"correct `zones` (there are subnets in {', '.join(sorted(there))}), or {HOW}",
        )
    return chosen


def _ways_out(tables: Iterable[Mapping[str, Any]]) -> dict[str, bool]:
    """Whether there is a way to the internet, by subnet; under "" for those that have no table of their own."""
    ways = {}
    for table in tables:
        out = any(
            route.get("GatewayId", "").startswith("igw-")
            and route.get("State", "active") == "active"
            and route.get("DestinationCidrBlock") == EVERYWHERE
            for route in table.get("Routes", ())
        )
        for association in table.get("Associations", ()):
            ways["" if association.get("Main") else association.get("SubnetId", "-")] = out
    return ways


def _filters(name: str, value: str) -> list[dict[str, Any]]:
    return [{"Name": name, "Values": [value]}]


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:8]) + (" …" if len(listed) > 8 else "")
