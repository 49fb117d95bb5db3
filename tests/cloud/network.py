"""The account's network: a default VPC with two zones, a second VPC, and addresses that the world knows.

Every process has networks of its own, so that tests at the same time do not meet.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

WHOLE = IPv4Network("198.18.0.0/15")  # set aside for tests of networks (RFC 2544), so nobody's own
GUARD_PORT = 22077


@dataclass(frozen=True)
class Blocks:
    """Networks to be used: of the default VPC, of another one, and where public addresses come from."""

    vpc: IPv4Network
    other: IPv4Network
    public: IPv4Network


class Range:
    """Networks of which no other process on this computer makes a cloud; ``close`` gives them back."""

    def __init__(self) -> None:
        for number, network in enumerate(WHOLE.subnets(new_prefix=18)):
            guard = socket.socket()
            try:
                guard.bind(("127.0.0.1", GUARD_PORT + number))
            except OSError:
                guard.close()
                continue
            self._guard = guard
            vpc, other, public, _ = network.subnets(prefixlen_diff=2)
            self.network, self.blocks = network, Blocks(vpc, other, public)
            return
        raise RuntimeError("all networks for test clouds are in use on this computer")

    def close(self) -> None:
        """Give them back."""
        self._guard.close()


@dataclass
class Addresses:
    """Public addresses, given out one after the other and never twice in a test."""

    network: IPv4Network
    given: int = 0

    def take(self) -> str:
        """One that nobody has had."""
        self.given += 1
        return str(self.network.network_address + self.given)


@dataclass(frozen=True)
class Network:
    """What the account has: ``subnets`` by zone are public ones of the default VPC, ``private`` has no way out of it.

    ``other_vpc`` is not the default one; its only subnet is ``other_subnet``, with a route to the world.
    """

    vpc: str
    subnets: dict[str, str]
    private: str
    other_vpc: str
    other_subnet: str


def lay_out(backend: Any, blocks: Blocks) -> Network:
    """Make the account's network in a region without one of ours; moto's own default VPC goes."""
    for subnet in backend.describe_subnets():
        backend.delete_subnet(subnet.id)
    for vpc in list(backend.vpcs):
        backend.delete_vpc(vpc)
    zones = [f"{backend.region_name}{letter}" for letter in "ab"]
    vpc = _vpc(backend, blocks.vpc, is_default=True)
    first, second, third, _ = blocks.vpc.subnets(prefixlen_diff=2)
    subnets = {zone: _subnet(backend, vpc, part, zone) for zone, part in zip(zones, (first, second), strict=True)}
    private = _subnet(backend, vpc, third, zones[0], public=False)
    backend.associate_route_table(backend.create_route_table(vpc).id, subnet_id=private)
    other_vpc = _vpc(backend, blocks.other)
    other_subnet = _subnet(backend, other_vpc, next(blocks.other.subnets()), zones[0], default=False)
    return Network(vpc, subnets, private, other_vpc, other_subnet)


def _vpc(backend: Any, block: IPv4Network, is_default: bool = False) -> str:
    """A VPC with a way to the world; its id."""
    vpc = backend.create_vpc(str(block), is_default=is_default)
    gateway = backend.create_internet_gateway()
    backend.attach_internet_gateway(gateway.id, vpc.id)
    filters = {"vpc-id": [vpc.id], "association.main": ["true"]}
    (table,) = backend.describe_route_tables(filters=filters)
    backend.create_route(table.id, "0.0.0.0/0", gateway_id=gateway.id)
    if is_default:
        backend.default_vpc = vpc
    return str(vpc.id)


def _subnet(backend: Any, vpc: str, block: IPv4Network, zone: str, *, public: bool = True, default: bool = True) -> str:
    subnet = backend.create_subnet(vpc, str(block), availability_zone=zone)
    subnet.default_for_az = public and default
    subnet.map_public_ip_on_launch = public and default
    return str(subnet.id)
