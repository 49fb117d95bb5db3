"""Machines as they are told, looked for, acted upon and deleted, with everything that lags behind."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from fabfile.errors import UsageError
from fabfile.providers.triton import actions, firewall, labels
from fabfile.providers.triton.api import Api
from fabfile.providers.triton.catalog import Networks
from fabfile.providers.triton.instances import (
    Instance,
    InstanceState,
    Nic,
    instance,
    parse,
    private_address,
    public_address,
    reachable_address,
    survey,
    tagged,
)
from fabfile.providers.triton.refusals import Doubtful, Refused
from tests.cloudapi.fixtures import client
from tests.cloudapi.server import CloudApi
from tests.cloudapi.vms import SHOWN, Vm
from tests.cloudapi.world import EXTERNAL, INTERNAL

GONE = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def api(cloudapi: CloudApi) -> Api:
    """A client of the account."""
    return client(cloudapi)


def known(api: Api, vm: Vm) -> Instance:
    found = instance(api, vm.id)
    assert found is not None
    return found


def until(look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# -- What is told ------------------------------------------------------------------------------------------------------


def test_everything_of_a_machine_is_told(cloudapi: CloudApi, api: Api) -> None:
    vm = cloudapi.world.place("a", tags={"s": "x", "n": 3, "b": True}, firewall_enabled=True, created=1e9)
    found = known(api, vm)
    assert (found.id, found.name, found.state, found.created) == (vm.id, "a", InstanceState.RUNNING, 1e9)
    assert found.tags == {"s": "x", "n": "3", "b": "true"}
    assert (found.memory, found.disk, found.firewall, found.protected) == (1024, 25600, True, False)
    assert (found.package, found.brand) == ("sample-1G", "joyent")
    assert [nic.network for nic in found.nics] == [EXTERNAL, INTERNAL]
    assert "root_authorized_keys" in found.metadata
    assert "root_authorized_keys" not in repr(found)


@pytest.mark.parametrize("body", [{}, {"nics": None, "tags": [], "created": "soon", "memory": "1", "state": None}])
def test_what_is_missing_is_empty(body: dict[str, Any]) -> None:
    assert parse(body) == Instance("", "", InstanceState.UNKNOWN)


@pytest.mark.parametrize(("internal", "shown"), [*SHOWN.items(), ("something else", "unknown")])
def test_every_state_is_known(cloudapi: CloudApi, api: Api, internal: str, shown: str) -> None:
    assert known(api, cloudapi.world.place("a", state=internal)).state == shown


def test_a_state_that_nobody_knows_yet_passes() -> None:
    assert parse({"state": "migrating"}).state is InstanceState.UNKNOWN
    assert not parse({"state": "migrating"}).settled


def test_a_new_machine_has_no_addresses_at_first(cloudapi: CloudApi, api: Api) -> None:
    cloudapi.stale.addresses = 60
    vm = cloudapi.world.place("a", state="provisioning", born=time.monotonic())
    assert (known(api, vm).nics, known(api, vm).primary_address) == ((), "")
    assert reachable_address(known(api, vm), Networks(api)) == ""


# -- Addresses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("networks", [[EXTERNAL, INTERNAL], [INTERNAL, EXTERNAL]])
def test_addresses_are_told_apart_by_their_networks(cloudapi: CloudApi, api: Api, networks: list[str]) -> None:
    vm = cloudapi.world.place("a", networks=networks)
    found, where = known(api, vm), Networks(api)
    assert public_address(found, where) == next(nic["ip"] for nic in vm.nics if nic["network"] == EXTERNAL)
    assert private_address(found, where) == next(nic["ip"] for nic in vm.nics if nic["network"] == INTERNAL)
    assert reachable_address(found, where) == public_address(found, where)


def test_a_machine_without_a_public_network_is_reached_at_its_primary_address(cloudapi: CloudApi, api: Api) -> None:
    vm = cloudapi.world.place("a", networks=[INTERNAL])
    assert public_address(known(api, vm), Networks(api)) == ""
    assert reachable_address(known(api, vm), Networks(api)) == vm.nics[0]["ip"]


def test_networks_that_look_otherwise_than_they_are(cloudapi: CloudApi, api: Api) -> None:
    cloudapi.world.networks[INTERNAL]["public"], cloudapi.world.networks[EXTERNAL]["public"] = True, False
    vm = cloudapi.world.place("a")
    assert private_address(known(api, vm), Networks(api)) == next(n["ip"] for n in vm.nics if n["network"] == EXTERNAL)


def test_a_network_of_a_pool_is_asked_for_by_itself_and_once(cloudapi: CloudApi, api: Api) -> None:
    cloudapi.world.pooled[GONE] = {"id": GONE, "name": "part", "public": True}
    found, where = known(api, cloudapi.world.place("a", networks=[INTERNAL, GONE])), Networks(api)
    for _ in range(3):
        assert public_address(found, where).startswith("192.0.2.")
    names = [one.name for one in cloudapi.calls]
    assert names.count("GET /my/networks") == names.count("GET /my/networks/{network}") == 1


def test_a_network_that_nobody_knows_is_neither(api: Api, cloudapi: CloudApi) -> None:
    one = Instance("x", "a", InstanceState.RUNNING, nics=(Nic("10.0.0.1", GONE),), primary_address="10.0.0.1")
    where = Networks(api)
    assert (public_address(one, where), private_address(one, where)) == ("", "")
    assert reachable_address(one, where) == "10.0.0.1"


# -- Looking -----------------------------------------------------------------------------------------------------------


def test_all_tags_must_fit_and_names_be_whole(cloudapi: CloudApi, api: Api) -> None:
    for name, tags in (("e-1", {"c": "x", "r": "e"}), ("e-10", {"c": "x", "r": "e"}), ("c", {"c": "x"})):
        cloudapi.world.place(name, tags=tags)
    assert {one.name for one in tagged(api, {"c": "x", "r": "e"})} == {"e-1", "e-10"}
    assert [one.name for one in tagged(api, {"c": "x"}, name="e-1")] == ["e-1"]


def test_failed_and_deleted_ones_are_found_by_their_ids(cloudapi: CloudApi, api: Api) -> None:
    states = {"a": "running", "f": "failed", "d": "destroyed"}
    ids = {name: cloudapi.world.place(name, tags={"c": "x"}, state=state).id for name, state in states.items()}
    assert [one.name for one in tagged(api, {"c": "x"})] == ["a"]
    found = {one.name: one for one in survey(api, {"c": "x"}, [*ids.values(), GONE])}
    assert found.keys() == states.keys()
    assert found["f"].failed
    assert found["d"].gone
    assert len(cloudapi.called("GET /my/machines/{machine}")) == 3
    assert {one.name for one in tagged(api, {"c": "x"}, gone_too=True)} == states.keys()


def test_what_never_was_is_none(api: Api) -> None:
    assert instance(api, GONE) is None
    assert instance(api, "../x y") is None


# -- Actions -----------------------------------------------------------------------------------------------------------


def test_machines_are_switched_off_and_on(cloudapi: CloudApi, api: Api) -> None:
    vm = cloudapi.world.place("a")
    cloudapi.jobs.hold()
    actions.act(api, known(api, vm), "stop")
    assert known(api, vm).state is InstanceState.RUNNING
    cloudapi.jobs.release()
    until(lambda: known(api, vm).state is InstanceState.STOPPED)
    actions.act(api, known(api, vm), "start")
    until(lambda: known(api, vm).state is InstanceState.RUNNING)
    actions.act(api, known(api, vm), "reboot")
    cloudapi.jobs.settle()
    assert vm.machine.story == ["stop", "start", "stop", "start"]
    assert [one.action for one in actions.audit(api, vm.id)] == ["reboot", "start", "stop"]


def test_an_action_that_failed_shows_in_the_audit_only(cloudapi: CloudApi, api: Api) -> None:
    vm = cloudapi.world.place("a")
    cloudapi.faults.fail_job()
    actions.act(api, known(api, vm), "stop")
    cloudapi.jobs.settle()
    assert known(api, vm).state is InstanceState.RUNNING
    assert [(one.action, one.succeeded) for one in actions.audit(api, vm.id)] == [("stop", False)]
    assert actions.audit(api, GONE) == []


@pytest.mark.parametrize("state", ["destroyed", "failed"])
def test_nothing_is_asked_of_a_machine_that_is_gone(cloudapi: CloudApi, api: Api, state: str) -> None:
    one = known(api, cloudapi.world.place("a", state=state))
    with pytest.raises(UsageError, match="a cannot stop: it is"):
        actions.act(api, one, "stop")
    assert not cloudapi.called("POST /my/machines/{machine}")


def test_a_machine_that_is_being_made_is_told(cloudapi: CloudApi, api: Api) -> None:
    vm = cloudapi.world.place("a", state="provisioning")
    with pytest.raises(Refused) as caught:
        actions.act(api, known(api, vm), "stop")
    assert caught.value.answer.code == "UnallocatedVM"


@pytest.mark.parametrize(("action", "times"), [("stop", 2), ("reboot", 1)])
def test_only_a_reboot_is_not_repeated(cloudapi: CloudApi, api: Api, action: actions.Action, times: int) -> None:
    vm = cloudapi.world.place("a")
    cloudapi.faults.lose_reply("POST /my/machines/{machine}")
    with suppress(Doubtful):
        actions.act(api, known(api, vm), action)
    assert len(cloudapi.called("POST /my/machines/{machine}")) == times


def test_names_change_unless_another_has_them(cloudapi: CloudApi, api: Api) -> None:
    vm, _ = cloudapi.world.place("a"), cloudapi.world.place("b")
    actions.rename(api, known(api, vm), "c")
    cloudapi.jobs.settle()
    assert known(api, vm).name == "c"
    with pytest.raises(Refused, match=r"having c rename to b was refused: .*Already exists"):
        actions.rename(api, known(api, vm), "b")


# -- Deleting ----------------------------------------------------------------------------------------------------------


def test_a_running_machine_is_deleted_some_time_later(cloudapi: CloudApi, api: Api) -> None:
    vm = cloudapi.world.place("a")
    cloudapi.jobs.hold()
    assert actions.delete(api, vm.id)
    assert known(api, vm).state is InstanceState.RUNNING
    cloudapi.jobs.release()
    until(lambda: known(api, vm).gone)
    assert not actions.delete(api, vm.id)
    assert not actions.delete(api, GONE)
    assert vm.machine.story == ["destroy"]


def test_a_machine_that_is_no_more_than_its_id_is_gone(cloudapi: CloudApi, api: Api) -> None:
    vm = cloudapi.world.place("a")
    cloudapi.faults.plan("GET /my/machines/{machine}", 410, vm.id)
    assert known(api, vm).gone
    cloudapi.faults.plan("DELETE /my/machines/{machine}", 410, vm.id)
    assert not actions.delete(api, vm.id)


def test_a_machine_that_is_not_placed_yet_is_deleted_as_soon_as_it_is(cloudapi: CloudApi, api: Api) -> None:
    cloudapi.stale.unplaced = 0.3
    vm = cloudapi.world.place("a", state="provisioning", born=time.monotonic())
    assert actions.delete(api, vm.id)
    assert [one.status for one in cloudapi.called("DELETE /my/machines/{machine}")][-2:] == [409, 204]


def test_a_protected_machine_is_told_and_its_protection_can_go(cloudapi: CloudApi, api: Api) -> None:
    vm = cloudapi.world.place("a", deletion_protection=True)
    with pytest.raises(Refused) as caught:
        actions.delete(api, vm.id)
    assert "deletion_protection" in str(caught.value)
    actions.act(api, known(api, vm), "disable_deletion_protection")
    until(lambda: not known(api, vm).protected)
    assert actions.delete(api, vm.id)


# -- Labels and firewall -----------------------------------------------------------------------------------------------


def test_tags_are_told_as_they_will_be_and_are_so_later(cloudapi: CloudApi, api: Api) -> None:
    vm = cloudapi.world.place("a", tags={"old": "1", "n": 2})
    cloudapi.jobs.hold()
    assert labels.add(api, "tag", vm.id, {"k": "v"}) == {"old": "1", "n": "2", "k": "v"}
    assert labels.read(api, "tag", vm.id) == {"old": "1", "n": "2"}
    cloudapi.jobs.release()
    until(lambda: "k" in labels.read(api, "tag", vm.id))
    assert labels.replace_tags(api, vm.id, {"only": "this"}) == {"only": "this"}
    cloudapi.jobs.settle()
    labels.remove(api, "tag", vm.id, "only")
    labels.remove(api, "tag", vm.id, "never")
    cloudapi.jobs.settle()
    assert labels.read(api, "tag", vm.id) == {}
    assert labels.add(api, "tag", vm.id, {}) == {}


def test_metadata_is_written_and_read(cloudapi: CloudApi, api: Api) -> None:
    vm = cloudapi.world.place("a")
    labels.add(api, "metadata", vm.id, {"ipyfleet.hostkey": "ssh-ed25519 AAAA"})
    until(lambda: labels.read(api, "metadata", vm.id).get("ipyfleet.hostkey") == "ssh-ed25519 AAAA")
    labels.remove(api, "metadata", vm.id, "ipyfleet.hostkey")
    until(lambda: "ipyfleet.hostkey" not in labels.read(api, "metadata", vm.id))
    with pytest.raises(UsageError, match="ends in _pw"):
        labels.add(api, "metadata", vm.id, {"root_pw": "x"})


@pytest.mark.parametrize(
    "text",
    [
        firewall.among("ipyfleet.cluster", "lab"),
        firewall.among("c", 'a "b" \\c', "udp", [(5, 9), 3]),
        firewall.from_networks(["198.51.100.0/24"], "c", "x", ports=[443, 22]),
        firewall.from_networks(["198.51.100.7", "10.0.0.0/8", "10.0.0.0/8"], "c", "x", ports=[22]),
    ],
)
def test_rules_are_kept_as_they_are_sent(cloudapi: CloudApi, api: Api, text: str) -> None:
    assert firewall.add(api, text, "ours").text == text
    assert firewall.add(api, text).description == "ours"
    assert [one.text for one in firewall.rules(api)] == [text]


def test_a_rule_is_made_once_though_the_answer_is_lost_and_comes_back_when_it_is_off(
    cloudapi: CloudApi, api: Api
) -> None:
    text = firewall.among("c", "x")
    cloudapi.faults.lose_reply("POST /my/fwrules")
    rule = firewall.add(api, text)
    assert len(cloudapi.world.rules) == 1
    cloudapi.world.rules[rule.id]["enabled"] = False
    assert firewall.add(api, text).enabled
    cloudapi.faults.cut("POST /my/fwrules")
    other = firewall.add(api, firewall.among("c", "y"))
    firewall.remove(api, rule.id)
    firewall.remove(api, rule.id)
    assert [one.id for one in firewall.rules(api)] == [other.id]


@pytest.mark.parametrize("ports", [[0], [70000], [(9, 5)], list(range(1, 10))])
def test_rules_that_cannot_be_are_not_sent(ports: list[Any]) -> None:
    with pytest.raises(UsageError, match="a firewall rule takes"):
        firewall.among("c", "x", ports=ports)


@pytest.mark.parametrize("networks", [[], ["10.0.0.1/8"], ["everybody"]])
def test_networks_that_are_none_are_told(networks: list[str]) -> None:
    with pytest.raises(UsageError, match="firewall rule"):
        firewall.from_networks(networks, "c", "x")
