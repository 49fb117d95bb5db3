"""Instances of the test cloud launched, stopped and ended, where moto alone would do otherwise than EC2; on paper."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cloud.account import Account, code, until
from tests.cloud.answers import ON_DEMAND
from tests.cloud.server import Cloud

SPOT = {"MarketType": "spot", "SpotOptions": {"SpotInstanceType": "one-time"}}


@pytest.fixture
def account(cloud: Cloud) -> Account:
    """A user of the cloud; no real machines."""
    cloud.on_paper()
    return Account(cloud)


# -- Launching ---------------------------------------------------------------------------------------------------------


def test_an_instance_is_pending_first_and_running_later(account: Account) -> None:
    account.cloud.pace.boot = 0.3
    (made,) = account.launch()
    assert made["State"]["Name"] == "pending"
    assert account.states(made["InstanceId"]) == {"pending"}
    account.wait("running", made["InstanceId"])


def test_as_many_are_made_as_there_is_room_for_up_to_the_most(account: Account) -> None:
    account.cloud.faults.capacity = 3
    assert len(account.launch(5, 1)) == 3
    assert code(lambda: account.launch(1)) == "InsufficientInstanceCapacity"


def test_less_than_the_least_is_none(account: Account) -> None:
    account.cloud.faults.capacity = 3
    assert code(lambda: account.launch(5, 4)) == "InsufficientInstanceCapacity"
    assert account.see() == []


def test_room_is_given_back(account: Account) -> None:
    account.cloud.faults.capacity = 1
    (old,) = account.launch_ids()
    account.ec2.terminate_instances(InstanceIds=[old])
    account.wait("terminated", old)
    assert len(account.launch()) == 1


def test_room_by_zone_type_and_market(account: Account) -> None:
    first, second = account.cloud.network.subnets
    in_first, in_second = ({"SubnetId": account.cloud.network.subnets[zone]} for zone in (first, second))
    account.cloud.faults.capacity = {first: 1, (second, "m7i.large"): 1, (second, "spot"): 0}
    assert len(account.launch(2, 1, **in_first)) == 1
    assert code(lambda: account.launch(1, **in_first)) == "InsufficientInstanceCapacity"
    spot = {"InstanceMarketOptions": SPOT}
    assert code(lambda: account.launch(1, **in_second, **spot)) == "InsufficientInstanceCapacity"
    assert len(account.launch(2, 1, **in_second)) == 1
    assert len(account.launch(2, 1, **in_second, InstanceType="m6i.large")) == 2


def test_a_token_makes_machines_once(account: Account) -> None:
    first = account.launch_ids(2, ClientToken="one")
    assert account.launch_ids(2, ClientToken="one") == first
    assert account.launch_ids(2, ClientToken="two") != first
    assert len(account.see()) == 4


@pytest.mark.parametrize("change", [{"InstanceType": "m6i.large"}, {"UserData": "#!/bin/sh\n"}, {"least": 1}])
def test_a_token_used_for_something_else_is_refused(account: Account, change: dict[str, Any]) -> None:
    account.launch(2, ClientToken="one")
    assert code(lambda: account.launch(2, ClientToken="one", **change)) == "IdempotentParameterMismatch"


def test_a_token_answers_with_what_it_made_also_when_that_is_gone(account: Account) -> None:
    (made,) = account.launch_ids(ClientToken="one")
    account.ec2.terminate_instances(InstanceIds=[made])
    account.wait("terminated", made)
    (again,) = account.launch(ClientToken="one")
    assert (again["InstanceId"], again["State"]["Name"]) == (made, "terminated")


def test_a_token_of_a_call_that_failed_is_free(account: Account) -> None:
    account.cloud.faults.capacity = 0
    assert code(lambda: account.launch(ClientToken="one")) == "InsufficientInstanceCapacity"
    account.cloud.faults.capacity = None
    assert len(account.launch(ClientToken="one")) == 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"ImageId": "ami-00000000"}, "InvalidAMIID.NotFound"),
        ({"KeyName": "nobody's"}, "InvalidKeyPair.NotFound"),
        ({"InstanceType": "m7i.gigantic"}, "InvalidParameterValue"),
        ({"InstanceType": "m7g.large"}, "InvalidParameterValue"),  # of the other architecture
        ({"InstanceType": "f2.6xlarge"}, "Unsupported"),  # in that zone
        ({"SubnetId": "subnet-00000000"}, "InvalidSubnetID.NotFound"),
        ({"UserData": "x" * 16385}, "InvalidParameterValue"),
        ({"ClientToken": "x" * 65}, "InvalidParameterValue"),
        ({"Placement": {"GroupName": "nobody's"}}, "InvalidPlacementGroup.Unknown"),
        ({"InstanceMarketOptions": {**SPOT, "SpotOptions": {"MaxPrice": "0.001"}}}, "SpotMaxPriceTooLow"),
    ],
)
def test_what_ec2_does_not_take_is_refused(account: Account, change: dict[str, Any], expected: str) -> None:
    assert code(lambda: account.launch(**change)) == expected
    assert account.see() == []


def test_a_quota_holds(account: Account) -> None:
    account.cloud.answers.quotas[ON_DEMAND] = 4
    account.launch(2)
    assert code(account.launch) == "VcpuLimitExceeded"
    assert len(account.launch(1, InstanceMarketOptions=SPOT)) == 1


def test_everything_that_is_made_with_an_instance_has_the_tags_of_its_kind(account: Account) -> None:
    kinds = ("instance", "volume", "network-interface")
    tags = [{"ResourceType": kind, "Tags": [{"Key": "made", "Value": kind}]} for kind in kinds]
    (made,) = account.launch(TagSpecifications=tags)
    volumes = account.ec2.describe_volumes()["Volumes"]
    interfaces = account.ec2.describe_network_interfaces()["NetworkInterfaces"]
    assert made["Tags"] == [{"Key": "made", "Value": "instance"}]
    assert [one["Tags"] for one in volumes] == [[{"Key": "made", "Value": "volume"}]]
    assert [one["TagSet"] for one in interfaces] == [[{"Key": "made", "Value": "network-interface"}]]


def test_a_dry_run_makes_nothing(account: Account) -> None:
    assert code(lambda: account.launch(DryRun=True)) == "DryRunOperation"
    account.cloud.faults.deny("RunInstances")
    assert code(lambda: account.launch(DryRun=True)) == "UnauthorizedOperation"
    assert account.see() == []


# -- Stopping, starting, ending ----------------------------------------------------------------------------------------


def test_stop_and_start_go_through_states_and_change_the_public_address_only(account: Account) -> None:
    (before,) = account.wait("running", *account.launch_ids())
    name = before["InstanceId"]
    account.cloud.pace.stop = 0.3
    account.ec2.stop_instances(InstanceIds=[name])
    assert account.states(name) == {"stopping"}
    assert code(lambda: account.ec2.start_instances(InstanceIds=[name])) == "IncorrectInstanceState"
    (stopped,) = account.wait("stopped", name)
    assert "PublicIpAddress" not in stopped
    account.cloud.pace.boot = 0.3
    account.ec2.start_instances(InstanceIds=[name])
    assert account.states(name) == {"pending"}
    (after,) = account.wait("running", name)
    assert after["PrivateIpAddress"] == before["PrivateIpAddress"]
    assert after["PublicIpAddress"] != before["PublicIpAddress"]


def test_what_is_terminated_stays_visible_and_can_do_nothing(account: Account) -> None:
    account.cloud.pace.end = 0.3
    (name,) = account.launch_ids(TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "a", "Value": "b"}]}])
    account.ec2.terminate_instances(InstanceIds=[name])
    assert account.states(name) == {"shutting-down"}
    (gone,) = account.wait("terminated", name)
    assert gone["Tags"] == [{"Key": "a", "Value": "b"}]
    for verb in (account.ec2.start_instances, account.ec2.stop_instances):
        assert code(lambda verb=verb: verb(InstanceIds=[name])) == "IncorrectInstanceState"
    account.ec2.terminate_instances(InstanceIds=[name])


def test_nothing_of_a_terminated_instance_is_left(account: Account) -> None:
    names = account.launch_ids(2)
    account.ec2.terminate_instances(InstanceIds=names)
    account.wait("terminated", *names)
    assert account.ec2.describe_volumes()["Volumes"] == []
    assert account.ec2.describe_network_interfaces()["NetworkInterfaces"] == []


def test_one_unknown_id_fails_the_whole_call(account: Account) -> None:
    names = account.launch_ids(2)
    unknown = [*names, "i-00000000000000000"]
    assert code(lambda: account.ec2.terminate_instances(InstanceIds=unknown)) == "InvalidInstanceID.NotFound"
    account.wait("running", *names)


def test_a_group_that_something_uses_is_not_deleted(account: Account) -> None:
    vpc = account.cloud.network.vpc
    used, named = (
        account.ec2.create_security_group(GroupName=name, Description="x", VpcId=vpc)["GroupId"] for name in "ab"
    )
    inside = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": named}]}
    account.ec2.authorize_security_group_ingress(GroupId=used, IpPermissions=[inside])
    account.ec2.authorize_security_group_ingress(
        GroupId=used, IpPermissions=[{**inside, "UserIdGroupPairs": [{"GroupId": used}]}]
    )
    names = account.launch_ids(SecurityGroupIds=[used])
    assert code(lambda: account.ec2.delete_security_group(GroupId=named)) == "DependencyViolation"
    assert code(lambda: account.ec2.delete_security_group(GroupId=used)) == "DependencyViolation"
    account.ec2.terminate_instances(InstanceIds=names)
    assert code(lambda: account.ec2.delete_security_group(GroupId=used)) == "DependencyViolation"
    account.wait("terminated", *names)
    account.ec2.delete_security_group(GroupId=used)  # a rule about itself does not count
    account.ec2.delete_security_group(GroupId=named)


def test_a_spot_instance_can_be_taken_away_but_not_stopped(account: Account) -> None:
    (made,) = account.launch(InstanceMarketOptions=SPOT)
    name = made["InstanceId"]
    assert made["InstanceLifecycle"] == "spot"
    assert made["SpotInstanceRequestId"].startswith("sir-")
    assert code(lambda: account.ec2.stop_instances(InstanceIds=[name])) == "UnsupportedOperation"
    account.cloud.interrupt(name)
    (gone,) = account.wait("terminated", name)
    assert gone["StateReason"]["Code"] == "Server.SpotInstanceTermination"


def test_an_instance_can_end_before_it_runs(account: Account) -> None:
    account.cloud.pace.boot = 0.2
    account.cloud.faults.end_early("Client.InternalError")
    first, second = account.launch_ids(2)
    (ended,) = account.wait("terminated", first)
    assert ended["StateReason"]["Code"] == "Client.InternalError"
    account.wait("running", second)


def test_many_machines_are_made_and_ended_in_moments(account: Account) -> None:
    names = account.launch_ids(200)
    until(lambda: account.states() == {"running"})
    account.ec2.terminate_instances(InstanceIds=names)
    until(lambda: account.states() == {"terminated"})
