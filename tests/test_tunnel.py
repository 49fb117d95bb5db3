from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import ipyparallel
import pytest

from fabfile import clients, host_keys, hub, tunnel
from fabfile.connection import FORWARDED, make
from fabfile.errors import HostKeyError, RemoteError
from fabfile.record import Record
from fabfile.settings import Settings
from fabfile.tunnel import Tunnel, alive, close_tunnel, ensure_tunnel, leads_to, local_info, open_tunnel, silent_ports
from tests.loopback_cluster import LoopbackCluster, loopback_cluster, wait_until
from tests.sshd import Sshd, make_host_key, serving

NOBODY, _ = make("127.0.0.2", Settings(first_port=19000))  # a connection to a controller that does not exist
OPEN_ONE = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from fabfile import tunnel
from fabfile.connection import make
from fabfile.remote import Credentials, Endpoint
from fabfile.settings import Settings
host, user, port, key, known, folder = sys.argv[1:]
made, _ = make("127.0.0.2", Settings(first_port=19000))
credentials = Credentials(Path(key), Path(known))
opened = tunnel.open_tunnel(Endpoint(host, user, int(port)), credentials, made, Path(folder))
print(json.dumps(asdict(opened)))
"""


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    with serving(tmp_path / "sshd") as server:
        yield server


@pytest.fixture
def opened(sshd: Sshd, tmp_path: Path) -> Iterator[Tunnel]:
    """A tunnel to a controller that does not exist."""
    one = open_tunnel(sshd.endpoint, sshd.credentials, NOBODY, tmp_path)
    yield one
    close_tunnel(one)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackCluster]:
    with loopback_cluster(tmp_path_factory.mktemp("cluster")) as running:
        running.start(2)
        yield running


def ssh_processes(folder: Path) -> list[int]:
    """The processes whose command line names this folder's ssh configuration: tunnels and the jumps they started."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder / tunnel.CONFIG).encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def test_every_channel_works_through_one_ssh_and_closing_leaves_no_process(cluster, sshd, tmp_path):
    one = open_tunnel(sshd.endpoint, sshd.credentials, cluster.connection, tmp_path)
    info = local_info(cluster.connection, one)
    assert sorted(hub.registered(info)) == [0, 1]
    assert hub.probe(info, [0, 1]) == {0, 1}
    assert one.pid in ssh_processes(tmp_path)
    assert len(ssh_processes(tmp_path)) == 2  # ssh, and what keeps it running
    close_tunnel(one)
    assert not alive(one)
    assert ssh_processes(tmp_path) == []
    assert hub.registered(info, timeout=0.2) is None


def test_a_client_goes_on_when_the_tunnel_died_and_was_opened_again(cluster, sshd, tmp_path):
    first = open_tunnel(sshd.endpoint, sshd.credentials, cluster.connection, tmp_path)
    with ipyparallel.Client(local_info(cluster.connection, first)) as client:
        assert client[:].apply_sync(os.getppid)
        os.killpg(first.pid, signal.SIGKILL)
        wait_until(lambda: not alive(first) and not tunnel._listens(first))  # else the task goes into what is dying
        task = client[0].apply_async(os.getpid)
        second = ensure_tunnel(first, sshd.endpoint, sshd.credentials, cluster.connection, tmp_path)
        try:
            assert second.ports == first.ports
            assert second.pid != first.pid
            assert task.get(timeout=20) > 0
            assert client.load_balanced_view().apply_async(os.getpid).get(timeout=20) > 0
        finally:
            close_tunnel(second)


def ssh_of(one: Tunnel, folder: Path) -> int:
    """The ssh of a tunnel, which is not its first process."""
    wait_until(lambda: len(ssh_processes(folder)) == 2)
    (found,) = set(ssh_processes(folder)) - {one.pid}
    return found


def test_a_client_goes_on_by_itself_when_only_the_connection_was_lost(cluster, sshd, tmp_path):
    one = open_tunnel(sshd.endpoint, sshd.credentials, cluster.connection, tmp_path)
    try:
        with ipyparallel.Client(local_info(cluster.connection, one)) as client:
            assert client[:].apply_sync(os.getppid)
            os.kill(ssh_of(one, tmp_path), signal.SIGKILL)
            wait_until(lambda: not tunnel._listens(one))
            task = client[0].apply_async(os.getpid)
            assert task.get(timeout=20) > 0
            assert alive(one)
    finally:
        close_tunnel(one)
    assert ssh_processes(tmp_path) == []


def test_one_that_waits_for_its_connection_tries_at_once_when_it_is_asked_for(cluster, sshd, tmp_path):
    one = open_tunnel(sshd.endpoint, sshd.credentials, cluster.connection, tmp_path)
    try:
        os.kill(ssh_of(one, tmp_path), signal.SIGTERM)
        wait_until(lambda: not tunnel._listens(one))
        again = ensure_tunnel(one, sshd.endpoint, sshd.credentials, cluster.connection, tmp_path)
        assert again is one
        assert sorted(hub.registered(local_info(cluster.connection, one))) == [0, 1]
    finally:
        close_tunnel(one)


def test_a_connection_that_does_not_come_back_is_told_and_tried_further(sshd, tmp_path):
    one = open_tunnel(sshd.endpoint, sshd.credentials, NOBODY, tmp_path)
    try:
        sshd.stop()
        wait_until(lambda: not tunnel._listens(one))
        with pytest.raises(RemoteError, match="is lost; it is tried again"):
            ensure_tunnel(one, sshd.endpoint, sshd.credentials, NOBODY, tmp_path)
        assert alive(one)
    finally:
        close_tunnel(one)


def test_it_ends_when_the_host_shows_another_key(sshd, tmp_path):
    one = open_tunnel(sshd.endpoint, sshd.credentials, NOBODY, tmp_path)
    sshd.credentials.known_hosts.write_text("")
    os.kill(ssh_of(one, tmp_path), signal.SIGKILL)
    wait_until(lambda: not alive(one))


def test_it_ends_when_the_cluster_was_removed_here(sshd, tmp_path):
    one = open_tunnel(sshd.endpoint, sshd.credentials, NOBODY, tmp_path)
    ssh = ssh_of(one, tmp_path)
    (tmp_path / tunnel.CONFIG).unlink()
    os.kill(ssh, signal.SIGKILL)
    wait_until(lambda: not alive(one))


def test_an_ssh_that_nobody_keeps_any_more_gives_the_ports_back(cluster, sshd, tmp_path):
    first = open_tunnel(sshd.endpoint, sshd.credentials, cluster.connection, tmp_path)
    ssh_of(first, tmp_path)
    os.kill(first.pid, signal.SIGKILL)
    wait_until(lambda: not alive(first))
    second = ensure_tunnel(first, sshd.endpoint, sshd.credentials, cluster.connection, tmp_path)
    try:
        assert second.ports == first.ports
        assert len(ssh_processes(tmp_path)) == 2
    finally:
        close_tunnel(second)


def test_disconnecting_ends_an_ssh_that_nobody_keeps_any_more(opened, tmp_path):
    ssh_of(opened, tmp_path)
    os.kill(opened.pid, signal.SIGKILL)
    wait_until(lambda: not alive(opened))
    run = SimpleNamespace(record=Record(tunnel=opened), store=SimpleNamespace(folder=tmp_path))
    clients.disconnect(run)
    assert ssh_processes(tmp_path) == []


def test_it_may_be_opened_before_the_hub_listens(sshd, tmp_path):
    with loopback_cluster(tmp_path) as cluster:
        one = open_tunnel(sshd.endpoint, sshd.credentials, cluster.connection, tmp_path)
        try:
            info = local_info(cluster.connection, one)
            assert hub.registered(info, timeout=0.2) is None
            cluster.write_files()
            cluster.start_controller()
            assert hub.registered(info, timeout=20.0) == {}
        finally:
            close_tunnel(one)


def test_a_pipe_behind_the_command_that_opens_it_ends_with_the_command(sshd, tmp_path):
    endpoint, credentials = sshd.endpoint, sshd.credentials
    words = (endpoint.host, endpoint.user, str(endpoint.port), str(credentials.key_file), str(credentials.known_hosts))
    done = subprocess.run(
        ("sh", "-c", '"$@" 2>&1 | cat', "sh", sys.executable, "-c", OPEN_ONE, *words, str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        cwd=Path(tunnel.__file__).parents[1],
    )
    said = json.loads(done.stdout)
    one = Tunnel(**said | {"ports": tuple(said["ports"]), "targets": tuple(said["targets"])})
    assert alive(one)
    close_tunnel(one)
    assert not alive(one)


def test_ensuring_a_living_tunnel_changes_nothing(opened, sshd, tmp_path):
    assert ensure_tunnel(opened, sshd.endpoint, sshd.credentials, NOBODY, tmp_path) is opened


def test_a_tunnel_survives_being_written_down(opened):
    said = json.loads(json.dumps(asdict(opened)))
    assert alive(replace(opened, pid=said["pid"], started=said["started"]))


def test_a_tunnel_that_leads_elsewhere_is_replaced_on_the_same_ports(opened, sshd, tmp_path):
    moved, _ = make("127.0.0.2", Settings(first_port=19100))
    second = ensure_tunnel(opened, sshd.endpoint, sshd.credentials, moved, tmp_path)
    try:
        assert not alive(opened)
        assert second.ports == opened.ports
        assert second.targets[0] == "127.0.0.1:19100"
    finally:
        close_tunnel(second)


def test_ports_of_a_tunnel_are_silent_when_it_has_ended(opened):
    assert silent_ports(opened) == ()
    close_tunnel(opened)
    assert silent_ports(opened) == opened.ports


def test_a_tunnel_leads_to_one_machine_and_one_controller(opened, sshd):
    moved, _ = make("127.0.0.2", Settings(first_port=19100))
    assert leads_to(opened, sshd.endpoint, NOBODY)
    assert not leads_to(opened, sshd.endpoint, moved)
    assert not leads_to(opened, replace(sshd.endpoint, port=sshd.endpoint.port + 1), NOBODY)


def test_a_remembered_port_that_is_taken_gives_new_ports(opened, sshd, tmp_path):
    close_tunnel(opened)
    with socket.socket() as other:
        other.bind(("127.0.0.1", opened.ports[3]))
        other.listen()
        second = ensure_tunnel(opened, sshd.endpoint, sshd.credentials, NOBODY, tmp_path)
    try:
        assert opened.ports[3] not in second.ports
    finally:
        close_tunnel(second)


def test_a_port_taken_after_we_looked_gives_new_ports(sshd, tmp_path, monkeypatch):
    ports = tunnel._new_ports()
    looked = []
    monkeypatch.setattr(tunnel, "_free", lambda which: looked.append(which) or True)
    with socket.socket() as other:
        other.bind(("127.0.0.1", ports[3]))
        other.listen()
        one = open_tunnel(sshd.endpoint, sshd.credentials, NOBODY, tmp_path, ports=ports)
    try:
        assert looked[0] == ports
        assert ports[3] not in one.ports
    finally:
        close_tunnel(one)


def test_whoever_opens_one_hears_of_its_process_before_it_is_up(sshd, tmp_path, monkeypatch):
    begun = []

    def interrupt(*args: object) -> bool:
        assert tunnel.alive(begun[0])
        raise KeyboardInterrupt

    monkeypatch.setattr(tunnel, "_comes_up", interrupt)
    connection, _ = make("127.0.0.1", Settings())
    with pytest.raises(KeyboardInterrupt):
        tunnel.ensure_tunnel(None, sshd.endpoint, sshd.credentials, connection, tmp_path, begun=begun.append)
    assert not tunnel.alive(begun[0])


def test_closing_never_touches_a_process_that_is_not_the_tunnel(opened):
    with subprocess.Popen(("sleep", "60"), start_new_session=True) as other:
        close_tunnel(replace(opened, pid=other.pid))
        assert other.poll() is None
        other.kill()
    assert alive(opened)


def test_a_changed_host_key_is_an_error_and_leaves_no_process(sshd, tmp_path):
    host_keys.pin(sshd.credentials.known_hosts, sshd.endpoint, [make_host_key(tmp_path / "other")])
    with pytest.raises(HostKeyError, match="not the pinned one") as caught:
        open_tunnel(sshd.endpoint, sshd.credentials, NOBODY, tmp_path)
    assert "Host key verification failed" in str(caught.value)
    assert ssh_processes(tmp_path) == []


def test_an_unknown_host_key_is_an_error(sshd, tmp_path):
    sshd.credentials.known_hosts.write_text("")
    with pytest.raises(HostKeyError):
        open_tunnel(sshd.endpoint, sshd.credentials, NOBODY, tmp_path)


def test_a_login_that_is_refused_is_told_in_sshs_own_words(sshd, tmp_path):
    (sshd.folder / "authorized_keys").write_text("")
    with pytest.raises(RemoteError, match="Permission denied"):
        open_tunnel(sshd.endpoint, sshd.credentials, NOBODY, tmp_path)


def test_a_host_that_is_down_fails_at_once_and_one_that_hangs_within_the_timeout(sshd, tmp_path):
    sshd.stop()
    begun = time.monotonic()
    with pytest.raises(RemoteError, match="Connection refused"):
        open_tunnel(sshd.endpoint, sshd.credentials, NOBODY, tmp_path)
    with socket.create_server(("127.0.0.1", sshd.endpoint.port)), pytest.raises(RemoteError, match="did not come up"):
        open_tunnel(sshd.endpoint, sshd.credentials, NOBODY, tmp_path, timeout=1.0)
    assert time.monotonic() - begun < 10.0
    assert ssh_processes(tmp_path) == []


def test_what_it_writes_is_for_its_user_alone(opened, tmp_path):
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in (tunnel.CONFIG, tunnel.LOG)] == [0o600, 0o600]


def test_a_gateway_is_passed_with_the_same_strictness(cluster, sshd, tmp_path):
    with serving(tmp_path / "gateway") as gateway:
        (gateway.folder / "authorized_keys").write_text((sshd.folder / "authorized_keys").read_text())
        through = replace(sshd.endpoint, gateway=gateway.endpoint)
        with pytest.raises(HostKeyError):
            open_tunnel(through, sshd.credentials, cluster.connection, tmp_path)
        host_keys.pin(sshd.credentials.known_hosts, gateway.endpoint, [gateway.host_key])
        one = open_tunnel(through, sshd.credentials, cluster.connection, tmp_path)
        assert sorted(hub.registered(local_info(cluster.connection, one))) == [0, 1]
        assert len(ssh_processes(tmp_path)) == 3
        assert len(gateway.sessions()) == 1
        close_tunnel(one)
        wait_until(lambda: ssh_processes(tmp_path) == [])


def test_blanks_and_percent_signs_in_paths_and_a_key_alias_are_no_trouble(sshd, tmp_path):
    folder = tmp_path / "my %h record"
    folder.mkdir()
    files = {name: folder / name for name in ("key_file", "known_hosts")}
    for name, path in files.items():
        path.write_bytes(getattr(sshd.credentials, name).read_bytes())
        path.chmod(0o600)
    files["known_hosts"].write_text("")
    alias = replace(sshd.endpoint, key_alias="machine-7")
    host_keys.pin(files["known_hosts"], alias, [sshd.host_key])
    close_tunnel(open_tunnel(alias, replace(sshd.credentials, **files), NOBODY, folder))


def test_the_users_own_key_opens_a_host_that_the_user_named(sshd, tmp_path):
    own = replace(sshd.endpoint, key_files=(str(sshd.credentials.key_file),))
    stranger = replace(sshd.credentials, key_file=tmp_path / "no such key")
    close_tunnel(open_tunnel(own, stranger, NOBODY, tmp_path))
    with pytest.raises(RemoteError, match="Permission denied"):
        open_tunnel(sshd.endpoint, stranger, NOBODY, tmp_path)


def test_ports_lie_below_those_that_connections_get():
    assert len(FORWARDED) == 7
    assert all(20000 <= port < 32768 for port in tunnel._new_ports())


def test_closing_waits_for_what_ends_after_the_first_process(monkeypatch):
    """An ssh that is ending still has the ports."""
    slowly = "trap 'sleep 0.4; exit' TERM; echo ready; while :; do sleep 0.05; done"
    child = subprocess.Popen(
        ("sh", "-c", 'sh -c "$1" & exec sleep 60', "sh", slowly), stdout=subprocess.PIPE, start_new_session=True
    )
    monkeypatch.setitem(tunnel._children, child.pid, child)
    with child, child.stdout:
        assert child.stdout.readline() == b"ready\n"
        close_tunnel(Tunnel(child.pid, tunnel._started(child.pid), (), "", ()))
        assert tunnel._group(child.pid) == []
        assert child.returncode == -signal.SIGTERM


def test_the_local_ports_are_free_for_others_again_after_closing(opened):
    close_tunnel(opened)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", opened.ports[0]))
