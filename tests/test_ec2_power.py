"""Instances terminated, stopped, started and tagged."""

from __future__ import annotations

import dataclasses

import pytest

from fabfile.errors import ProviderRefused
from fabfile.providers.ec2 import power, tags
from fabfile.providers.ec2.instances import described
from tests.fakes.ec2_account import Account, AccountApi, error
from tests.test_ec2_instances import LAB, launched
from tests.test_ec2_instances import _no_pauses as _no_pauses


class TestTerminated:
    def test_all_in_one_call_and_only_the_clusters_own(self) -> None:
        account = Account()
        made = launched(account, 3)
        (theirs,) = launched(account, 1, cluster=dataclasses.replace(LAB, name="other", id="other"))
        power.terminate(AccountApi(account), "lab", [*made[:2], theirs, "i-unknown"], 5.0)
        assert account.asked("terminate_instances") == [{"InstanceIds": made[:2]}]
        assert set(account.ids("running")) == {made[2], theirs}

    def test_what_is_gone_is_passed_over_in_silence(self) -> None:
        account = Account()
        (one,) = launched(account, 1)
        power.terminate(AccountApi(account), "lab", [one], 5.0)
        power.terminate(AccountApi(account), "lab", [one], 5.0)
        assert account.count("terminate_instances") == 1

    def test_an_id_that_one_part_of_ec2_does_not_know_yet_is_tried_again(self) -> None:
        account = Account(faults={"terminate_instances": [error("InvalidInstanceID.NotFound")] * 2})
        made = launched(account, 2)
        power.terminate(AccountApi(account), "lab", made, 5.0)
        assert account.ids("running") == []

    def test_one_that_a_look_misses_is_not_believed_to_be_gone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(power, "UNSEEN", 5.0)
        account = Account()
        made = launched(account, 2)
        account.hidden[made[1]] = 2
        power.terminate(AccountApi(account), "lab", made, 5.0)
        assert account.ids("running") == []

    def test_an_id_that_stays_unknown_is_told_at_last(self) -> None:
        account = Account(faults={"terminate_instances": [error("InvalidInstanceID.NotFound")] * 9})
        with pytest.raises(ProviderRefused, match="terminating 1 machine was refused"):
            power.terminate(AccountApi(account), "lab", launched(account, 1), 5.0)

    def test_a_protected_machine_is_named_with_what_to_do(self) -> None:
        account = Account(faults={"terminate_instances": [error("OperationNotPermitted")]})
        with pytest.raises(ProviderRefused) as refused:
            power.terminate(AccountApi(account), "lab", launched(account, 1), 5.0)
        assert "protection" in refused.value.hint

    def test_a_machine_that_does_not_go_is_named_when_the_time_is_over(self) -> None:
        account = Account()
        (one,) = launched(account, 1)
        account._terminate_instances = lambda **_: {}  # type: ignore[method-assign]
        with pytest.raises(ProviderRefused, match=r"after 0 s not terminated: engine-0 \(running\)"):
            power.terminate(AccountApi(account), "lab", [one], 0.0)

    def test_credentials_that_expire_between_the_question_and_the_act(self) -> None:
        account = Account(faults={"terminate_instances": [error("RequestExpired")]})
        with pytest.raises(ProviderRefused, match="terminating 2 machines") as refused:
            power.terminate(AccountApi(account), "lab", launched(account, 2), 5.0)
        assert "log in again" in refused.value.hint


class TestSwitched:
    def test_off_and_on_again_keeping_ids(self) -> None:
        account = Account()
        made = launched(account, 3)
        power.stop(AccountApi(account), "lab", made[:2], 5.0)
        assert account.ids("stopped") == made[:2]
        power.start(AccountApi(account), "lab", made, 5.0)
        assert account.asked("start_instances") == [{"InstanceIds": made[:2]}]

    def test_what_is_off_or_gone_is_left_alone(self) -> None:
        account = Account()
        off, gone = launched(account, 2)
        account.end(off, state="stopped")
        account.end(gone)
        power.stop(AccountApi(account), "lab", [off, gone], 5.0)
        assert account.count("stop_instances") == 0

    def test_one_that_still_boots_is_stopped_once_it_runs(self) -> None:
        account = Account(slow=3)
        (one,) = launched(account, 1)
        account.instances[one]["State"] = {"Name": "pending"}
        power.stop(AccountApi(account), "lab", [one], 5.0)
        assert account.ids("stopped") == [one]

    def test_spot_machines_are_terminated_since_ec2_cannot_keep_them(self) -> None:
        account = Account()
        (spot,), (other,) = launched(account, 1, spot=True), launched(account, 1, role="controller")
        power.stop(AccountApi(account), "lab", [spot, other], 5.0)
        assert (account.ids("terminated"), account.ids("stopped")) == ([spot], [other])

    def test_one_that_is_still_stopping_starts_when_it_is_off(self) -> None:
        account = Account()
        (one,) = launched(account, 1)
        account.instances[one]["State"] = {"Name": "stopping"}
        power.start(AccountApi(account), "lab", [one], 5.0)
        assert account.asked("start_instances") == [{"InstanceIds": [one]}]

    def test_no_room_for_a_machine_that_shall_start_is_told(self) -> None:
        account = Account(faults={"start_instances": [error("InsufficientInstanceCapacity")]})
        (one,) = launched(account, 1)
        account.end(one, state="stopped")
        with pytest.raises(ProviderRefused, match="starting 1 machine was refused") as refused:
            power.start(AccountApi(account), "lab", [one], 5.0)
        assert "zones" in refused.value.hint

    def test_one_that_does_not_go_off_is_named_when_the_time_is_over(self) -> None:
        account = Account()
        (one,) = launched(account, 1)
        account._stop_instances = lambda **_: {}  # type: ignore[method-assign]
        with pytest.raises(ProviderRefused, match=r"not off: engine-0 \(running\)"):
            power.stop(AccountApi(account), "lab", [one], 0.0)


class TestTagged:
    def test_the_same_tags_for_all_machines_take_one_call(self) -> None:
        account = Account()
        made = launched(account, 200)
        power.tag(AccountApi(account), made, tags.deadline(1_800_000_000.0))
        assert account.count("create_tags") == 1
        assert {one.tags.deadline for one in described(AccountApi(account), "lab")} == {1_800_000_000.0}

    def test_a_machine_that_is_not_there_any_more_keeps_no_other_from_its_tags(self) -> None:
        account = Account()
        (one,) = launched(account, 1)
        power.tag(AccountApi(account), [one, "i-gone"], tags.deadline(1.0))
        assert described(AccountApi(account), "lab")[0].tags.deadline == 1.0
