"""What is found before machines of a Triton data center are made, and what they are made of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fabfile import entrances
from fabfile.errors import ClusterError, ProviderRefused, UsageError
from fabfile.machines import Cluster, Finding, MachineSpec
from fabfile.providers.triton import entry, ingredients, marks
from fabfile.providers.triton.preflight import findings
from fabfile.settings import Settings
from tests.cloudapi import world
from tests.cloudapi.fixtures import client
from tests.cloudapi.server import CloudApi

CLUSTER = Cluster("lab", "c0ffee12", "ada lovelace@desk", 1_700_000_000.25)
PLAIN = Settings(
    provider="triton", machine_type=(), controller_type=(), ssh_from=("192.0.2.0/24",), lease=3600.0, boot_timeout=5.0
)


def look(cloudapi: CloudApi, new: int = 3, **changes: Any) -> list[Finding]:
    return findings(client(cloudapi), replace(PLAIN, **changes), new)


def errors(cloudapi: CloudApi, **changes: Any) -> list[str]:
    return [one.text for one in look(cloudapi, **changes) if one.level == "error"]


def test_what_can_be_made_has_no_errors_and_says_what_it_takes(cloudapi: CloudApi) -> None:
    found = look(cloudapi)
    assert [one.level for one in found] == ["warning"] * len(found)
    texts = [one.text for one in found]
    assert "what sample-1G costs is not known: CloudAPI does not say" in texts
    assert any("machines will be sample-1G" in text for text in texts)


def test_nothing_is_looked_at_beyond_the_account_when_nothing_is_made(cloudapi: CloudApi) -> None:
    assert look(cloudapi, 0) == []
    assert {one.name for one in cloudapi.calls} == {"GET /my", "GET /my/keys"}


def test_an_account_that_cannot_be_asked_is_the_only_thing_told_of_it(cloudapi: CloudApi) -> None:
    cloudapi.world.disabled = True
    (finding,) = [one for one in look(cloudapi) if one.level == "error"]
    assert "disabled" in finding.fix


def test_an_account_without_a_key_makes_no_machines(cloudapi: CloudApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fabfile.providers.triton.catalog.account_keys", lambda api: [])
    assert "has no SSH key" in errors(cloudapi)[0]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"image": "base-64-ltz"}, "no image base-64-ltz; did you mean base-64-lts?"),
        ({"image": "base-64-lts@1.0.0"}, "no image base-64-lts of version 1.0.0"),
        ({"image": "00000000-0000-4000-8000-000000000000"}, "no image 00000000"),
        ({"machine_type": ("sample-2G",)}, "no package sample-2G; did you mean sample-1G?"),
        ({"controller_type": ("sample-2G",)}, "no package sample-2G"),
        ({"networks": ("extrenal", "internal")}, "no network extrenal; did you mean external?"),
        ({"ssh_from": ()}, "`ssh_from` is empty"),
        ({"system_packages": ("git",)}, "`system_packages` are Debian's"),
        ({"userdata": "/nowhere/at/all.sh"}, "/nowhere/at/all.sh cannot be read"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_made(cloudapi: CloudApi, changes: dict[str, Any], text: str) -> None:
    assert any(text in one for one in errors(cloudapi, **changes))
    assert cloudapi.world.machines == {}


def test_everything_that_is_wrong_is_told_at_once(cloudapi: CloudApi) -> None:
    assert len(errors(cloudapi, image="nosuch", system_packages=("git",), ssh_from=())) == 3


def test_an_image_of_another_system_is_refused(cloudapi: CloudApi) -> None:
    id = "11111111-1111-4111-8111-111111111111"
    cloudapi.world.images[id] = world.image(id, "debian-12", "20250101", os="linux", type="lx-dataset")
    assert "is of linux, not of SmartOS" in errors(cloudapi, image="debian-12")[0]


def test_an_image_that_needs_more_memory_than_the_package_has(cloudapi: CloudApi) -> None:
    cloudapi.world.images[world.IMAGE]["requirements"] = {"min_ram": 4096}
    assert "needs 4096 MiB of memory, sample-1G has 1024" in errors(cloudapi)[0]


def test_what_it_costs_is_said_by_the_settings(cloudapi: CloudApi) -> None:
    texts = [one.text for one in look(cloudapi, price_per_hour=(("sample-1G", 0.5),))]
    assert "the new machines will cost about 1.500 US dollars an hour" in texts


def test_a_port_open_to_the_world_and_first_use_are_warned_of(cloudapi: CloudApi) -> None:
    texts = [one.text for one in look(cloudapi, open_ports=("tcp:8888:0.0.0.0/0",), host_keys=("first-use",))]
    assert any("open to the whole world" in text for text in texts)
    assert any("believed whatever it shows" in text for text in texts)


def test_the_newest_version_of_an_image_is_taken(cloudapi: CloudApi) -> None:
    for number, version in (("2", "24.4.10"), ("3", "24.4.9")):
        id = f"{number * 8}-1111-4111-8111-111111111111"
        cloudapi.world.images[id] = world.image(id, "base-64-lts", version)
    assert ingredients.image(client(cloudapi), PLAIN).version == "24.4.10"
    assert ingredients.image(client(cloudapi), replace(PLAIN, image="base-64-lts@24.4.9")).version == "24.4.9"


def test_the_smallest_package_of_2_gb_is_taken(cloudapi: CloudApi) -> None:
    for name, memory, cpus in (("big", 8192, 8), ("right", 2048, 2)):
        id = f"{memory:08d}-1111-4111-8111-111111111111"
        cloudapi.world.packages[id] = world.package(id, name, memory, vcpus=cpus)
    found = ingredients.package(client(cloudapi), PLAIN, "engine")
    assert (found.name, ingredients.engines_per_machine(found)) == ("right", 2)
    assert ingredients.engines_per_machine(replace(found, vcpus=0)) == 1


def order(**changes: Any) -> Any:
    made_of = ingredients.Ingredients(
        ingredients.Image("i" * 8, "base-64-lts", "1"), ingredients.Package("p" * 8, "small", 1024, 1024), ()
    )
    spec = MachineSpec("engine", 3, ("ssh-ed25519 AAAA me",))
    return ingredients.order(replace(PLAIN, **changes), CLUSTER, spec, made_of, 1_900_000_000.0)


def test_a_machine_is_told_whose_it_is_and_what_to_do(tmp_path: Path) -> None:
    script = tmp_path / "first.sh"
    script.write_text("#!/bin/sh\necho hi\n")
    made = order(userdata=str(script), tags=(("project", "spectra"),), affinity=("role!=~engine",))
    assert made.name == "lab-c0ffee12-engine-3"
    assert marks.cluster_of(made.tags) == CLUSTER
    assert marks.place_of(made.tags) == ("engine", 3)
    assert (made.tags["project"], made.tags[marks.DEADLINE]) == ("spectra", "1900000000")
    assert made.metadata[marks.LEASE] == "3600"
    assert made.metadata[marks.USERDATA] == "#!/bin/sh\necho hi\n"
    assert made.metadata[marks.KEYS] == "ssh-ed25519 AAAA me\n"
    assert made.metadata["user-script"].startswith("#!/bin/sh\n")
    assert made.affinity == ("ipyfleet.role!=~engine",)  # that is what the tag is called
    assert marks.LEASE not in order(lease=0.0).metadata


def test_users_tags_do_not_become_ours() -> None:
    assert marks.cluster_of(order(tags=((marks.ID, "another"),)).tags) == CLUSTER


def test_a_script_that_is_no_text_is_refused(tmp_path: Path) -> None:
    script = tmp_path / "first.sh"
    script.write_bytes(b"#!/bin/sh\n\xff\n")
    with pytest.raises(UsageError, match="is not a text"):
        order(userdata=str(script))


def test_a_rule_says_whose_it_is() -> None:
    assert marks.cluster_of_rule(marks.description(CLUSTER)) == CLUSTER
    assert marks.cluster_of_rule("let me in") is None


@pytest.mark.parametrize("tags", [{}, {marks.CLUSTER: "lab"}, {marks.CLUSTER: "lab", marks.ID: "1", marks.SCHEMA: "2"}])
def test_tags_that_are_not_ours_name_no_cluster(tags: dict[str, str]) -> None:
    assert marks.cluster_of(tags) is None
    assert marks.place_of(tags) is None


def test_rules_are_in_the_form_that_cloudapi_keeps(cloudapi: CloudApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entrances, "own_address", lambda settings: "203.0.113.7/32")
    monkeypatch.setattr(entry, "own_address", lambda settings: "203.0.113.7/32")
    api = client(cloudapi)
    many = tuple(f"198.51.{n}.0/24" for n in range(30))
    settings = replace(PLAIN, ssh_from=("auto", *many), open_ports=("tcp:8888:192.0.2.0/24", "udp:60-70:192.0.2.1/32"))
    assert entry.ensure(api, CLUSTER, settings)
    assert not entry.ensure(api, CLUSTER, settings)
    texts = [one["rule"] for one in cloudapi.world.rules.values()]
    assert len(texts) == 2 + 2 + 2
    assert any("ip 203.0.113.7" in text for text in texts)
    entry.remove(api, entry.of_cluster(api, "lab"))
    assert cloudapi.world.rules == {}


def test_another_clusters_rules_are_left_alone(cloudapi: CloudApi) -> None:
    api = client(cloudapi)
    other = replace(CLUSTER, id="another0")
    entry.ensure(api, other, PLAIN)
    entry.ensure(api, CLUSTER, PLAIN)
    assert len(entry.of_cluster(api, "lab")) == 6
    assert len(entry.of_cluster(api, "lab", CLUSTER.id)) == 3
    entry.ensure(api, CLUSTER, replace(PLAIN, ssh_from=("198.51.100.0/24",)))
    assert len(entry.of_cluster(api, "lab", other.id)) == 3


def test_errors_of_the_catalog_say_what_there_is(cloudapi: CloudApi) -> None:
    with pytest.raises(ProviderRefused) as error:
        ingredients.networks(client(cloudapi), replace(PLAIN, networks=("nowhere",)))
    assert "external, internal" in error.value.hint
    assert isinstance(error.value, ClusterError)
