"""Which machine an instance is, which ones are lost, and instances ended, stopped, started and tagged."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest

from fabfile.errors import ProviderRefused
from fabfile.machines import Cluster, Endpoint, Machine, MachineState
from fabfile.providers.ec2 import instances, power, tags
from fabfile.providers.ec2.instances import Instance, described, found, look_until, named, parse
from fabfile.settings import Settings
from tests.fakes.ec2_account import Account, AccountApi, error

LAB = Cluster("lab", "c0ffee", "me@here", 1_700_000_000.0)
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIL4kjbCeiaZNxcUH5gmURVFRf/GP4x9AvUbuWBCBqNrM"
OWN = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAGKWgLV9ROzOgbmsJ0UrPV3VbDKVC6apMpt6QaTqmBO"
PUBLIC, PRIVATE = Settings(), Settings(public_address=False)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instances, "FIRST_LOOK", 0.0)
    monkeypatch.setattr(power, "PAUSE", 0.0)
    monkeypatch.setattr(power, "UNSEEN", 0.05)


def engine(index: int, **changes: Any) -> Instance:
    plain = Instance(
        id=f"i-{index}",
        state="running",
        cluster=LAB,
        tags=tags.MachineTags("engine", 0, user="admin", boot_key=KEY),
        offset=index,
        private_address=f"10.0.0.{index}",
        public_address=f"203.0.113.{index}",
        launched=1_700_000_100.0,
        kind="m7i.large",
    )
    return dataclasses.replace(plain, **changes)


def interrupted(index: int, **changes: Any) -> Instance:
    gone = {"state": "terminated", "spot": True, "reason": "Server.SpotInstanceTermination", "said": "no capacity"}
    return engine(index, **{**gone, "private_address": "", "public_address": "", **changes})


def machine(one: Instance, settings: Settings = PUBLIC, gateway: Endpoint | None = None) -> Machine:
    (seen,) = found([one], settings, gateway).machines
    return seen


def launched(account: Account, count: int, *, role: str = "engine", spot: bool = False, **changes: Any) -> list[str]:
    """Machines in the account, as a launch leaves them, running."""
    cluster = changes.pop("cluster", LAB)
    its_tags = tags.of_launch(cluster, (), role, range(count), 0, "admin", KEY)  # type: ignore[arg-type]
    asked: dict[str, Any] = {
        "InstanceType": "m7i.large",
        "NetworkInterfaces": [{"SubnetId": "subnet-a", "AssociatePublicIpAddress": True}],
        "TagSpecifications": tags.specification({**its_tags, **changes}, "instance"),
    }
    made = [account.launch({**asked, **({"InstanceMarketOptions": {}} if spot else {})}, k) for k in range(count)]
    for one in made:
        account.instances[one]["State"] = {"Name": "running"}
    return made


class TestParsed:
    def test_everything_that_matters_of_ec2s_answer(self) -> None:
        answer = {
            "InstanceId": "i-1",
            "State": {"Name": "stopped"},
            "AmiLaunchIndex": 2,
            "PrivateIpAddress": "10.0.0.1",
            "PublicIpAddress": "203.0.113.1",
            "LaunchTime": datetime(2026, 1, 1, tzinfo=UTC),
            "InstanceType": "m7i.large",
            "InstanceLifecycle": "spot",
            "Placement": {"AvailabilityZone": "eu-central-1a"},
            "SubnetId": "subnet-a",
            "ImageId": "ami-1",
            "StateReason": {"Code": "Client.UserInitiatedShutdown", "Message": "by the user"},
            "StateTransitionReason": "User initiated",
            "Tags": tags.pairs(tags.of_launch(LAB, (), "engine", (3, 4, 5), 1, "ubuntu", KEY)),
        }
        assert parse(answer) == Instance(
            id="i-1",
            state="stopped",
            cluster=LAB,
            tags=tags.MachineTags("engine", 3, 5, 1, "ubuntu", KEY),
            offset=2,
            private_address="10.0.0.1",
            public_address="203.0.113.1",
            launched=1767225600.0,
            kind="m7i.large",
            zone="eu-central-1a",
            subnet="subnet-a",
            image="ami-1",
            spot=True,
            reason="Client.UserInitiatedShutdown",
            said="by the user",
        )

    def test_an_answer_with_as_little_as_ec2_may_give(self) -> None:
        its_tags = tags.pairs({tags.CLUSTER: "lab"})
        one = parse({"InstanceId": "i-1", "State": {"Name": "pending"}, "Tags": its_tags})
        assert one is not None
        assert (one.name, one.private_address, one.launched) == ("", "", 0.0)

    def test_what_is_not_ours_is_none(self) -> None:
        assert (
            parse({"InstanceId": "i-1", "State": {"Name": "running"}, "Tags": [{"Key": "Name", "Value": "x"}]}) is None
        )


class TestMachine:
    def test_its_index_is_its_place_in_the_call_after_the_calls_first(self) -> None:
        assert machine(engine(2, tags=tags.MachineTags("engine", 5))).name == "engine-7"

    @pytest.mark.parametrize(
        ("state", "said"),
        [
            ("pending", MachineState.PENDING),
            ("running", MachineState.RUNNING),
            ("stopping", MachineState.STOPPED),
            ("stopped", MachineState.STOPPED),
        ],
    )
    def test_its_state(self, state: str, said: MachineState) -> None:
        assert machine(engine(0, state=state)).state is said

    @pytest.mark.parametrize("state", ["shutting-down", "terminated"])
    def test_one_that_is_on_its_way_out_is_gone(self, state: str) -> None:
        assert found([engine(0, state=state)], PUBLIC).cluster is None

    def test_it_is_reached_at_its_public_address_and_its_keys_are_pinned_under_its_id(self) -> None:
        assert machine(engine(1)).endpoint == Endpoint("203.0.113.1", "admin", key_alias="i-1")
        assert machine(engine(1)).private_address == "10.0.0.1"

    def test_without_public_addresses_it_is_reached_at_its_private_one_through_the_gateway(self) -> None:
        gateway = Endpoint("bastion", "me")
        assert machine(engine(1), PRIVATE, gateway).endpoint == Endpoint("10.0.0.1", "admin", 22, gateway, None, "i-1")

    def test_a_gateway_is_not_gone_through_to_a_public_address(self) -> None:
        assert machine(engine(1), PUBLIC, Endpoint("bastion", "me")).endpoint == Endpoint(
            "203.0.113.1", "admin", key_alias="i-1"
        )

    def test_as_long_as_it_has_no_public_address_but_will_have_one_there_is_no_way_in(self) -> None:
        assert machine(engine(1, state="pending", public_address="")).endpoint is None
        assert machine(engine(1, state="stopped", public_address="")).endpoint is None

    def test_one_that_runs_without_is_reached_at_its_private_address(self) -> None:
        endpoint = machine(engine(1, public_address="")).endpoint
        assert endpoint is not None
        assert endpoint.host == "10.0.0.1"

    def test_the_settings_login_user_comes_before_the_images(self) -> None:
        endpoint = machine(engine(1), Settings(login_user="root")).endpoint
        assert endpoint is not None
        assert endpoint.user == "root"

    def test_it_shows_the_key_it_booted_with_until_another_one_is_published(self) -> None:
        fresh = machine(engine(0))
        assert (fresh.host_keys, fresh.throwaway_key) == ((KEY,), KEY)
        both = machine(engine(0, tags=tags.MachineTags("engine", 0, boot_key=KEY, host_keys=(OWN, KEY))))
        assert (both.host_keys, both.throwaway_key) == ((OWN, KEY), KEY)
        own = machine(engine(0, tags=tags.MachineTags("engine", 0, boot_key=KEY, host_keys=(OWN,))))
        assert (own.host_keys, own.throwaway_key) == ((OWN,), "")

    def test_what_else_is_known_of_it(self) -> None:
        seen = machine(
            engine(
                0, state="stopped", said="User initiated", spot=True, tags=tags.MachineTags("engine", 0, deadline=5.0)
            )
        )
        assert (seen.detail, seen.kind, seen.interruptible, seen.deadline, seen.created) == (
            "User initiated",
            "m7i.large",
            True,
            5.0,
            1_700_000_100.0,
        )


class TestFound:
    def test_machines_come_controller_first_and_by_index(self) -> None:
        controller = engine(9, tags=tags.MachineTags("controller", 0), offset=0)
        seen = found([engine(10), engine(2), controller], PUBLIC)
        assert [one.name for one in seen.machines] == ["controller", "engine-2", "engine-10"]
        assert seen.cluster == LAB

    def test_of_two_clusters_with_one_name_the_older_one_counts_and_the_others_machines_are_not_its(self) -> None:
        theirs = dataclasses.replace(LAB, id="other", created=LAB.created + 1)
        seen = found([engine(1, cluster=theirs), engine(0)], PUBLIC)
        assert seen.cluster == LAB
        assert [one.id for one in seen.machines] == ["i-0"]

    def test_a_second_machine_of_a_name_has_failed_under_a_name_of_its_own(self) -> None:
        copy = engine(0, id="i-copy", launched=1_700_000_200.0)
        seen = found([copy, engine(0), engine(3)], PUBLIC)
        assert [(one.name, one.id, one.state) for one in seen.machines] == [
            ("engine-0", "i-0", MachineState.RUNNING),
            ("engine-3", "i-3", MachineState.RUNNING),
            ("engine-4", "i-copy", MachineState.FAILED),
        ]
        assert "engine-0 a second time" in seen.machines[2].detail

    def test_one_whose_tags_say_nothing_has_failed_and_is_not_overlooked(self) -> None:
        (seen,) = found([engine(0, tags=tags.MachineTags())], PUBLIC).machines
        assert (seen.id, seen.state, seen.endpoint) == ("i-0", MachineState.FAILED, None)


class TestInterrupted:
    def test_it_is_lost_and_says_why(self) -> None:
        seen = found([engine(0), interrupted(1)], PUBLIC)
        assert [(one.name, one.state) for one in seen.machines] == [
            ("engine-0", MachineState.RUNNING),
            ("engine-1", MachineState.LOST),
        ]
        assert seen.machines[1].detail == "interrupted: no capacity"

    def test_one_that_was_taken_away_in_an_orderly_way_is_just_gone(self) -> None:
        by_us = interrupted(1, reason="Client.UserInitiatedShutdown")
        assert [one.name for one in found([engine(0), by_us], PUBLIC).machines] == ["engine-0"]

    def test_once_another_has_its_name_it_is_forgotten(self) -> None:
        again = engine(1, id="i-new", tags=tags.MachineTags("engine", 0, generation=1))
        seen = found([engine(0), interrupted(1), again], PUBLIC)
        assert [(one.name, one.id, one.state) for one in seen.machines] == [
            ("engine-0", "i-0", MachineState.RUNNING),
            ("engine-1", "i-new", MachineState.RUNNING),
        ]

    def test_what_took_its_name_over_and_went_in_an_orderly_way_ends_the_story(self) -> None:
        again = interrupted(
            1, id="i-new", tags=tags.MachineTags("engine", 0, generation=1), reason="Client.UserInitiatedShutdown"
        )
        assert [one.name for one in found([engine(0), interrupted(1), again], PUBLIC).machines] == ["engine-0"]

    def test_a_cluster_of_which_nothing_else_is_left_is_gone(self) -> None:
        assert found([interrupted(0), interrupted(1)], PUBLIC).cluster is None

    def test_that_of_an_earlier_cluster_of_this_name_is_nothing_of_this_one(self) -> None:
        earlier = dataclasses.replace(LAB, id="earlier", created=1.0)
        assert [one.name for one in found([engine(0), interrupted(1, cluster=earlier)], PUBLIC).machines] == [
            "engine-0"
        ]

    def test_removing_it_ends_the_story_too(self) -> None:
        account = Account()
        first, lost = launched(account, 2, spot=True)
        account.end(lost, "Server.SpotInstanceTermination")
        api = AccountApi(account)
        assert len(found(described(api, "lab"), PUBLIC).machines) == 2
        power.terminate(api, "lab", [lost], 1.0)
        assert [one.id for one in found(described(api, "lab"), PUBLIC).machines] == [first]
        assert account.count("terminate_instances") == 0

    def test_an_account_that_does_not_let_it_be_noted_is_no_obstacle_to_removing(self) -> None:
        account = Account(faults={"create_tags": [error("IncorrectInstanceState")]})
        first, lost = launched(account, 2, spot=True)
        account.end(lost, "Server.SpotInstanceTermination")
        power.terminate(AccountApi(account), "lab", [first, lost], 1.0)
        assert account.ids("running") == []

    def test_credentials_that_expired_are_one(self) -> None:
        account = Account(faults={"create_tags": [error("RequestExpired")]})
        first, lost = launched(account, 2, spot=True)
        account.end(lost, "Server.SpotInstanceTermination")
        with pytest.raises(ProviderRefused, match="RequestExpired"):
            power.terminate(AccountApi(account), "lab", [first, lost], 1.0)


class TestDescribed:
    def test_all_machines_of_a_cluster_take_one_question(self) -> None:
        account = Account()
        launched(account, 200)
        launched(account, 3, cluster=dataclasses.replace(LAB, name="other"))
        assert len(described(AccountApi(account), "lab")) == 200
        assert account.calls == [("describe_instances", {"Filters": tags.filters("lab")})]

    def test_without_a_name_every_cluster_of_ours(self) -> None:
        account = Account()
        launched(account, 2)
        launched(account, 1, cluster=dataclasses.replace(LAB, name="other"))
        every = instances.of_each_cluster(described(AccountApi(account)))
        assert [(one[0].cluster.name, len(one)) for one in every] == [("lab", 2), ("other", 1)]

    def test_ids_that_do_not_exist_are_no_error(self) -> None:
        account = Account()
        (one,) = launched(account, 1)
        assert [seen.id for seen in named(AccountApi(account), [one, "i-unknown"])] == [one]

    def test_many_ids_are_asked_for_by_so_many_as_a_filter_takes(self) -> None:
        account = Account()
        made = launched(account, 450)
        assert len(named(AccountApi(account), made)) == 450
        assert account.count("describe_instances") == 3

    def test_a_refusal_is_told(self) -> None:
        account = Account(faults={"describe_instances": [error("ExpiredToken")]})
        with pytest.raises(ProviderRefused, match="looking for machines") as refused:
            described(AccountApi(account), "lab")
        assert "log in again" in refused.value.hint

    def test_looking_ends_when_things_are_as_they_shall_be_or_the_time_is_over(self) -> None:
        looks: list[int] = []

        def look() -> list[Instance]:
            looks.append(1)
            return [engine(0)] * len(looks)

        assert len(look_until(look, lambda seen: len(seen) == 3, 60.0)) == 3
        assert len(look_until(look, lambda seen: False, 0.0)) == 4


class TestLease:
    LEASED = tags.MachineTags("engine", 0, lease=3600.0)
    SWITCHED_ON = 1_700_000_100.0

    def test_it_ends_so_long_after_the_boot_as_the_launch_said(self) -> None:
        assert machine(engine(0, tags=self.LEASED)).deadline == self.SWITCHED_ON + 3600
        assert machine(engine(0, state="stopped", tags=self.LEASED)).deadline is None

    @pytest.mark.parametrize(("noted", "ends"), [(SWITCHED_ON + 9, SWITCHED_ON + 9), (5.0, SWITCHED_ON + 3600)])
    def test_what_was_noted_counts_until_it_is_switched_on_again(self, noted: float, ends: float) -> None:
        assert machine(engine(0, tags=dataclasses.replace(self.LEASED, deadline=noted))).deadline == ends
