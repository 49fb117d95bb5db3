"""What a Triton account offers beside machines, and what clusters of ours left behind in it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from fabfile import host_keys
from fabfile.accounts import (
    ImageKeeping,
    KeyKeeping,
    LeftoverKind,
    Placing,
    Pricing,
    Sizing,
    Sweeping,
)
from fabfile.errors import ProviderRefused, UsageError
from fabfile.machines import Cluster, MachineState, silent
from fabfile.providers.triton import Triton, marks, sweep
from fabfile.settings import Settings
from tests.cloudapi.fixtures import client
from tests.cloudapi.server import CloudApi
from tests.cloudapi.vms import Vm

CLUSTER = Cluster("lab", "c0ffee12", "ada@desk", 1_700_000_000.0)
HOUR = 3600.0


@pytest.fixture
def triton(cloudapi: CloudApi) -> Triton:
    provider = Triton(Settings(provider="triton", price_per_hour=(("sample-1G", 0.25),), boot_timeout=10.0))
    provider.__dict__["api"] = client(cloudapi)
    return provider


def place(cloudapi: CloudApi, role: str, index: int = 0, age: float = 2 * HOUR, **details: object) -> Vm:
    """A machine of ours in the account."""
    tags = marks.of_machine(CLUSTER, role, index) | details.pop("tags", {})  # type: ignore[arg-type,operator]
    created = time.time() - age
    return cloudapi.world.place(f"lab-{role}-{index}", tags=tags, created=created, **details)


def test_it_has_all_these_abilities(triton: Triton) -> None:
    for ability in (KeyKeeping, ImageKeeping, Placing, Sizing, Pricing, Sweeping):
        assert isinstance(triton, ability)


def test_data_centers_packages_and_prices(triton: Triton) -> None:
    assert [one.name for one in triton.regions()]
    (package,) = triton.machine_types()
    assert (package.name, package.memory_mb, package.hourly) == ("sample-1G", 1024, 0.25)
    assert triton.machine_types(["nothing*"]) == ()
    assert [(one.type, one.fixed) for one in triton.prices([], 7)] == [("sample-1G", 0.25)]
    triton.settings = Settings(provider="triton")
    with pytest.raises(UsageError, match="knows no prices"):
        triton.prices([], 7)


def test_a_region_that_there_is_not_is_named_with_those_that_there_are(
    cloudapi: CloudApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.cloudapi.fixtures import environment

    for name, value in environment(cloudapi, tmp_path).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="knows no data center us-nowhere-1"):
        _ = Triton(Settings(provider="triton", region="us-nowhere-1")).api


def test_images_of_smartos_are_listed_and_none_is_baked(triton: Triton) -> None:
    assert [one.name for one in triton.images()] == ["base-64-lts@24.4.1"]
    with pytest.raises(UsageError, match="bakes no images"):
        triton.bake(silent)
    with pytest.raises(UsageError, match="no image of ours"):
        triton.remove_image("x")


def test_keys_come_and_go_but_the_one_that_signs_stays(triton: Triton, tmp_path: Path) -> None:
    line = host_keys.make_key_pair(tmp_path / "key", "me")
    made = triton.import_key("lab", line)
    assert made in triton.key_pairs()
    assert triton.import_key("lab", line) == made
    with pytest.raises(ProviderRefused, match="another key has the name"):
        triton.import_key("lab", host_keys.make_key_pair(tmp_path / "other", ""))
    with pytest.raises(UsageError):
        triton.import_key("odd", "no key at all")
    triton.remove_key("lab")
    assert "lab" not in [one.name for one in triton.key_pairs()]
    with pytest.raises(ProviderRefused, match="no key lab"):
        triton.remove_key("lab")
    mine = next(one for one in triton.key_pairs() if one.fingerprint == triton.api.signing_key)
    with pytest.raises(ProviderRefused, match="signs these requests"):
        triton.remove_key(mine.name)


def test_clusters_are_found_with_all_their_machines(cloudapi: CloudApi, triton: Triton) -> None:
    place(cloudapi, "controller")
    place(cloudapi, "engine", 1)
    cloudapi.world.place("somebody-elses")
    (found,) = triton.clusters()
    assert found.cluster == CLUSTER
    assert [one.name for one in found.machines] == ["controller", "engine-1"]


def test_a_failed_machine_in_whose_place_another_was_made_goes_with_the_cluster(
    cloudapi: CloudApi, triton: Triton
) -> None:
    failed = place(cloudapi, "engine", 1, state="failed")
    failed.name = "shadow"
    place(cloudapi, "engine", 1)
    (seen,) = triton.find("lab").machines
    assert seen.state is MachineState.RUNNING
    triton.destroy("lab", [seen])
    triton.clean("lab")
    assert [vm.name for vm in cloudapi.world.machines.values() if not vm.gone] == []


def whys(triton: Triton) -> dict[str, str]:
    return {one.name: one.why for one in triton.leftovers()}


def test_a_live_cluster_leaves_nothing_over(cloudapi: CloudApi, triton: Triton) -> None:
    place(cloudapi, "controller")
    place(cloudapi, "engine", 0, state="stopped")
    cloudapi.world.place("somebody-elses", state="failed")
    assert whys(triton) == {}


def test_what_no_live_cluster_covers_is_left_over_and_removed(cloudapi: CloudApi, triton: Triton) -> None:
    place(cloudapi, "engine", 0)
    place(cloudapi, "engine", 1, age=60.0)  # its controller may be on its way
    place(cloudapi, "engine", 2, state="failed")
    place(cloudapi, "engine", 3, state="stopped", age=60.0, tags={marks.DEADLINE: "1000"})
    foreign = cloudapi.world.place("somebody-elses", state="stopped")
    assert whys(triton) == {
        "lab-engine-0": "its cluster has no controller",
        "lab-engine-2": "it could not be made",
        "lab-engine-3": "its lease is over",
    }
    triton.remove_leftovers(triton.leftovers(), silent)
    cloudapi.jobs.settle()
    assert {vm.name for vm in cloudapi.world.machines.values() if not vm.gone} == {"lab-engine-1", foreign.name}


def test_rules_without_machines_are_left_over(cloudapi: CloudApi, triton: Triton) -> None:
    from fabfile.providers.triton import entry

    settings = Settings(provider="triton", ssh_from=("192.0.2.0/24",))
    entry.ensure(triton.api, CLUSTER, settings)
    entry.ensure(triton.api, Cluster("new", "dec0de00", "ada@desk", time.time()), settings)
    found = triton.leftovers()
    assert {one.kind for one in found} == {LeftoverKind.NETWORK}
    assert {one.cluster for one in found} == {"lab"}
    triton.remove_leftovers(found, silent)
    assert {its.name for _, its in entry.ours(triton.api)} == {"new"}


def test_what_a_live_cluster_covers_by_now_is_not_removed(cloudapi: CloudApi, triton: Triton) -> None:
    place(cloudapi, "engine", 0)
    found = triton.leftovers()
    place(cloudapi, "controller")
    triton.remove_leftovers(found, silent)
    assert sum(vm.active for vm in cloudapi.world.machines.values()) == 2
    assert sweep.leftovers(triton.api) == ()


def test_a_protected_machine_is_told_and_the_others_go(cloudapi: CloudApi, triton: Triton) -> None:
    place(cloudapi, "engine", 0, deletion_protection=True)
    place(cloudapi, "engine", 1)
    with pytest.raises(ProviderRefused, match="CannotDestroyMachineError"):
        triton.remove_leftovers(triton.leftovers(), silent)
    cloudapi.jobs.settle()
    assert [vm.name for vm in cloudapi.world.machines.values() if vm.active] == ["lab-engine-0"]
