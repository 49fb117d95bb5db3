"""The provider ec2 when things go wrong, on the test cloud with machines on paper: nothing left over or doubled."""

from __future__ import annotations

import dataclasses
import threading
from contextlib import suppress
from typing import Any

import pytest

from fabfile.errors import ProviderRefused
from fabfile.machines import (
    Cluster,
    Event,
    Machine,
    silent,
)
from fabfile.providers.ec2 import creation
from fabfile.remote import each
from tests.cloud.leftovers import leftovers
from tests.cloud.paper import (
    CONTROLLER,
    FIVE,
    LAB,
    create,
    engines,
    make_and_remove,
    names,
    provider,
    remove,
    remove_at_once,
)
from tests.cloud.server import Cloud


class TestRoom:
    def test_a_full_zone_leads_to_the_next(self, paper: Cloud) -> None:
        first, second = paper.network.subnets
        paper.faults.capacity = {first: 1}
        create(paper)
        assert len(paper.instances()) == 5
        assert {one.placement.zone for one in paper.instances() if one.instance_type == "m7i.large"} == {second}

    def test_no_room_anywhere_is_told_and_what_came_is_kept_for_the_next_run(self, paper: Cloud) -> None:
        paper.faults.capacity = 3
        with pytest.raises(ProviderRefused, match="of 5 machines came, missing: ") as refused:
            create(paper)
        assert refused.value.exit_code == 4
        assert "InsufficientInstanceCapacity" in refused.value.seen
        assert "`zones`" in refused.value.hint
        assert len(names(paper)) == 3
        paper.faults.capacity = None
        assert len(create(paper)) == 5
        assert len(paper.instances()) == 5
        remove(paper)
        assert leftovers(paper) == []

    def test_with_min_engines_a_cluster_starts_short_and_says_so(self, paper: Cloud) -> None:
        paper.faults.capacity = {"m7i.large": 2, "m6i.large": 0}
        heard: list[Event] = []
        made = create(paper, min_engines=4, engines=8, heard=heard)
        assert sorted(made) == ["controller", "engine-0", "engine-1"]
        assert sorted(event.machine for event in heard if event.machine) == ["engine-2", "engine-3"]
        assert "going on without" in heard[-1].what

    def test_fewer_than_min_engines_are_not_enough(self, paper: Cloud) -> None:
        paper.faults.capacity = {"m7i.large": 2, "m6i.large": 0}
        with pytest.raises(ProviderRefused, match="3 of 5 machines came"):
            create(paper, min_engines=5, engines=8)

    def test_engines_that_were_there_count_for_min_engines(self, paper: Cloud) -> None:
        create(paper, CONTROLLER, *engines(0, 1))
        paper.faults.capacity = {"m7i.large": 2, "m6i.large": 0}
        assert sorted(create(paper, *engines(2, 3), min_engines=4, engines=8)) == []

    def test_a_quota_is_named(self, paper: Cloud) -> None:
        paper.answers.quotas = dict.fromkeys(paper.answers.quotas, 2.0)
        with pytest.raises(ProviderRefused) as refused:
            create(paper)
        assert "VcpuLimitExceeded" in refused.value.seen
        assert "Service Quotas" in refused.value.hint


class TestFaults:
    def test_a_lost_reply_doubles_no_machine(self, paper: Cloud) -> None:
        paper.faults.lose_reply("RunInstances", times=2)
        assert len(create(paper)) == 5
        assert len(paper.instances()) == 5

    def test_throttling_is_waited_out(self, paper: Cloud) -> None:
        for action in ("DescribeInstances", "RunInstances", "TerminateInstances"):
            paper.faults.throttle(action, times=2)
        assert len(create(paper)) == 5
        remove(paper)
        assert leftovers(paper) == []

    def test_instances_that_are_invisible_at_first(self, paper: Cloud) -> None:
        paper.faults.hide_new_instances(looks=3)
        assert len(create(paper)) == 5

    def test_a_run_after_a_crash_before_anything_was_visible_doubles_nothing(self, paper: Cloud) -> None:
        paper.faults.hide_new_instances(seconds=0.4)
        with pytest.raises(ProviderRefused, match="does not show it"):
            create(paper, boot_timeout=0.05)
        assert len(create(paper)) == 5
        assert len(paper.instances()) == 5

    def test_credentials_that_expire_anywhere_on_the_way(self, paper: Cloud) -> None:
        create(paper)
        remove(paper)
        calls = [call.action for call in paper.calls]
        for step in range(len(calls) - calls.count("DescribeInstances") + 4):  # looks may be fewer the next time
            paper.reset()
            paper.on_paper()
            expired = paper.faults.expire_credentials(after=step)
            with pytest.raises(ProviderRefused) as refused:
                make_and_remove(paper)
            assert "log in again" in refused.value.hint, step
            expired.times = 0
            assert len(create(paper)) == 5, step
            assert len(paper.instances()) == 5, step
            remove(paper)
            assert leftovers(paper) == [], step

    @pytest.mark.parametrize("resume", [True, False])
    def test_killed_after_any_call_that_was_carried_out(self, paper: Cloud, resume: bool) -> None:
        make_and_remove(paper)
        for step in range(len(paper.calls)):
            paper.reset()
            paper.on_paper()
            paper.faults.hide_new_instances(looks=2)
            killed = paper.faults.plan("", "RequestExpired", times=float("inf"), skip=step, after=True)
            with suppress(ProviderRefused):
                make_and_remove(paper)
            killed.times = 0
            if resume:
                assert len(create(paper)) == 5, step
                assert len(paper.instances()) == 5, step
            else:
                with suppress(ProviderRefused):  # what is not in sight keeps its group, so that it is tried again
                    remove_at_once(paper)
            remove(paper)
            assert leftovers(paper) == [], step

    def test_the_controllers_zone_leads_no_second_run_away_from_engines_that_are_unseen(
        self, paper: Cloud, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, _ = paper.network.subnets
        paper.faults.capacity = {(first, "t3.small"): 0}
        hidden = [True]

        def hides(instance: str) -> bool:
            return hidden[0] and any(
                one.id == instance and one.instance_type == "m7i.large" for one in paper.instances()
            )

        monkeypatch.setattr(paper.faults, "hides", hides)
        with pytest.raises(ProviderRefused, match="does not show it"):
            create(paper, boot_timeout=0.3)
        threading.Timer(0.3, hidden.clear).start()
        monkeypatch.setattr(paper.faults, "hides", lambda instance: bool(hidden) and hides(instance))
        assert len(create(paper)) == 5
        assert len(paper.instances()) == 5

    def test_of_two_clusters_of_a_name_that_are_made_at_once_the_younger_gives_way(
        self, paper: Cloud, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        both, plain = threading.Barrier(2), creation.refuse_name

        def meet(cluster: Cluster, others: Any) -> None:
            with suppress(threading.BrokenBarrierError):
                both.wait(5)
            plain(cluster, others)

        monkeypatch.setattr(creation, "refuse_name", meet)
        younger = dataclasses.replace(LAB, id="5ec0nd", owner="you@there", created=LAB.created + 1)

        def make(cluster: Cluster) -> tuple[Machine, ...]:
            return provider(paper).create(cluster, FIVE, silent)

        first, second = each([LAB, younger], make)
        assert first.error is None
        assert "which me@here made" in str(second.error)
        assert len(paper.instances()) == 5
        assert {one.name: one.id for one in provider(paper).find("lab").machines} == {
            one.name: one.id for one in first.value
        }

    def test_a_permission_that_is_lacking_is_named(self, paper: Cloud) -> None:
        paper.faults.deny("RunInstances")
        with pytest.raises(ProviderRefused, match="not authorized") as refused:
            create(paper)
        assert "policy" in refused.value.hint
        assert paper.instances() == []
