"""What a launch is given, and what is left when only a part of a cluster is: group, key, image and user-data."""

from __future__ import annotations

import dataclasses
import gzip
import json
from collections.abc import Sequence
from typing import Any

import pytest

from fabfile.machines import Finding, MachineSpec, silent
from fabfile.providers.ec2 import images, ingredients, key_pairs, preflight, rules
from fabfile.providers.ec2.images import Image
from fabfile.providers.ec2.instances import Instance
from fabfile.providers.ec2.launching import Launch
from fabfile.providers.ec2.tags import MachineTags
from fabfile.software import software
from tests.cloud.paper import CONTROLLER, FIVE, KEY, LAB, create, engines, provider, remove
from tests.cloud.server import Cloud

OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAGKWgLV9ROzOgbmsJ0UrPV3VbDKVC6apMpt6QaTqmBO you"


def launches(cloud: Cloud, new: Sequence[MachineSpec] = FIVE, **changes: Any) -> list[Launch]:
    lab = provider(cloud, **changes)
    return ingredients.launches(lab.api, lab.settings, LAB, new, ())


def told(launch: Launch) -> dict[str, Any]:
    """The cloud-config of a launch."""
    text = gzip.decompress(launch.user_data).decode()
    document: dict[str, Any] = json.loads("\n".join(line for line in text.splitlines() if not line.startswith("#")))
    return document


class TestLaunches:
    def test_one_a_role_with_everything_in_common_but_the_throw_away_key(self, paper: Cloud) -> None:
        controller, engine = launches(paper)
        assert (controller.role, controller.indexes, controller.types) == ("controller", (0,), ("t3.small",))
        assert (engine.role, engine.indexes, engine.types) == ("engine", (0, 1, 2, 3), ("m7i.large", "m6i.large"))
        assert (controller.image, controller.group_id, controller.key_name) == (
            engine.image,
            engine.group_id,
            engine.key_name,
        )
        assert controller.boot_key != engine.boot_key

    def test_only_a_role_with_new_machines_has_one(self, paper: Cloud) -> None:
        assert [one.role for one in launches(paper, engines(7))] == ["engine"]

    def test_all_the_keys_may_log_in(self, paper: Cloud) -> None:
        (only,) = launches(paper, [dataclasses.replace(CONTROLLER, authorized_keys=(KEY, OTHER))])
        assert told(only)["ssh_authorized_keys"] == [KEY, OTHER]

    def test_an_image_that_has_the_software_is_not_told_to_install_it(
        self, paper: Cloud, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def baked(*_: Any, **__: Any) -> Image:
            return Image("ami-1", "mine", "x86_64", "/dev/xvda", "admin", "3.11", 8, baked=needed)

        monkeypatch.setattr(images, "choose", baked)
        needed = software(provider(paper).settings, "x86_64").id
        with_it = [one["path"] for one in told(launches(paper)[0])["write_files"]]
        needed = "another"
        without = [one["path"] for one in told(launches(paper)[0])["write_files"]]
        assert [path for path in without if path.endswith("requirements.txt")]
        assert not [path for path in with_it if path.endswith("requirements.txt")]

    def test_the_software_is_that_of_the_machines_and_not_of_this_computer(
        self, paper: Cloud, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[tuple[str, str]] = []

        def choose(_: Any, __: Any, architecture: str, software_id: str) -> Image:
            asked.append((architecture, software_id))
            return Image("ami-1", "debian", architecture, "/dev/xvda", "admin", "3.11", 8)

        monkeypatch.setattr(images, "choose", choose)
        launches(paper, controller_type=("t4g.small",), machine_type=("m7g.large",))
        assert asked == [("arm64", software(provider(paper).settings, "aarch64").id)]


class TestNear:
    def test_subnets_in_the_zones_of_machines_come_first_in_their_order(self, paper: Cloud) -> None:
        lab = provider(paper)
        first, second = ingredients.network.choose(lab.api, lab.settings)
        there = Instance("i-1", "running", LAB, MachineTags(), zone=second.zone)
        assert ingredients.near((first, second), []) == (first, second)
        assert ingredients.near((first, second), [there]) == (second, first)
        assert ingredients.near((first, second), [dataclasses.replace(there, state="terminated")]) == (first, second)


class TestCheck:
    @pytest.fixture
    def asked(self, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
        """What the preflight is asked; it finds nothing."""
        asked: list[dict[str, Any]] = []

        def findings(*_: Any, **options: Any) -> list[Finding]:
            asked.append(options)
            return []

        monkeypatch.setattr(preflight, "findings", findings)
        return asked

    def test_a_controller_is_among_the_new_machines_unless_it_is_there(
        self, paper: Cloud, asked: list[dict[str, Any]]
    ) -> None:
        provider(paper).check(5)
        create(paper, CONTROLLER)
        provider(paper).check(4)
        assert [one["controller"] for one in asked] == [True, False]

    def test_who_cannot_look_hears_it_from_the_preflight(self, paper: Cloud, asked: list[dict[str, Any]]) -> None:
        paper.faults.expire_credentials()
        assert provider(paper).check(5) == []
        assert [one["controller"] for one in asked] == [True]


class TestRemains:
    def test_a_key_alone_is_a_cluster_to_be_cleaned(self, paper: Cloud) -> None:
        lab = provider(paper)
        key_pairs.ensure(lab.api, LAB, KEY, lab.settings)
        assert lab.find("lab").cluster == LAB
        remove(paper)
        assert lab.find("lab").cluster is None

    def test_a_group_alone_is_one_and_a_new_run_goes_on_with_it(self, paper: Cloud) -> None:
        lab = provider(paper)
        rules.ensure(lab.api, LAB, paper.network.vpc, lab.settings)
        found = lab.find("lab").cluster
        assert found == LAB
        lab.create(found, [CONTROLLER], silent)
        assert len(paper.called("CreateSecurityGroup")) == 1
