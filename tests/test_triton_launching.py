"""Machines of a Triton data center made all at once: those that fail, and those that do not say their host key."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fabfile import host_keys
from fabfile.errors import HostKeyError, ProviderRefused, Several, UsageError
from fabfile.machines import Cluster, Endpoint, Event, Machine, MachineSpec, MachineState, silent
from fabfile.providers.triton import NAMED, Triton, creation, launching, marks, sweep
from fabfile.providers.triton.api import Api
from fabfile.providers.triton.creation import Order
from fabfile.providers.triton.instances import Instance
from fabfile.providers.triton.launching import trusted
from fabfile.remote import each
from fabfile.settings import Settings
from tests.cloudapi.fixtures import client
from tests.cloudapi.machines import PaperMachine
from tests.cloudapi.server import CloudApi
from tests.sshd import Sshd, serving

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIL4kjbCeiaZNxcUH5gmURVFRf/GP4x9AvUbuWBCBqNrM"
CLUSTER = Cluster("lab", "c0ffee12", "ada@desk", 1_700_000_000.0)
SPECS = [MachineSpec("controller", 0), *(MachineSpec("engine", index) for index in range(3))]


class Publishing(PaperMachine):
    """A machine that nobody can reach, but that says its host key."""

    def start(self) -> None:
        super().start()
        self.vm.metadata[marks.HOST_KEY] = f"{KEY}\n"


@pytest.fixture
def triton(cloudapi: CloudApi) -> Triton:
    cloudapi.machine = Publishing
    provider = Triton(
        Settings(
            provider="triton",
            machine_type=(),
            controller_type=(),
            ssh_from=("192.0.2.0/24",),
            boot_timeout=20.0,
            engines=3,
        )
    )
    provider.__dict__["api"] = client(cloudapi)
    return provider


def an_engine(tags: object) -> bool:
    return tags.get(marks.ROLE) == "engine" and tags.get(marks.INDEX) == "1"  # type: ignore[attr-defined]


def test_each_machine_is_asked_for_once_and_all_are_reachable(cloudapi: CloudApi, triton: Triton) -> None:
    made = triton.create(CLUSTER, SPECS, silent)
    assert [one.name for one in made] == ["controller", "engine-0", "engine-1", "engine-2"]
    assert {one.host_keys for one in made} == {(KEY,)}
    assert len(cloudapi.called("POST /my/machines")) == 4


def test_one_that_fails_is_told_with_its_story_and_the_next_run_makes_another(
    cloudapi: CloudApi, triton: Triton
) -> None:
    cloudapi.faults.fail_provisioning(an_engine)
    with pytest.raises(ProviderRefused) as error:
        triton.create(CLUSTER, SPECS, silent)
    assert (error.value.machine, error.value.message) == ("engine-1", "it could not be made")
    assert "provision failed" in error.value.seen
    (failed,) = [one for one in triton.find("lab").machines if one.state is MachineState.FAILED]
    triton.destroy("lab", [failed])
    assert triton.create(CLUSTER, [SPECS[2]], silent)[0].state is MachineState.RUNNING


def test_with_min_engines_the_others_are_enough(cloudapi: CloudApi, triton: Triton) -> None:
    triton.settings = replace(triton.settings, min_engines=2)
    cloudapi.faults.fail_provisioning(an_engine)
    heard: list[Event] = []
    made = triton.create(CLUSTER, SPECS, heard.append)
    assert [one.name for one in made] == ["controller", "engine-0", "engine-2"]
    assert Event("going on without: it could not be made", "engine-1") in heard


@pytest.mark.parametrize("least", [3, 1])
def test_too_few_are_not_enough_and_nothing_is_without_a_controller(
    cloudapi: CloudApi, triton: Triton, least: int
) -> None:
    triton.settings = replace(triton.settings, min_engines=least)
    role = "engine" if least == 3 else "controller"
    cloudapi.faults.fail_provisioning(lambda tags: tags.get(marks.ROLE) == role, times=1)
    with pytest.raises(ProviderRefused, match="could not be made"):
        triton.create(CLUSTER, SPECS, silent)


def test_one_that_is_made_for_ever_is_given_up_in_time_and_found_by_the_next_run(
    cloudapi: CloudApi, triton: Triton
) -> None:
    triton.settings = replace(triton.settings, boot_timeout=1.0)
    cloudapi.faults.stick(an_engine)
    with pytest.raises(ProviderRefused, match="after 1 s it is provisioning"):
        triton.create(CLUSTER, SPECS, silent)
    assert len(triton.find("lab").machines) == 4
    triton.destroy("lab", triton.find("lab").machines)
    triton.clean("lab")
    assert triton.find("lab").cluster is None


def test_no_room_is_said_and_what_was_made_is_found(cloudapi: CloudApi, triton: Triton) -> None:
    cloudapi.faults.capacity = 2
    with pytest.raises(Several, match="No compute resources available") as error:
        triton.create(CLUSTER, SPECS, silent)
    assert error.value.exit_code == ProviderRefused.exit_code
    assert len(triton.find("lab").machines) == 2


def test_of_many_that_fail_alike_some_are_named_and_the_others_counted(cloudapi: CloudApi, triton: Triton) -> None:
    cloudapi.faults.capacity = 0
    many = [MachineSpec("engine", index) for index in range(NAMED + 3)]
    with pytest.raises(Several, match="and 3 more like these"):
        triton.create(CLUSTER, many, silent)


def test_a_lost_answer_makes_no_second_machine(cloudapi: CloudApi, triton: Triton) -> None:
    cloudapi.faults.lose_reply("POST /my/machines")
    made = triton.create(CLUSTER, SPECS, silent)
    assert len(made) == 4
    assert len(cloudapi.world.machines) == 4


def test_a_machine_whose_key_others_may_vouch_for_is_not_waited_for_as_long_as_a_boot_may_take(
    cloudapi: CloudApi, triton: Triton, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloudapi.machine = PaperMachine
    triton.settings = replace(triton.settings, host_keys=("first-use",), boot_timeout=1000.0)
    monkeypatch.setattr(launching, "PUBLISHING", 0.3)
    monkeypatch.setattr(launching, "trusted", lambda machine, settings, on_event: replace(machine, host_keys=(KEY,)))
    (made,) = triton.create(CLUSTER, SPECS[:1], silent)
    assert (made.state, made.host_keys) == (MachineState.RUNNING, (KEY,))


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[tuple[Sshd, Machine]]:
    with serving(tmp_path / "sshd") as sshd:
        endpoint = Endpoint("127.0.0.1", sshd.endpoint.user, sshd.endpoint.port)
        yield sshd, Machine("engine-0", "1", "engine", 0, MachineState.RUNNING, endpoint)


def test_a_host_key_that_nobody_vouches_for_is_shown_and_refused(stranger: tuple[Sshd, Machine]) -> None:
    sshd, machine = stranger
    with pytest.raises(HostKeyError) as error:
        trusted(machine, Settings(), silent)
    assert f"--host-key {host_keys.fingerprint(sshd.host_key)}" in error.value.hint


def test_a_host_key_whose_fingerprint_was_given_is_pinned(stranger: tuple[Sshd, Machine]) -> None:
    sshd, machine = stranger
    given = Settings(host_keys=(host_keys.fingerprint(sshd.host_key),))
    assert trusted(machine, given, silent).host_keys == (sshd.host_key,)


def test_first_use_believes_and_says_so(stranger: tuple[Sshd, Machine]) -> None:
    sshd, machine = stranger
    heard: list[Event] = []
    assert trusted(machine, Settings(host_keys=("first-use",)), heard.append).host_keys == (sshd.host_key,)
    assert "taken on first use" in heard[0].what


def test_ctrl_c_waits_for_what_was_ordered_so_that_nothing_comes_into_being_afterwards(
    cloudapi: CloudApi, triton: Triton, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloudapi.pace.place = 0.5
    begun = threading.Event()
    create = creation.create

    def slowly(api: Api, order: Order) -> Instance:
        begun.set()
        return create(api, order)

    def interrupted(items: object, work: object, limit: int = 32) -> object:
        if work.__qualname__.endswith("_order.<locals>.ask"):  # type: ignore[attr-defined]
            threads = [threading.Thread(target=work, args=(one,)) for one in items]  # type: ignore[attr-defined,arg-type]
            for thread in threads:
                thread.start()
            begun.wait()
            raise KeyboardInterrupt
        return each(items, work, limit)  # type: ignore[arg-type,type-var]

    monkeypatch.setattr(creation, "create", slowly)
    monkeypatch.setattr(launching, "each", interrupted)
    with pytest.raises(KeyboardInterrupt):
        triton.create(CLUSTER, SPECS, silent)
    made = len(cloudapi.world.machines)
    assert made > 0
    monkeypatch.undo()
    cloudapi.jobs.settle()
    assert len(cloudapi.world.machines) == made


def test_machines_that_lists_do_not_show_yet_are_deleted_as_well(cloudapi: CloudApi, triton: Triton) -> None:
    made = triton.create(CLUSTER, SPECS[:2], silent)
    cloudapi.stale.listed = 60.0
    assert triton.find("lab").machines == ()
    triton.destroy("lab", made)
    assert [vm.name for vm in cloudapi.world.machines.values() if vm.active] == []


def test_what_somebody_stopped_is_not_swept_away_and_what_a_lease_ended_is(cloudapi: CloudApi, triton: Triton) -> None:
    triton.settings = replace(triton.settings, lease=3600.0)
    made = triton.create(CLUSTER, SPECS[:2], silent)
    triton.stop("lab", made[:1])
    cloudapi.went_off(made[1].id)
    cloudapi.jobs.settle()
    late = time.time() + 10 * 3600
    assert [one.id for one in sweep.leftovers(triton.api, late)] == [made[1].id]
    triton.start("lab", made[:1])
    cloudapi.jobs.settle()
    cloudapi.went_off(made[0].id)
    assert {one.id for one in sweep.leftovers(triton.api, late)} == {one.id for one in made}


def test_what_cannot_be_asked_for_is_said_before_anything_is_made(cloudapi: CloudApi, triton: Triton) -> None:
    triton.settings = replace(triton.settings, tags=(("image", "x"),))
    with pytest.raises(UsageError, match="would not keep these tags"):
        triton.create(CLUSTER, SPECS, silent)
    assert cloudapi.world.rules == {}
    assert any("would not keep these tags" in one.text for one in triton.check(2))


def test_a_boot_script_that_is_too_long_is_found_before(cloudapi: CloudApi, triton: Triton, tmp_path: Path) -> None:
    script = tmp_path / "long.sh"
    script.write_text("#!/bin/sh\n" + "# padding\n" * 9_900)
    triton.settings = replace(triton.settings, userdata=str(script))
    assert any("CloudAPI takes 100000" in one.text for one in triton.check(2))
