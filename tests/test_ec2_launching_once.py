"""Launching on spare capacity, and launching once: what is repeated makes no second machine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError

from fabfile.errors import ProviderRefused
from fabfile.machines import silent
from fabfile.providers.ec2 import launching
from fabfile.providers.ec2.instances import described
from fabfile.providers.ec2.launching import Place, launch, token
from fabfile.settings import Settings
from tests.fakes.ec2_account import Account, AccountApi, error
from tests.test_ec2_launching import BIG, NOWHERE, OLD, A, indexes, places, run, wanted
from tests.test_ec2_launching import _no_account as _no_account
from tests.test_ec2_launching import clock as clock


class TestSpot:
    def test_engines_are_asked_for_on_spot(self) -> None:
        account = Account()
        (one,) = run(account, wanted(0, spot=True)).made
        assert described(AccountApi(account), "lab")[0].spot
        assert one.name == "engine-0"

    def test_without_capacity_it_is_asked_again_until_the_deadline_then_on_demand(self, clock: list[float]) -> None:
        account = Account(faults={"run_instances": [error("InsufficientInstanceCapacity")] * 18})
        heard: list[str] = []
        made = run(account, wanted(0, spot=True), Settings(spot_deadline=15.0), heard)
        asked = account.asked("run_instances")
        assert ["InstanceMarketOptions" in one for one in asked] == [True] * 18 + [False]
        assert clock == [10.0, 5.0]
        assert made.missing == ()
        assert "no spot capacity for 1 engine machine, asking for 15 s more" in heard

    def test_capacity_that_comes_back_in_time_is_taken(self) -> None:
        account = Account(faults={"run_instances": [error("InsufficientInstanceCapacity")] * 6})
        assert run(account, wanted(0, spot=True)).missing == ()
        assert all("InstanceMarketOptions" in one for one in account.asked("run_instances"))

    def test_without_fallback_what_came_is_all(self) -> None:
        account = Account(room={**NOWHERE, (BIG, "subnet-a"): 1})
        made = run(account, wanted(0, 1, 2, spot=True), Settings(spot_fallback=False, spot_deadline=15.0))
        assert [one.index for one in made.made] == [0]
        assert made.missing == (1, 2)
        assert all(place.spot for place in made.refusals)

    def test_what_no_waiting_changes_is_not_waited_for(self, clock: list[float]) -> None:
        account = Account(faults={"run_instances": [error("SpotMaxPriceTooLow")] * 6})
        assert run(account, wanted(0, spot=True)).missing == ()
        assert clock == []

    def test_a_quota_of_spot_does_not_stand_against_on_demand(self) -> None:
        account = Account(faults={"run_instances": [error("MaxSpotInstanceCountExceeded")] * 2})
        assert run(account, wanted(0, spot=True)).missing == ()
        assert places(account) == [(BIG, "a", 1, 1), (OLD, "a", 1, 1), (BIG, "a", 1, 1)]


class TestOnce:
    @pytest.mark.parametrize(
        "lost", [error("InternalError"), error("Unavailable"), ConnectionClosedError(endpoint_url="https://x")]
    )
    def test_a_lost_reply_makes_nothing_twice(self, lost: Exception) -> None:
        def lose(answer: Any) -> None:
            raise lost

        account = Account(faults={"run_instances": [lose]})
        assert len(run(account, wanted(0, 1)).made) == 2
        assert len(account.instances) == 2
        assert account.count("run_instances") == 2

    def test_a_first_try_that_a_sleeping_computer_never_heard_answered_is_no_old_call(self) -> None:
        account = Account()

        def sleep(answer: Any) -> None:
            for one in account.instances.values():
                one |= {"LaunchTime": one["LaunchTime"] - timedelta(hours=1), "State": {"Name": "running"}}
            raise error("Unavailable")

        account.faults = {"run_instances": [sleep]}
        assert len(run(account, wanted(0, 1)).made) == 2
        assert len(account.instances) == 2

    def test_a_token_whose_machines_aws_says_are_terminated_is_followed_by_the_next_generation(self) -> None:
        account = Account(faults={"run_instances": [error("IdempotentInstanceTerminated")]})
        made = run(account, wanted(0, 1)).made
        assert [one.tags.generation for one in made] == [1, 1]

    def test_a_throttled_call_is_repeated_ever_more_slowly(self, clock: list[float]) -> None:
        account = Account(faults={"run_instances": [error("RequestLimitExceeded")] * 4})
        assert len(run(account, wanted(0)).made) == 1
        assert len(clock) == 4
        assert all(low <= pause <= high for pause, low, high in zip(clock, (0.5, 1, 2, 4), (1, 2, 4, 8), strict=True))

    def test_throttling_that_does_not_end_is_told(self) -> None:
        account = Account(faults={"run_instances": [error("RequestLimitExceeded")] * 99})
        with pytest.raises(ProviderRefused, match="RequestLimitExceeded") as refused:
            run(account, wanted(0))
        assert "wait" in refused.value.hint
        assert account.count("run_instances") == launching.TRIES

    def test_a_group_made_a_second_ago_may_be_unknown_for_a_while(self) -> None:
        account = Account(faults={"run_instances": [error("InvalidGroup.NotFound"), error("InvalidKeyPair.NotFound")]})
        assert len(run(account, wanted(0)).made) == 1

    def test_credentials_that_expire_between_two_gaps(self) -> None:
        account = Account(faults={"run_instances": [None, error("RequestExpired")]})
        with pytest.raises(ProviderRefused, match="launching 2 engine machines") as refused:
            run(account, wanted(0, 2))
        assert "log in again" in refused.value.hint
        assert indexes(account) == [0]
        assert len(run(account, wanted(2)).made) == 1
        assert indexes(account) == [0, 2]

    def test_a_run_after_a_crash_takes_the_machines_of_the_call_that_nobody_saw_answered(
        self, clock: list[float]
    ) -> None:
        account = Account(unseen=2)
        first = run(account, wanted(0, 1, 2)).made
        second = run(account, wanted(0, 1, 2, user_data=b"with another random key"))
        assert [one.id for one in second.made] == [one.id for one in first]
        assert second.missing == ()
        assert len(account.instances) == 3
        assert 0 < sum(clock) < launching.UNSEEN

    def test_a_call_of_that_run_that_got_less_than_all_is_completed(self) -> None:
        account = Account(room={**NOWHERE, (BIG, "subnet-a"): 2}, unseen=4)
        assert len(run(account, wanted(0, 1, 2)).made) == 2
        account.room, account.unseen = {}, 0
        for one in account.hidden:
            account.hidden[one] = 2
        account.tokens = {
            name: (asked, made) for name, (asked, made) in account.tokens.items() if asked["MinCount"] == 1
        }
        blocked = account.asked("run_instances")[0]
        account.tokens[blocked["ClientToken"]] = {}, []  # EC2 remembers the call that it refused
        again = run(account, wanted(0, 1, 2, user_data=b"with another random key"))
        assert sorted(one.index for one in again.made) == [0, 1, 2]
        assert indexes(account) == [0, 1, 2]

    def test_of_that_calls_machines_those_that_are_gone_and_no_others_are_made_again(self) -> None:
        account = Account()
        made = run(account, wanted(0, 1, 2, 3)).made
        want = wanted(0, 1, 2, user_data=b"with another random key")
        account.end(made[0].id)
        before = described(AccountApi(account), "lab")
        account.tokens = {token(want, (0, 1, 2), Place(BIG, A), 3, 1): ({}, [])}
        (*kept, new) = launch(AccountApi(account), Settings(), want, before, silent).made
        assert [one.id for one in kept] == [one.id for one in made[1:3]]
        assert new.index == 0
        assert indexes(account) == [0, 1, 2, 3]

    def test_of_a_call_whose_machines_come_to_sight_one_by_one_none_is_made_again(self) -> None:
        account = Account()
        made = run(account, wanted(0, 1, 2)).made
        account.hidden = {made[0].id: 3, made[1].id: 3, made[2].id: 6}
        again = run(account, wanted(0, 1, 2, user_data=b"with another random key"))
        assert [one.id for one in again.made] == [one.id for one in made]
        assert len(account.instances) == 3

    def test_machines_of_a_second_gap_are_waited_for_when_those_of_the_first_were_soon_in_sight(self) -> None:
        account = Account()
        made = run(account, wanted(0, 2)).made
        account.hidden = {made[0].id: 2, made[1].id: 6}
        run(account, wanted(0, 2, user_data=b"with another random key"))
        assert len(account.instances) == 2

    def test_a_mismatch_that_no_machine_explains_leads_to_the_next_generation(self, clock: list[float]) -> None:
        account = Account()
        (one,) = run(account, wanted(0)).made
        del account.instances[one.id]  # terminated more than an hour ago: EC2 shows it no more but knows its token
        account.hidden.clear()
        (again,) = run(account, wanted(0, user_data=b"with another random key")).made
        assert again.tags.generation == 1
        assert sum(clock) == pytest.approx(launching.UNSEEN)

    def test_machines_that_are_looked_for_in_vain_once_are_not_waited_for_again(self, clock: list[float]) -> None:
        account = Account()
        for generation in range(3):
            (one,) = run(account, wanted(0, user_data=str(generation).encode())).made
            assert one.tags.generation == generation
            account.instances.clear()
            account.hidden.clear()
            clock.clear()
        run(account, wanted(0, user_data=b"3"))
        assert sum(clock) == pytest.approx(launching.UNSEEN)

    def test_a_machine_that_was_removed_is_followed_by_the_next_generation_at_once(self, clock: list[float]) -> None:
        account = Account()
        (one,) = run(account, wanted(3)).made
        account.end(one.id)
        (again,) = run(account, wanted(3)).made
        assert (again.tags.generation, again.id != one.id, clock) == (1, True, [])
        assert account.count("run_instances") == 2

    def test_the_answer_of_an_old_call_whose_machines_are_gone_is_not_believed(self) -> None:
        account = Account()
        old = run(account, wanted(3)).made[0]
        account.instances[old.id]["LaunchTime"] = datetime.now(UTC) - timedelta(hours=3)
        account.hidden[old.id] = 99  # out of sight, and said to be pending as in the first answer
        (new,) = run(account, wanted(3)).made
        assert new.id != old.id
        assert new.tags.generation == 1

    def test_the_answer_that_says_itself_that_its_machines_are_gone_is_not_believed(self) -> None:
        account = Account()
        old = run(account, wanted(3)).made[0]
        account.end(old.id)
        account.hidden[old.id] = 99
        (new,) = run(account, wanted(3)).made
        assert new.id != old.id

    def test_an_account_that_knows_nothing_but_gone_machines_is_given_up_on(self, monkeypatch: Any) -> None:
        monkeypatch.setattr(launching, "GENERATIONS", 3)
        account = Account()
        account._run_instances = lambda **asked: {"Instances": []}  # type: ignore[method-assign]
        with pytest.raises(ProviderRefused, match="machines that are gone"):
            run(account, wanted(3))
