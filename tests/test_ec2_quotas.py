"""Quotas: what is wanted and what runs already against what the account allows, on each market by itself."""

from __future__ import annotations

from typing import Any

import pytest

from fabfile.errors import ProviderRefused
from fabfile.machines import Finding
from fabfile.providers.ec2.api import Api
from fabfile.providers.ec2.quotas import ON_DEMAND, SPOT, STANDARD, Wanted, findings, limit, running
from tests.cloud.account import Account
from tests.cloud.fixtures import cloud_settings
from tests.cloud.server import Cloud

BIG, SMALL = "m7i.large", "t3.small"  # both have 2 vCPUs
SPOTS = {"MarketType": "spot", "SpotOptions": {"SpotInstanceType": "one-time"}}


@pytest.fixture
def api(cloud: Cloud) -> Api:
    cloud.on_paper()
    return Api(cloud_settings(cloud))


def allow(cloud: Cloud, on_demand: float, spot: float = 0.0) -> None:
    cloud.answers.quotas = {ON_DEMAND: on_demand, SPOT: spot}


def found(api: Api, *wanted: Wanted, **how: Any) -> list[Finding]:
    return list(findings(api, wanted, **how))


def test_a_quota_is_read(cloud: Cloud, api: Api) -> None:
    allow(cloud, 32, 5)
    assert (limit(api, ON_DEMAND), limit(api, SPOT)) == (32, 5)


def test_a_quota_that_may_not_be_read_is_none_and_stops_nothing(cloud: Cloud, api: Api) -> None:
    allow(cloud, 1)
    cloud.faults.deny("GetServiceQuota")
    assert limit(api, ON_DEMAND) is None
    assert found(api, Wanted(BIG, 100)) == []


def test_a_quota_that_the_region_does_not_know_is_none(cloud: Cloud, api: Api) -> None:
    cloud.answers.quotas = {}
    assert limit(api, ON_DEMAND) is None


def test_what_just_fits_is_no_finding(cloud: Cloud, api: Api) -> None:
    allow(cloud, 10)
    assert found(api, Wanted(SMALL, 1), Wanted(BIG, 4)) == []


def test_one_more_is_an_error_that_says_how_many_fit(cloud: Cloud, api: Api) -> None:
    allow(cloud, 10)
    (finding,) = found(api, Wanted(SMALL, 1), Wanted(BIG, 5))
    assert finding.level == "error"
    assert "1 t3.small and 5 m7i.large take 12 vCPUs" in finding.text
    assert "L-1216C47A" in finding.text
    assert "allows 10" in finding.text
    assert "room for 5 machines" in finding.fix


def test_what_runs_already_counts_also_when_it_is_not_ours(cloud: Cloud, api: Api) -> None:
    allow(cloud, 10)
    account = Account(cloud)
    ids = account.launch_ids(3)
    (finding,) = found(api, Wanted(BIG, 3))
    assert "6 are in use already" in finding.text
    account.ec2.terminate_instances(InstanceIds=ids)
    account.wait("terminated", *ids)
    assert found(api, Wanted(BIG, 3)) == []


def test_the_markets_have_a_quota_each(cloud: Cloud, api: Api) -> None:
    allow(cloud, 4, 4)
    Account(cloud).launch(2, InstanceMarketOptions=SPOTS)
    assert running(api) == {(BIG, True): 2}
    assert found(api, Wanted(BIG, 2)) == []
    (finding,) = found(api, Wanted(SMALL, 1), Wanted(BIG, 1, spot=True))
    assert "L-34B43A08" in finding.text


def test_a_cluster_that_may_start_short_is_only_warned_of_it(cloud: Cloud, api: Api) -> None:
    allow(cloud, 2)
    (finding,) = found(api, Wanted(BIG, 2), may_start_short=True)
    assert finding.level == "warning"


def test_types_of_other_quotas_are_not_counted(cloud: Cloud, api: Api) -> None:
    Account(cloud).launch(1, InstanceType="g4dn.xlarge")
    allow(cloud, 2)
    assert found(api, Wanted("p3.2xlarge", 5), Wanted(BIG, 1)) == []


@pytest.mark.parametrize("kind", ["a1.large", "c7gn.large", "i4i.large", "im4gn.large", "m5.large", "z1d.large"])
def test_standard_types(kind: str) -> None:
    assert STANDARD.fullmatch(kind)


@pytest.mark.parametrize(
    "kind", ["dl1.24xlarge", "g5.large", "hpc7a.12xlarge", "inf2.large", "mac1.metal", "p5.48xlarge", "trn1.2xlarge"]
)
def test_types_that_are_not_standard(kind: str) -> None:
    assert not STANDARD.fullmatch(kind)


def test_what_runs_must_be_readable(cloud: Cloud, api: Api) -> None:
    cloud.faults.deny("DescribeInstances")
    with pytest.raises(ProviderRefused, match="counting the machines"):
        found(api, Wanted(BIG, 2))
