"""Sweep: what counts as left over, what never does, and that it is removed in an order in which it can be."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import pytest

from fabfile.accounts import Leftover, LeftoverKind
from fabfile.errors import ProviderRefused
from fabfile.machines import Cluster, Event
from fabfile.providers.ec2 import sweep, tags
from fabfile.providers.ec2.api import Api
from fabfile.providers.ec2.sweep import GRACE, SHELF_LIFE, Inventory, left_over, leftovers, remove
from tests.cloud import leftovers as account_leftovers
from tests.cloud.account import Account, new_key
from tests.cloud.fixtures import cloud_settings
from tests.cloud.server import Cloud

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIL4kjbCeiaZNxcUH5gmURVFRf/GP4x9AvUbuWBCBqNrM"
OLD = 1_700_000_000.0
LAB = Cluster("lab", "c0ffee", "me@here", OLD)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "PAUSE", 0.05)


@pytest.fixture
def account(cloud: Cloud) -> Account:
    cloud.on_paper()
    return Account(cloud)


@pytest.fixture
def api(cloud: Cloud) -> Api:
    return Api(cloud_settings(cloud))


def later() -> float:
    return time.time() + GRACE + 60


def machine(account: Account, role: Any = "engine", cluster: Cluster = LAB, **changes: Any) -> str:
    its = tags.of_launch(cluster, (), role, [0], 0, "admin", KEY)
    (made,) = account.launch_ids(1, TagSpecifications=tags.specification(its, "instance", "volume"), **changes)
    account.wait("running", made)
    return made


def group(account: Account, cluster: Cluster = LAB) -> str:
    its = tags.specification(tags.of_cluster(cluster), "security-group")
    answer = account.ec2.create_security_group(
        GroupName=f"ipyfleet-{cluster.name}", Description="x", VpcId=vpc(account), TagSpecifications=its
    )
    return str(answer["GroupId"])


def vpc(account: Account) -> str:
    return str(account.ec2.describe_subnets()["Subnets"][0]["VpcId"])


def volume(account: Account, cluster: Cluster | None = LAB) -> str:
    its = {"TagSpecifications": tags.specification(tags.of_cluster(cluster), "volume")} if cluster else {}
    zone = account.ec2.describe_subnets()["Subnets"][0]["AvailabilityZone"]
    return str(account.ec2.create_volume(AvailabilityZone=zone, Size=1, **its)["VolumeId"])


def key(account: Account, folder: Any, cluster: Cluster = LAB) -> str:
    public = new_key(folder / "key").with_suffix(".pub").read_bytes()
    its = tags.specification(tags.of_cluster(cluster), "key-pair")
    made = account.ec2.import_key_pair(KeyName="ipyfleet-lab", PublicKeyMaterial=public, TagSpecifications=its)
    return str(made["KeyPairId"])


def image(account: Account, instance: str) -> tuple[str, str]:
    its = tags.specification(tags.of_cluster(LAB), "image", "snapshot")
    made = account.ec2.create_image(InstanceId=instance, Name="baked", TagSpecifications=its)["ImageId"]
    shown = account.ec2.describe_images(ImageIds=[made])["Images"][0]
    return made, shown["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]


def kinds(found: Iterable[Leftover]) -> list[str]:
    return [str(one.kind) for one in found]


# -- What is left over -------------------------------------------------------------------------------------------------


def test_an_empty_account_has_nothing(api: Api) -> None:
    assert leftovers(api) == ()


def test_a_cluster_with_a_controller_is_live_also_when_all_of_it_is_off(
    account: Account, api: Api, tmp_path: Any
) -> None:
    ids = [machine(account, "controller"), machine(account)]
    group(account), key(account, tmp_path), volume(account)
    account.ec2.stop_instances(InstanceIds=ids)
    account.wait("stopped", *ids)
    assert leftovers(api, later()) == ()


def test_engines_without_a_controller_are_left_over_after_an_hour(account: Account, api: Api) -> None:
    engine = machine(account)
    assert leftovers(api) == ()
    (found,) = leftovers(api, later())
    assert (found.kind, found.id, found.name, found.cluster) == (LeftoverKind.MACHINE, engine, "engine-0", "lab")
    assert found.owner == "me@here"
    assert found.created == pytest.approx(time.time(), abs=60)
    assert "without a controller" in found.why


def test_a_controller_that_is_gone_covers_nothing(account: Account, api: Api) -> None:
    controller = machine(account, "controller")
    group(account)
    account.ec2.terminate_instances(InstanceIds=[controller])
    account.wait("terminated", controller)
    assert kinds(leftovers(api)) == ["network"]


def test_a_cluster_of_the_same_name_and_another_id_covers_nothing(account: Account, api: Api) -> None:
    machine(account, "controller", Cluster("lab", "other", "me@here", OLD))
    group(account)
    assert kinds(leftovers(api)) == ["network"]


def test_what_was_made_just_now_is_not_left_over(account: Account, api: Api, tmp_path: Any) -> None:
    group(account, Cluster("new", "1", "me@here", time.time()))
    key(account, tmp_path), volume(account)
    assert leftovers(api) == ()
    assert kinds(leftovers(api, later())) == ["volume", "network", "key"]


def test_what_has_no_tags_of_ours_is_never_seen(account: Account, api: Api, tmp_path: Any) -> None:
    account.launch(2)
    volume(account, None)
    account.import_key(tmp_path, "mine")
    account.ec2.create_security_group(GroupName="mine", Description="x", VpcId=vpc(account))
    assert leftovers(api, later() + SHELF_LIFE) == ()


def test_a_volume_that_a_machine_has_goes_with_the_machine(account: Account, api: Api) -> None:
    machine(account)
    assert kinds(leftovers(api, later())) == ["machine"]


def test_an_image_is_kept_while_it_is_young_or_a_machine_uses_it(account: Account, api: Api) -> None:
    base = machine(account)
    made, _ = image(account, base)
    account.ec2.terminate_instances(InstanceIds=[base])
    account.wait("terminated", base)
    assert leftovers(api, later()) == ()
    assert kinds(leftovers(api, later() + SHELF_LIFE)) == ["image", "snapshot"]
    machine(account, "controller", ImageId=made)
    assert leftovers(api, later() + SHELF_LIFE) == ()


def test_a_snapshot_without_its_image_is_left_over(account: Account, api: Api) -> None:
    base = machine(account, "controller")
    made, snapshot = image(account, base)
    account.ec2.deregister_image(ImageId=made)
    assert [one.id for one in leftovers(api, later())] == [snapshot]


def described_image(state: str, created: float, **changes: Any) -> dict[str, Any]:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(created))
    its = tags.pairs(tags.of_cluster(LAB))
    return {"ImageId": "ami-1", "Name": "baked", "State": state, "CreationDate": stamp, "Tags": its, **changes}


@pytest.mark.parametrize(
    ("state", "age", "left"),
    [("pending", 60, 0), ("pending", 7200, 1), ("failed", 60, 1), ("available", 7200, 0), ("available", 1e7, 1)],
)
def test_images_that_failed_are_left_over(state: str, age: float, left: int) -> None:
    others: Any = {kind: [] for kind in LeftoverKind} | {LeftoverKind.IMAGE: [described_image(state, OLD - age)]}
    assert len(list(left_over(Inventory([], others), OLD))) == left


def test_what_may_not_be_looked_at_is_said(cloud: Cloud, api: Api) -> None:
    cloud.faults.deny("DescribeSnapshots")
    with pytest.raises(ProviderRefused, match="looking for snapshots of ours"):
        leftovers(api)


# -- Removing it -------------------------------------------------------------------------------------------------------


@pytest.fixture
def left(account: Account, api: Api, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> tuple[Leftover, ...]:
    """One of everything."""
    monkeypatch.setattr(sweep, "GRACE", 0.0)
    monkeypatch.setattr(sweep, "SHELF_LIFE", 0.0)
    its = group(account)
    subnet = account.ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    base = machine(account, SubnetId=subnet, SecurityGroupIds=[its])
    image(account, base)
    key(account, tmp_path), volume(account)
    return leftovers(api)


def test_everything_is_removed_and_a_second_time_nothing(cloud: Cloud, api: Api, left: tuple[Leftover, ...]) -> None:
    assert kinds(left) == [str(kind) for kind in LeftoverKind]
    heard: list[Event] = []
    assert {one.id for one in remove(api, left, heard.append)} == {one.id for one in left}
    assert heard[0].what == "removed 1 of 1: machine"
    assert account_leftovers.leftovers(cloud) == []
    cloud.calls.clear()
    assert remove(api, left) == ()
    assert {call.action[:8] for call in cloud.calls} == {"Describe"}


def test_a_group_is_tried_until_its_machines_are_gone(cloud: Cloud, api: Api, left: tuple[Leftover, ...]) -> None:
    cloud.pace.end = 0.5
    remove(api, left)
    assert len(cloud.called("DeleteSecurityGroup")) > 1
    assert account_leftovers.leftovers(cloud) == []


def test_only_what_was_named_is_removed(cloud: Cloud, api: Api, left: tuple[Leftover, ...]) -> None:
    remove(api, [one for one in left if one.kind is LeftoverKind.VOLUME])
    assert kinds(leftovers(api)) == [kind for kind in kinds(left) if kind != "volume"]


def test_one_that_cannot_be_removed_hides_no_other(cloud: Cloud, api: Api, left: tuple[Leftover, ...]) -> None:
    cloud.faults.deny("DeleteKeyPair")
    with pytest.raises(ProviderRefused, match="removing the key ipyfleet-lab"):
        remove(api, left)
    assert kinds(leftovers(api)) == ["key"]


def test_the_time_is_bounded(cloud: Cloud, api: Api, left: tuple[Leftover, ...]) -> None:
    cloud.faults.plan("DeleteSecurityGroup", "DependencyViolation", times=float("inf"))
    begun = time.monotonic()
    with pytest.raises(ProviderRefused, match="DependencyViolation"):
        remove(api, left, timeout=1.0)
    assert time.monotonic() - begun < 10


def test_what_a_live_cluster_covers_by_now_is_left_alone(
    account: Account, api: Api, left: tuple[Leftover, ...]
) -> None:
    machine(account, "controller")
    assert "network" not in kinds(remove(api, left))
    assert account.ec2.describe_security_groups(Filters=tags.filters())["SecurityGroups"]
