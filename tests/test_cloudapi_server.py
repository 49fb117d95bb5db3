"""The fake CloudAPI itself: what stands behind instances, what it complains of, and how it counts and queues."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cloudapi import fwrules, signing, versions
from tests.cloudapi.machines import MachineFailed, PaperMachine
from tests.cloudapi.server import CloudApi
from tests.cloudapi.signing import Call
from tests.cloudapi.vms import Vm
from tests.cloudapi.world import IMAGE

NEW = {"image": IMAGE, "package": "sample-1G"}


@pytest.fixture
def own() -> Iterator[CloudApi]:
    """A CloudAPI for this test alone, whose reset the test itself calls."""
    server = CloudApi([signing.public_key(name) for name in signing.KINDS])
    yield server
    server.close()


def create(cloudapi: CloudApi, name: str, **details: Any) -> dict[str, Any]:
    answer = Call("POST", "/my/machines", {**NEW, "name": name, **details}).send(cloudapi.url)
    assert answer.status_code == 201
    body: dict[str, Any] = answer.json()
    return body


# -- What stands behind an instance ------------------------------------------------------------------------------------


def test_a_machine_is_given_what_the_instance_has_and_is_switched_on(cloudapi: CloudApi) -> None:
    seen: list[Vm] = []

    def machine(vm: Vm) -> PaperMachine:
        seen.append(vm)
        return PaperMachine(vm)

    cloudapi.machine = machine
    made = create(cloudapi, "a", **{"metadata.user-script": "#!/bin/sh\n", "tag.role": "engine"})
    cloudapi.jobs.settle()
    (vm,) = seen
    assert vm.id == made["id"]
    assert vm.metadata["user-script"] == "#!/bin/sh\n"
    assert vm.metadata["root_authorized_keys"].count("\n") == len(signing.KINDS)
    assert [nic["ip"] for nic in vm.nics]
    assert vm.tags == {"role": "engine"}
    assert vm.machine.story == ["start"]
    assert vm.state == "running"


def test_a_machine_is_running_no_sooner_than_it_is_on(cloudapi: CloudApi) -> None:
    on = threading.Event()

    class Slow(PaperMachine):
        def start(self) -> None:
            on.wait(5)

    cloudapi.machine = Slow
    made = create(cloudapi, "a")
    time.sleep(0.15)
    assert cloudapi.world.machines[made["id"]].state == "provisioning"
    on.set()
    cloudapi.jobs.settle()
    assert cloudapi.world.machines[made["id"]].state == "running"


def test_machines_boot_at_the_same_time_and_jobs_of_one_in_order(cloudapi: CloudApi) -> None:
    class Slow(PaperMachine):
        def start(self) -> None:
            time.sleep(0.4)
            super().start()

    cloudapi.machine = Slow
    made = [create(cloudapi, f"m{number}") for number in range(6)]
    begun = time.monotonic()
    cloudapi.jobs.settle()
    assert time.monotonic() - begun < 2
    cloudapi.pace.job = 0.0
    path = f"/my/machines/{made[0]['id']}"
    for action in ("stop", "start", "stop"):
        Call("POST", path, {"action": action}).send(cloudapi.url)
    cloudapi.jobs.settle()
    vm = cloudapi.world.machines[made[0]["id"]]
    assert vm.machine.story == ["start", "stop", "start", "stop"]
    assert vm.state == "stopped"


def test_a_machine_that_cannot_start_is_a_failed_instance(cloudapi: CloudApi) -> None:
    class Broken(PaperMachine):
        def start(self) -> None:
            raise MachineFailed("no disk")

    cloudapi.machine = Broken
    made = create(cloudapi, "a")
    cloudapi.jobs.settle()
    vm = cloudapi.world.machines[made["id"]]
    assert (vm.state, vm.audit[0]["success"]) == ("failed", "no")


def test_a_bug_in_a_machine_shows_in_the_end(own: CloudApi) -> None:
    class Buggy(PaperMachine):
        def start(self) -> None:
            raise ZeroDivisionError

    own.machine = Buggy
    create(own, "a")
    own.jobs.settle()
    with pytest.raises(ZeroDivisionError):
        own.reset()


def test_a_reset_destroys_all_machines_and_begins_no_more_jobs(own: CloudApi) -> None:
    own.pace.provision = 60
    create(own, "a")
    (vm,) = own.world.machines.values()
    own.reset()
    assert vm.machine.story == ["destroy"]
    assert own.world.machines == {}
    assert own.calls == []


def test_a_machine_that_switched_itself_off_is_stopped_and_comes_back(cloudapi: CloudApi) -> None:
    vm = cloudapi.world.place("a")
    cloudapi.went_off(vm.id)
    path = f"/my/machines/{vm.id}"
    assert Call("GET", path).send(cloudapi.url).json()["state"] == "stopped"
    Call("POST", path, {"action": "start"}).send(cloudapi.url)
    cloudapi.jobs.settle()
    assert vm.state == "running"
    assert vm.machine.story == ["start"]


def test_a_machine_that_is_stuck_is_provisioning_until_it_is_deleted(cloudapi: CloudApi) -> None:
    cloudapi.faults.stick()
    made = create(cloudapi, "a")
    cloudapi.jobs.settle()
    vm = cloudapi.world.machines[made["id"]]
    assert vm.state == "provisioning"
    time.sleep(0.02)
    assert Call("DELETE", f"/my/machines/{vm.id}").send(cloudapi.url).status_code == 204
    cloudapi.jobs.settle()
    assert vm.state == "destroyed"


# -- How it counts, queues and complains -------------------------------------------------------------------------------


def test_the_bucket_is_that_of_the_real_server(cloudapi: CloudApi) -> None:
    cloudapi.throttle.rate = 0.1  # else a slow test gets more
    answers = [Call("GET", "/my/machines/x/tags", key="id_ed25519").send(cloudapi.url) for _ in range(2)]
    assert {one.status_code for one in answers} == {404}  # what is not there is not counted
    for number in range(32):
        asked = "/my/machines?limit=1" if number % 2 else "/my/fwrules"
        answers.append(Call("GET", asked, key="id_ed25519").send(cloudapi.url))
    assert [one.status_code for one in answers[2:]] == [200] * 30 + [429] * 2
    assert "Retry-After" not in answers[-1].headers
    assert Call("GET", "/my/images").send(cloudapi.url).status_code == 200
    assert len(cloudapi.complaints) == 2
    cloudapi.complaints.clear()


def test_creations_are_placed_one_at_a_time(cloudapi: CloudApi) -> None:
    cloudapi.pace.place = 0.2
    threads = [threading.Thread(target=create, args=(cloudapi, f"m{number}")) for number in range(4)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    assert Call("GET", "/my/machines").send(cloudapi.url).status_code == 200
    assert any(thread.is_alive() for thread in threads)  # a question need not wait for them
    for thread in threads:
        thread.join()
    assert time.monotonic() - begun >= 0.8


def test_a_client_that_asks_for_no_version_is_complained_of(cloudapi: CloudApi) -> None:
    assert Call("GET", "/my", headers={"Accept-Version": None}).send(cloudapi.url).status_code == 200
    assert cloudapi.complaints == ["GET /my asks for no version"]
    cloudapi.complaints.clear()


def test_calls_are_noted_with_their_outcome(cloudapi: CloudApi) -> None:
    Call("GET", "/my/packages/nope").send(cloudapi.url)
    (call,) = cloudapi.calls
    assert (call.name, call.status, call.code) == ("GET /my/packages/{package}", 404, "ResourceNotFound")
    assert call.caller == f"/jill/keys/{signing.public_key('id_rsa').fingerprint}"


def test_a_lost_answer_is_none_and_the_work_is_done(cloudapi: CloudApi) -> None:
    cloudapi.faults.lose_reply("POST /my/machines")
    with pytest.raises(OSError, match="Connection aborted"):
        create(cloudapi, "a")
    assert [vm.name for vm in cloudapi.world.machines.values()] == ["a"]


def test_new_machines_and_deleted_ones_lag_unless_switched_off(cloudapi: CloudApi) -> None:
    cloudapi.stale.listed = 60
    create(cloudapi, "a")
    assert Call("GET", "/my/machines").send(cloudapi.url).json() == []
    cloudapi.stale.none()
    assert len(Call("GET", "/my/machines").send(cloudapi.url).json()) == 1


# -- Small languages ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "version"),
    [
        ("~9||~8", (9, 0, 0)),
        ("~8", (8, 0, 0)),
        ("~7", (7, 3, 0)),
        ("~7.1", (7, 1, 0)),
        ("^7", (7, 3, 0)),
        (">=7 <8", (7, 3, 0)),
        ("*", (9, 0, 0)),
        ("~6.5", None),
        ("9.20.0", None),
        ("~10", None),
        ("nonsense", None),
    ],
)
def test_ranges_of_versions(wanted: str, version: tuple[int, int, int] | None) -> None:
    assert versions.chosen(wanted) == version


@pytest.mark.parametrize(
    "text",
    [
        'FROM tag "cluster" = "ipy" TO tag "cluster" = "ipy" ALLOW tcp PORT all',
        'FROM (ip 10.0.0.1 OR subnet 10.1.0.0/16) TO tag "a" BLOCK udp PORTS 1, 5 - 9 PRIORITY 7',
        "FROM any TO vm 0de1460b-b7c6-4c86-a16e-8c84e9890d88 ALLOW icmp TYPE all",
    ],
)
def test_a_rule_in_its_own_form_stays_as_it_is(text: str) -> None:
    assert fwrules.parse(text).text() == text
