"""Launching: what RunInstances is told to the letter, where room is looked for, and that nothing is made twice."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import pytest
from botocore.awsrequest import AWSResponse

from fabfile.errors import ProviderRefused
from fabfile.machines import Cluster, Event, silent
from fabfile.providers.ec2 import instances, launching, tags
from fabfile.providers.ec2.api import Api
from fabfile.providers.ec2.images import Image
from fabfile.providers.ec2.instances import described
from fabfile.providers.ec2.launching import Launch, Launched, Place, launch, ranges, request, token
from fabfile.providers.ec2.network import Subnet
from fabfile.settings import Settings
from tests.fakes.ec2_account import Account, AccountApi, error

LAB = Cluster("lab", "c0ffee", "me@here", 1_700_000_000.0)
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIL4kjbCeiaZNxcUH5gmURVFRf/GP4x9AvUbuWBCBqNrM"


DEBIAN = Image("ami-0123456789abcdef0", "debian-12", "x86_64", "/dev/xvda", "admin", "3.11", 8)


def subnet(letter: str) -> Subnet:
    return Subnet(id=f"subnet-{letter}", zone=f"eu-central-1{letter}", vpc="vpc-1", free=250, public=True)


A, B, C = subnet("a"), subnet("b"), subnet("c")
BIG, OLD = "m7i.large", "m6i.large"
NOWHERE = {(kind, f"subnet-{zone}"): 0 for kind in (BIG, OLD) for zone in "abc"}


def wanted(*indexes: int, **changes: Any) -> Launch:
    plain = Launch(
        cluster=LAB,
        role="engine",
        indexes=indexes,
        image=DEBIAN,
        types=(BIG, OLD),
        subnets=(A, B, C),
        group_id="sg-1",
        key_name="ipyfleet-lab",
        user_data=b"#cloud-config\n",
        boot_key=f"{KEY} boot",
    )
    return dataclasses.replace(plain, **changes)


def run(account: Account, want: Launch, settings: Settings | None = None, heard: list[str] | None = None) -> Launched:
    api = AccountApi(account)

    def listen(event: Event) -> None:
        if heard is not None:
            heard.append(event.what)

    return launch(api, settings or Settings(), want, described(api, want.cluster.name), listen)


def places(account: Account) -> list[tuple[str, str, int, int]]:
    """Type, subnet, MinCount and MaxCount of every call."""
    return [
        (asked["InstanceType"], asked["NetworkInterfaces"][0]["SubnetId"][-1], asked["MinCount"], asked["MaxCount"])
        for asked in account.asked("run_instances")
    ]


def indexes(account: Account) -> list[int]:
    """Of all machines that there are."""
    return sorted(one.index for one in described(AccountApi(account), "lab") if not one.gone)


@pytest.fixture(autouse=True)
def _no_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.delenv("AWS_PROFILE", raising=False)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses take no time but on the clock of this test; all that were made."""
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)

    fake = SimpleNamespace(sleep=sleep, time=time.time, monotonic=lambda: 1000.0 + sum(pauses))
    monkeypatch.setattr(launching, "time", fake)
    monkeypatch.setattr(instances, "time", fake)
    return pauses


class TestRequest:
    def test_every_word_of_it(self) -> None:
        settings = Settings(tags=(("project", "spectra"),), volume_size=20)
        asked = request(settings, wanted(4, 5, 6), (4, 5, 6), Place(BIG, B), 3, 2)
        its_tags = [
            {"Key": "project", "Value": "spectra"},
            {"Key": "ipyfleet:cluster", "Value": "lab"},
            {"Key": "ipyfleet:id", "Value": "c0ffee"},
            {"Key": "ipyfleet:owner", "Value": "me@here"},
            {"Key": "ipyfleet:created", "Value": "1700000000.0"},
            {"Key": "ipyfleet:schema", "Value": "1"},
            {"Key": "Name", "Value": "lab engine"},
            {"Key": "ipyfleet:role", "Value": "engine"},
            {"Key": "ipyfleet:first", "Value": "4"},
            {"Key": "ipyfleet:last", "Value": "6"},
            {"Key": "ipyfleet:generation", "Value": "2"},
            {"Key": "ipyfleet:login-user", "Value": "admin"},
            {"Key": "ipyfleet:boot-key", "Value": KEY},
        ]
        expected = {
            "ClientToken": asked["ClientToken"],
            "MinCount": 3,
            "MaxCount": 3,
            "ImageId": "ami-0123456789abcdef0",
            "InstanceType": "m7i.large",
            "KeyName": "ipyfleet-lab",
            "UserData": b"#cloud-config\n",
            "NetworkInterfaces": [
                {
                    "DeviceIndex": 0,
                    "SubnetId": "subnet-b",
                    "Groups": ["sg-1"],
                    "AssociatePublicIpAddress": True,
                    "DeleteOnTermination": True,
                }
            ],
            "BlockDeviceMappings": [
                {
                    "DeviceName": "/dev/xvda",
                    "Ebs": {"VolumeSize": 20, "VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True},
                }
            ],
            "MetadataOptions": {"HttpEndpoint": "enabled", "HttpTokens": "required", "HttpPutResponseHopLimit": 1},
            "InstanceInitiatedShutdownBehavior": "terminate",
            "TagSpecifications": [
                {"ResourceType": "instance", "Tags": its_tags},
                {"ResourceType": "volume", "Tags": its_tags},
                {"ResourceType": "network-interface", "Tags": its_tags},
            ],
        }
        assert asked == expected
        assert re.fullmatch(r"[ -~]{1,64}", asked["ClientToken"])

    def test_the_sdk_takes_it_and_encodes_the_user_data(self) -> None:
        api = Api(Settings(region="eu-central-1"))
        sent: list[dict[str, list[str]]] = []

        def answer(request: Any, **_: Any) -> AWSResponse:
            sent.append(parse_qs(request.body if isinstance(request.body, str) else request.body.decode()))
            one = "<item><instanceId>i-1</instanceId><instanceState><name>pending</name></instanceState></item>"
            text = f"<RunInstancesResponse><instancesSet>{one}</instancesSet></RunInstancesResponse>"
            return AWSResponse(request.url, 200, {}, SimpleNamespace(stream=lambda **_: iter([text.encode()])))

        api.ec2_once.meta.events.register("before-send.ec2.RunInstances", answer)
        want = wanted(0, user_data=b"\x1f\x8b\x00\xff", spot=True)
        made = launch(api, Settings(spot_price=0.05), want, (), silent)
        assert [(one.id, one.name) for one in made.made] == [("i-1", "engine-0")]
        assert sent[0]["UserData"] == ["H4sA/w=="]
        assert sent[0]["InstanceMarketOptions.SpotOptions.MaxPrice"] == ["0.05"]
        assert sent[0]["MetadataOptions.HttpTokens"] == ["required"]

    def test_spot_once_and_for_all_and_no_price_but_the_users(self) -> None:
        once = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
        place = Place(BIG, A, spot=True)
        asked = request(Settings(), wanted(0), (0,), place, 1, 0)
        assert asked["InstanceMarketOptions"] == {"MarketType": "spot", "SpotOptions": once}
        assert asked["TagSpecifications"][3]["ResourceType"] == "spot-instances-request"
        capped = request(Settings(spot_price=0.0525), wanted(0), (0,), place, 1, 0)
        assert capped["InstanceMarketOptions"]["SpotOptions"] == {**once, "MaxPrice": "0.0525"}
        assert "InstanceMarketOptions" not in request(Settings(spot=True), wanted(0), (0,), Place(BIG, A), 1, 0)

    def test_engines_are_near_each_other_and_a_profile_is_for_all(self) -> None:
        settings = Settings(placement_group="near", instance_profile="reader")
        engine = request(settings, wanted(0), (0,), Place(BIG, A), 1, 0)
        controller = request(settings, wanted(0, role="controller"), (0,), Place("t3.small", A), 1, 0)
        assert engine["Placement"] == {"GroupName": "near"}
        assert "Placement" not in controller
        assert engine["IamInstanceProfile"] == controller["IamInstanceProfile"] == {"Name": "reader"}

    @pytest.mark.parametrize(
        ("settings", "volume"),
        [
            (Settings(), {"VolumeSize": 8, "VolumeType": "gp3", "Encrypted": True}),
            (Settings(volume_encrypted=False, volume_type="gp2"), {"VolumeSize": 8, "VolumeType": "gp2"}),
            (Settings(volume_type="io1"), {"VolumeSize": 8, "VolumeType": "io1", "Encrypted": True, "Iops": 400}),
            (
                Settings(volume_type="io2", volume_size=500),
                {"VolumeSize": 500, "VolumeType": "io2", "Encrypted": True, "Iops": 3000},
            ),
        ],
    )
    def test_the_disk(self, settings: Settings, volume: dict[str, Any]) -> None:
        (mapping,) = request(settings, wanted(0), (0,), Place(BIG, A), 1, 0)["BlockDeviceMappings"]
        assert mapping["Ebs"] == {**volume, "DeleteOnTermination": True}

    def test_no_public_address_no_key_pair(self) -> None:
        asked = request(Settings(public_address=False), wanted(0, key_name=""), (0,), Place(BIG, A), 1, 0)
        assert asked["NetworkInterfaces"][0]["AssociatePublicIpAddress"] is False
        assert "KeyName" not in asked

    def test_the_login_user_of_the_settings_is_what_the_tags_say(self) -> None:
        asked = request(Settings(login_user="root"), wanted(0), (0,), Place(BIG, A), 1, 0)
        assert {"Key": tags.USER, "Value": "root"} in asked["TagSpecifications"][0]["Tags"]


class TestToken:
    def test_the_same_for_the_same_call_whatever_is_random_in_it(self) -> None:
        assert token(wanted(0, 1), (0, 1), Place(BIG, A), 2, 0) == token(
            wanted(0, 1, user_data=b"other", boot_key="other"), (0, 1), Place(BIG, A), 2, 0
        )

    @pytest.mark.parametrize(
        "other",
        [
            lambda: token(wanted(0, 1, cluster=dataclasses.replace(LAB, id="b")), (0, 1), Place(BIG, A), 2, 0),
            lambda: token(wanted(0, 1, role="controller"), (0, 1), Place(BIG, A), 2, 0),
            lambda: token(wanted(0, 1), (1, 2), Place(BIG, A), 2, 0),
            lambda: token(wanted(0, 1), (0,), Place(BIG, A), 2, 0),
            lambda: token(wanted(0, 1), (0, 1), Place(OLD, A), 2, 0),
            lambda: token(wanted(0, 1), (0, 1), Place(BIG, B), 2, 0),
            lambda: token(wanted(0, 1), (0, 1), Place(BIG, A, spot=True), 2, 0),
            lambda: token(wanted(0, 1), (0, 1), Place(BIG, A), 1, 0),
            lambda: token(wanted(0, 1), (0, 1), Place(BIG, A), 2, 1),
        ],
    )
    def test_another_one_for_any_other(self, other: Callable[[], str]) -> None:
        assert other() != token(wanted(0, 1), (0, 1), Place(BIG, A), 2, 0)


class TestCalls:
    def test_one_call_for_all_machines_of_a_role(self) -> None:
        account = Account()
        assert len(run(account, wanted(*range(200))).made) == 200
        assert places(account) == [(BIG, "a", 200, 200)]
        assert indexes(account) == list(range(200))

    def test_each_gap_is_a_call_of_its_own(self) -> None:
        account = Account()
        made = run(account, wanted(7, 1, 3, 2))
        assert [one.index for one in made.made] == [1, 2, 3, 7]
        assert [(count, most) for _, _, count, most in places(account)] == [(3, 3), (1, 1)]

    def test_no_call_is_for_more_machines_than_ec2_takes_at_once(self) -> None:
        assert [len(block) for block in ranges(range(2500))] == [1000, 1000, 500]

    def test_consecutive_indexes_only(self) -> None:
        assert list(ranges([5, 1, 2, 9, 3])) == [(1, 2, 3), (5,), (9,)]
        assert list(ranges([])) == []

    def test_it_says_what_it_made_and_where(self) -> None:
        heard: list[str] = []
        run(Account(), wanted(0, 1), heard=heard)
        assert heard == ["launched 2 engine machines: m7i.large in eu-central-1a"]


class TestRoom:
    def test_a_full_zone_leads_to_the_next_one_which_takes_all(self) -> None:
        account = Account(room={(BIG, "subnet-a"): 3})
        assert run(account, wanted(0, 1, 2, 3)).missing == ()
        assert places(account) == [(BIG, "a", 4, 4), (BIG, "b", 4, 4)]

    def test_no_zone_for_all_of_a_type_leads_to_the_next_type(self) -> None:
        account = Account(room={(BIG, "subnet-a"): 3, (BIG, "subnet-b"): 0, (BIG, "subnet-c"): 0})
        assert run(account, wanted(0, 1, 2, 3)).missing == ()
        assert places(account)[-1] == (OLD, "a", 4, 4)

    def test_where_no_place_has_room_for_all_each_gives_what_it_has(self) -> None:
        room = {(BIG, "subnet-a"): 3, (BIG, "subnet-b"): 2, (BIG, "subnet-c"): 0, (OLD, "subnet-b"): 4}
        account = Account(room={**room, (OLD, "subnet-a"): 0, (OLD, "subnet-c"): 0})
        made = run(account, wanted(*range(9)))
        assert made.missing == ()
        assert sorted(one.index for one in made.made) == list(range(9))
        assert indexes(account) == list(range(9))
        assert len(places(account)) == len(set(places(account)))

    def test_fewer_machines_than_wanted_are_the_answer_with_each_places_reason(self) -> None:
        account = Account(room={**NOWHERE, (BIG, "subnet-b"): 2})
        made = run(account, wanted(*range(4)))
        assert [one.index for one in made.made] == [0, 1]
        assert made.missing == (2, 3)
        assert set(made.refusals.values()) == {"InsufficientInstanceCapacity"}
        assert {str(place) for place in made.refusals} == {
            f"{kind} in eu-central-1{zone}" for kind in (BIG, OLD) for zone in "abc"
        }

    def test_a_place_that_is_known_to_be_full_is_not_asked_for_the_next_gap(self) -> None:
        account = Account(room={(BIG, "subnet-a"): 0, (BIG, "subnet-b"): 1})
        run(account, wanted(0, 2, 4))
        assert places(account) == [(BIG, zone, 1, 1) for zone in "abbcc"]

    def test_a_type_that_a_zone_does_not_have_is_like_no_room(self) -> None:
        account = Account(faults={"run_instances": [error("Unsupported")]})
        assert run(account, wanted(0)).missing == ()

    def test_a_quota_is_asked_about_in_one_zone_only(self) -> None:
        account = Account(quota={BIG: 2})
        assert run(account, wanted(0, 1, 2)).missing == ()
        assert places(account) == [(BIG, "a", 3, 3), (OLD, "a", 3, 3)]

    def test_what_a_quota_leaves_is_taken_when_nothing_else_has_room(self) -> None:
        account = Account(quota={BIG: 2}, room={place: 0 for place in NOWHERE if place[0] == OLD})
        assert run(account, wanted(0, 1, 2)).missing == (2,)
        assert places(account)[-1] == (OLD, "c", 1, 1)
        assert indexes(account) == [0, 1]

    def test_a_placement_group_stays_in_the_zone_of_its_first_machine(self) -> None:
        account = Account(room={(BIG, "subnet-a"): 2, (OLD, "subnet-a"): 1})
        account.launch = _zoned(account)  # type: ignore[method-assign]
        made = run(account, wanted(*range(5), subnets=(A,)), Settings(placement_group="near"))
        assert made.missing == (3, 4)
        account = Account(room={(kind, f"subnet-{zone}"): 2 for kind in (BIG, OLD) for zone in "abc"})
        account.launch = _zoned(account)  # type: ignore[method-assign]
        made = run(account, wanted(*range(5)), Settings(placement_group="near"))
        assert {one.zone for one in made.made} == {"eu-central-1a"}
        assert len(made.made) == 4

    def test_a_setting_that_ec2_refuses_is_told_at_once(self) -> None:
        account = Account(faults={"run_instances": [error("InvalidAMIID.NotFound")]})
        with pytest.raises(ProviderRefused, match="launching 2 engine machines was refused") as refused:
            run(account, wanted(0, 1))
        assert "`image`" in refused.value.hint
        assert len(places(account)) == 1


def _zoned(account: Account) -> Callable[[dict[str, Any], int], str]:
    plain = type(account).launch

    def launch_there(asked: dict[str, Any], offset: int = 0) -> str:
        one = plain(account, asked, offset)
        letter = asked["NetworkInterfaces"][0]["SubnetId"][-1]
        account.instances[one]["Placement"] = {"AvailabilityZone": f"eu-central-1{letter}"}
        return one

    return launch_there
