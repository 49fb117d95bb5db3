"""The choice of a cluster's network, its files, and the commands that make it."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from fabfile.providers.local.root import network
from fabfile.providers.local.root.errors import Refused
from fabfile.providers.local.root.fields import HIGHEST_INDEX
from fabfile.providers.local.root.store import ClusterRecord, Place

POOL = (IPv4Network("10.203.0.0/16"),)
RECORD = ClusterRecord(0, "ipython", "id", "me@here", 1.0)


def test_the_first_free_network_is_taken() -> None:
    assert str(network.pick(POOL, [])) == "10.203.0.0/24"
    assert str(network.pick(POOL, [IPv4Network("10.203.0.128/25"), IPv4Network("10.203.1.0/24")])) == "10.203.2.0/24"


def test_a_second_pool_is_used_when_the_first_is_full() -> None:
    pools = (IPv4Network("10.203.0.0/24"), IPv4Network("172.30.0.0/16"))
    assert str(network.pick(pools, [IPv4Network("10.203.0.0/24")])) == "172.30.0.0/24"


def test_no_free_network_is_an_error_that_names_the_pool_and_the_cure() -> None:
    with pytest.raises(Refused, match=r"10\.203\.0\.0/16") as caught:
        network.pick(POOL, [IPv4Network("10.0.0.0/8")])
    assert "`subnets`" in caught.value.hint


def test_what_the_computer_uses_is_its_addresses_and_routes_but_not_the_default_route() -> None:
    addresses = [
        {"ifname": "lo", "addr_info": [{"family": "inet", "local": "127.0.0.1", "prefixlen": 8}]},
        {
            "ifname": "eth0",
            "addr_info": [{"family": "inet", "local": "192.0.2.2", "prefixlen": 24}, {"family": "inet6"}],
        },
    ]
    routes = [
        {"dst": "default", "gateway": "192.0.2.1", "dev": "eth0"},
        {"dst": "0.0.0.0/0", "dev": "tun0"},
        {"dst": "10.8.0.0/16", "dev": "tun0"},
        {"dst": "10.8.0.7", "dev": "tun0"},
        {"type": "unreachable", "dst": "10.203.4.0/24", "metric": network.METRIC},
    ]
    used = network.networks(json.dumps(addresses), json.dumps(routes))
    assert {str(one) for one in used} == {"127.0.0.0/8", "192.0.2.0/24", "10.8.0.0/16", "10.8.0.7/32"}


def test_a_clusters_own_interface_is_not_in_its_own_way() -> None:
    addresses = [{"ifname": "ipyf-x", "addr_info": [{"family": "inet", "local": "10.203.0.1", "prefixlen": 24}]}]
    routes = [{"dst": "10.203.0.0/24", "dev": "ipyf-x"}]
    assert network.networks(json.dumps(addresses), json.dumps(routes), but="ipyf-x") == ()


def test_a_computer_without_routes_uses_nothing() -> None:
    assert network.networks("", "") == ()


@pytest.fixture
def unused(monkeypatch: pytest.MonkeyPatch) -> list[IPv4Network]:
    """What the computer uses besides our clusters: nothing, until a test adds to it."""
    used: list[IPv4Network] = []
    monkeypatch.setattr(network, "in_use", lambda but="": tuple(used))
    return used


def test_two_clusters_get_two_networks_also_while_the_first_is_down(tmp_path: Path, unused: list[IPv4Network]) -> None:
    first, second = Place(tmp_path, 0, "first"), Place(tmp_path, 0, "second")
    first.save_cluster(replace(RECORD, name="first", subnet="10.203.0.0/24"))
    assert str(network.choose(second, None, POOL)) == "10.203.1.0/24"


def test_two_users_clusters_of_one_name_are_two_clusters(tmp_path: Path, unused: list[IPv4Network]) -> None:
    mine, theirs = Place(tmp_path, 1000, "ipython"), Place(tmp_path, 1001, "ipython")
    mine.save_cluster(replace(RECORD, subnet="10.203.0.0/24"))
    assert network.namespace(mine) != network.namespace(theirs)
    assert str(network.choose(theirs, None, POOL)) == "10.203.1.0/24"


def test_a_cluster_keeps_its_network_until_the_computer_uses_it(tmp_path: Path, unused: list[IPv4Network]) -> None:
    place = Place(tmp_path, 0, "ipython")
    record = replace(RECORD, subnet="10.203.9.0/24")
    place.save_cluster(record)
    assert str(network.choose(place, record, POOL)) == "10.203.9.0/24"
    unused.append(IPv4Network("10.203.9.0/25"))
    assert str(network.choose(place, record, POOL)) == "10.203.0.0/24"


def test_addresses_are_fixed_by_name_and_stay_in_the_network() -> None:
    subnet = "10.203.7.0/24"
    assert network.address(subnet, "controller", 0) == "10.203.7.10"
    assert network.address(subnet, "engine", 0) == "10.203.7.11"
    assert network.address(subnet, "engine", HIGHEST_INDEX) == "10.203.7.254"


def test_every_name_of_a_cluster_resolves_to_its_own_address_and_never_to_loopback() -> None:
    lines = [line.split() for line in network.hosts_file("10.203.7.0/24").splitlines()]
    names = {name: address for address, *names in lines for name in names}
    assert names.pop("localhost") == "::1"
    assert (names["controller"], names["engine-3"]) == ("10.203.7.10", "10.203.7.14")
    assert len({names[f"engine-{index}"] for index in range(HIGHEST_INDEX + 1)}) == HIGHEST_INDEX + 1
    assert not [name for name, address in names.items() if address.startswith("127.")]


def test_interface_names_are_as_long_as_the_kernel_allows(tmp_path: Path) -> None:
    for uid, name in ((0, "a"), (4_000_000_000, "x" * 63)):
        assert len(network.namespace(Place(tmp_path, uid, name))) <= 15


def test_the_commands_put_a_bridge_into_the_namespace_and_an_address_outside() -> None:
    programs = dict(network.commands("ipyf-0123456789", IPv4Network("10.203.7.0/24")))
    inside = programs["ip", "-netns", "ipyf-0123456789", "-batch", "-"]
    outside = programs["ip", "-batch", "-"]
    assert "link set up0 master br0" in inside
    assert "address add 10.203.7.1/24 dev ipyf-0123456789" in outside
    assert f"route replace unreachable 10.203.7.0/24 metric {network.METRIC}" in outside
    assert not any("default" in line for line in (*inside, *outside))
