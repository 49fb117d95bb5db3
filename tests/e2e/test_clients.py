"""`connect`, `shell` and their like on a real cluster, through what happens to networks and laptops."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest

from tests.e2e.cluster import BIN, UserCluster, until
from tests.e2e.machines import audit

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
OPEN_CLIENT = """
import sys, ipyparallel as ipp
rc = ipp.Client(sys.argv[1])
print("ready", flush=True)
for line in sys.stdin:
    print(rc[:].apply_async(pow, 2, int(line)).get(timeout=60), flush=True)
"""


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UserCluster]:
    before = set(audit())
    user = UserCluster(f"cli{os.getpid()}", tmp_path_factory.mktemp("user"))
    user.invoke("provision", "--engines", "2", timeout=600)
    yield user
    user.teardown()
    assert set(audit()) - before == set()


def tunnel(user: UserCluster) -> dict:
    return json.loads((user.folder / "state" / user.name / "record.json").read_text())["tunnel"]


def ssh_of(user: UserCluster) -> int:
    """The ssh that the tunnel is made of."""
    group = tunnel(user)["pid"]
    shown = subprocess.run(["ps", "-A", "-o", "pid=,pgid=,comm="], capture_output=True, text=True, check=True).stdout
    found = [int(line.split()[0]) for line in shown.splitlines() if line.split()[1:] == [str(group), "ssh"]]
    assert len(found) == 1, shown
    return found[0]


@contextmanager
def open_client(user: UserCluster) -> Iterator[subprocess.Popen[str]]:
    """A program of the user's that holds a client and computes a power for each line that it is sent."""
    words = [sys.executable, "-c", OPEN_CLIENT, str(user.client_file)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        try:
            yield child
        finally:
            child.kill()


def powers(child: subprocess.Popen[str], exponent: int) -> str:
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(f"{exponent}\n")
    child.stdin.flush()
    return child.stdout.readline().strip()


def terminal(user: UserCluster, *words: str) -> pexpect.spawn:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forkpty in a process with threads
        environment = user.environment | {"TERM": "dumb"}
        return pexpect.spawn(str(BIN / "ipyfleet"), list(words), env=environment, timeout=60, encoding="utf-8")


def test_an_open_client_goes_on_when_the_tunnels_ssh_is_killed(user: UserCluster) -> None:
    with open_client(user) as child:
        assert powers(child, 3) == "[8, 8]"
        ports = tunnel(user)["ports"]
        os.kill(ssh_of(user), signal.SIGKILL)
        time.sleep(0.5)  # what is sent before the client's socket has seen the end is lost on the way
        assert powers(child, 4) == "[16, 16]"
        assert tunnel(user)["ports"] == ports


def test_an_open_client_goes_on_when_the_whole_tunnel_was_killed_and_connect_opens_it(user: UserCluster) -> None:
    with open_client(user) as child:
        os.killpg(tunnel(user)["pid"], signal.SIGKILL)
        assert "connected, 2 engines" in user.invoke("connect")
        assert powers(child, 5) == "[32, 32]"


def test_an_open_client_goes_on_after_the_network_broke(user: UserCluster) -> None:
    address = next(one["address"] for one in user.status()["machines"] if one["name"] == "controller").partition("@")[2]
    with open_client(user) as child:
        before = ssh_of(user)
        route = ["ip", "route", "add", "blackhole", f"{address}/32"]
        subprocess.run(route, check=True)
        try:
            until("ssh has noticed it", lambda: not Path(f"/proc/{before}").exists(), 60)
        finally:
            route[2] = "del"
            subprocess.run(route, check=True)
        assert powers(child, 6) == "[64, 64]"


def test_a_client_that_was_paused_goes_on(user: UserCluster) -> None:
    with open_client(user) as child:
        child.send_signal(signal.SIGSTOP)
        os.kill(ssh_of(user), signal.SIGKILL)
        time.sleep(3)  # long enough for the other side to see it gone
        child.send_signal(signal.SIGCONT)
        assert powers(child, 7) == "[128, 128]"


def test_connect_again_changes_nothing(user: UserCluster) -> None:
    before = tunnel(user)
    assert "connected, 2 engines" in user.invoke("connect")
    assert tunnel(user) == before


def test_disconnect_leaves_no_process_and_no_file_and_connect_has_the_same_ports(user: UserCluster) -> None:
    ports, process = tunnel(user)["ports"], ssh_of(user)
    assert "disconnected" in user.invoke("disconnect")
    assert not user.client_file.exists()
    until("ssh is gone", lambda: not Path(f"/proc/{process}").exists(), 10)
    assert "was not connected" in user.invoke("disconnect")
    user.invoke("connect")
    assert tunnel(user)["ports"] == ports
    with user.client() as client:
        assert client[:].apply_sync(pow, 2, 3) == [8, 8]


def test_a_shell_in_a_terminal_from_any_directory(user: UserCluster, tmp_path: Path) -> None:
    child = terminal(user, "shell")
    child.expect("rc: 2 engines")
    child.expect(r"In \[")
    child.sendline("dview.apply_sync(pow, 2, 8)")
    child.expect(r"\[256, 256\]")
    child.sendline("%px print('on', 40 + 2)")
    child.expect("on 42")
    child.sendline("lview.map_sync(abs, range(-2, 1))")
    child.expect(r"\[2, 1, 0\]")
    child.sendline("exit")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


def test_a_line_in_the_shell_and_the_library_call(user: UserCluster, tmp_path: Path) -> None:
    shown = user.invoke("shell", "--command", "print(dview.apply_sync(pow, 2, 9))")
    assert shown.strip() == "[512, 512]"
    program = f"from fabfile.clients import client; rc = client({user.name!r}); print(rc.ids); rc.close()"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=user.environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "[0, 1]", done.stderr


def test_another_python_is_refused_before_any_function_is_sent(user: UserCluster) -> None:
    link = user.ssh("controller", "readlink -f /opt/ipyfleet/env/bin/python").strip()
    folder = "/opt/ipyfleet/env/bin"
    user.ssh("controller", f"sudo mv {folder}/python {folder}/python.real")
    user.ssh(
        "controller",
        f"printf '#!/bin/sh\\necho Python 3.8.1\\n' | sudo tee {folder}/python; sudo chmod 755 {folder}/python",
    )
    try:
        refused = user.run("invoke", "connect")
    finally:
        user.ssh("controller", f"sudo mv {folder}/python.real {folder}/python")
    assert refused.returncode == 1
    assert "the engines run Python 3.8" in refused.stderr
    assert "would crash them" in refused.stderr
    assert link == user.ssh("controller", "readlink -f /opt/ipyfleet/env/bin/python").strip()


def test_without_a_cluster_each_says_what_to_do(user: UserCluster) -> None:
    for command in ("connect", "disconnect", "shell"):
        done = user.run("invoke", command, "--cluster", "nowhere")
        assert done.returncode == 3, done.stderr
        assert "no cluster 'nowhere'" in done.stderr


def test_a_client_that_was_just_made_hears_what_engines_write(user: UserCluster) -> None:
    """Without waiting for that, one of twenty blocking calls would never return."""
    program = "import sys; from fabfile.clients import client; rc = client(sys.argv[1]); rc[:].execute('1', block=True)"
    for _ in range(40):
        words = [sys.executable, "-c", program, user.name]
        subprocess.run(words, env=user.environment, check=True, timeout=20)


def test_two_clusters_at_once(user: UserCluster) -> None:
    other = UserCluster(f"two{os.getpid()}", user.folder)
    try:
        other.invoke("provision", "--engines", "1")
        with user.client() as first, other.client() as second:
            assert (len(first), len(second)) == (2, 1)
        assert {tuple(tunnel(one)["ports"]) for one in (user, other)} != {tuple(tunnel(user)["ports"])}
        other.invoke("disconnect")
        with user.client() as first:
            assert first[:].apply_sync(pow, 2, 2) == [4, 4]
    finally:
        other.teardown()


def test_teardown_leaves_no_tunnel(user: UserCluster) -> None:
    process = ssh_of(user)
    user.invoke("teardown", "--yes")
    until("ssh is gone", lambda: not Path(f"/proc/{process}").exists(), 10)
    assert not user.client_file.exists()
