"""Whose a host is: what its owner.json says, who may claim and clear it, and what nobody understands."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.errors import ProviderRefused
from fabfile.machines import Cluster, silent
from fabfile.providers.static.owner import SOMEBODY, Owner, owner_json, parse_owner
from tests.fakes.places import CONTROLLER, OURS, Hosts, engines, lab, names

THEIRS = Cluster("lab", "22bb", "you@there", 2000.0)


class TestWhoseAHostIs:
    def test_a_host_of_another_cluster_is_refused_and_the_others_are_claimed(self) -> None:
        other = Cluster("other", "33cc", "you@there", 3.0)
        static = lab(Hosts("a", "bb", owners={"bb": Owner(other, {"engine-0": 1.0}, {})}), "a", "bb")
        with pytest.raises(ProviderRefused, match="bb is taken"):
            static.create(OURS, [CONTROLLER, *engines(0, 1)], silent)
        assert names(static) == {"controller": "a", "engine-0": "a"}

    def test_a_host_of_another_cluster_of_the_same_name_stops_it_before_any_is_claimed(self) -> None:
        hosts = Hosts("a", "bb", owners={"bb": Owner(THEIRS, {"engine-0": 1.0}, {})})
        with pytest.raises(ProviderRefused, match="bb belongs to the cluster 'lab' that you@there made"):
            lab(hosts, "a", "bb").create(OURS, [CONTROLLER], silent)
        assert hosts.owners["a"] is None

    def test_a_machine_that_had_failed_and_answers_again_is_let_go(self) -> None:
        hosts = Hosts("a", "bb")
        static = lab(hosts, "a", "bb")
        static.create(OURS, [CONTROLLER, *engines(0, 1)], silent)
        hosts.silent = {"bb"}
        machines = static.find("lab").machines
        hosts.silent = set()
        static.destroy("lab", machines)
        assert sorted(hosts.cleared) == ["a", "bb"]

    def test_of_two_clusters_with_one_name_it_is_the_one_on_the_host_listed_first(self) -> None:
        owners: dict[str, Owner | None] = {
            "a": Owner(OURS, {"engine-0": 1.0}, {}),
            "bb": Owner(THEIRS, {"engine-0": 1.0}, {}),
        }
        assert lab(Hosts(owners=owners), "a", "bb").find("lab").cluster == OURS
        assert lab(Hosts(owners=owners), "bb", "a").find("lab").cluster == THEIRS

    def test_every_cluster_on_the_hosts_is_listed_with_its_machines(self) -> None:
        other = Cluster("other", "33cc", "you@there", 3.0)
        owners: dict[str, Owner | None] = {
            "a": Owner(OURS, {"controller": 1.0, "engine-0": 1.0}, {}),
            "bb": Owner(other, {"engine-4": 1.0}, {}),
        }
        found = lab(Hosts("ccc", owners=owners), "a", "bb", "ccc").clusters()
        assert [(one.cluster, [machine.name for machine in one.machines]) for one in found] == [
            (OURS, ["controller", "engine-0"]),
            (other, ["engine-4"]),
        ]

    def test_letting_go_of_one_machine_of_two_leaves_the_host_to_the_other(self) -> None:
        hosts = Hosts("a", "bb")
        static = lab(hosts, "a", "bb")
        _, engine, _ = static.create(OURS, [CONTROLLER, *engines(0, 1)], silent)
        static.destroy("lab", [engine])
        assert names(static) == {"controller": "a", "engine-1": "bb"}
        assert not hosts.cleared

    def test_letting_go_of_all_clears_every_host_and_may_be_repeated(self) -> None:
        hosts = Hosts("a", "bb")
        static = lab(hosts, "a", "bb")
        made = static.create(OURS, [CONTROLLER, *engines(0, 1)], silent)
        static.destroy("lab", made)
        static.destroy("lab", made)
        assert sorted(hosts.cleared) == ["a", "bb"]
        assert static.find("lab").cluster is None

    def test_nothing_to_let_go_means_nothing(self) -> None:
        hosts = Hosts("a")
        static = lab(hosts, "a")
        static.create(OURS, [CONTROLLER], silent)
        static.destroy("lab", [])
        assert not hosts.cleared

    def test_a_host_of_another_cluster_is_never_cleared(self) -> None:
        hosts = Hosts("a")
        static = lab(hosts, "a")
        made = static.create(OURS, [CONTROLLER], silent)
        hosts.owners["a"] = Owner(Cluster("other", "33cc", "you@there", 3.0), {"controller": 1.0}, {})
        static.destroy("lab", made)
        assert not hosts.cleared

    @given(st.text())
    def test_a_file_that_nobody_understands_makes_the_host_somebodys(self, text: str) -> None:
        owner = parse_owner(text)
        assert owner is None if not text.strip() else owner is not None and owner.cluster == SOMEBODY

    def test_a_name_that_is_no_machines_makes_the_host_somebodys(self) -> None:
        strange = owner_json(Owner(OURS, {"engine-../x": 1.0}, {})).decode()
        assert parse_owner(strange) == Owner(SOMEBODY)

    @pytest.mark.parametrize(
        "strange",
        [
            Owner(replace(OURS, owner="\x1b]0;you@there\a")),
            Owner(replace(OURS, name="lab\nhealthy")),
            Owner(OURS, places={"controller": "\x9b2J"}),
            Owner(replace(OURS, created=1e30)),
            Owner(replace(OURS, created=float("nan"))),
            Owner(OURS, {"controller": float("inf")}),
        ],
    )
    def test_what_no_terminal_or_calendar_could_show_makes_the_host_somebodys(self, strange: Owner) -> None:
        assert parse_owner(owner_json(strange).decode()) == Owner(SOMEBODY)

    def test_a_file_nested_too_deep_makes_the_host_somebodys(self) -> None:
        assert parse_owner("[" * 5000) == Owner(SOMEBODY)
