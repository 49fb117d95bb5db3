"""What would keep a cluster from the hosts that the settings list: pure, from looks at them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address

from ...errors import ClusterError
from ...host_facts import obstacles
from ...machines import Finding
from ...settings import Settings
from ...software import Software
from .owner import whose
from .places import Look


def of_the_list(settings: Settings) -> Iterator[Finding]:
    """What the list itself shows: none, or too few."""
    hosts, most = settings.hosts, settings.engines_per_machine
    if not hosts:
        yield Finding("error", "no hosts are listed", "write them into your settings: `hosts: [user@host, …]`")
    if hosts and most and settings.engines > len(hosts) * most:
        yield Finding(
            "error",
            f"{settings.engines} engines do not fit on {len(hosts)} hosts with {most} each",
            "list more hosts, or raise engines_per_machine",
        )


def of_the_hosts(
    looks: Mapping[str, Look], failures: Mapping[str, ClusterError], settings: Settings, software: Software
) -> Iterator[Finding]:
    """What each host shows by itself."""
    for place, error in failures.items():
        yield Finding("error", f"{place}: {error.message}", error.hint)
    for place, look in looks.items():
        for text, fix in obstacles(look.facts, software):
            yield Finding("error", f"{place} {text}", fix)
        if look.owner and not look.is_of(settings.cluster):
            remove = f"`invoke teardown --cluster {look.owner.cluster.name or 'NAME'}`"
            fix = f"take it out of `hosts`, or, if that cluster is yours or gone for good, remove it: {remove}"
            yield Finding("error", f"{place} {whose(look.owner)}", fix)


def of_them_together(looks: Sequence[Look], controller: str) -> Iterator[Finding]:
    """What only shows in comparison: one host under two names, a controller that others cannot reach."""
    first: dict[tuple[str, int], str] = {}
    for look in looks:
        other = first.setdefault((look.endpoint.host, look.endpoint.port), look.place)
        if other != look.place:
            yield Finding("error", f"{other} and {look.place} are the same host", "list it once")
    address = next((look.facts.address for look in looks if look.place == controller), "")
    if address and ip_address(address).is_loopback and len(looks) > 1:
        yield Finding(
            "error",
            f"{controller}, the controller's host, was reached at {address}, where no other host reaches it",
            "name it by an address that the other hosts can use",
        )
