"""The record: to the disk and back without loss, and never a traceback when it is broken."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fabfile import record
from fabfile.connection import Connection
from fabfile.errors import ClusterError
from fabfile.machines import Cluster
from fabfile.plan import Slot
from fabfile.record import RUNS, PastRun, Record, Timing
from fabfile.state import Store
from fabfile.tunnel import Tunnel

times = st.floats(0, 1e10)
text = st.text(max_size=20)
words = st.lists(text, max_size=3).map(tuple)
runs = st.builds(PastRun, text, times, st.lists(st.builds(Timing, times, text, text), max_size=3).map(tuple))
any_record = st.builds(
    Record,
    cluster=st.none() | st.builds(Cluster, text, text, text, times),
    provider=text,
    template=text,
    connection=st.none() | st.builds(Connection, text, text),
    tunnel=st.none()
    | st.builds(Tunnel, st.integers(1), text, st.lists(st.integers(), max_size=7).map(tuple), text, words),
    assigned=st.lists(st.builds(Slot, st.integers(0), st.integers(1)), max_size=4).map(tuple),
    digests=st.dictionaries(text, text, max_size=3),
    client_file=text,
    lease=times,
    runs=st.lists(runs, max_size=3).map(tuple),
)


@given(any_record)
@hypothesis_settings(max_examples=100, deadline=None)
def test_a_record_comes_back_as_it_was_saved(one: Record) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store("lab", Path(folder))
        with store.lock("test"):
            one.save(store)
        assert record.load(store) == one


def test_no_record_is_an_empty_record(tmp_path: Path) -> None:
    assert record.load(Store("lab", tmp_path)) == Record()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("cluster", "lab", "$.cluster"),
        ("tunnel", {"pid": "1"}, "$.tunnel"),
        ("assigned", [[0, 1]], "$.assigned[0]"),
        ("connection", {"engine": 1, "client": "SECRET"}, "$.connection.engine"),
    ],
)
def test_a_record_of_the_wrong_shape_is_named_with_the_place_and_the_cure(
    tmp_path: Path, key: str, value: object, said: str
) -> None:
    store = Store("lab", tmp_path)
    with store.lock("test"):
        Record().save(store)
        path = store.path("record.json")
        path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(ClusterError) as caught:
        record.load(store)
    assert f"{path} is broken" in str(caught.value)
    assert said in str(caught.value)
    assert "`mv " in caught.value.hint
    assert "SECRET" not in str(caught.value)


def test_a_shown_record_tells_no_secret() -> None:
    assert "SECRET" not in repr(Record(connection=Connection("SECRET", "SECRET")))


def test_only_the_latest_runs_are_remembered() -> None:
    one = Record()
    for number in range(RUNS + 3):
        one = one.after(PastRun("provision", float(number)))
    assert [run.begun for run in one.runs] == [float(number) for number in range(3, RUNS + 3)]
