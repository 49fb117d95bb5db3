"""`invoke logs --follow`, `--since` and `--bundle` on a real cluster, as a person uses them."""

from __future__ import annotations

import gzip
import io
import json
import os
import signal
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue

import pytest

from fabfile.connection_files import CURVE
from tests.e2e.cluster import BIN, ROOT, UserCluster, until
from tests.e2e.machines import audit

pytestmark = pytest.mark.e2e
MACHINES = ("controller", "engine-0", "engine-1")
ENGINE = "ipengine@1.service"


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UserCluster]:
    before = set(audit())
    user = UserCluster(f"log{os.getpid()}", tmp_path_factory.mktemp("user"))
    try:
        user.invoke("provision", "--engines", "2", timeout=600)
        yield user
    finally:
        user.teardown()
    assert set(audit()) - before == set()


class Follower:
    """`invoke logs --follow` with these words, whose lines are kept as they come."""

    def __init__(self, user: UserCluster, *words: str) -> None:
        self.process = subprocess.Popen(
            [str(BIN / "invoke"), "logs", "--follow", *words],
            cwd=ROOT,
            env=user.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.lines: Queue[str] = Queue()
        self.notes: list[str] = []
        self.threads = [threading.Thread(target=self._read), threading.Thread(target=self._note)]
        for thread in self.threads:
            thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))

    def _note(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.notes.append(line.rstrip("\n"))

    def hear(self, *parts: str, timeout: float = 30) -> str:
        """The next line with all these parts."""
        while True:
            line = self.lines.get(timeout=timeout)
            if all(part in line for part in parts):
                return line

    def interrupt(self) -> int:
        """Ctrl-C; the exit code."""
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(20)
        for thread in self.threads:
            thread.join()
        return self.process.returncode


@contextmanager
def following(user: UserCluster, *words: str) -> Iterator[Follower]:
    follower = Follower(user, *words)
    try:
        yield follower
    finally:
        if follower.process.poll() is None:
            follower.process.kill()
        follower.process.wait()
        for stream in (follower.process.stdout, follower.process.stderr):
            assert stream is not None
            stream.close()


def readers(user: UserCluster, *machines: str) -> list[str]:
    """The processes on these machines that follow a journal."""
    words = "pgrep -x journalctl; pgrep -f '[f]ollow-journal'; true"
    return [pid for machine in machines for pid in user.ssh(machine, words).split()]


def write(user: UserCluster, machine: str, unit: str, text: str) -> None:
    """Have a line be in a unit's journal: one of root's about the unit's main process."""
    about = f"OBJECT_PID=$(systemctl show --property=MainPID --value {unit})"
    user.ssh(machine, f"printf '%s\\n' 'MESSAGE={text}' \"{about}\" | sudo logger --journald")


def test_new_lines_of_all_machines_until_ctrl_c_and_nothing_is_left(user: UserCluster) -> None:
    with following(user) as follower:
        until("all are followed", lambda: len(readers(user, *MACHINES)) >= 3, 60)
        user.ssh("engine-1", f"sudo systemctl restart {ENGINE}")
        assert follower.hear("Completed registration").startswith("engine-1   | ")
        write(user, "controller", "ipcontroller.service", "said by a test")
        assert follower.hear("said by a test").startswith("controller | ")
        assert follower.interrupt() == 130
    assert follower.notes == []
    assert readers(user, *MACHINES) == []


def test_it_ends_over_there_also_when_it_is_killed_here(user: UserCluster) -> None:
    with following(user, "--on", "engine-0", "--lines", "1") as follower:
        follower.hear("engine-0")
        follower.process.kill()
    until("nobody follows", lambda: readers(user, "engine-0") == [], 20)


def test_since(user: UserCluster) -> None:
    user.ssh("engine-0", f"sudo systemctl restart {ENGINE}")
    until(
        "it says so", lambda: "Completed registration" in user.invoke("logs", "--on", "engine-0", "--since", "20s"), 20
    )
    shown = user.invoke("logs", "--since", "1d", "--on", "engines")
    assert shown.count("Completed registration") >= 4
    assert len(user.invoke("logs", "--since", "1d", "--on", "engine-0", "--lines", "2").splitlines()) == 3


def test_a_bundle_has_what_helps_and_no_secret(user: UserCluster, tmp_path: Path) -> None:
    folder = user.folder / "state" / user.name
    pair = json.loads(user.ssh("controller", f"sudo cat {CURVE}"))
    client = json.loads(user.client_file.read_text())
    private = (folder / "id_ed25519").read_text().splitlines()[1:-1]
    secrets = [pair["secret"], pair["public"], client["curve_serverkey"], *private]
    secrets += [
        line for line in user.ssh("controller", "sudo cat /etc/ssh/ssh_host_*_key").splitlines() if len(line) > 60
    ]
    planted = secrets[:6]
    for secret in planted:
        write(user, "engine-0", ENGINE, f"planted {secret} there")
        write(user, "controller", "ipcontroller.service", f"planted {secret} there")
    path = tmp_path / "report.tar.gz"
    assert "look through it before you send it" in user.invoke("logs", "--bundle", str(path))
    assert path.stat().st_mode & 0o777 == 0o600
    data = gzip.decompress(path.read_bytes())
    assert data.count(b"planted [secret removed]") == 2 * len(planted)
    assert [secret for secret in secrets if secret.encode() in data] == []
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        streams = [(one.name.removeprefix("report/"), archive.extractfile(one)) for one in archive]
        files = {name: stream.read().decode() for name, stream in streams if stream}
    assert json.loads(files["this-computer/status.json"])["state"] == "healthy"
    assert "Completed registration" in files["machines/engine-1/ipengine.log"]
    assert "ipengine 1: online" in files["machines/engine-1/services.txt"]
    assert "manager = systemd" in files["machines/controller/survey.txt"]
    assert "ipyparallel-9" in files["machines/controller/versions.txt"]
    assert "provision" in files["this-computer/timings.txt"]

    refused = user.run("invoke", "logs", "--bundle", str(path))
    assert (refused.returncode, "not overwritten" in refused.stderr) == (2, True)


def test_what_cannot_be_meant_is_refused(user: UserCluster, tmp_path: Path) -> None:
    for words, said in (
        (("--follow", "--bundle", str(tmp_path / "x.tar.gz")), "--follow goes without --bundle"),
        (("--since", "yesterday"), "must be a time"),
        (("--bundle", str(tmp_path)), "is a folder"),
        (("--follow", "--on", "engnes"), "did you mean engines?"),
    ):
        done = user.run("invoke", "logs", *words)
        assert (done.returncode, said in done.stderr, "next: " in done.stderr) == (2, True, True), done.stderr


def test_a_machine_that_goes_down_is_told_of_and_the_others_go_on(user: UserCluster, tmp_path: Path) -> None:
    with following(user) as follower:
        until("all are followed", lambda: len(readers(user, *MACHINES)) >= 3, 60)
        user.invoke("stop", "--machine", "engine-0", "--yes")
        until("it is told", lambda: any("engine-0 is no longer followed" in note for note in follower.notes), 40)
        write(user, "engine-1", ENGINE, "still there")
        assert follower.hear("still there").startswith("engine-1 ")
        assert follower.interrupt() == 130
    path = tmp_path / "less.tar.gz"
    assert "engine-0 did not answer" in user.run("invoke", "logs", "--bundle", str(path)).stderr
    with tarfile.open(path) as archive:
        why = archive.extractfile("less/machines/engine-0/no-answer.txt")
        assert why is not None
        assert b"it is stopped" in why.read()
