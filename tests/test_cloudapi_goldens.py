"""The fake CloudAPI against recorded answers of the real one: status, code, message, keys, types and headers agree."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cloudapi import goldens
from tests.cloudapi.server import CloudApi

# Case → why the fake answers otherwise; every one of them must still exist, and still differ.
EXCEPTIONS: dict[str, str] = {}
RECORDS = goldens.records() or (None,)


@pytest.mark.parametrize("record", RECORDS, ids=lambda one: one["case"] if one else "none")
def test_the_fake_answers_as_the_real_server_did(cloudapi: CloudApi, record: dict[str, Any] | None) -> None:
    if record is None:
        pytest.skip(f"{goldens.VARIABLE} does not say where recorded answers are (cloudapi-goldens*.jsonl)")
    goldens.set_up(cloudapi, record)
    answer = goldens.send(cloudapi, record)
    cloudapi.jobs.settle()
    cloudapi.complaints.clear()  # some of what was recorded is what no client of ours may do
    found = goldens.differences(record, answer)
    if record["case"] in EXCEPTIONS:
        assert found, f"{record['case']} agrees by now: it is no exception any more"
    else:
        assert not found


def test_every_exception_is_a_recorded_case() -> None:
    if not goldens.records():
        pytest.skip(f"{goldens.VARIABLE} does not say where recorded answers are (cloudapi-goldens*.jsonl)")
    assert set(EXCEPTIONS) <= {one["case"] for one in goldens.records()}
