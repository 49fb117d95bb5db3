"""The faults that a test can plan in the test cloud; no real machines here."""

from __future__ import annotations

import pytest
from botocore.exceptions import ConnectionClosedError

from tests.cloud.account import Account, code, until
from tests.cloud.server import Cloud


@pytest.fixture
def account(cloud: Cloud) -> Account:
    """A user of the cloud; no real machines."""
    cloud.on_paper()
    return Account(cloud)


def test_a_capacity_error_is_tried_again_by_the_sdk_and_a_quota_is_not(cloud: Cloud) -> None:
    cloud.on_paper()
    account = Account(cloud, tries=3)
    cloud.faults.plan("RunInstances", "InsufficientInstanceCapacity", 500, times=1)
    assert len(account.launch()) == 1
    assert [call.status for call in cloud.called("RunInstances")] == [500, 200]
    cloud.faults.plan("RunInstances", "VcpuLimitExceeded", times=1)
    assert code(account.launch) == "VcpuLimitExceeded"


def test_throttling(account: Account) -> None:
    account.cloud.faults.throttle("DescribeInstances", times=1, skip=1)
    account.see()
    assert code(account.see) == "RequestLimitExceeded"
    account.see()


def test_a_lost_reply_leaves_what_was_made(account: Account) -> None:
    account.cloud.faults.lose_reply("RunInstances")
    with pytest.raises(ConnectionClosedError):
        account.launch(2, ClientToken="one")
    assert len(account.launch(2, ClientToken="one")) == 2
    assert len(account.see()) == 2


def test_an_error_in_place_of_a_reply_leaves_what_was_made(account: Account) -> None:
    account.cloud.faults.plan("RunInstances", "InternalError", 500, after=True)
    assert code(account.launch) == "InternalError"
    assert len(account.see()) == 1


def test_a_fault_can_be_for_some_calls_only(account: Account) -> None:
    big = "m6i.large"
    account.cloud.faults.plan("RunInstances", "Unsupported", when=lambda call: call.params["InstanceType"] == big)
    assert len(account.launch()) == 1
    assert code(lambda: account.launch(InstanceType=big)) == "Unsupported"


def test_credentials_can_expire_midway(account: Account) -> None:
    account.cloud.faults.expire_credentials(after=2)
    account.see()
    account.see()
    assert code(account.see) == "RequestExpired"
    assert code(account.image) == "ExpiredTokenException"
    assert code(account.sts.get_caller_identity) == "ExpiredToken"


def test_credentials_must_be_known(cloud: Cloud) -> None:
    stranger = Account(cloud, "nobody's")
    assert code(stranger.see) == "AuthFailure"
    assert code(stranger.sts.get_caller_identity) == "InvalidClientTokenId"


def test_new_instances_can_be_invisible_for_a_number_of_answers(account: Account) -> None:
    account.cloud.faults.hide_new_instances(looks=2)
    (name,) = account.launch_ids()
    assert account.see() == []
    assert code(lambda: account.ec2.terminate_instances(InstanceIds=[name])) == "InvalidInstanceID.NotFound"
    assert len(account.see(name)) == 1


def test_new_instances_can_be_invisible_for_a_time(account: Account) -> None:
    account.cloud.faults.hide_new_instances(seconds=0.3)
    (name,) = account.launch_ids()
    assert account.see() == []
    assert code(lambda: account.see(name)) == "InvalidInstanceID.NotFound"
    until(lambda: len(account.see()) == 1)
