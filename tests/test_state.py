"""State: private, atomic, locked, and every failure of the disk told with its cure."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fabfile import state
from fabfile.errors import ClusterError, Locked
from fabfile.state import Store, home, records

NOBODY = 65534
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store("lab", tmp_path)


def python(*words: str, **kwargs: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", *words],
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **kwargs},  # type: ignore[call-overload]
    )


# -- where ------------------------------------------------------------------------------------------------------------


def test_records_lie_in_the_state_folder_unless_a_home_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("IPYFLEET_HOME", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    if sys.platform == "linux":
        assert home() == tmp_path / "state" / "ipyfleet"
    monkeypatch.setenv("IPYFLEET_HOME", str(tmp_path / "named"))
    assert Store("lab").folder == tmp_path / "named" / "lab"
    monkeypatch.setenv("IPYFLEET_HOME", "~/named")
    assert home() == Path.home() / "named"


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/x", "a/b", ".hidden"])
def test_a_cluster_name_cannot_lead_out_of_the_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be the name of a folder"):
        Store(name, tmp_path)


def test_only_clusters_with_something_in_their_record_are_listed(tmp_path: Path) -> None:
    assert records(tmp_path / "nowhere") == []
    for name in ("beta", "alpha"):
        with Store(name, tmp_path).lock("provision"):
            assert records(tmp_path) == []
    assert records(tmp_path) == []
    for name in ("beta", "alpha"):
        one = Store(name, tmp_path)
        with one.lock("provision"):
            one.write("record", {})
    (tmp_path / "stray").write_text("")
    assert records(tmp_path) == ["alpha", "beta"]


# -- what is written --------------------------------------------------------------------------------------------------


@given(st.dictionaries(st.text(max_size=8).filter(lambda key: key != "schema"), JSON, max_size=5))
@hypothesis_settings(max_examples=60, deadline=None)
def test_a_document_comes_back_as_it_was_written(document: dict[str, object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store("lab", Path(folder))
        with store.lock("test"):
            store.write("record", document)
        assert store.read("record") == document


def test_what_was_never_written_reads_as_none_and_leaves_nothing(store: Store) -> None:
    assert store.read("record") is None
    assert store.read_file("id_ed25519") is None
    assert not store.folder.exists()


def test_everything_is_private_whatever_the_umask(store: Store) -> None:
    before = os.umask(0)
    try:
        with store.lock("provision"):
            store.write("record", {"a": 1})
            store.write_file("id_ed25519", b"secret")
            modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in store.folder.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"lock": 0o600, "record.json": 0o600, "id_ed25519": 0o600}
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700


def test_a_folder_that_others_can_read_is_made_private(store: Store) -> None:
    store.folder.mkdir(mode=0o755, parents=True)
    with store.lock("provision"):
        assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700


def test_a_write_is_heard_after_it_is_on_the_disk(tmp_path: Path) -> None:
    heard: list[tuple[str, bool]] = []

    def hear(name: str) -> None:
        heard.append((name, store.path(name or "record.json").exists()))

    store = Store("lab", tmp_path, on_write=hear)
    with store.lock("provision"):
        store.write("record", {})
        store.write_file("id_ed25519", b"secret")
        store.remove()
    assert heard == [("record.json", True), ("id_ed25519", True), ("", False)]


def test_nothing_is_written_without_the_lock(store: Store) -> None:
    assert not store.locked
    with store.lock("provision"):
        assert store.locked
    with pytest.raises(RuntimeError, match="without the lock"):
        store.write("record", {})
    with pytest.raises(RuntimeError, match="without the lock"):
        store.remove()


def test_a_killed_writer_leaves_the_old_document_or_the_new_one(store: Store) -> None:
    writer = python(
        "import itertools, pathlib, sys; from fabfile.state import Store\n"
        "store = Store('lab', pathlib.Path(sys.argv[1]))\n"
        "with store.lock('writing'):\n"
        "    for number in itertools.count():\n"
        "        store.write('record', {'number': number, 'filling': 'x' * 300_000})\n"
        "        print(number, flush=True)\n",
        str(store.folder.parent),
    )
    assert writer.stdout is not None
    for _ in range(5):
        writer.stdout.readline()
    writer.kill()
    writer.communicate()
    document = store.read("record")
    assert document is not None
    assert document["number"] >= 4
    (store.folder / ".record.json.x.new").write_text("debris of a writer killed in the middle")
    with store.lock("next"):
        assert sorted(entry.name for entry in store.folder.iterdir()) == ["lock", "record.json"]


def test_remove_leaves_nothing_and_may_be_repeated(store: Store) -> None:
    with store.lock("teardown"):
        store.write("record", {})
        store.path("folder").mkdir()
        store.path("folder").joinpath("file").write_text("x")
        store.path("link").symlink_to("/etc")
        store.remove()
        store.remove()
    assert list(store.folder.parent.iterdir()) == []


# -- what cannot be read ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "{}", '{"schema": "1"}', '{"schema": 0}', '{"schema": true}', "\x00", "[" * 10**5]
)
def test_a_broken_document_is_named_with_the_cure(store: Store, text: str) -> None:
    store.folder.mkdir()
    store.path("record.json").write_text(text)
    with pytest.raises(ClusterError) as caught:
        store.read("record")
    assert f"{store.path('record.json')} is broken" in str(caught.value)
    assert "`mv " in caught.value.hint
    assert "invoke teardown" in caught.value.hint


def test_a_document_of_a_newer_version_is_left_to_that_version(store: Store) -> None:
    store.folder.mkdir()
    store.path("record.json").write_text('{"schema": 2}')
    with pytest.raises(ClusterError, match=r"written by a newer ipyfleet \(schema 2, this one knows 1\)"):
        store.read("record")


# -- the lock ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def holder(store: Store) -> Iterator[subprocess.Popen[str]]:
    process = python(
        "import pathlib, sys, time; from fabfile.state import Store\n"
        "with Store('lab', pathlib.Path(sys.argv[1])).lock('provision'):\n"
        "    print('held', flush=True); sys.stdin.read()\n",
        str(store.folder.parent),
        stdin=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_command_is_told_who_changes_the_cluster_and_since_when(
    store: Store, holder: subprocess.Popen[str]
) -> None:
    with pytest.raises(Locked) as caught, store.lock("teardown"):
        pytest.fail("two commands at once")
    said = str(caught.value)
    assert re.search(rf"process {holder.pid} \(`-c .*`: provision, since \d\d:\d\d:\d\d\)", said)
    assert "is changing the cluster 'lab' right now" in said
    assert f"kill -INT {holder.pid}" in caught.value.hint
    assert caught.value.exit_code == 1
    with Store("other", store.folder.parent).lock("provision"):
        pass  # another cluster is another lock


def test_a_patient_command_takes_its_turn(store: Store, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(Locked), store.lock("connect", 0.2):
        pytest.fail("two commands at once")
    release = threading.Timer(0.3, holder.kill)
    release.start()
    with store.lock("connect", 20.0):
        assert not release.is_alive()
    release.join()


def test_reading_needs_no_lock(store: Store, holder: subprocess.Popen[str]) -> None:
    store.path("record.json").write_text('{"schema": 1, "a": 2}')
    assert store.read("record") == {"a": 2}


def test_the_lock_goes_with_a_killed_process(store: Store, holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with store.lock("teardown"):
        assert json.loads(store.path("lock").read_text())["pid"] == os.getpid()


def test_a_program_that_outlives_the_command_does_not_keep_the_lock(store: Store) -> None:
    with store.lock("provision"):
        survivor = subprocess.Popen(["sleep", "60"])
    try:
        with store.lock("status"):
            pass
    finally:
        survivor.kill()
        survivor.wait()


def test_two_stores_of_one_process_exclude_each_other(store: Store) -> None:
    with store.lock("provision"), pytest.raises(Locked), Store("lab", store.folder.parent).lock("teardown"):
        pytest.fail("two at once")
    with store.lock("provision"), pytest.raises(RuntimeError, match="held already"), store.lock("again"):
        pytest.fail("two at once")


def test_a_lock_file_removed_by_its_holder_while_we_came_is_not_taken_for_the_lock(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, looks = state.fcntl.flock, []

    def flock(handle: int, operation: int) -> None:
        if not looks:
            store.path("lock").unlink()  # what `teardown` of another process does between our open and our flock
        looks.append(handle)
        real(handle, operation)

    monkeypatch.setattr(state.fcntl, "flock", flock)
    with store.lock("provision"), pytest.raises(Locked), Store("lab", store.folder.parent).lock("teardown"):
        pytest.fail("the lock excludes nobody")
    assert len(looks) == 3


def test_a_lock_without_a_legible_holder_is_still_a_lock(store: Store, holder: subprocess.Popen[str]) -> None:
    store.path("lock").write_text("{")
    with pytest.raises(Locked, match="another command is changing the cluster"), store.lock("teardown"):
        pytest.fail("two at once")


def test_a_command_that_writes_nothing_leaves_nothing(store: Store) -> None:
    with store.lock("teardown"):
        assert store.path("lock").exists()
    assert not store.folder.exists()


# -- a disk that will not ---------------------------------------------------------------------------------------------

WRITE = (
    "import pathlib, sys; from fabfile.errors import ClusterError; from fabfile.state import Store, records\n"
    "store = Store('lab', pathlib.Path(sys.argv[1]))\n"
    "try:\n"
    "    with store.lock('provision'): store.write_file('big', b'x' * 100_000)\n"
    "except ClusterError as error: print(error)\n"
)


AS_NOBODY = (
    "import os\n"
    f"if os.geteuid() == 0: os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
)  # after the imports: the interpreter itself may lie where only root can read


def said_by_nobody(folder: Path) -> str:
    """What a command says that is run in this folder by a user without rights there."""
    imports, rest = WRITE.split("\n", 1)
    out, err = python(f"{imports}\n{AS_NOBODY}{rest}", str(folder)).communicate()
    assert err == ""
    return out


def test_a_home_that_cannot_be_written_is_named() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        said = said_by_nobody(Path(folder))
    assert f"{folder}/lab/lock cannot be written: Permission denied" in said
    assert "set IPYFLEET_HOME to a folder" in said


def test_a_record_that_may_not_be_read_is_named() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lab" / "big"
        path.parent.mkdir()
        path.write_text("")
        path.chmod(0)
        path.parent.chmod(0o755)
        Path(folder).chmod(0o755)
        imports, _ = WRITE.split("\n", 1)
        script = f"{imports}\n{AS_NOBODY}store = Store('lab', pathlib.Path(sys.argv[1])); store.read_file('big')"
        _, err = python(script, folder).communicate()
    assert f"fabfile.errors.ClusterError: {path} cannot be read: Permission denied" in err
    assert "set IPYFLEET_HOME to a folder" in err


def test_a_home_where_nobody_can_write_is_named_even_to_root() -> None:
    with pytest.raises(ClusterError) as caught, Store("lab", Path("/proc/ipyfleet")).lock("provision"):
        pytest.fail("/proc takes files")
    assert "/proc/ipyfleet/lab/lock cannot be written" in str(caught.value)


def test_a_folder_of_another_user_is_not_trusted(store: Store) -> None:
    if os.geteuid() == 0:
        store.folder.mkdir()
        os.chown(store.folder, NOBODY, NOBODY)
    else:
        store = Store("usr", Path("/"))
    with pytest.raises(ClusterError, match="it belongs to another user"), store.lock("provision"):
        pytest.fail("trusted")


def test_a_full_disk_is_named_and_the_old_file_stays(store: Store) -> None:
    with store.lock("provision"):
        store.write_file("big", b"before")
    process = python(
        WRITE,
        str(store.folder.parent),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)),
    )
    out, err = process.communicate()
    assert err == ""
    assert f"{store.folder}/big cannot be written: File too large" in out
    assert "IPYFLEET_HOME" in out
    assert store.read_file("big") == b"before"
    assert sorted(entry.name for entry in store.folder.iterdir()) == ["big", "lock"]


def test_a_file_in_place_of_the_home_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    said = r"home/lab/lock cannot be written: (Not a directory|File exists)"
    with pytest.raises(ClusterError, match=said), Store("lab", tmp_path / "home").lock("provision"):
        pytest.fail("there is no such folder")
