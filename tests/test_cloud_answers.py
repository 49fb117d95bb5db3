"""What the test cloud answers to questions, and what a test sees of it afterwards; no real machines here."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
import urllib.request
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import boto3
import pytest

from tests.cloud.account import Account, code, until
from tests.cloud.answers import ON_DEMAND
from tests.cloud.leftovers import leftovers
from tests.cloud.server import Cloud


@pytest.fixture
def account(cloud: Cloud) -> Account:
    """A user of the cloud; no real machines."""
    cloud.on_paper()
    return Account(cloud)


def test_pages_are_of_instances(account: Account) -> None:
    names = account.launch_ids(8)
    pages = list(account.ec2.get_paginator("describe_instances").paginate(PaginationConfig={"PageSize": 5}))
    sizes = [sum(len(one["Instances"]) for one in page["Reservations"]) for page in pages]
    assert sizes == [5, 3]
    shown = [one for page in pages for whole in page["Reservations"] for one in whole["Instances"]]
    assert [one["InstanceId"] for one in shown] == names
    assert [one["AmiLaunchIndex"] for one in shown] == list(range(8))


def test_instances_are_found_by_their_token(account: Account) -> None:
    names = account.launch_ids(2, ClientToken="one")
    account.launch(1, ClientToken="two")
    answer = account.ec2.describe_instances(Filters=[{"Name": "client-token", "Values": ["one"]}])
    assert [one["InstanceId"] for whole in answer["Reservations"] for one in whole["Instances"]] == names


def test_images_are_those_of_the_distributions(account: Account) -> None:
    for path in (
        "debian/release/13/latest/arm64",
        "canonical/ubuntu/server/24.04/stable/current/arm64/hvm/ebs-gp3/ami-id",
    ):
        (image,) = account.ec2.describe_images(ImageIds=[account.image(f"/aws/service/{path}")])["Images"]
        assert image["Architecture"] == "arm64"
        assert image["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"] == 8
    filters = [{"Name": "name", "Values": ["debian-12-amd64-*"]}]
    everybodys = account.ec2.describe_images(Filters=filters)["Images"]
    debians = account.ec2.describe_images(Filters=filters, Owners=["136693071363"])["Images"]
    newest = max(debians, key=lambda image: image["CreationDate"])
    assert len(everybodys) == len(debians) + 1  # somebody's, with the newest date of all
    assert newest["ImageId"] == account.image()
    assert account.ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []


def test_the_network_has_ways_to_the_world_and_a_subnet_without(account: Account) -> None:
    network = account.cloud.network
    (launched,) = account.launch()
    assert launched["SubnetId"] == next(iter(network.subnets.values()))
    assert ip_address(launched["PublicIpAddress"]) in account.cloud.addresses.network
    assert "PublicIpAddress" not in account.launch(SubnetId=network.private)[0]
    (table,) = account.ec2.describe_route_tables(
        Filters=[{"Name": "association.subnet-id", "Values": [network.private]}]
    )["RouteTables"]
    assert [route["GatewayId"] for route in table["Routes"]] == ["local"]
    (vpc,) = account.ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    assert vpc["VpcId"] == network.vpc


def test_prices_quotas_and_placement_groups_are_told(account: Account) -> None:
    region = account.cloud.region
    account.cloud.answers.prices.on_demand["m7i.large"] = 0.1155
    wanted = {
        "instanceType": "m7i.large",
        "regionCode": region,
        "operatingSystem": "Linux",
        "tenancy": "Shared",
        "preInstalledSw": "NA",
        "capacitystatus": "Used",
    }
    filters = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in wanted.items()]
    pricing = boto3.client("pricing", region_name="us-east-1")
    (product,) = pricing.get_products(ServiceCode="AmazonEC2", Filters=filters)["PriceList"]
    assert '"USD": "0.1155000000"' in product
    assert len(pricing.get_products(ServiceCode="AmazonEC2", Filters=filters[:2])["PriceList"]) == 6
    quotas = boto3.client("service-quotas", region_name=region)
    assert quotas.get_service_quota(ServiceCode="ec2", QuotaCode=ON_DEMAND)["Quota"]["Value"] == 2000.0
    account.ec2.create_placement_group(GroupName="close", Strategy="cluster")
    (group,) = account.ec2.describe_placement_groups(GroupNames=["close"])["PlacementGroups"]
    assert (group["GroupName"], group["Strategy"], group["State"]) == ("close", "cluster", "available")
    unknown = code(lambda: account.ec2.describe_placement_groups(GroupNames=["far"]))
    assert unknown == "InvalidPlacementGroup.Unknown"
    (launched,) = account.launch(Placement={"GroupName": "close"})
    assert launched["Placement"]["GroupName"] == "close"


def test_spot_prices_are_told_for_the_time_that_is_asked_for(account: Account) -> None:
    account.cloud.answers.prices.spot["m7i.large"] = 0.04
    now = time.time()

    def told(since: float, until: float) -> list[float]:
        times = {"StartTime": datetime.fromtimestamp(since, UTC), "EndTime": datetime.fromtimestamp(until, UTC)}
        zone = {"AvailabilityZone": f"{account.cloud.region}b"}
        history = account.ec2.describe_spot_price_history(InstanceTypes=["m7i.large"], **zone, **times)
        return [float(one["SpotPrice"]) for one in history["SpotPriceHistory"]]

    assert told(now, now) == [0.042]
    assert told(now - 7200, now) == [0.0546, 0.042]
    assert told(now - 2 * 86400, now - 7200) == [0.063, 0.0546]
    everywhere = account.ec2.describe_spot_price_history(InstanceTypes=["m7i.large", "m6i.large"])["SpotPriceHistory"]
    assert len({(one["InstanceType"], one["AvailabilityZone"]) for one in everywhere}) == 6


def test_an_image_that_is_made_is_not_available_at_once(account: Account) -> None:
    names = account.launch_ids()
    kinds = ("image", "snapshot")
    tags = [{"ResourceType": kind, "Tags": [{"Key": "made", "Value": kind}]} for kind in kinds]
    account.cloud.pace.boot = 0.3
    baked = {"InstanceId": names[0], "Name": "baked", "TagSpecifications": tags}
    image = account.ec2.create_image(**baked)["ImageId"]
    seen = account.ec2.describe_images(ImageIds=[image])["Images"][0]
    assert (seen["State"], seen["RootDeviceName"], seen["Architecture"]) == ("pending", "/dev/xvda", "x86_64")
    assert code(lambda: account.launch(ImageId=image)) == "InvalidAMIID.Unavailable"
    assert code(lambda: account.ec2.create_image(**baked)) == "InvalidAMIName.Duplicate"
    until(lambda: account.ec2.describe_images(ImageIds=[image])["Images"][0]["State"] == "available")
    (snapshot,) = account.ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
    assert snapshot["Tags"] == [{"Key": "made", "Value": "snapshot"}]
    account.ec2.deregister_image(ImageId=image)
    account.ec2.delete_snapshot(SnapshotId=snapshot["SnapshotId"])


def test_calls_are_noted_with_their_parameters(account: Account) -> None:
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "a", "Value": "ä & b"}]}]
    subnet = account.cloud.network.private
    account.launch(3, 2, NetworkInterfaces=[{"DeviceIndex": 0, "SubnetId": subnet}], TagSpecifications=tags)
    assert code(lambda: account.see("i-00000000")) == "InvalidInstanceID.NotFound"
    account.ec2.describe_instances(Filters=[{"Name": "tag:a", "Values": ["x", "y"]}])
    image, launch, missing, filtered = account.cloud.calls
    assert (image.permission, image.params["Name"]) == (
        "ssm:GetParameter",
        "/aws/service/debian/release/12/latest/amd64",
    )
    assert launch.params["NetworkInterface"] == [{"DeviceIndex": "0", "SubnetId": subnet}]
    assert (launch.params["MinCount"], launch.params["MaxCount"]) == ("2", "3")
    assert launch.tags("instance") == {"a": "ä & b"}
    assert (missing.status, missing.error) == (400, "InvalidInstanceID.NotFound")
    assert filtered.filters() == {"tag:a": ["x", "y"]}


def test_the_fingerprints_of_key_pairs_are_those_of_ec2(account: Account, tmp_path: Path) -> None:
    imported = account.import_key(tmp_path)
    made = account.ec2.create_key_pair(KeyName="rsa", KeyType="rsa")
    pem = tmp_path / "rsa.pem"
    pem.write_text(made["KeyMaterial"])
    pem.chmod(0o600)
    account.ec2.import_key_pair(KeyName="again", PublicKeyMaterial=_told("ssh-keygen", "-y", "-f", str(pem)))
    account.ec2.create_key_pair(KeyName="theirs", KeyType="ed25519")
    pairs = {one["KeyName"]: one["KeyFingerprint"] for one in account.ec2.describe_key_pairs()["KeyPairs"]}
    assert f"SHA256:{pairs['lab']}" == _told("ssh-keygen", "-l", "-f", str(imported)).split()[1].decode() + "="
    private = _told("openssl", "pkcs8", "-in", str(pem), "-topk8", "-nocrypt", "-outform", "DER")
    public = _told("openssl", "rsa", "-in", str(pem), "-pubout", "-outform", "DER")
    assert made["KeyFingerprint"] == pairs["rsa"] == hashlib.sha1(private).digest().hex(":")
    assert pairs["again"] == hashlib.md5(public).digest().hex(":")
    assert len(pairs["theirs"]) == 44


def _told(*words: str) -> bytes:
    """What a program says."""
    return subprocess.run(words, capture_output=True, check=True).stdout


def test_a_filter_takes_so_many_values_and_no_more(account: Account) -> None:
    values = [f"{number}" for number in range(201)]
    account.ec2.describe_instances(Filters=[{"Name": "tag:a", "Values": values[1:]}])
    filters = [{"Name": "tag:a", "Values": values}]
    assert code(lambda: account.ec2.describe_instances(Filters=filters)) == "FilterLimitExceeded"


def test_the_address_of_who_asks_is_told(cloud: Cloud) -> None:
    with urllib.request.urlopen(f"{cloud.url}/checkip") as answer:
        assert answer.read() == b"127.0.0.1\n"


def test_a_reset_forgets_everything(account: Account) -> None:
    account.launch(2, ClientToken="one")
    account.ec2.create_security_group(GroupName="mine", Description="x", VpcId=account.cloud.network.vpc)
    account.cloud.faults.capacity = 0
    account.cloud.reset()
    account.cloud.on_paper()
    assert account.cloud.calls == []
    assert account.see() == []
    assert len(account.ec2.describe_security_groups()["SecurityGroups"]) == 2  # one a VPC
    assert len(account.launch(ClientToken="one")) == 1


def test_a_second_cloud_in_one_process_is_refused(cloud: Cloud, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="one account for all"):
        Cloud(tmp_path)


def test_no_way_leads_to_the_real_cloud(cloud: Cloud) -> None:
    assert {name for name in os.environ if name.startswith("AWS_")} == {
        "AWS_ENDPOINT_URL",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_EC2_METADATA_DISABLED",
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
    }


def test_what_is_left_is_told(account: Account) -> None:
    assert leftovers(account.cloud) == []
    (name,) = account.launch_ids()
    account.ec2.create_security_group(GroupName="mine", Description="x", VpcId=account.cloud.network.vpc)
    account.ec2.create_key_pair(KeyName="key")
    account.ec2.create_volume(Size=1, AvailabilityZone=next(iter(account.cloud.network.subnets)))
    image = account.ec2.create_image(InstanceId=name, Name="baked")["ImageId"]
    account.ec2.deregister_image(ImageId=image)
    account.ec2.allocate_address()
    kinds = sorted(line.split()[0] for line in leftovers(account.cloud))
    assert kinds == ["address", "group", "instance", "interface", "key", "snapshot", "volume", "volume"]
    account.ec2.terminate_instances(InstanceIds=[name])
    account.wait("terminated", name)
    kinds = sorted(line.split()[0] for line in leftovers(account.cloud))
    assert kinds == ["address", "group", "key", "snapshot", "volume"]
