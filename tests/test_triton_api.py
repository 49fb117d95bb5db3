"""Calls of CloudAPI: what is repeated and what never, how long, and what the user is told of every refusal."""

from __future__ import annotations

import threading
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from fabfile.errors import ProviderRefused, UsageError
from fabfile.providers.triton import api as apis
from fabfile.providers.triton import catalog
from fabfile.providers.triton.api import Api
from fabfile.providers.triton.identity import Identity
from fabfile.providers.triton.instances import tagged
from fabfile.providers.triton.pace import Pace
from fabfile.providers.triton.refusals import Answer, Doubtful, Refused, hint, refusal, retry_after
from fabfile.providers.triton.signing import FileSigner
from fabfile.providers.triton.transport import NoAnswer
from tests.cloudapi import signing
from tests.cloudapi.fixtures import client
from tests.cloudapi.server import CloudApi

NETWORKS = "GET /my/networks"


@pytest.fixture
def api(cloudapi: CloudApi) -> Api:
    """A client of the account."""
    return client(cloudapi)


def refused(call: Any, kind: type[ProviderRefused] = Refused) -> str:
    with pytest.raises(kind) as caught:
        call()
    assert caught.value.exit_code == 4
    return str(caught.value)


# -- What is sent ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", signing.KINDS)
def test_every_kind_of_key_is_believed(cloudapi: CloudApi, key: str) -> None:
    assert catalog.account(client(cloudapi, key)).login == "jill"


def test_versions_are_asked_for_and_no_header_that_does_harm(cloudapi: CloudApi, api: Api) -> None:
    api.call("POST", "/machines/x/tags", "x", body={"a": "b"}, passing=(404,))
    headers = {name.lower(): value for name, value in cloudapi.calls[-1].headers.items()}
    assert headers["accept-version"] == "~9||~8"
    assert headers["accept"] == "application/json"
    assert headers["content-type"] == "application/json"
    assert not {"x-date", "cookie", "x-api-version"} & headers.keys()


def test_queries_are_signed_as_they_are_sent(cloudapi: CloudApi, api: Api) -> None:
    cloudapi.world.place("a", tags={"a b": "ü&=+%/ c"})
    assert [one.name for one in tagged(api, {"a b": "ü&=+%/ c"})] == ["a"]


def test_every_attempt_is_signed_anew(cloudapi: CloudApi, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    dates = iter([formatdate(time.time() - 250, usegmt=True), formatdate(usegmt=True)])
    monkeypatch.setattr("fabfile.providers.triton.signing.formatdate", lambda usegmt: next(dates))
    cloudapi.faults.proxy_down()
    catalog.account(api)
    first, second = cloudapi.calls
    assert first.headers["Date"] != second.headers["Date"]
    assert first.headers["Authorization"] != second.headers["Authorization"]


def test_a_netrc_does_not_replace_the_signature(
    cloudapi: CloudApi, api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login jill password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert catalog.account(api).login == "jill"


def test_a_body_that_is_too_large_is_not_even_sent(cloudapi: CloudApi, api: Api) -> None:
    with pytest.raises(UsageError, match="making a needs a request of 100018 bytes, and CloudAPI takes 100000"):
        api.call("POST", "/machines", "making a", body={"a": "\n" * 50000 + "xxxxxxxxx"})
    assert cloudapi.calls == []


def test_acting_as_another_account_asks_for_its_things(cloudapi: CloudApi) -> None:
    key = signing.public_key("id_rsa")
    signer = FileSigner(key.fingerprint, signing.private_key("id_rsa"))
    text = refused(lambda: catalog.networks(Api(Identity(cloudapi.url, "jill", "", acting_as="other"), signer)))
    assert "403 NotAuthorized" in text
    assert cloudapi.calls[-1].target == "/other/networks"


# -- What is repeated --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["proxy_down", "idle", "page", "cut", "lose_reply", "fail_inside"])
def test_a_question_is_repeated_whatever_went_wrong(cloudapi: CloudApi, api: Api, fault: str) -> None:
    getattr(cloudapi.faults, fault)(NETWORKS, times=2)
    assert len(catalog.networks(api)) == 2
    assert len(cloudapi.called(NETWORKS)) == 3


@pytest.mark.parametrize("fault", ["proxy_down", "idle", "page", "cut", "lose_reply", "fail_inside"])
def test_what_would_be_done_twice_is_asked_for_once(cloudapi: CloudApi, api: Api, fault: str) -> None:
    getattr(cloudapi.faults, fault)()
    text = refused(lambda: api.call("POST", "/fwrules", "adding a rule", body={"rule": "x"}, repeat=False), Doubtful)
    assert "adding a rule may have been done or not" in text
    assert "request id" in text
    assert len(cloudapi.calls) == 1


def test_a_server_that_never_answers_is_given_up_in_time(cloudapi: CloudApi) -> None:
    api = client(cloudapi, overall=0.5)
    cloudapi.faults.cut(times=1000)
    begun = time.monotonic()
    text = refused(lambda: catalog.networks(api), ProviderRefused)
    assert time.monotonic() - begun < 5
    assert f"looking for networks: {cloudapi.url} gives no answer: RemoteDisconnected" in text
    assert "TRITON_URL" in text


def test_nobody_listening_is_told(cloudapi: CloudApi) -> None:
    key = signing.public_key("id_rsa")
    api = Api(
        Identity("http://127.0.0.1:9", "jill", ""),
        FileSigner(key.fingerprint, signing.private_key("id_rsa")),
        apis.Waits(overall=0.1),
    )
    assert "gives no answer: ConnectionRefusedError" in refused(lambda: catalog.networks(api), ProviderRefused)


def test_nobody_listening_is_given_up_sooner_than_somebody_who_does_not_answer(
    cloudapi: CloudApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("fabfile.providers.triton.api.time.sleep", pauses.append)
    api = client(cloudapi, overall=1000.0, unreached=0.0)
    monkeypatch.setattr(api._transport, "send", lambda *words: NoAnswer("refused", sent=False))
    refused(lambda: catalog.networks(api), ProviderRefused)
    assert pauses == []


def test_what_was_never_sent_is_beyond_doubt() -> None:
    key = signing.public_key("id_rsa")
    signer = FileSigner(key.fingerprint, signing.private_key("id_rsa"))
    api = Api(Identity("http://127.0.0.1:9", "jill", ""), signer, apis.Waits(overall=0.1, failed=0.02))
    with pytest.raises(ProviderRefused, match=r"adding a rule: .* gives no answer") as caught:
        api.call("POST", "/fwrules", "adding a rule", body={}, repeat=False)
    assert not isinstance(caught.value, Doubtful)


def test_a_slow_answer_is_not_waited_for_longer_than_said(cloudapi: CloudApi) -> None:
    cloudapi.faults.slow(2.5, NETWORKS)
    assert len(catalog.networks(client(cloudapi, read=1.0))) == 2
    assert len(cloudapi.called(NETWORKS)) == 2


def test_a_500_that_stays_is_not_asked_for_for_ever(cloudapi: CloudApi, api: Api) -> None:
    cloudapi.faults.fail_inside(NETWORKS, times=1000, message="it is broken")
    text = refused(lambda: catalog.networks(api))
    assert "it is broken (500, request id " in text
    assert len(cloudapi.called(NETWORKS)) == apis.TRIES


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 406, 409, 410, 413, 422])
def test_a_refusal_is_never_repeated(cloudapi: CloudApi, api: Api, status: int) -> None:
    cloudapi.faults.plan(NETWORKS, status, {"code": "Some", "message": "no"}, times=1000)
    refused(lambda: catalog.networks(api))
    assert len(cloudapi.calls) == 1


# -- Throttling and maintenance ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("repeat", [True, False])
def test_a_throttled_call_is_repeated_even_if_it_makes_something(cloudapi: CloudApi, api: Api, repeat: bool) -> None:
    cloudapi.faults.throttle(times=3)
    body = {"rule": "FROM any TO all vms ALLOW tcp PORT 22"}
    begun = time.monotonic()
    assert api.call("POST", "/fwrules", "adding a rule", body=body, repeat=repeat).status == 201
    assert time.monotonic() - begun >= 0.05 + 0.1 + 0.2
    assert len(cloudapi.world.rules) == 1


def test_throttling_without_end_is_told(cloudapi: CloudApi) -> None:
    cloudapi.faults.throttle(times=1000)
    text = refused(lambda: catalog.networks(client(cloudapi, overall=0.3)))
    assert "You have exceeded your request rate of 10 r/s (429 TooManyRequestsError, request id " in text
    assert "wait a minute" in text


def test_a_real_bucket_is_lived_with(cloudapi: CloudApi) -> None:
    cloudapi.throttle.burst, cloudapi.throttle.rate = 5, 20
    api = client(cloudapi)
    threads = [threading.Thread(target=tagged, args=(api, {})) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([one for one in cloudapi.calls if one.status == 200]) == 12
    cloudapi.complaints.clear()


def test_calls_are_paced_by_themselves() -> None:
    now, slept = [0.0], []

    def sleep(seconds: float) -> None:
        slept.append(round(seconds, 3))
        now[0] += seconds

    pace = Pace(2, 10, lambda: now[0], sleep)
    for _ in range(4):
        pace.wait()
    assert slept == [0.1, 0.1]
    pace.hold(3)
    for _ in range(3):
        pace.wait()
    assert slept[2:] == [3.2, 0.1, 0.1]  # no burst after it


def test_each_group_of_calls_has_a_pace_of_its_own(api: Api) -> None:
    assert api._pace("/machines/x/tags") is api._pace("/fwrules")
    assert api._pace("/images") is not api._pace("/machines")
    assert api._pace("") is not api._pace("/machines")


def test_maintenance_that_ends_too_late_is_told_at_once_with_its_date(cloudapi: CloudApi, api: Api) -> None:
    date = formatdate(time.time() + 3600, usegmt=True)
    cloudapi.faults.maintain(date)
    begun = time.monotonic()
    text = refused(lambda: api.call("DELETE", "/fwrules/x", "removing a rule"))
    assert time.monotonic() - begun < 1
    assert "removing a rule was refused: This Triton data center is being upgraded (503" in text
    assert f"CloudAPI asks to come back at {date}" in text
    assert catalog.networks(api)


def test_maintenance_that_ends_soon_is_waited_for(cloudapi: CloudApi, api: Api) -> None:
    cloudapi.faults.maintain(formatdate(time.time() + 2, usegmt=True))
    threading.Timer(0.5, lambda: setattr(cloudapi.faults, "read_only", False)).start()
    api.call("DELETE", "/fwrules/x", "removing a rule", passing=(404,))
    assert [cloudapi.calls[place].status for place in (0, -1)] == [503, 404]


def test_maintenance_without_a_date_is_waited_for_in_vain(cloudapi: CloudApi) -> None:
    cloudapi.faults.maintain()
    text = refused(lambda: client(cloudapi, overall=0.3).call("DELETE", "/fwrules/x", "removing a rule"))
    assert "the data center is being maintained" in text


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("Sun, 22 Nov 2026 10:00:00 GMT", 100.0), ("120", 120.0), ("", None), ("soon", None), ("-5", None)],
)
def test_dates_and_seconds_are_understood(value: str, seconds: float | None) -> None:
    assert retry_after(Answer(503, headers={"Retry-After": value}), now=1795341500.0) == seconds


# -- What the user is told ---------------------------------------------------------------------------------------------


def test_every_refusal_has_the_request_id(cloudapi: CloudApi, api: Api) -> None:
    cloudapi.faults.plan(NETWORKS, 409, {"code": "InvalidArgument", "message": "no"}, headers={"Request-Id": "abc-1"})
    assert "looking for networks was refused: no (409 InvalidArgument, request id abc-1)" in refused(
        lambda: catalog.networks(api)
    )
    cloudapi.faults.plan(NETWORKS, 404, {"code": "ResourceNotFound", "message": "no"}, bare=True)
    assert "(404 ResourceNotFound, without a request id)" in refused(lambda: catalog.networks(api))


def test_a_wrong_clock_is_told_with_how_wrong_it_is(
    cloudapi: CloudApi, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    date = formatdate(time.time() - 400, usegmt=True)
    monkeypatch.setattr("fabfile.providers.triton.signing.formatdate", lambda usegmt: date)
    text = refused(lambda: catalog.account(api))
    assert "clock skew of 40" in text
    assert "set this computer's clock" in text
    assert "this computer's clock is " in text


def test_unknown_credentials_are_told_with_where_they_come_from(cloudapi: CloudApi) -> None:
    text = refused(lambda: catalog.account(client(cloudapi, "id_rsa_of_nobody")))
    assert f"logging in to {cloudapi.url} as jill was refused: Invalid authorization credentials supplied (401" in text
    assert "TRITON_KEY_ID" in text


def test_a_page_of_something_else_is_shortened_and_told(cloudapi: CloudApi, api: Api) -> None:
    cloudapi.faults.plan(NETWORKS, 403, raw=b"<html><b>No</b> entry" + b"!" * 5000, content_type="text/html")
    text = refused(lambda: catalog.networks(api))
    assert "No entry!!!" in text
    assert len(text) < 800


@pytest.mark.parametrize("raw", [b"<html>hotel wifi</html>", b'"text"', b"[1]", b""])
def test_a_success_that_is_nothing_of_cloudapis_is_told(cloudapi: CloudApi, api: Api, raw: bytes) -> None:
    cloudapi.faults.plan(NETWORKS, 200, raw=raw, bare=True)
    text = refused(lambda: catalog.networks(api), ProviderRefused)
    assert "looking for networks was answered by something that is not CloudAPI" in text


def test_a_machine_in_the_wrong_place_is_not_told_whole(cloudapi: CloudApi, api: Api) -> None:
    cloudapi.faults.plan(NETWORKS, 200, {"metadata": {"user-script": "secret"}})
    assert "secret" not in refused(lambda: catalog.networks(api), ProviderRefused)


def test_another_address_is_not_gone_to(cloudapi: CloudApi, api: Api) -> None:
    cloudapi.faults.plan(NETWORKS, 302, headers={"Location": f"{cloudapi.url}/my"})
    text = refused(lambda: catalog.networks(api))
    assert f"it sends us to {cloudapi.url}/my" in text
    assert len(cloudapi.calls) == 1


def test_the_fields_that_were_refused_are_told(cloudapi: CloudApi, api: Api) -> None:
    text = refused(lambda: api.call("POST", "/fwrules", "adding a rule", body={"rule": "garbage"}))
    assert "Invalid parameters; rule: Error at character 0: 'garbage', expected: 'FROM', found: word (422" in text


@pytest.mark.parametrize(
    ("status", "body", "wanted"),
    [
        (400, {"code": "InvalidHeader", "message": "bad param format"}, "mistake in ipyfleet"),
        (400, {"code": "InvalidHeader", "message": "x-date was not a signed header"}, "operator must restart"),
        (400, {"code": "InvalidVersion", "message": "~9 is not supported"}, "older than version 8"),
        (403, {"code": "NotAuthorized", "message": "Account or user is disabled"}, "disabled"),
        (409, {"code": "NoAllocatableServersError", "message": "No compute"}, "another package"),
        (409, {"code": "KeyRequired", "message": "At least one SSH key"}, "triton key add"),
        (409, {"code": "CannotDestroyMachineError", "message": "x"}, "disable-deletion-protection"),
        (409, {"code": "UnallocatedVM", "message": "x"}, "wait until it runs"),
        (409, {"code": "InvalidArgument", "message": "nope is not a valid package"}, "triton package list"),
        (404, {"code": "ResourceNotFound", "message": "image not found"}, "triton image list"),
        (500, {"message": "netUuid (uuid) is required"}, "triton network list"),
        (410, {"id": "x", "state": "deleted"}, "gone"),
        (413, {"code": "PayloadTooLargeError", "message": "x"}, "100,000 bytes"),
        (429, {"code": "TooManyRequestsError", "message": "x"}, "wait a minute"),
        (503, {"code": "ServiceUnavailable", "message": "x"}, "status page"),
        (400, {"BadHTTPRequest": "Request was malformed"}, "run it again"),
        (418, "", "run it again"),
    ],
)
def test_there_is_advice_for_every_refusal(status: int, body: Any, wanted: str) -> None:
    answer = Answer(status, body)
    assert wanted in hint(answer)
    assert wanted in refusal("doing this", answer).hint
