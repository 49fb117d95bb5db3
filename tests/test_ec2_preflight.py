"""Preflight: one thing wrong after the other, several at once, and that nothing is ever made."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from fabfile import entrances
from fabfile.machines import Finding
from fabfile.providers.ec2 import images, preflight
from fabfile.providers.ec2.api import Api
from fabfile.providers.ec2.places import known_regions, regions, zones
from fabfile.providers.ec2.preflight import findings
from fabfile.providers.ec2.prices import Prices
from fabfile.providers.ec2.quotas import ON_DEMAND
from fabfile.settings import Settings
from fabfile.software import PYTHON, Software
from tests.cloud.fixtures import cloud_settings
from tests.cloud.leftovers import leftovers
from tests.cloud.server import Cloud

CHANGES = ("Create", "Run", "Import", "Delete", "Authorize", "Terminate", "Put")


@pytest.fixture
def settings(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings that nothing can be said against."""
    cloud.on_paper()
    monkeypatch.setattr(preflight, "software", lambda settings, machine: Software("5oft", PYTHON, (), machine))
    return cloud_settings(cloud, lease=3600.0, ssh_from=("127.0.0.0/8",))


def look(settings: Settings, machines: int = 5, **how: Any) -> list[Finding]:
    api = Api(settings)
    return findings(api, settings, machines, Prices(api, settings), **how)


def changed(settings: Settings, **changes: Any) -> Settings:
    return dataclasses.replace(settings, **changes)


def of(found: list[Finding], level: str = "error") -> list[Finding]:
    """Those of that level; the estimate of the cost aside."""
    return [finding for finding in found if finding.level == level and "US dollars" not in finding.text]


def the_error(settings: Settings, **how: Any) -> Finding:
    (finding,) = of(look(settings, **how))
    return finding


def test_where_all_is_well_only_the_cost_is_said_and_nothing_is_made(cloud: Cloud, settings: Settings) -> None:
    cloud.answers.prices.on_demand = {"m7i.large": 0.1, "t3.small": 0.02}
    (finding,) = look(settings)
    assert finding.level == "warning"
    assert "cost about 0.445 US dollars an hour, without volumes" in finding.text
    made = [call for call in cloud.calls if call.action.startswith(CHANGES)]
    assert all(call.params.get("DryRun") == "true" for call in made)
    assert sorted(call.action for call in made) == ["CreateSecurityGroup", "RunInstances", "RunInstances"]
    assert leftovers(cloud) == []


def test_the_dry_runs_are_the_real_calls(cloud: Cloud, settings: Settings) -> None:
    look(changed(settings, spot=True, volume_size=20))
    by_type = {call.params["InstanceType"]: call.params for call in cloud.called("RunInstances")}
    assert "InstanceMarketOptions" in by_type["m7i.large"]
    assert "InstanceMarketOptions" not in by_type["t3.small"]
    assert by_type["t3.small"]["ImageId"].startswith("ami-")
    assert "TagSpecification" in by_type["t3.small"]
    (interface,) = by_type["t3.small"]["NetworkInterface"]
    assert "SecurityGroupId" not in interface  # it is not there yet


def test_without_new_machines_only_the_account_is_looked_at(cloud: Cloud, settings: Settings) -> None:
    assert look(changed(settings, lease=0.0), 0) == []
    assert [call.action for call in cloud.calls] == ["GetCallerIdentity"]


def test_no_credentials_are_one_finding_and_no_further_question(
    cloud: Cloud, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    finding = the_error(settings)
    assert "asking AWS who we are" in finding.text
    assert "aws configure" in finding.fix
    assert cloud.calls == []


def test_credentials_that_have_expired(cloud: Cloud, settings: Settings) -> None:
    cloud.faults.expire_credentials()
    assert "log in again" in the_error(settings).fix


def test_no_region(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    assert "no region" in the_error(changed(settings, region="")).text


def test_a_wrong_region_names_the_nearest_and_asks_nobody(cloud: Cloud, settings: Settings) -> None:
    finding = the_error(changed(settings, region="eu-centrall-1"))
    assert "eu-centrall-1; did you mean eu-central-1?" in finding.text
    assert cloud.calls == []


def test_a_zone_of_another_region(settings: Settings) -> None:
    finding = the_error(changed(settings, zones=("eu-central-1a", "eu-central-1x")))
    assert "has no zone eu-central-1x; did you mean eu-central-1" in finding.text


def test_a_zone_that_there_is_not_is_told_once(settings: Settings) -> None:
    finding = the_error(changed(settings, zones=("eu-central-1x",)))
    assert "has no zone eu-central-1x" in finding.text


def test_a_type_that_does_not_exist(settings: Settings) -> None:
    found = of(look(changed(settings, machine_type=("m7i.larg",))))
    assert "m7i.larg; did you mean m7i.large?" in found[0].text
    assert len(found) == 1  # the quota says the same


def test_types_of_two_architectures(settings: Settings) -> None:
    assert "cannot run one image" in the_error(changed(settings, machine_type=("m7g.large",))).text


def test_an_image_of_the_other_architecture(cloud: Cloud, settings: Settings) -> None:
    arm = next(one.id for one in cloud.backend.amis.values() if one.architecture == "arm64")
    assert "is for arm64" in the_error(changed(settings, image=arm)).text


def test_a_subnet_without_a_route(cloud: Cloud, settings: Settings) -> None:
    assert "no route to an internet gateway" in the_error(changed(settings, subnet=(cloud.network.private,))).text


def test_an_image_of_ours_is_looked_for_by_what_machines_of_the_types_architecture_get(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []
    choose, kinds = images.choose, {"machine_type": ("m7g.large",), "controller_type": ("t4g.small",)}

    def noting(api: Api, settings: Settings, architecture: str, software_id: str = "") -> images.Image:
        asked.append((architecture, software_id))
        return choose(api, settings, architecture, software_id)

    monkeypatch.setattr(preflight, "software", lambda settings, machine: Software(machine, PYTHON, (), machine))
    monkeypatch.setattr(images, "choose", noting)
    look(changed(settings, **kinds))
    look(settings)
    assert asked == [("arm64", "aarch64"), ("x86_64", "x86_64")]


def test_a_disk_smaller_than_the_images(settings: Settings) -> None:
    assert "needs a disk of 8 GB, `volume_size` is 7" in the_error(changed(settings, volume_size=7)).text
    assert of(look(changed(settings, volume_size=8))) == []


def test_a_type_that_the_subnets_zones_do_not_have(cloud: Cloud, settings: Settings) -> None:
    there = changed(settings, zones=("eu-central-1b",))
    finding = the_error(changed(there, machine_type=("g7.2xlarge",)))  # in the zones a and c
    assert finding.text == "no zone of eu-central-1b has machines of type g7.2xlarge"
    assert "among eu-central-1a, eu-central-1c, or another `machine_type`" in finding.fix
    assert of(look(changed(there, machine_type=("g7.2xlarge", "m7i.large")))) == []
    assert "`controller_type`" in the_error(changed(there, controller_type=("g7.2xlarge",))).fix


def test_more_than_the_quota(cloud: Cloud, settings: Settings) -> None:
    cloud.answers.quotas = {ON_DEMAND: 8}
    assert "take 10 vCPUs" in the_error(settings).text
    (finding,) = of(look(changed(settings, min_engines=2)), "warning")
    assert "take 10 vCPUs" in finding.text


def test_a_cluster_that_grows_needs_no_second_controller(cloud: Cloud, settings: Settings) -> None:
    look(settings, 2, controller=False)
    assert [call.params["InstanceType"] for call in cloud.called("RunInstances")] == ["m7i.large"]


def test_a_key_file_that_others_may_read(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("secret")
    path.chmod(0o644)
    assert "chmod 600" in the_error(changed(settings, key_pair="mine", key_file=str(path))).fix


def test_a_script_that_is_none(settings: Settings, tmp_path: Path) -> None:
    assert "cannot be read" in the_error(changed(settings, userdata=str(tmp_path / "absent"))).text


def test_no_address_service(cloud: Cloud, settings: Settings) -> None:
    wrong = changed(settings, ssh_from=("auto",), address_service=f"{cloud.url}/nothing-here")
    assert "ssh_from" in the_error(wrong).fix


def test_an_address_of_this_computers_that_is_of_no_use(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entrances, "own_address", lambda settings: "2001:db8::7/128")
    assert "machines are reached by IPv4" in the_error(changed(settings, ssh_from=("auto",))).text
    assert of(look(changed(settings, ssh_from=("auto", "203.0.113.0/24")))) == []


def test_private_machines_are_not_reached_from_this_computers_address(
    cloud: Cloud, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight.named_hosts, "strangers", lambda host: ())
    service = f"{cloud.url}/nothing-here"
    private = changed(settings, ssh_from=("auto",), address_service=service, public_address=False, gateway="ada@gate")
    assert of(look(private)) == []


def test_nobody_who_may_reach_the_machines_is_an_error(settings: Settings) -> None:
    finding = the_error(changed(settings, ssh_from=()))
    assert "`ssh_from` is empty" in finding.text
    assert "auto" in finding.fix


def test_no_lease_and_ways_in_for_all_the_world_are_warnings(settings: Settings) -> None:
    found = look(changed(settings, lease=0.0, open_ports=("tcp:8888:0.0.0.0/0",)))
    assert of(found) == []
    assert {finding.text.split()[0] for finding in of(found, "warning")} == {"no", "port"}


@pytest.mark.parametrize(
    ("action", "permission"), [("RunInstances", "ec2:RunInstances"), ("CreateSecurityGroup", "ec2:CreateSecurityGroup")]
)
def test_what_is_not_allowed_is_named_by_its_permission(
    cloud: Cloud, settings: Settings, action: str, permission: str
) -> None:
    cloud.faults.deny(action)
    found = of(look(settings))
    assert found
    assert all(permission in finding.text and "policy" in finding.fix for finding in found)


def test_the_permission_that_aws_names_comes_first(cloud: Cloud, settings: Settings) -> None:
    said = "User: arn:aws:iam::1:user/me is not authorized to perform: iam:PassRole on resource: role because no policy"
    cloud.faults.plan("RunInstances", "UnauthorizedOperation", 403, times=float("inf"), message=said)
    assert all("iam:PassRole" in finding.text for finding in of(look(settings)))


def test_what_a_dry_run_is_refused_for_otherwise(cloud: Cloud, settings: Settings) -> None:
    said = "Invalid IAM Instance Profile name"
    cloud.faults.plan("RunInstances", "InvalidIamInstanceProfile", times=float("inf"), message=said)
    assert all("instance_profile" in finding.fix for finding in of(look(settings)))
    assert of(look(settings))


@pytest.mark.parametrize("code", ["InsufficientInstanceCapacity", "VcpuLimitExceeded", "RequestLimitExceeded"])
def test_a_dry_run_that_only_comes_at_a_bad_time_is_no_finding(cloud: Cloud, settings: Settings, code: str) -> None:
    cloud.faults.plan("RunInstances", code, times=float("inf"))
    assert of(look(settings)) == []


def test_everything_that_is_wrong_is_said_at_once(cloud: Cloud, settings: Settings) -> None:
    cloud.faults.deny("GetProducts")  # nobody knows the price
    found = look(
        changed(
            settings,
            lease=0.0,
            machine_type=("nosuch.large",),
            zones=("eu-central-1a", "eu-central-1q"),
            key_pair="absent",
            userdata="/nothing/here",
        )
    )
    texts = [finding.text for finding in of(found)]
    assert len(texts) == 4
    for word in ("nosuch.large", "eu-central-1q", "absent", "/nothing/here"):
        assert any(word in text for text in texts), word
    assert found[-1].level == "warning"  # errors first
    assert "no lease" in found[-1].text


def test_one_question_that_may_not_be_asked_hides_no_other(cloud: Cloud, settings: Settings) -> None:
    cloud.faults.deny("DescribeSubnets")
    found = of(look(changed(settings, key_pair="absent")))
    assert any("looking for a subnet" in finding.text for finding in found)
    assert any("absent" in finding.text for finding in found)


def test_a_price_that_cannot_be_read_is_not_mentioned(cloud: Cloud, settings: Settings) -> None:
    cloud.faults.deny("GetProducts")
    assert look(settings) == []


class TestPlaces:
    def test_regions_that_the_sdk_knows(self) -> None:
        assert {"eu-central-1", "us-east-1", "cn-north-1"} <= set(known_regions())

    def test_regions_of_the_account(self, settings: Settings) -> None:
        found = {region.name: region for region in regions(Api(settings))}
        assert found["eu-central-1"].current
        assert not found["us-east-1"].current
        assert found["us-east-1"].usable
        assert list(found) == sorted(found)

    def test_zones_of_the_region(self, settings: Settings) -> None:
        found = zones(Api(settings))
        assert "eu-central-1a" in [zone.name for zone in found]
        assert all(zone.state == "available" and zone.id for zone in found)
