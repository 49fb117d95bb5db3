"""The network of a cluster: a namespace with a bridge in it, and one pair of interfaces to the computer.

The bridge lies in a namespace of its own so that the computer's firewall (Docker sets FORWARD to DROP) does not judge
what machines say to each other. The pair's inner end is a port of the bridge, the outer one has the computer's address.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

from .command import run
from .errors import Refused
from .fields import HIGHEST_INDEX
from .store import PREFIX, ClusterRecord, Place, locked, places

NAMESPACES = Path("/run/netns")
BRIDGE = "br0"
INNER = "up0"
METRIC = 1768978790  # of the routes that keep a cluster's traffic in; "ipyf" as a number, so that ours can be told


def namespace(place: Place) -> str:
    """The cluster's network namespace; the outer interface bears the same name (15 characters, as many as allowed)."""
    return PREFIX + place.key


def address(subnet: str, role: str, index: int) -> str:
    """A machine's address, fixed by its name: .10 for the controller, .11 and up for the engines."""
    return str(IPv4Network(subnet)[10 if role == "controller" else 11 + index])


def hosts_file(subnet: str) -> str:
    """The names of all machines that the cluster can have; none of them is ever a loopback address.

    Engines talk TCP to each other by what ``gethostbyname(gethostname())`` says.
    """
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost", f"{address(subnet, 'controller', 0)} controller"]
    lines += [f"{address(subnet, 'engine', index)} engine-{index}" for index in range(HIGHEST_INDEX + 1)]
    return "\n".join(lines) + "\n"


def interface_file(subnet: str, role: str, index: int) -> str:
    """systemd-networkd's file for a machine's interface: its address, no way out of the subnet."""
    return (
        "[Match]\nName=host0\n\n[Network]\n"
        f"Address={address(subnet, role, index)}/24\n"
        "DHCP=no\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n"
    )


def pick(pools: Sequence[IPv4Network], taken: Iterable[IPv4Network]) -> IPv4Network:
    """The first /24 of the pools that overlaps nothing taken; raises Refused when there is none."""
    taken = tuple(taken)
    for pool in pools:
        for subnet in pool.subnets(new_prefix=24):
            if not any(subnet.overlaps(other) for other in taken):
                return subnet
    raise Refused(
        f"no free /24 network in {', '.join(map(str, pools))}: all of it is in use on this computer",
        hint="set `subnets` to a private network that this computer does not use, for example 172.30.0.0/16, "
        "or remove a cluster (`invoke clusters`, `invoke teardown --cluster NAME`)",
    )


def networks(addresses: str, routes: str, but: str = "") -> tuple[IPv4Network, ...]:
    """What the computer uses, from the JSON of ``ip -json address`` and ``ip -json route``: no default routes, nothing
    of the interface ``but``, and no route of ours that keeps traffic in (the subnet beside it is told by records).
    """
    found = [
        IPv4Network(f"{info['local']}/{info['prefixlen']}", strict=False)
        for interface in json.loads(addresses or "[]")
        for info in interface.get("addr_info", ())
        if info.get("family") == "inet" and interface.get("ifname") != but
    ]
    for route in json.loads(routes or "[]"):
        if route["dst"] != "default" and route.get("dev") != but and route.get("metric") != METRIC:
            found.append(IPv4Network(route["dst"], strict=False))
    return tuple(network for network in found if network.prefixlen > 0)


def in_use(but: str = "") -> tuple[IPv4Network, ...]:
    """What the computer uses right now, besides the interface ``but``."""
    addresses = run("ip", "-json", "-4", "address", "show").stdout
    return networks(addresses, run("ip", "-json", "-4", "route", "show", "table", "all").stdout, but)


def choose(place: Place, record: ClusterRecord | None, pools: Sequence[IPv4Network]) -> IPv4Network:
    """The cluster's subnet: the one it has, unless the computer came to use it, else a free one; Refused if none is.

    Other clusters' subnets are taken also while their network is down.
    """
    own = record.subnet if record else ""
    if own and _complete(namespace(place), own):
        return IPv4Network(own)
    others = [other.cluster() for other in places(place.root) if other.folder != place.folder]
    taken = [*in_use(but=namespace(place)), *(IPv4Network(other.subnet) for other in others if other and other.subnet)]
    if own and not any(IPv4Network(own).overlaps(other) for other in taken):
        return IPv4Network(own)
    return pick(pools, taken)


def up(place: Place, record: ClusterRecord, pools: Sequence[IPv4Network]) -> ClusterRecord:
    """Make the cluster's network be there; the record with its subnet, written before anything is made."""
    name = namespace(place)
    if record.subnet and _complete(name, record.subnet):
        return record
    down(place, record)
    with locked(place.root / "locks" / "network.lock", "the computer's network", 30.0):
        subnet = choose(place, record, pools)
        if str(subnet) != record.subnet:
            record = replace(record, subnet=str(subnet))
            place.save_cluster(record)
        for program, lines in commands(name, subnet):
            run(*program, stdin="".join(f"{line}\n" for line in lines))
    return record


def commands(name: str, subnet: IPv4Network) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    """The programs that make a network, each with the lines it is given."""
    return (
        (("ip", "netns", "add", name), ()),
        (("ip", "link", "add", name, "type", "veth", "peer", "name", INNER, "netns", name), ()),
        (
            ("ip", "-netns", name, "-batch", "-"),
            (
                f"link add {BRIDGE} type bridge stp_state 0 forward_delay 0",
                f"link set {INNER} master {BRIDGE}",
                "link set lo up",
                f"link set {INNER} up",
                f"link set {BRIDGE} up",
            ),
        ),
        (
            ("ip", "-batch", "-"),
            (
                f"address add {subnet[1]}/24 dev {name}",
                f"link set {name} up",
                f"route replace unreachable {subnet} metric {METRIC}",
            ),
        ),
    )


def down(place: Place, record: ClusterRecord | None) -> None:
    """Take the cluster's network away, also one that is only half there."""
    name = namespace(place)
    if Path("/sys/class/net", name).exists():
        run("ip", "link", "delete", name, check=False)
    if (NAMESPACES / name).exists():
        run("ip", "netns", "delete", name)
    if record and record.subnet:
        let_out(record.subnet)


def let_out(subnet: str) -> None:
    """Take away the route that keeps a subnet's traffic in."""
    run("ip", "route", "delete", "unreachable", subnet, "metric", str(METRIC), check=False)


def lonely_routes() -> tuple[str, ...]:
    """The subnets that a route of ours keeps traffic in of, though no cluster's interface leads there any more."""
    routes = json.loads(run("ip", "-json", "-4", "route", "show").stdout or "[]")
    alive = {route["dst"] for route in routes if route.get("dev", "").startswith(PREFIX)}
    return tuple(route["dst"] for route in routes if route.get("metric") == METRIC and route["dst"] not in alive)


def unplug(place: Place, interface: str) -> None:
    """Remove a machine's interface on the bridge, also known by its long name, if it is there.

    The kernel does so by itself some time after the machine ended, too late for one that is started at once.
    """
    name = namespace(place)
    if (NAMESPACES / name).exists():
        run("ip", "-netns", name, "link", "delete", interface, check=False)


def _complete(name: str, subnet: str) -> bool:
    if not (NAMESPACES / name).exists() or not Path("/sys/class/net", name).exists():
        return False
    own = run("ip", "-json", "-4", "address", "show", "dev", name, check=False).stdout
    if str(IPv4Network(subnet)[1]) not in own:
        return False
    routes = run("ip", "-json", "-4", "route", "show", "type", "unreachable").stdout
    return subnet in routes and BRIDGE in run("ip", "-netns", name, "-brief", "link", "show", check=False).stdout
