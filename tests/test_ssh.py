"""Opening connections to real sshd processes: whom it trusts, how long it tries, what it reads."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import paramiko
import pytest

from fabfile import host_keys, ssh, strict_connection
from fabfile.errors import HostKeyError, RemoteError
from fabfile.remote import Credentials, Endpoint, each, values
from fabfile.ssh_host import SshHost
from tests.sshd import Sshd, free_port, make_host_key, serving


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Sshd]:
    with serving(tmp_path / "server") as running:
        yield running


@pytest.fixture
def opened() -> Iterator[list[SshHost]]:
    hosts: list[SshHost] = []
    yield hosts
    for host in hosts:
        host.close()


def connect(server: Sshd, opened: list[SshHost], endpoint: Endpoint | None = None) -> SshHost:
    opened.append(ssh.connect(endpoint or server.endpoint, "engine-0", server.credentials))
    return opened[-1]


def anybody_tried_to_log_in(server: Sshd) -> bool:
    """A connection that ends before its login leaves `[preauth]` without a user in the log."""
    return any(
        f"user {server.endpoint.user}" in line or "Accepted" in line for line in server.log.read_text().splitlines()
    )


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_host_that_shows_its_pinned_key_is_connected_to(tmp_path: Path, opened: list[SshHost], kind: str) -> None:
    with serving(tmp_path / "server", kind=kind) as server:
        host = connect(server, opened)
        assert host.run("echo", "hello").stdout == "hello\n"
        assert (host.name, host.address) == ("engine-0", f"root@127.0.0.1:{server.endpoint.port}")


def test_an_unknown_host_key_is_refused_before_the_login(server: Sshd, opened: list[SshHost]) -> None:
    host_keys.pin(server.credentials.known_hosts, server.endpoint, [])
    with pytest.raises(HostKeyError, match="unknown") as caught:
        connect(server, opened)
    assert host_keys.fingerprint(server.host_key) in str(caught.value)
    assert not anybody_tried_to_log_in(server)
    server.credentials.known_hosts.unlink()
    with pytest.raises(HostKeyError, match="unknown"):
        connect(server, opened)


def test_a_changed_host_key_is_always_an_error(server: Sshd, opened: list[SshHost]) -> None:
    server.stop()
    make_host_key(server.folder / "host_key")
    server.start()
    with pytest.raises(HostKeyError, match="not the pinned one") as caught:
        connect(server, opened)
    assert host_keys.fingerprint(server.host_key) in str(caught.value)
    assert str(server.credentials.known_hosts) in caught.value.hint
    heard: list[str] = []
    with pytest.raises(HostKeyError):
        ssh.open_when_ready(server.endpoint, "m", server.credentials, timeout=60, beat=heard.append)
    assert heard == [], "waiting cures no wrong key"
    assert not anybody_tried_to_log_in(server)


def test_a_host_key_of_another_type_than_the_pinned_ones_is_a_changed_key(
    tmp_path: Path, server: Sshd, opened: list[SshHost]
) -> None:
    host_keys.pin(server.credentials.known_hosts, server.endpoint, [make_host_key(tmp_path / "rsa", "rsa")])
    with pytest.raises(HostKeyError, match="none of the pinned types"):
        connect(server, opened)
    assert not anybody_tried_to_log_in(server)


def test_a_host_with_several_keys_shows_the_one_that_is_pinned(tmp_path: Path, opened: list[SshHost]) -> None:
    rsa = make_host_key(tmp_path / "rsa", "rsa")
    with serving(tmp_path / "server", f"HostKey {tmp_path / 'rsa'}") as server:
        for pins in ([rsa], [server.host_key], [rsa, server.host_key]):
            host_keys.pin(server.credentials.known_hosts, server.endpoint, pins)
            connect(server, opened)


def test_any_of_several_pinned_keys_of_one_type_will_do(tmp_path: Path, server: Sshd, opened: list[SshHost]) -> None:
    another = make_host_key(tmp_path / "another")
    for pins in ([another, server.host_key], [server.host_key, another]):
        host_keys.pin(server.credentials.known_hosts, server.endpoint, pins)
        connect(server, opened)


def test_every_kind_of_host_key_of_paramiko_is_known_here() -> None:
    plain = [name for name in paramiko.Transport._preferred_keys if "cert" not in name]
    assert sorted(strict_connection.ALGORITHMS) == sorted(plain)


def test_openssh_itself_accepts_our_key_and_our_known_hosts(server: Sshd) -> None:
    options = ["-F", "none", "-o", f"UserKnownHostsFile={server.credentials.known_hosts}", "-o", "BatchMode=yes"]
    command = ["ssh", *options, "-i", server.credentials.key_file, "-p", str(server.endpoint.port), "127.0.0.1", "id"]
    assert subprocess.run(command, capture_output=True, check=True, stdin=subprocess.DEVNULL).stdout


def test_a_login_leaves_its_trace_where_the_tests_above_look_for_none(server: Sshd, opened: list[SshHost]) -> None:
    connect(server, opened)
    assert anybody_tried_to_log_in(server)


def test_a_host_that_is_not_up_yet_is_waited_for(tmp_path: Path, opened: list[SshHost]) -> None:
    with serving(tmp_path / "server", running=False) as server:
        heard: list[str] = []

        def beat(text: str) -> None:
            heard.append(text)
            if len(heard) == 1:
                server.start()

        opened.append(ssh.open_when_ready(server.endpoint, "m", server.credentials, timeout=60, beat=beat))
        assert opened[0].run("true").exit_code == 0
        assert "refused" in heard[0]


def test_a_login_key_that_is_not_installed_yet_is_waited_for(server: Sshd, opened: list[SshHost]) -> None:
    keys = (server.folder / "authorized_keys").read_text()
    (server.folder / "authorized_keys").write_text("")
    heard: list[str] = []

    def beat(text: str) -> None:
        heard.append(text)
        (server.folder / "authorized_keys").write_text(keys)

    opened.append(ssh.open_when_ready(server.endpoint, "m", server.credentials, timeout=60, beat=beat))
    assert len(heard) == 1
    assert "login was refused" in heard[0]


def test_a_port_where_nothing_listens_is_given_up_at_the_deadline(tmp_path: Path) -> None:
    credentials = Credentials(tmp_path / "key", tmp_path / "known_hosts")
    begun = time.monotonic()
    with pytest.raises(RemoteError, match=r"engine-3: no SSH connection to u@127.0.0.1:\d+ after .* refused"):
        ssh.open_when_ready(Endpoint("127.0.0.1", "u", free_port()), "engine-3", credentials, timeout=0.3)
    assert time.monotonic() - begun < 2


def test_a_listener_that_says_nothing_is_given_up_at_the_deadline(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = Endpoint("127.0.0.1", "u", silent.getsockname()[1])
        begun = time.monotonic()
        with pytest.raises(RemoteError, match="does not answer as an SSH server"):
            ssh.open_when_ready(endpoint, "m", Credentials(tmp_path / "key", tmp_path / "known_hosts"), timeout=0.5)
        assert time.monotonic() - begun < 5


def test_a_missing_key_file_is_told_at_once(server: Sshd) -> None:
    server.credentials.key_file.unlink()
    heard: list[str] = []
    with pytest.raises(RemoteError, match="key file is there"):
        ssh.open_when_ready(server.endpoint, "m", server.credentials, timeout=60, beat=heard.append)
    assert heard == []


def test_a_refused_login_names_the_key(server: Sshd, opened: list[SshHost]) -> None:
    (server.folder / "authorized_keys").write_text("")
    with pytest.raises(RemoteError, match="login was refused") as caught:
        connect(server, opened)
    assert str(server.credentials.key_file) in caught.value.hint


def test_all_hosts_behind_a_gateway_share_one_connection_to_it(
    tmp_path: Path, server: Sshd, opened: list[SshHost]
) -> None:
    with serving(tmp_path / "gateway") as gateway:
        (gateway.folder / "authorized_keys").write_text((server.folder / "authorized_keys").read_text())
        host_keys.pin(server.credentials.known_hosts, gateway.endpoint, [gateway.host_key])
        behind = replace(server.endpoint, gateway=gateway.endpoint)
        hosts = values(each(range(8), lambda _: ssh.connect(behind, "m", server.credentials)))
        opened.extend(hosts)
        assert [host.run("echo", "there").stdout for host in hosts] == ["there\n"] * 8
        assert gateway.log.read_text().count("Accepted publickey") == 1
        assert server.log.read_text().count("Accepted publickey") == 8


def test_closing_is_quiet_when_the_gateway_has_gone(tmp_path: Path, server: Sshd) -> None:
    with serving(tmp_path / "gateway") as gateway:
        (gateway.folder / "authorized_keys").write_text((server.folder / "authorized_keys").read_text())
        host_keys.pin(server.credentials.known_hosts, gateway.endpoint, [gateway.host_key])
        host = ssh.connect(replace(server.endpoint, gateway=gateway.endpoint), "m", server.credentials)
    host.close()
    host.close()


def test_a_gateway_is_held_to_its_host_key_as_well(tmp_path: Path, server: Sshd, opened: list[SshHost]) -> None:
    with serving(tmp_path / "gateway") as gateway:
        behind = replace(server.endpoint, gateway=gateway.endpoint)
        with pytest.raises(HostKeyError, match=f"127.0.0.1:{gateway.endpoint.port} is unknown"):
            connect(server, opened, behind)
        assert not anybody_tried_to_log_in(gateway)
        only_the_fixture = 1
        assert server.log.read_text().count("Connection from") <= only_the_fixture


def test_a_gateway_that_is_down_is_named(server: Sshd, opened: list[SshHost]) -> None:
    port = free_port()
    behind = replace(server.endpoint, gateway=Endpoint("127.0.0.1", "root", port))
    with pytest.raises(RemoteError, match=f"root@127.0.0.1:{port}, which is on the way: nothing listens there"):
        connect(server, opened, behind)


def test_nothing_of_the_users_configuration_is_read(tmp_path: Path, server: Sshd) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "config").write_text("Host *\n  ProxyJump nowhere.invalid\n  Port 1\nNonsense yes\n")
    (tmp_path / ".fabric.yaml").write_text("gateway: nowhere.invalid\nconnect_kwargs: {key_filename: /nowhere}\n")
    program = (
        "import sys; from pathlib import Path; from fabfile import ssh; from fabfile.remote import *\n"
        "user, port, key, known = sys.argv[1:]\n"
        "ends = Endpoint('127.0.0.1', user, int(port)), 'm', Credentials(Path(key), Path(known))\n"
        "print(ssh.connect(*ends).run('echo', 'hermetic').stdout)\n"
    )
    arguments = [server.endpoint.user, str(server.endpoint.port), *map(str, vars(server.credentials).values())]
    home = {"HOME": str(tmp_path), "FABRIC_GATEWAY": "nowhere.invalid", "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", program, *arguments]
    said = subprocess.run(command, env=home, capture_output=True, text=True, check=False)
    assert (said.stdout.strip(), said.stderr) == ("hermetic", "")


def test_small_packets_leave_at_once(server: Sshd, opened: list[SshHost]) -> None:
    sock = connect(server, opened)._transport().sock
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


FABFILE = """
from fabric import task
from fabfile_under_test import strict_connection
strict_connection.use_for_fab()

@task
def show(c):
    print(c.named_by, type(c).__name__)
    c.run("true")
"""


def test_fab_builds_connections_that_know_their_name_and_trust_nobody(tmp_path: Path, server: Sshd) -> None:
    text = FABFILE.replace("fabfile_under_test", "fabfile")
    (tmp_path / "show.py").write_text(text)
    named = str(server.endpoint)
    key = str(server.credentials.key_file)
    command = [str(Path(sys.executable).with_name("fab")), "-c", "show", "-r", str(tmp_path), "-i", key]
    root = str(Path(__file__).resolve().parent.parent)
    said = subprocess.run(
        [*command, "-H", named, "show"], env={"PYTHONPATH": root}, capture_output=True, text=True, check=False
    )
    assert said.stdout == f"{named} StrictConnection\n", said.stderr
    assert "unknown" in said.stderr
    assert not anybody_tried_to_log_in(server)


def test_what_arrives_is_acknowledged_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = strict_connection._dial(*listener.getsockname(), timeout=5)
        theirs = listener.accept()[0]
        with ours, theirs:
            for _ in range(3):  # a conversation is what makes Linux delay its acknowledgements
                ours.send(b"question")
                theirs.recv(100)
                theirs.send(b"answer")
                assert ours.recv(100) == b"answer"
                assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK)


def test_connections_are_made_by_many_threads_at_once(tmp_path: Path) -> None:
    """Fabric changes a connection's configuration while it makes the connection: they must not share one."""
    credentials = Credentials(tmp_path / "key", tmp_path / "known_hosts")
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        made = each(range(100), lambda number: ssh._connection(Endpoint("h", f"u{number}"), credentials, 1.0, 1.0))
    finally:
        sys.setswitchinterval(before)
    assert [outcome.error for outcome in made if outcome.error] == []
