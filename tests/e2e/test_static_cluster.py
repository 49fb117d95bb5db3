"""The whole chain on hosts that one already has: bare Debian, no network, only python3."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from fabfile import host_keys
from tests.e2e.cluster import UserCluster
from tests.e2e.daily import check_daily_commands
from tests.e2e.machines import BareHost, audit, bare_hosts

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[BareHost]]:
    before = set(audit())
    with bare_hosts(3, f"own{os.getpid()}", tmp_path_factory.mktemp("bare")) as hosts:
        yield hosts
    assert set(audit()) - before == set()


@pytest.fixture(scope="module")
def cluster(hosts: list[BareHost], tmp_path_factory: pytest.TempPathFactory) -> Iterator[UserCluster]:
    """A user whose ssh knows the hosts and has a key for them, and whose settings list them."""
    folder = tmp_path_factory.mktemp("static")
    home = folder / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    config = "".join(f"Host lab{n}\n  HostName {host.endpoint.host}\n  User ipyfleet\n" for n, host in enumerate(hosts))
    key = f"Host *\n  IdentityFile {hosts[0].credentials.key_file}\n  UserKnownHostsFile {home}/.ssh/known_hosts\n"
    (home / ".ssh" / "config").write_text(config + key)
    for host in hosts:
        host_keys.pin(home / ".ssh" / "known_hosts", host.endpoint, [host.host_key])
    (folder / "config" / "ipyfleet").mkdir(parents=True)
    settings = {"template": "lab", "templates": {"lab": {"extends": "static", "hosts": ["lab0", "lab1", "lab2"]}}}
    (folder / "config" / "ipyfleet" / "config.yaml").write_text(json.dumps(settings))
    cluster = UserCluster(f"own{os.getpid()}", folder)
    # OpenSSH asks the password database for a home, not the environment.
    wrapper = folder / "bin" / "ssh"
    wrapper.parent.mkdir()
    wrapper.write_text(
        f'#!/bin/sh\ncase " $* " in *" -F "*) exec /usr/bin/ssh "$@";; esac\n'
        f'exec /usr/bin/ssh -F "{home}/.ssh/config" "$@"\n'
    )
    wrapper.chmod(0o755)
    cluster.environment |= {"HOME": str(home), "PATH": f"{wrapper.parent}:{os.environ['PATH']}"}
    yield cluster
    cluster.run("invoke", "teardown", "--yes", "--adopt")


def test_bare_hosts_become_a_cluster_that_computes(cluster):
    shown = cluster.invoke("provision", "--engines", "4", timeout=600)
    assert "4 engines on" in shown
    with cluster.client() as client:
        assert client[:].map_sync(pow, range(8), [30] * 8) == [x**30 for x in range(8)]
    status = cluster.status()
    assert (status["state"], status["provider"], status["engines"]) == ("healthy", "static", 4)


def test_a_second_time_nothing_is_done(cluster):
    assert "nothing to do" in cluster.invoke("provision", "--engines", "4")


def test_the_commands_of_every_day(cluster, tmp_path):
    check_daily_commands(cluster, tmp_path, 4)


def test_the_hosts_belong_to_this_cluster_and_to_no_other(cluster, tmp_path):
    other = UserCluster("another", tmp_path)
    other.environment |= {name: cluster.environment[name] for name in ("HOME", "PATH", "XDG_CONFIG_HOME")}
    refused = other.run("invoke", "provision", "--engines", "1")
    assert refused.returncode == 4
    assert cluster.name in refused.stderr


def test_hosts_cannot_be_switched_off(cluster):
    refused = cluster.run("invoke", "stop")
    assert refused.returncode == 2
    assert "cannot switch machines off" in refused.stderr


def test_fab_deploys_further_engines_on_no_host_of_the_cluster(cluster, hosts):
    refused = cluster.run("fab", "-H", "lab1", "deploy-engine", "--connection", "/dev/null")
    assert refused.returncode == 2


def test_teardown_leaves_the_hosts_as_they_were(cluster, hosts):
    cluster.invoke("teardown", "--yes")
    assert cluster.run("invoke", "status").returncode == 3
    for host in hosts:
        left = (
            "ls -d /opt/ipyfleet /etc/ipyfleet /var/lib/ipyparallel /etc/systemd/system/ip* /etc/profile.d/ipyfleet.sh"
        )
        assert host.ssh(f"sudo {left}", check=False) == ""
        assert host.ssh("getent passwd ipyparallel", check=False) == ""
