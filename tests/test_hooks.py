"""The user's hooks, called on a machine over a real sshd, and what is said of those that cannot be."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import pytest

from fabfile import hooks, ssh
from fabfile.errors import ClusterError
from fabfile.machines import Event, Machine, MachineState, silent
from fabfile.remote import each
from fabfile.settings import Settings
from fabfile.ssh_host import SshHost
from tests.sshd import host as host
from tests.sshd import server as server

MACHINE = Machine("engine-0", "m", "engine", 0, MachineState.RUNNING)
TASKS = """
from fabric import task

@task
def mark(c):
    c.run(f"echo {c.config.ipyfleet.machine} {c.config.ipyfleet.cluster} >> FOLDER/log")

@task
def fail_loudly(c):
    c.run("echo as I feared; exit 4")

@task
def blunder(c):
    raise KeyError("what")

@task
def hang(c):
    c.run("sleep 20")

@task
def leave(c):
    raise SystemExit(3)

@task
def end(c):
    raise SystemExit
"""


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    file = tmp_path / "lab.py"
    file.write_text(TASKS.replace("FOLDER", str(tmp_path)))
    return file


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(hooks, "FOLDER", str(tmp_path / "on-the-machine"))
    file = tmp_path / "mount data.sh"
    file.write_text(f'#!/bin/sh\necho "$IPYFLEET_MACHINE $IPYFLEET_ROLE $IPYFLEET_CLUSTER" >>"{tmp_path}/log"\n')
    return file


def settings(*items: object, event: str = "machine_up") -> Settings:
    return Settings(cluster="lab", hooks=((event, tuple(str(item) for item in items)),))


def test_scripts_and_tasks_are_called_in_their_order_and_told_where_they_are(
    host: SshHost, script: Path, tasks: Path, tmp_path: Path
) -> None:
    heard: list[Event] = []
    hooks.call(settings(f"{tasks}:mark", script), "machine_up", host, MACHINE, heard.append)
    assert (tmp_path / "log").read_text() == "engine-0 lab\nengine-0 engine lab\n"
    assert [event.what for event in heard] == ["hook lab.py:mark", "hook mount data.sh"]


def test_another_event_calls_nothing(host: SshHost, script: Path, tmp_path: Path) -> None:
    hooks.call(settings(script), "machine_down", host, MACHINE, silent)
    assert not (tmp_path / "log").exists()


def test_a_script_that_fails_is_told_with_its_last_words_and_ends_the_row(
    host: SshHost, script: Path, tasks: Path, tmp_path: Path
) -> None:
    script.write_text("#!/bin/sh\necho no such volume >&2\nexit 7\n")
    with pytest.raises(ClusterError, match="ended with 7") as error:
        hooks.call(settings(script, f"{tasks}:mark"), "machine_up", host, MACHINE, silent)
    assert "no such volume" in error.value.seen
    assert not (tmp_path / "log").exists()


@pytest.mark.parametrize(
    ("task", "said", "seen"),
    [
        ("fail-loudly", "ended with 4", "as I feared"),
        ("blunder", "KeyError: 'what'", ""),
        ("leave", "SystemExit: 3", ""),
    ],
)
def test_a_task_that_fails_is_told(host: SshHost, tasks: Path, task: str, said: str, seen: str) -> None:
    with pytest.raises(ClusterError, match=said) as error:
        hooks.call(settings(f"{tasks}:{task}"), "machine_up", host, MACHINE, silent)
    assert seen in error.value.seen


@pytest.mark.parametrize("how", ["script", "task"])
def test_a_hook_that_hangs_is_ended(
    host: SshHost, tasks: Path, script: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(hooks, "LONGEST", 1.0)
    script.write_text("#!/bin/sh\nsleep 20\n")
    begun = time.monotonic()
    with pytest.raises(ClusterError, match=r"longer than 1 s|within 1\.0 seconds"):
        hooks.call(settings(script if how == "script" else f"{tasks}:hang"), "machine_up", host, MACHINE, silent)
    assert time.monotonic() - begun < 15


def test_a_task_that_leaves_the_program_is_told_from_a_thread_too_and_may_do_so_without_a_complaint(
    host: SshHost, tasks: Path
) -> None:
    def call(task: str) -> Exception | None:
        work = partial(hooks.call, settings(f"{tasks}:{task}"), "machine_up", host, MACHINE)
        (outcome,) = each([silent], work)
        return outcome.error

    assert "SystemExit: 3" in str(call("leave"))
    assert call("end") is None


def test_what_a_task_is_told_is_its_machines_own(host: SshHost) -> None:
    """Connections share one configuration; a name written there would be every machine's."""
    host.fabric().config.ipyfleet = {"machine": "engine-0"}
    assert "ipyfleet" not in ssh._hermetic()


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("/nowhere/to.sh", "/nowhere/to.sh cannot be read: No such file or directory"),
        ("{folder}/plain.txt", "it does not begin with #!"),
        ("{folder}/lab.py:marc", "has no task marc; did you mean mark?"),
        ("/nowhere/lab.py:mark", "is no Python file that can be read"),
        ("{folder}/broken.py:mark", "cannot be imported: SyntaxError"),
        ("{folder}/leaving.py:mark", "cannot be imported: SystemExit: 3"),
        ("~nobody-of-that-name/to.sh", "cannot be read: No such file or directory"),
        ("~nobody-of-that-name/lab.py:mark", "is no Python file that can be read"),
    ],
)
def test_what_cannot_be_called_is_complained_of_beforehand(tasks: Path, tmp_path: Path, item: str, said: str) -> None:
    (tmp_path / "plain.txt").write_text("hello")
    (tmp_path / "broken.py").write_text("def (")
    (tmp_path / "leaving.py").write_text("raise SystemExit(3)")
    (complaint,) = hooks.complaints(settings(item.format(folder=tmp_path)))
    assert complaint.startswith("hooks: machine_up: ")
    assert said in complaint


def test_hooks_that_can_be_called_are_no_complaint(tasks: Path, script: Path) -> None:
    assert list(hooks.complaints(settings(script, f"{tasks}:fail-loudly"))) == []
