"""Lists that come in pages: nothing is lost or told twice, also when they change while they are read."""

from __future__ import annotations

import time
from typing import Any

import pytest

from fabfile.providers.triton import api as apis
from fabfile.providers.triton.api import Api
from fabfile.providers.triton.instances import tagged
from fabfile.remote import each
from tests.cloudapi.fixtures import client
from tests.cloudapi.server import CloudApi

LIST = "GET /my/machines"


@pytest.fixture
def api(cloudapi: CloudApi) -> Api:
    """A client of the account."""
    return client(cloudapi)


def test_a_list_longer_than_a_page_is_read_whole(cloudapi: CloudApi, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apis, "PAGE", 4)
    names = {cloudapi.world.place(f"m{number}").name for number in range(11)}
    found = tagged(api, {})
    assert {one.name for one in found} == names
    assert len(found) == 11


def test_many_calls_stay_below_what_is_allowed(cloudapi: CloudApi, api: Api) -> None:
    begun = time.monotonic()
    each(range(40), lambda number: tagged(api, {}))
    assert [one.status for one in cloudapi.calls] == [200] * 40
    assert 2 < time.monotonic() - begun < 10


@pytest.mark.parametrize("number", [0, 1, 3, 4, 5])
def test_lists_as_long_as_a_page_or_so_are_read_whole(
    cloudapi: CloudApi, api: Api, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(apis, "PAGE", 4)
    for one in range(number):
        cloudapi.world.place(f"m{one}")
    assert len(tagged(api, {})) == number


def test_a_list_that_changes_meanwhile_loses_nothing(
    cloudapi: CloudApi, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apis, "PAGE", 4)
    machines = [cloudapi.world.place(f"m{number}") for number in range(11)]
    first = {vm["id"] for vm in api.get("/machines", "x", limit=4).body}
    leaving = next(vm for vm in machines if vm.id in first)

    def leave(asked: Any) -> bool:
        if "offset=3" in asked.target:
            leaving.state = "destroyed"
        return False

    cloudapi.faults.cut(LIST, when=leave)
    assert {one.id for one in tagged(api, {})} == {vm.id for vm in machines} - {leaving.id}


def test_the_server_may_give_shorter_pages(cloudapi: CloudApi, api: Api) -> None:
    pages = [[{"id": "a"}, {"id": "b"}], [{"id": "b"}, {"id": "c"}], [{"id": "c"}]]
    for page in pages:
        cloudapi.faults.plan(LIST, 200, page, headers={"x-query-limit": "2"})
    assert [one["id"] for one in api.paged("/machines", "x")] == ["a", "b", "c"]
