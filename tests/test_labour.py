"""labour.py: what commands on many machines write, and what becomes of them when nobody reads it any more."""

from __future__ import annotations

from typing import cast

import pytest

from fabfile import errands
from fabfile.errors import RemoteError
from fabfile.labour import SHELL, Work, alone, everywhere
from fabfile.machines import Machine
from fabfile.run import Run
from tests.fakes.errand import OverSsh, machine
from tests.sshd import Sshd
from tests.sshd import server as server

NO_RUN = cast(Run, None)


@pytest.fixture
def started(server: Sshd, monkeypatch: pytest.MonkeyPatch) -> OverSsh:
    stand_in = OverSsh(server)
    monkeypatch.setattr(errands, "starter", stand_in)
    return stand_in


def test_lines_of_both_streams_come_with_their_machine(started: OverSsh) -> None:
    heard = []
    work = Work((*SHELL, "echo out; echo err >&2; exit 3"))
    done = everywhere(NO_RUN, [machine(0), machine(1)], work, lambda *line: heard.append(line))
    assert sorted((one.name, text, wrong) for one, text, wrong in heard) == [
        *(("engine-0", "err", True), ("engine-0", "out", False)),
        *(("engine-1", "err", True), ("engine-1", "out", False)),
    ]
    assert [one.code for one in done] == [3, 3]


@pytest.mark.timeout(60)
def test_all_are_ended_when_nobody_reads_what_they_write(started: OverSsh, capfd: pytest.CaptureFixture[str]) -> None:
    def closed(one: Machine, line: str, wrong: bool) -> None:
        if one.index == 1:
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        everywhere(NO_RUN, [machine(index) for index in range(3)], Work((*SHELL, "yes")), closed)
    assert [child.poll() is None for child in started.children] == [False] * 3
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("code", [0, 1, 127, 213, 254, 255])
def test_the_exit_code_is_the_commands_own(started: OverSsh, code: int) -> None:
    work = Work((*SHELL, f"exit {code}"))
    told = 255 if code == 213 else code
    assert alone(NO_RUN, machine(0), work) == told
    assert [one.code for one in everywhere(NO_RUN, [machine(0)], work, lambda *line: None)] == [told]


def test_a_connection_that_breaks_is_no_exit_code(started: OverSsh) -> None:
    work = Work((*SHELL, "kill -9 $(ps -o ppid= -p $PPID)"))  # what the errand itself was begun by
    with pytest.raises(RemoteError, match="the connection broke while it ran"):
        alone(NO_RUN, machine(0), work)
