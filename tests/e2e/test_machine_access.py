"""`invoke ssh`, `ssh-config` and `logs` on a real cluster, as a person uses them."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from tests.e2e.cluster import BIN, ROOT, UserCluster
from tests.e2e.machines import audit

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UserCluster]:
    before = set(audit())
    user = UserCluster(f"acc{os.getpid()}", tmp_path_factory.mktemp("user"))
    user.invoke("provision", "--engines", "2", timeout=600)
    yield user
    user.teardown()
    assert set(audit()) - before == set()


def test_a_line_of_shell_runs_on_the_machine_that_is_named_and_its_exit_code_comes_back(user: UserCluster) -> None:
    assert user.invoke("ssh", "--command", "hostname").strip() == "controller"
    assert user.invoke("ssh", "--machine", "engine-1", "--command", "hostname; exit 7", code=7).strip() == "engine-1"


def test_a_shell_in_a_terminal(user: UserCluster) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forkpty in a process with threads
        child = pexpect.spawn(
            str(BIN / "invoke"), ["ssh", "--machine", "engine-0"], env=user.environment, cwd=ROOT, timeout=30
        )
    child.sendline("echo $((6 * 7)) $(hostname)")
    child.expect("42 engine-0")
    child.sendline("exit 3")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 3


def test_the_users_own_programs_reach_the_machines(user: UserCluster, tmp_path: Path) -> None:
    config = tmp_path / "lab config"
    assert "Include" in user.invoke("ssh-config", "--file", str(config))
    assert config.stat().st_mode & 0o777 == 0o600
    host = f"{user.name}-engine-1"
    odd = tmp_path / "ein Übel.txt"
    odd.write_text("hello")
    subprocess.run(["scp", "-q", "-F", config, odd, f"{host}:"], check=True, timeout=60)
    shown = subprocess.run(
        ["ssh", "-F", config, host, "cat 'ein Übel.txt'"], capture_output=True, text=True, check=True, timeout=60
    )
    assert shown.stdout == "hello"
    assert f"Host {user.name}-controller" in user.invoke("ssh-config")


def test_logs_of_all_machines_and_of_some(user: UserCluster) -> None:
    shown = user.invoke("logs")
    assert [line for line in shown.splitlines() if line.startswith("== ")] == [
        "== controller ==",
        "== engine-0 ==",
        "== engine-1 ==",
    ]
    assert shown.count("Completed registration") == 2
    few = user.invoke("logs", "--on", "engine-1", "--lines", "1").splitlines()
    assert (few[0], len(few)) == ("== engine-1 ==", 2)


def test_what_cannot_be_meant_is_refused(user: UserCluster) -> None:
    for words, said in (
        (("ssh", "--machine", "engine-7"), "its machines"),
        (("ssh", "--machine", "engines"), "names 2 machines"),
        (("logs", "--on", "engnes"), "did you mean engines?"),
        (("logs", "--lines", "some"), "not a whole number"),
        (("ssh-config", "--file", "/nowhere/at/all"), "cannot be written"),
    ):
        done = user.run("invoke", *words)
        assert done.returncode == 2, words
        assert said in done.stderr or "it is one of" in done.stderr
    assert user.run("invoke", "ssh", "--cluster", "nosuch").returncode == 3


def test_a_machine_that_is_off_is_told_and_holds_up_nobody(user: UserCluster) -> None:
    user.invoke("stop", "--machine", "engine-0", "--yes")
    refused = user.run("invoke", "ssh", "--machine", "engine-0")
    assert refused.returncode == 1
    assert "engine-0: it is stopped" in refused.stderr
    done = user.run("invoke", "logs", timeout=60)
    assert done.returncode == 1
    assert "== engine-1 ==" in done.stdout
    assert "engine-0" in done.stderr


def test_they_run_from_any_directory(user: UserCluster, tmp_path: Path) -> None:
    words = [str(Path(sys.executable).with_name("ipyfleet")), "ssh", "--command", "hostname"]
    done = subprocess.run(words, cwd=tmp_path, env=user.environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "controller"
