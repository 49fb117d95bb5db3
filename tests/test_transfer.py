"""transfer.py: files that go and come, by a real OpenSSH; what is in the way here is told."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from fabfile import errands, on_machine
from fabfile.errors import ClusterError
from fabfile.run import Run
from fabfile.transfer import fetch, send
from tests.fakes.errand import OverSsh, machine
from tests.sshd import Sshd
from tests.sshd import server as server

NO_RUN = cast(Run, None)


@pytest.fixture
def started(server: Sshd, monkeypatch: pytest.MonkeyPatch) -> Iterator[OverSsh]:
    stand_in = OverSsh(server)
    monkeypatch.setattr(errands, "starter", stand_in)
    yield stand_in
    for child in stand_in.children:
        assert child.poll() is not None
        for stream in (child.stdout, child.stderr):
            if stream:
                stream.close()


def put(what: Path, to: Path) -> int:
    (done,) = send(NO_RUN, [machine(0)], what, str(to), lambda done, total: None)
    if done.error:
        raise done.error
    return done.value or 0


def get(path: Path, to: Path) -> int:
    (done,) = fetch(NO_RUN, [(machine(0), to)], str(path), lambda done, total: None)
    if done.error:
        raise done.error
    return done.value or 0


def test_a_file_in_the_place_of_a_folder_here_is_told(started: OverSsh, tmp_path: Path) -> None:
    (tmp_path / "wanted").write_text("1")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ClusterError, match="wanted could not be put here") as refused:
        get(tmp_path / "wanted", tmp_path / "file" / "wanted")
    assert "--to" in refused.value.hint
    assert (tmp_path / "file").read_text() == "mine"


def test_what_may_not_be_read_is_told_in_the_place_of_a_traceback(
    started: OverSsh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "source/closed").mkdir(parents=True)
    listed = os.listdir

    def refused(path: Path) -> list[str]:  # root reads everything
        if path.name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(on_machine.os, "listdir", refused)
    with pytest.raises(ClusterError, match="source/closed could not be sent: Permission denied"):
        put(tmp_path / "source", tmp_path / "target")


@pytest.mark.timeout(20)
def test_a_fault_here_is_told_before_everything_has_come(started: OverSsh, tmp_path: Path) -> None:
    with tempfile.NamedTemporaryFile(dir=tmp_path) as endless:
        os.truncate(endless.name, 1 << 40)
        (tmp_path / "folder").mkdir()
        with pytest.raises(ClusterError, match="there is a folder of that name"):
            get(Path(endless.name), tmp_path / "folder")


@pytest.mark.timeout(20)
def test_nothing_that_came_in_part_stays_after_an_interruption(started: OverSsh, tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if not interrupted:
            interrupted.append(os.listdir(tmp_path / "target"))
            os.kill(os.getpid(), signal.SIGINT)

    interrupted: list[list[str]] = []
    with tempfile.NamedTemporaryFile(dir=tmp_path) as endless:
        os.truncate(endless.name, 1 << 40)
        with pytest.raises(KeyboardInterrupt):
            fetch(NO_RUN, [(machine(0), tmp_path / "target/file")], endless.name, interrupt)
    assert len(interrupted[0]) == 1
    assert os.listdir(tmp_path / "target") == []
