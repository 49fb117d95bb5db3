"""Machines made once: whatever becomes of the answer, there is one machine of the name, and nobody else's is taken."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from fabfile.errors import ProviderRefused, UsageError
from fabfile.providers.triton.api import Api
from fabfile.providers.triton.creation import Order, create
from fabfile.providers.triton.instances import InstanceState, instance
from fabfile.providers.triton.refusals import Doubtful, NoRoom, Refused
from tests.cloudapi.fixtures import client
from tests.cloudapi.server import CloudApi
from tests.cloudapi.world import EXTERNAL, IMAGE, INTERNAL

POST = "POST /my/machines"
TAGS = {"ipyfleet.cluster": "lab", "ipyfleet.role": "engine", "ipyfleet.index": "1"}


def order(**changes: Any) -> Order:
    given: dict[str, Any] = {"name": "lab-engine-1", "image": IMAGE, "package": "sample-1G", "tags": TAGS}
    return Order(**{**given, **changes})


@pytest.fixture
def api(cloudapi: CloudApi) -> Api:
    """A client of the account."""
    return client(cloudapi)


def there(cloudapi: CloudApi) -> list[str]:
    return sorted(vm.name for vm in cloudapi.world.machines.values() if vm.state != "failed")


def test_an_order_becomes_a_machine(cloudapi: CloudApi, api: Api) -> None:
    made = create(api, order(networks=(INTERNAL, EXTERNAL), metadata={"user-script": "#!/bin/sh\n"}))
    assert (made.name, made.state, made.tags) == ("lab-engine-1", InstanceState.PROVISIONING, TAGS)
    cloudapi.jobs.settle()
    vm = cloudapi.world.machines[made.id]
    assert vm.firewall_enabled
    assert vm.metadata["user-script"] == "#!/bin/sh\n"
    assert [nic["network"] for nic in vm.nics] == [INTERNAL, EXTERNAL]
    found = instance(api, made.id)
    assert found is not None
    assert (found.state, found.package) == (InstanceState.RUNNING, "sample-1G")


def test_the_request_is_flat_and_all_texts() -> None:
    body = order(networks=(INTERNAL,), metadata={"user-script": "x"}, affinity=("role!=~engine",)).body()
    assert body == {
        "name": "lab-engine-1",
        "image": IMAGE,
        "package": "sample-1G",
        "firewall_enabled": True,
        "networks": [INTERNAL],
        "affinity": ["role!=~engine"],
        "tag.ipyfleet.cluster": "lab",
        "tag.ipyfleet.role": "engine",
        "tag.ipyfleet.index": "1",
        "metadata.user-script": "x",
    }


@pytest.mark.parametrize("fault", ["lose_reply", "fail_inside_after", "proxy_down_after"])
def test_a_lost_answer_is_looked_for_and_found(cloudapi: CloudApi, api: Api, fault: str) -> None:
    getattr(cloudapi.faults, fault.removesuffix("_after"))(POST, **({"after": True} if "_after" in fault else {}))
    made = create(api, order())
    assert there(cloudapi) == ["lab-engine-1"]
    assert made.id in cloudapi.world.machines
    assert len(cloudapi.called(POST)) == 1


@pytest.mark.parametrize("fault", ["cut", "fail_inside", "proxy_down", "idle", "page"])
def test_what_was_not_made_is_asked_for_again_after_two_looks(cloudapi: CloudApi, api: Api, fault: str) -> None:
    getattr(cloudapi.faults, fault)(POST)
    create(api, order())
    assert there(cloudapi) == ["lab-engine-1"]
    assert len(cloudapi.called(POST)) == 2
    between = [one.name for one in cloudapi.calls]
    assert between[1:-1].count("GET /my/machines") >= 2


def test_a_list_that_lags_far_behind_makes_no_second_machine(cloudapi: CloudApi, api: Api) -> None:
    cloudapi.stale.listed = 1.0
    cloudapi.faults.lose_reply(POST)
    made = create(api, order())
    assert there(cloudapi) == ["lab-engine-1"]
    assert cloudapi.called(POST)[1].code == "ValidationFailed"
    assert made.id in cloudapi.world.machines


def test_a_command_that_is_run_again_takes_what_the_first_one_made(cloudapi: CloudApi, api: Api) -> None:
    first = create(api, order())
    assert create(client(cloudapi), order()).id == first.id
    assert there(cloudapi) == ["lab-engine-1"]


def test_tags_that_change_do_not_count_where_marks_are_named(cloudapi: CloudApi, api: Api) -> None:
    first = create(api, order(tags={**TAGS, "lease": "5"}))
    again = order(tags={**TAGS, "lease": "9"}, marks=("ipyfleet.cluster", "ipyfleet.index"))
    assert create(api, again).id == first.id


def test_a_machine_of_somebody_else_is_never_taken(cloudapi: CloudApi, api: Api) -> None:
    other = cloudapi.world.place("lab-engine-1", tags={**TAGS, "ipyfleet.cluster": "other"})
    with pytest.raises(ProviderRefused) as caught:
        create(api, order())
    assert f"it belongs to the machine {other.id} (running), whose tags are not ours" in str(caught.value)
    assert "request id" in str(caught.value)
    cloudapi.faults.lose_reply(POST)
    with pytest.raises(ProviderRefused, match="it belongs to the machine"):
        create(api, order())


def test_names_that_only_begin_alike_are_others(cloudapi: CloudApi, api: Api) -> None:
    cloudapi.world.place("lab-engine-10", tags=TAGS)
    cloudapi.faults.cut(POST)
    made = create(api, order())
    assert made.name == "lab-engine-1"
    assert there(cloudapi) == ["lab-engine-1", "lab-engine-10"]


def test_a_machine_that_failed_with_its_answer_lost_is_told_as_failed(cloudapi: CloudApi, api: Api) -> None:
    cloudapi.pace.provision = 0.0
    cloudapi.stale.listed = 0.0
    cloudapi.faults.fail_provisioning()
    cloudapi.faults.lose_reply(POST, seconds=0.1)
    made = create(api, order())
    assert made.failed
    assert len(cloudapi.called(POST)) == 1


def test_a_machine_that_failed_long_ago_is_not_taken_for_the_new_one(cloudapi: CloudApi, api: Api) -> None:
    cloudapi.world.place("lab-engine-1", tags=TAGS, state="failed", created=time.time() - 3600)
    cloudapi.faults.cut(POST)
    assert create(api, order()).state is InstanceState.PROVISIONING


def test_a_refusal_after_a_lost_answer_is_not_believed_before_another_look(cloudapi: CloudApi, api: Api) -> None:
    cloudapi.stale.listed = 0.15  # longer than the first looks, shorter than the second ones
    cloudapi.faults.lose_reply(POST)
    body = {"code": "NoAllocatableServersError", "message": "No compute resources available"}
    cloudapi.faults.plan(POST, 409, body, skip=1)
    assert create(api, order()).id in cloudapi.world.machines


def test_doubt_that_stays_is_told(cloudapi: CloudApi, api: Api) -> None:
    cloudapi.faults.cut(POST, times=1000)
    with pytest.raises(Doubtful, match="making lab-engine-1 may have been done or not: no answer came"):
        create(api, order())
    assert len(cloudapi.called(POST)) == 3


def test_maintenance_is_told_with_its_date(cloudapi: CloudApi, api: Api) -> None:
    cloudapi.faults.maintain("Sun, 22 Nov 2099 10:00:00 GMT")
    begun = time.monotonic()
    with pytest.raises(Doubtful) as caught:
        create(api, order())
    assert time.monotonic() - begun < 2
    assert "Sun, 22 Nov 2099 10:00:00 GMT" in caught.value.hint
    assert len(cloudapi.called(POST)) == 1


def test_throttling_is_waited_for(cloudapi: CloudApi, api: Api) -> None:
    cloudapi.faults.throttle(POST, times=2)
    create(api, order())
    assert [one.name for one in cloudapi.calls] == [POST] * 3


@pytest.mark.parametrize("body", [None, {"code": "ValidationFailed", "message": "x"}])
def test_no_room_has_a_class_of_its_own(cloudapi: CloudApi, api: Api, body: dict[str, Any] | None) -> None:
    if body:
        short = [{"field": "ram", "code": "InsufficientCapacity", "message": "none left"}]
        cloudapi.faults.plan(POST, 409, {**body, "errors": short})
    cloudapi.faults.capacity = 0
    with pytest.raises(NoRoom) as caught:
        create(api, order())
    assert "another package" in caught.value.hint


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"image": "zzz"}, "zzz is not a valid image"),
        ({"image": IMAGE.replace("1d", "2d")}, "image not found"),
        ({"package": "nope"}, "nope is not a valid package"),
        ({"networks": ("9dd4e63b-0000-4000-8000-00000000000f",)}, "Invalid Networks"),
        ({"name": "a" * 64}, "Invalid machine name; alias: String does not match"),
        ({"affinity": ("role=x",)}, "could not find operator"),
    ],
)
def test_what_is_refused_is_told_in_cloudapis_words(
    cloudapi: CloudApi, api: Api, changes: dict[str, Any], wanted: str
) -> None:
    cloudapi.world.names_in_dns = True
    with pytest.raises(Refused, match=wanted):
        create(api, order(**changes))
    assert there(cloudapi) == []


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"networks": (EXTERNAL, "external")}, "'external' is no id of a network"),
        ({"name": "bad name"}, "'bad name' is no name of a machine"),
        ({"name": "a" * 190}, "is no name of a machine"),
    ],
)
def test_what_cloudapi_would_refuse_in_riddles_is_not_sent(
    cloudapi: CloudApi, api: Api, changes: dict[str, Any], wanted: str
) -> None:
    with pytest.raises(UsageError, match=wanted):
        create(api, order(**changes))
    assert cloudapi.calls == []


@pytest.mark.parametrize(
    "tags",
    [{"account": "x"}, {"machine": "x"}, {"image": "x"}, {"credentials.x": "y"}, {"a_pw": "x"}, {"triton.x": "y"}],
)
def test_names_that_cloudapi_means_otherwise_are_not_sent(cloudapi: CloudApi, api: Api, tags: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="CloudAPI would not keep these tags"):
        create(api, order(tags=tags))
    assert cloudapi.calls == []


def test_values_that_are_no_texts_are_not_sent(cloudapi: CloudApi, api: Api) -> None:
    with pytest.raises(UsageError, match="'n' is 3, which is no text"):
        create(api, order(tags={"n": 3}))


def test_many_at_once_are_one_each_though_answers_are_lost(cloudapi: CloudApi) -> None:
    api = client(cloudapi)
    cloudapi.pace.place = 0.01
    cloudapi.throttle.burst = 100
    cloudapi.faults.lose_reply(POST, times=3, skip=2)
    cloudapi.faults.cut(POST, times=3, skip=1)
    made: list[str] = []

    def work(number: int) -> None:
        made.append(create(api, order(name=f"m-{number}", tags={"index": str(number)})).id)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert there(cloudapi) == [f"m-{number}" for number in range(8)]
    assert sorted(made) == sorted(cloudapi.world.machines)
