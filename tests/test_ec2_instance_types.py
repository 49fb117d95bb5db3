"""Types of machines: what the test cloud says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fabfile import run
from fabfile.errors import ProviderRefused
from fabfile.providers import ec2
from fabfile.providers.ec2 import instance_types
from fabfile.providers.ec2.api import Api
from fabfile.record import Record
from fabfile.software import PYTHON, Software
from fabfile.state import Store
from tests.cloud.fixtures import cloud_settings

if TYPE_CHECKING:
    from tests.cloud.server import Cloud


def test_they_are_described_in_their_order_by_one_question(cloud: Cloud) -> None:
    found = instance_types.describe(Api(cloud_settings(cloud)), ["t3.small", "m7i.large"])
    assert [(one.name, one.cpus, one.memory_mb) for one in found] == [
        ("t3.small", 2, 2048),
        ("m7i.large", 2, 8192),
    ]
    assert [one.action for one in cloud.calls].count("DescribeInstanceTypes") == 1


def test_an_unknown_one_is_refused_with_the_nearest_that_there_is(cloud: Cloud) -> None:
    with pytest.raises(ProviderRefused, match=r"no machines of type m7i\.larg; did you mean m7i\.large\?"):
        instance_types.describe(Api(cloud_settings(cloud)), ["m7i.larg"])


def test_types_that_cannot_run_one_image_are_refused(cloud: Cloud) -> None:
    api = Api(cloud_settings(cloud))
    mixed = instance_types.describe(api, ["m7i.large", "m7g.large"])
    with pytest.raises(ProviderRefused, match=r"m7i\.large \(x86_64\), m7g\.large \(arm64\)"):
        instance_types.one_architecture(mixed)
    assert instance_types.one_architecture(mixed[1:]) == "arm64"


def test_every_type_of_a_list_must_hold_the_engines_of_a_machine(cloud: Cloud) -> None:
    api = Api(cloud_settings(cloud))
    assert instance_types.engines_per_machine(instance_types.describe(api, ["m7i.2xlarge", "m7i.xlarge"])) == 4


def test_the_zones_that_have_them_are_found_by_one_question(cloud: Cloud) -> None:
    found = instance_types.offered(Api(cloud_settings(cloud)), ["m7i.large", "g7.2xlarge", "m7i.larg"])
    assert found["m7i.large"] == ("eu-central-1a", "eu-central-1b", "eu-central-1c")
    assert found["g7.2xlarge"] == ("eu-central-1a", "eu-central-1c")
    assert found["m7i.larg"] == ()
    assert [one.action for one in cloud.calls].count("DescribeInstanceTypeOfferings") == 1


@pytest.mark.parametrize(
    ("types", "said"), [(("m7i.large", "t3.small"), "x86_64"), (("m7g.large", "t4g.small"), "aarch64")]
)
def test_machines_get_the_software_for_their_own_processors(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, types: tuple[str, str], said: str
) -> None:
    ours = ec2.provider(cloud_settings(cloud, machine_type=types[:1], controller_type=types[1:]))
    assert ours.hardware() == said
    monkeypatch.setattr(run, "software", lambda settings, machine: Software("5oft", PYTHON, (), machine))
    assert run.Run(ours.settings, ours, Store("lab"), Record()).software.platform == said
