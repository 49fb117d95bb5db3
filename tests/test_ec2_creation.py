"""Creation: both roles at once, machines waited for until they have addresses, and clusters that start short."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from fabfile.errors import ProviderRefused
from fabfile.machines import Cluster, Event, MachineSpec
from fabfile.providers.ec2 import creation, instances, launching
from fabfile.providers.ec2.creation import Missing, Outcome, create, judge
from fabfile.providers.ec2.images import Image
from fabfile.providers.ec2.instances import Instance
from fabfile.providers.ec2.launching import Launch
from fabfile.providers.ec2.network import Subnet
from fabfile.settings import Settings
from tests.fakes.ec2_account import Account, AccountApi, error

LAB = Cluster("lab", "c0ffee", "me@here", 1_700_000_000.0)
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIL4kjbCeiaZNxcUH5gmURVFRf/GP4x9AvUbuWBCBqNrM"
CONTROLLER = MachineSpec("controller", 0)
HERE = Settings(boot_timeout=60.0)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses take no time but on the clock of this test; all that were made."""
    pauses: list[float] = []
    fake = SimpleNamespace(sleep=pauses.append, time=time.time, monotonic=lambda: 1000.0 + sum(pauses))
    for module in (launching, instances, creation):
        monkeypatch.setattr(module, "time", SimpleNamespace(**{**vars(time), **vars(fake)}))
    return pauses


def engines(*indexes: int) -> list[MachineSpec]:
    return [MachineSpec("engine", index) for index in indexes]


def ingredients(new: Sequence[MachineSpec], there: Sequence[Instance]) -> list[Launch]:
    image = Image("ami-0123456789abcdef0", "debian-12", "x86_64", "/dev/xvda", "admin", "3.11", 8)
    subnet = Subnet("subnet-a", "eu-central-1a", "vpc-1", 250, True)
    common: dict[str, Any] = {"cluster": LAB, "image": image, "subnets": (subnet,), "group_id": "sg-1"}
    common |= {"key_name": "key", "user_data": b"#cloud-config\n", "boot_key": KEY}
    launches = []
    for role, kind in (("controller", "t3.small"), ("engine", "m7i.large")):
        wanted = tuple(spec.index for spec in new if spec.role == role)
        if wanted:
            launches.append(Launch(role=role, indexes=wanted, types=(kind,), **common))  # type: ignore[arg-type]
    return launches


def make(account: Account, *specs: MachineSpec, settings: Settings = HERE, heard: list[Event] | None = None) -> Outcome:
    listen = heard.append if heard is not None else lambda event: None
    return create(AccountApi(account), settings, LAB, specs, ingredients, listen)


class TestMade:
    def test_one_call_a_role_and_as_many_looks_for_two_hundred_machines_as_for_two(self) -> None:
        few, many = Account(), Account()
        assert len(make(few, CONTROLLER, *engines(0)).machines) == 2
        outcome = make(many, CONTROLLER, *engines(*range(199)))
        assert len(outcome.machines) == 200
        assert outcome.missing == ()
        assert [name for name, _ in many.calls] == [name for name, _ in few.calls]
        assert many.count("run_instances") == 2

    def test_the_computers_own_work_grows_with_the_number_of_machines_and_not_faster(self) -> None:
        def work(count: int) -> float:
            begun = time.process_time()
            make(Account(), CONTROLLER, *engines(*range(count)))
            return time.process_time() - begun

        work(10)
        many, few = (min(work(count) for _ in range(3)) for count in (1600, 200))  # the least disturbed
        assert many < 40 * max(few, 0.005)  # a square would be 64 times as much

    def test_both_roles_are_launched_at_the_same_time(self) -> None:
        account, both = Account(), threading.Barrier(2)
        plain = account._run_instances

        def meet(**asked: Any) -> Any:
            both.wait(10)
            return plain(**asked)

        account._run_instances = meet  # type: ignore[method-assign]
        assert len(make(account, CONTROLLER, *engines(0, 1)).machines) == 3

    def test_machines_that_are_there_are_returned_as_they_are(self) -> None:
        account = Account()
        first = make(account, CONTROLLER, *engines(0)).machines
        again = make(account, CONTROLLER, *engines(0, 1)).machines
        assert {name: one.id for name, one in first.items()}.items() <= {n: o.id for n, o in again.items()}.items()
        assert account.count("run_instances") == 3

    def test_one_that_is_gone_is_made_again(self) -> None:
        account = Account()
        make(account, *engines(0, 1))
        account.end(account.ids("running")[0])
        assert sorted(make(account, *engines(0, 1)).machines) == ["engine-0", "engine-1"]
        assert len(account.ids("running")) == 2

    def test_a_machine_that_is_in_sight_later_than_others_of_its_call_is_not_made_again(self) -> None:
        account = Account()
        made = make(account, *engines(0, 1, 2)).machines
        account.hidden[made["engine-2"].id] = 3
        again = make(account, *engines(0, 1, 2)).machines
        assert {name: one.id for name, one in again.items()} == {name: one.id for name, one in made.items()}
        assert len(account.instances) == 3

    def test_a_cluster_grows_at_once(self, clock: list[float]) -> None:
        account = Account()
        make(account, *engines(0))
        clock.clear()
        make(account, CONTROLLER, *engines(0, 1))
        assert sum(clock) < 1

    def test_a_machine_that_an_old_call_never_got_is_made_at_once(self, clock: list[float]) -> None:
        account = Account(room={("m7i.large", "subnet-a"): 1})
        make(account, *engines(0, 1))
        account.room = {}
        account.instances[account.ids("running")[0]]["LaunchTime"] = datetime.now(UTC) - timedelta(minutes=5)
        clock.clear()
        assert len(make(account, *engines(0, 1)).machines) == 2
        assert sum(clock) < 1

    def test_one_that_is_off_is_there_too_and_is_not_waited_for(self, clock: list[float]) -> None:
        account = Account()
        make(account, *engines(0))
        account.end(account.ids("running")[0], state="stopped")
        clock.clear()
        assert list(make(account, *engines(0)).machines) == ["engine-0"]
        assert clock == []
        assert account.count("run_instances") == 1

    def test_it_waits_until_they_run_and_have_public_addresses(self) -> None:
        made = make(Account(), *engines(0)).machines["engine-0"]
        assert made.endpoint is not None
        assert made.endpoint.host.startswith("127.78.")

    def test_without_public_ones_private_addresses_are_enough(self) -> None:
        settings = dataclasses.replace(HERE, public_address=False)
        made = make(Account(), *engines(0), settings=settings).machines["engine-0"]
        assert made.endpoint is not None
        assert made.endpoint.host.startswith("127.77.")

    def test_new_machines_that_are_not_shown_yet_are_waited_for(self) -> None:
        assert len(make(Account(unseen=3), CONTROLLER, *engines(0, 1)).machines) == 3

    def test_it_says_what_happens(self) -> None:
        heard: list[Event] = []
        make(Account(), CONTROLLER, *engines(0, 1), heard=heard)
        said = [event.what for event in heard]
        assert "launched the controller: t3.small in eu-central-1a" in said
        assert "launched 2 engine machines: m7i.large in eu-central-1a" in said
        assert said[-1] == "3 of 3 machines run"


class TestName:
    def test_one_that_another_cluster_has_is_refused_before_anything_is_made(self) -> None:
        account = Account()
        make(account, CONTROLLER)
        other = dataclasses.replace(LAB, id="other")
        with pytest.raises(ProviderRefused, match="'lab' in this region already, which me@here made") as refused:
            create(AccountApi(account), HERE, other, [CONTROLLER], ingredients, lambda event: None)
        assert "--cluster" in refused.value.hint
        assert account.count("run_instances") == 1

    def test_one_whose_machines_are_gone_is_free(self) -> None:
        account = Account()
        make(account, CONTROLLER)
        account.end(account.ids("running")[0])
        other = dataclasses.replace(LAB, id="other")

        def theirs(new: Sequence[MachineSpec], there: Sequence[Instance]) -> list[Launch]:
            assert there == []
            return [dataclasses.replace(one, cluster=other) for one in ingredients(new, there)]

        made = create(AccountApi(account), HERE, other, [CONTROLLER], theirs, lambda event: None)
        assert list(made.machines) == ["controller"]


class TestMissing:
    def test_where_there_is_no_room_each_place_is_named_with_its_reason(self) -> None:
        outcome = make(Account(room={("m7i.large", "subnet-a"): 1}), CONTROLLER, *engines(0, 1, 2))
        assert sorted(outcome.machines) == ["controller", "engine-0"]
        assert [one.name for one in outcome.missing] == ["engine-1", "engine-2"]
        assert outcome.missing[0].why == (
            "no place has room for it: m7i.large in eu-central-1a: InsufficientInstanceCapacity"
        )
        assert "machine_type" in outcome.missing[0].advice

    def test_one_that_aws_ends_at_once_is_told_in_its_own_words_with_what_to_do(self) -> None:
        account = Account()
        account.launch = _dying(account, "Client.InternalError")  # type: ignore[method-assign]
        (one,) = make(account, *engines(0)).missing
        assert one.why == "AWS ended its instance at once: Client.InternalError"
        assert "volume_encrypted" in one.advice

    def test_one_that_is_never_shown_is_missed_when_the_time_is_over(self, clock: list[float]) -> None:
        (one,) = make(Account(unseen=10_000), *engines(0)).missing
        assert "does not show it after 60 s" in one.why
        assert sum(clock) == pytest.approx(HERE.boot_timeout)

    def test_one_that_gets_no_address_is_missed_and_stays(self) -> None:
        account = Account()
        account.launch = _without_address(account)  # type: ignore[method-assign]
        (one,) = make(account, *engines(0)).missing
        assert "has no public address after 60 s" in one.why
        assert len(account.ids("running")) == 1

    def test_one_that_stays_pending_is_missed_and_stays(self) -> None:
        account = Account(slow=10_000)
        (one,) = make(account, *engines(0)).missing
        assert "is still pending after 60 s" in one.why
        assert len(account.ids("pending")) == 1

    def test_what_one_role_is_refused_does_not_undo_the_other(self) -> None:
        account = Account()
        plain = account._run_instances

        def choosy(**asked: Any) -> Any:
            if asked["InstanceType"] == "t3.small":
                raise error("InvalidAMIID.NotFound")
            return plain(**asked)

        account._run_instances = choosy  # type: ignore[method-assign]
        with pytest.raises(ProviderRefused, match="launching the controller was refused"):
            make(account, CONTROLLER, *engines(0, 1))
        assert len(account.instances) == 2
        account._run_instances = plain  # type: ignore[method-assign]
        outcome = make(account, CONTROLLER, *engines(0, 1))
        assert len(outcome.machines) == 3
        assert len(account.instances) == 3


def _dying(account: Account, reason: str) -> Callable[[dict[str, Any], int], str]:
    def launch(asked: dict[str, Any], offset: int = 0) -> str:
        one = Account.launch(account, asked, offset)
        account.end(one, reason, "pending")
        account._describe_instances = _ends(account, reason)  # type: ignore[method-assign]
        return one

    return launch


def _ends(account: Account, reason: str) -> Callable[..., dict[str, Any]]:
    def describe(**asked: Any) -> dict[str, Any]:
        for one in list(account.instances):
            account.end(one, reason)
        return Account._describe_instances(account, **asked)

    return describe


def _without_address(account: Account) -> Callable[[dict[str, Any], int], str]:
    def launch(asked: dict[str, Any], offset: int = 0) -> str:
        one = Account.launch(account, asked, offset)
        account.instances[one]["wants"] = False
        return one

    return launch


class TestJudged:
    SHORT = Outcome({}, tuple(Missing(f"engine-{index}", "no room", "do this") for index in range(20)))

    def test_enough_is_enough_and_what_is_missing_is_told(self) -> None:
        heard: list[Event] = []
        judge(self.SHORT, 30, True, heard.append)
        assert [(event.machine, event.what) for event in heard[:1]] == [("engine-0", "going on without: no room")]
        assert len(heard) == 20

    def test_less_is_refused_saying_how_many_came_and_why_no_more(self) -> None:
        with pytest.raises(ProviderRefused) as refused:
            judge(self.SHORT, 30, False, lambda event: None)
        assert refused.value.message == (
            "10 of 30 machines came, missing: engine-0, engine-1, engine-2, engine-3, engine-4, engine-5 and 14 more"
        )
        assert refused.value.seen.endswith("and 14 more: no room")
        assert refused.value.hint.startswith("do this; `invoke provision` tries again")
        assert "--min-engines" in refused.value.hint

    def test_without_a_controller_nothing_is_enough(self) -> None:
        missing = Outcome({}, (Missing("controller", "no room"),))
        with pytest.raises(ProviderRefused, match="missing: controller") as refused:
            judge(missing, 3, True, lambda event: None)
        assert "--min-engines" not in refused.value.hint

    def test_nothing_missing_is_nothing_to_judge(self) -> None:
        judge(Outcome(), 3, False, lambda event: None)
