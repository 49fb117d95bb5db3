"""Subnets chosen and judged, and the security group: on the test cloud."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from fabfile import entrances
from fabfile.errors import ProviderRefused
from fabfile.machines import Cluster
from fabfile.providers.ec2 import network, rules
from fabfile.providers.ec2.api import Api
from fabfile.settings import Settings
from tests.cloud.fixtures import cloud_settings

if TYPE_CHECKING:
    from tests.cloud.server import Cloud

CLUSTER = Cluster("lab", "c0ffee", "ada@desk", 1_700_000_000.0)
NOWHERE = "subnet-0123456789abcdef0"


def chosen(cloud: Cloud, **changes: Any) -> tuple[network.Subnet, ...]:
    settings = cloud_settings(cloud, **changes)
    return network.choose(Api(settings), settings)


@contextmanager
def routed(api: Api, table: dict[str, Any]) -> Iterator[None]:
    """Let EC2 say that this is the only route table."""
    asked = api.paged

    def paged(operation: str, key: str, **arguments: Any) -> list[dict[str, Any]]:
        return [table] if operation == "describe_route_tables" else asked(operation, key, **arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api, "paged", paged)
        yield


class TestSubnets:
    def test_without_settings_they_are_the_default_ones_by_zone(self, cloud: Cloud) -> None:
        found = chosen(cloud)
        assert {one.zone: one.id for one in found} == cloud.network.subnets
        assert [one.zone for one in found] == sorted(one.zone for one in found)
        assert all(one.public and one.vpc == cloud.network.vpc and one.free > 100 for one in found)

    def test_zones_say_which_and_in_what_order(self, cloud: Cloud) -> None:
        first, second = sorted(cloud.network.subnets)
        assert [one.zone for one in chosen(cloud, zones=(second, first))] == [second, first]
        assert [one.zone for one in chosen(cloud, zones=(second,))] == [second]

    def test_subnets_given_are_taken_in_their_order_and_looked_at(self, cloud: Cloud) -> None:
        some = next(iter(cloud.network.subnets.values()))
        private, public = chosen(cloud, subnet=(cloud.network.private, some))
        assert (private.id, private.public) == (cloud.network.private, False)
        assert (public.id, public.public) == (some, True)

    def test_a_vpc_without_default_subnets_gives_those_that_it_has(self, cloud: Cloud) -> None:
        (one,) = chosen(cloud, vpc=cloud.network.other_vpc)
        assert (one.id, one.vpc) == (cloud.network.other_subnet, cloud.network.other_vpc)

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"subnet": (NOWHERE,)}, f"there is no subnet {NOWHERE}"),
            ({"subnet": ("{other_subnet}", "{private}")}, "different VPCs"),
            ({"subnet": ("{private}",), "vpc": "{other_vpc}"}, "belong to {vpc}, not to {other_vpc}"),
            ({"vpc": "vpc-0123456789abcdef0"}, "vpc-0123456789abcdef0 is not in"),
            ({"zones": ("eu-central-1z",)}, "none of the subnets is in eu-central-1z"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, cloud: Cloud, changes: dict[str, Any], said: str) -> None:
        names = {name: getattr(cloud.network, name) for name in ("vpc", "other_vpc", "other_subnet", "private")}
        filled = {
            key: value.format(**names) if isinstance(value, str) else tuple(one.format(**names) for one in value)
            for key, value in changes.items()
        }
        with pytest.raises(ProviderRefused) as error:
            chosen(cloud, **filled)
        assert said.format(**names) in error.value.message
        assert error.value.hint

    @pytest.mark.parametrize(
        ("route", "public"),
        [
            ({"GatewayId": "igw-1", "State": "active"}, True),
            ({"GatewayId": "igw-1", "State": "blackhole"}, False),
            ({"NatGatewayId": "nat-1", "State": "active"}, False),
            ({"GatewayId": "vgw-1", "State": "active"}, False),
        ],
    )
    def test_only_a_live_route_to_an_internet_gateway_makes_one_public(
        self, cloud: Cloud, route: dict[str, str], public: bool
    ) -> None:
        table = {"Routes": [{"DestinationCidrBlock": "0.0.0.0/0", **route}], "Associations": [{"Main": True}]}
        settings = cloud_settings(cloud)
        api = Api(settings)
        with routed(api, table):
            assert {one.public for one in network.choose(api, settings)} == {public}

    def test_the_number_of_questions_does_not_grow_with_the_subnets(self, cloud: Cloud) -> None:
        chosen(cloud, subnet=tuple(cloud.network.subnets.values()))
        assert [one.action for one in cloud.calls] == ["DescribeSubnets", "DescribeRouteTables"]

    def test_an_account_without_a_default_subnet_is_told_how_to_name_one(self, cloud: Cloud) -> None:
        settings = cloud_settings(cloud)
        api = Api(settings)
        for subnet in (*cloud.network.subnets.values(), cloud.network.private):
            api.ec2.delete_subnet(SubnetId=subnet)
        with pytest.raises(ProviderRefused, match="no default subnet") as error:
            network.choose(api, settings)
        assert "`subnet: [subnet-…]`" in error.value.hint


def test_a_way_out_for_ipv6_only_is_none_for_machines_that_are_reached_by_ipv4(cloud: Cloud) -> None:
    ec2 = Api(cloud_settings(cloud)).ec2
    subnet = [{"Name": "association.subnet-id", "Values": [cloud.network.private]}]
    (table,) = ec2.describe_route_tables(Filters=subnet)["RouteTables"]
    (door,) = ec2.describe_internet_gateways(Filters=[{"Name": "attachment.vpc-id", "Values": [cloud.network.vpc]}])[
        "InternetGateways"
    ]
    way = {"RouteTableId": table["RouteTableId"], "GatewayId": door["InternetGatewayId"]}
    ec2.create_route(**way, DestinationIpv6CidrBlock="::/0")
    assert [one.public for one in chosen(cloud, subnet=(cloud.network.private,))] == [False]
    ec2.create_route(**way, DestinationCidrBlock="0.0.0.0/0")
    assert [one.public for one in chosen(cloud, subnet=(cloud.network.private,))] == [True]


class TestFindings:
    SUBNET = network.Subnet("subnet-1", "eu-central-1a", "vpc-1", free=20, public=True)

    def told(self, machines: int = 5, subnet: network.Subnet = SUBNET, **changes: Any) -> list[tuple[str, str]]:
        found = network.findings((subnet,), Settings(provider="ec2", **changes), machines)
        return [(one.level, one.text.split(":")[0]) for one in found]

    def test_a_public_subnet_with_room_is_fine(self) -> None:
        assert self.told() == []

    def test_too_few_addresses_are_an_error(self) -> None:
        ((level, text),) = self.told(machines=21)
        assert level == "error"
        assert "have 20 left" in text

    def test_a_public_address_without_a_route_is_an_error(self) -> None:
        assert self.told(subnet=replace(self.SUBNET, public=False)) == [("error", "subnet-1")]

    def test_private_addresses_need_a_way_in(self) -> None:
        private = replace(self.SUBNET, public=False)
        ((level, text),) = self.told(subnet=private, public_address=False)
        assert (level, "no `gateway` is set" in text) == ("warning", True)
        assert self.told(subnet=private, public_address=False, gateway="ada@gate") == []


class TestGroup:
    def ensure(self, cloud: Cloud, **changes: Any) -> tuple[Api, str]:
        settings = cloud_settings(cloud, **changes)
        api = Api(settings)
        return api, rules.ensure(api, CLUSTER, cloud.network.vpc, settings)

    def open_to(self, api: Api, group: str) -> set[tuple[Any, ...]]:
        (described,) = api.ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
        found: set[tuple[Any, ...]] = set()
        for one in described["IpPermissions"]:
            ports = one["IpProtocol"], one.get("FromPort"), one.get("ToPort")
            found |= {(*ports, network["CidrIp"]) for network in one.get("IpRanges", ())}
            found |= {(*ports, network["CidrIpv6"]) for network in one.get("Ipv6Ranges", ())}
            found |= {(*ports, "itself") for pair in one["UserIdGroupPairs"] if pair["GroupId"] == group}
        return {tuple(word for word in rule if word not in (None, -1)) for rule in found}

    def test_from_outside_only_ssh_from_where_it_may_come_and_all_inside(self, cloud: Cloud) -> None:
        api, group = self.ensure(cloud, ssh_from=("203.0.113.0/24", "2001:db8::/48"))
        ssh = {("tcp", 22, 22, "203.0.113.0/24"), ("tcp", 22, 22, "2001:db8::/48")}
        assert self.open_to(api, group) == ssh | {("-1", "itself")}

    def test_further_ports_are_opened_as_they_are_given(self, cloud: Cloud) -> None:
        api, group = self.ensure(cloud, open_ports=("tcp:8888:203.0.113.7/32", "udp:60000-61000:10.0.0.0/8"))
        assert {("tcp", 8888, 8888, "203.0.113.7/32"), ("udp", 60000, 61000, "10.0.0.0/8")} < self.open_to(api, group)

    def test_it_carries_the_clusters_tags_from_its_first_moment(self, cloud: Cloud) -> None:
        api, group = self.ensure(cloud, tags=(("project", "spectra"),))
        (described,) = api.ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
        found = {tag["Key"]: tag["Value"] for tag in described["Tags"]}
        assert (found["ipyfleet:cluster"], found["ipyfleet:id"], found["project"]) == ("lab", "c0ffee", "spectra")
        assert "CreateTags" not in {one.action for one in cloud.calls}

    def test_a_second_time_it_is_the_same_one_and_nothing_changes(self, cloud: Cloud) -> None:
        group = self.ensure(cloud)[1]
        before = len(cloud.calls)
        assert self.ensure(cloud)[1] == group
        assert {one.action for one in cloud.calls[before:]} <= {"DescribeSecurityGroups"}

    def test_a_group_of_that_name_which_is_not_the_clusters_is_refused(self, cloud: Cloud) -> None:
        api = Api(cloud_settings(cloud))
        api.ec2.create_security_group(GroupName="ipyfleet-lab-c0ffee", Description="x", VpcId=cloud.network.vpc)
        with pytest.raises(ProviderRefused, match="does not say that it is this cluster's"):
            self.ensure(cloud)

    def test_one_whose_making_was_answered_by_nobody_is_taken_for_the_clusters(self, cloud: Cloud) -> None:
        cloud.faults.lose_reply("CreateSecurityGroup")  # which the SDK sends once more
        api, group = self.ensure(cloud)
        assert ("tcp", 22, 22, "198.18.0.0/15") in self.open_to(api, group)
        assert [one.error for one in cloud.called("CreateSecurityGroup")] == ["no answer", "InvalidGroup.Duplicate"]

    @pytest.mark.parametrize("action", ["AuthorizeSecurityGroupIngress", "DescribeSecurityGroups"])
    def test_one_that_ec2_does_not_show_at_once_is_waited_for(
        self, cloud: Cloud, monkeypatch: pytest.MonkeyPatch, action: str
    ) -> None:
        monkeypatch.setattr(rules, "LOOK", 0.0)
        if action.startswith("Authorize"):
            cloud.faults.plan(action, "InvalidGroup.NotFound", times=3)
        else:
            cloud.faults.lose_reply("CreateSecurityGroup")
            hide_groups(monkeypatch, looks=3)
        api, group = self.ensure(cloud)
        assert ("-1", "itself") in self.open_to(api, group)

    def test_one_that_ec2_never_shows_is_told_when_the_time_is_over(
        self, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rules, "UNSEEN", 0.0)
        cloud.faults.plan("AuthorizeSecurityGroupIngress", "InvalidGroup.NotFound", times=9)
        with pytest.raises(ProviderRefused, match="making the security group ipyfleet-lab-c0ffee"):
            self.ensure(cloud)

    def test_this_computers_address_is_asked_for_where_machines_have_public_ones(self, cloud: Cloud) -> None:
        api, group = self.ensure(cloud, ssh_from=("auto", "203.0.113.0/24"))
        ssh = {("tcp", 22, 22, "127.0.0.1/32"), ("tcp", 22, 22, "203.0.113.0/24")}
        assert self.open_to(api, group) == ssh | {("-1", "itself")}

    def test_to_private_addresses_ssh_comes_from_the_gateway_in_their_vpc(self, cloud: Cloud) -> None:
        ec2 = Api(cloud_settings(cloud)).ec2
        ec2.associate_vpc_cidr_block(VpcId=cloud.network.vpc, CidrBlock="10.77.0.0/16")
        (vpc,) = ec2.describe_vpcs(VpcIds=[cloud.network.vpc])["Vpcs"]
        nowhere = f"{cloud.url}/nothing-here"  # nobody needs to be asked where this computer is
        private = {"public_address": False, "gateway": "ada@gate", "ssh_from": ("auto",), "address_service": nowhere}
        api, group = self.ensure(cloud, **private)
        inside = {("tcp", 22, 22, vpc["CidrBlock"]), ("tcp", 22, 22, "10.77.0.0/16")}
        assert self.open_to(api, group) == inside | {("-1", "itself")}
        assert not rules.refresh(api, CLUSTER, cloud_settings(cloud, **private))

    def test_when_where_ssh_may_come_from_has_changed_our_rules_follow_and_the_users_stay(self, cloud: Cloud) -> None:
        api, group = self.ensure(cloud, ssh_from=("203.0.113.0/24",))
        by_hand = {"IpProtocol": "tcp", "FromPort": 5000, "ToPort": 5000, "IpRanges": [{"CidrIp": "10.9.0.0/16"}]}
        api.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[by_hand])
        now = cloud_settings(cloud, ssh_from=("198.51.100.0/24",))
        assert rules.refresh(api, CLUSTER, now)
        kept = {("tcp", 5000, 5000, "10.9.0.0/16"), ("-1", "itself")}
        assert self.open_to(api, group) == kept | {("tcp", 22, 22, "198.51.100.0/24")}
        assert not rules.refresh(api, CLUSTER, now)

    def test_a_rule_that_the_user_made_by_hand_keeps_none_of_ours_out(self, cloud: Cloud) -> None:
        api, group = self.ensure(cloud)
        mine = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "203.0.113.0/24"}]}
        api.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[mine])
        self.ensure(cloud, ssh_from=("203.0.113.0/24", "198.51.100.0/24"))
        assert ("tcp", 22, 22, "198.51.100.0/24") in self.open_to(api, group)

    def test_it_is_removed_once_nobody_uses_it(self, cloud: Cloud) -> None:
        api, group = self.ensure(cloud)
        cloud.faults.plan("DeleteSecurityGroup", "DependencyViolation", times=2)
        pauses: list[float] = []
        rules.delete(api, "lab", 60.0, pauses.append)
        assert len(pauses) == 2
        assert (
            api.ec2.describe_security_groups(Filters=[{"Name": "group-id", "Values": [group]}])["SecurityGroups"] == []
        )
        rules.delete(api, "lab", 60.0)

    def test_one_that_stays_in_use_is_told_when_the_time_is_over(self, cloud: Cloud) -> None:
        api, _ = self.ensure(cloud)
        cloud.faults.plan("DeleteSecurityGroup", "DependencyViolation", times=9)
        with pytest.raises(ProviderRefused, match="removing the security group of lab"):
            rules.delete(api, "lab", 0.0)


def hide_groups(monkeypatch: pytest.MonkeyPatch, looks: int) -> None:
    """Leave groups out of the first so many answers about them."""
    shown, left = Api.paged, [None] * looks

    def paged(self: Api, operation: str, *words: Any, **named: Any) -> list[dict[str, Any]]:
        if operation == "describe_security_groups" and left:
            left.pop()
            return []
        return shown(self, operation, *words, **named)

    monkeypatch.setattr(Api, "paged", paged)


@contextmanager
def answering(text: str, code: int = 200) -> Iterator[str]:
    """A service that says this; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


class TestOwnAddress:
    @pytest.mark.parametrize(
        ("said", "network"), [("203.0.113.9\n", "203.0.113.9/32"), ("2001:db8::7", "2001:db8::7/128")]
    )
    def test_it_is_what_the_service_says(self, said: str, network: str) -> None:
        with answering(said) as service:
            assert entrances.own_address(Settings(address_service=service)) == network

    @pytest.mark.parametrize(
        ("said", "code"),
        [
            ("<html>log in first</html>", 200),
            ("203.0.113.9", 503),
            ("", 200),
            ("203.0.113.0/24", 200),
            ("fe80::1%eth0", 200),
        ],
    )
    def test_what_is_no_address_is_refused(self, said: str, code: int) -> None:
        with answering(said, code) as service, pytest.raises(ProviderRefused) as error:
            entrances.own_address(Settings(address_service=service))
        assert "`ssh_from`" in error.value.hint

    def test_a_service_that_is_not_there_is_told(self) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # and nobody listens
            service = f"http://127.0.0.1:{taken.getsockname()[1]}/"
            with pytest.raises(ProviderRefused, match="does not say which address this computer has: ConnectionError"):
                entrances.own_address(Settings(address_service=service))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ssh_from": ("0.0.0.0/0",)}, ["port 22 (tcp) will be open to the whole world"]),
        ({"open_ports": ("tcp:8888:::/0",)}, ["port 8888 (tcp) will be open to the whole world"]),
        ({"open_ports": ("tcp:8888:10.0.0.0/8",)}, []),
    ],
)
def test_what_is_open_to_the_whole_world_is_a_warning(changes: dict[str, Any], said: list[str]) -> None:
    found = list(entrances.world_findings(Settings(**changes)))
    assert [one.text for one in found] == said
    assert all(one.level == "warning" for one in found)
