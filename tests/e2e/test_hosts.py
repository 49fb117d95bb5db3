"""`fab -H` on real hosts that the project did not make."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fabfile import host_keys
from tests.e2e.machines import BareHost, audit, bare_hosts

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]
FAB = Path(sys.executable).with_name("fab")


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[BareHost]]:
    before = set(audit())
    with bare_hosts(2, f"fab{os.getpid()}", tmp_path_factory.mktemp("bare")) as hosts:
        yield hosts
    assert set(audit()) - before == set()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fab")


def fab(folder: Path, host: BareHost, *words: str, known: bool = True) -> subprocess.CompletedProcess[str]:
    """A fab command on one host, without a terminal; its host key is given unless it shall be unknown."""
    argv = [str(FAB), "-H", str(host.endpoint), "-i", str(host.credentials.key_file), *words]
    if known:
        argv += ["--host-key", host_keys.fingerprint(host.host_key)]
    environment = os.environ | {"IPYFLEET_HOME": str(folder / "state"), "HOME": str(folder)}
    return subprocess.run(
        argv, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300
    )


def done(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_an_unknown_host_key_is_refused_and_shown(hosts, folder):
    refused = fab(folder, hosts[0], "deploy-controller", "--files", str(folder / "files"), known=False)
    assert refused.returncode == 1
    assert host_keys.fingerprint(hosts[0].host_key) in refused.stderr
    assert "--host-key" in refused.stderr
    assert not (folder / "files").exists()


def test_another_fingerprint_than_the_hosts_is_refused(hosts, folder):
    wrong = host_keys.fingerprint(hosts[1].host_key)
    refused = fab(folder, hosts[0], "deploy-controller", "--host-key", wrong, known=False)
    assert refused.returncode == 1
    assert host_keys.fingerprint(hosts[0].host_key) in refused.stderr


def test_a_bare_host_becomes_a_controller_and_another_its_engines(hosts, folder):
    files = folder / "files"
    shown = done(fab(folder, hosts[0], "deploy-controller", "--files", str(files)))
    assert "software installed" in shown
    assert {path.name: path.stat().st_mode & 0o777 for path in files.iterdir()} == {
        "ipcontroller-engine.json": 0o600,
        "ipcontroller-client.json": 0o600,
    }
    engine_file = str(files / "ipcontroller-engine.json")
    shown = done(
        fab(folder, hosts[1], "deploy-engine", "--connection", engine_file, "--engines", "2", "--machine", "lab")
    )
    idents = shown.split("online, ")[1].strip().split(", ")
    assert sorted(ident.rpartition("-")[0] for ident in idents) == ["lab-1", "lab-2"]
    program = "import ipyparallel as ipp; print(ipp.Client()[:].map_sync(pow, range(4), [3] * 4))"
    assert hosts[0].ssh(f"/opt/ipyfleet/env/bin/python -c '{program}'").strip() == "[0, 1, 8, 27]"


def test_a_second_time_it_changes_nothing(hosts, folder):
    before = hosts[1].ssh("systemctl show -P MainPID ipengine@1 ipengine@2")
    controller = hosts[0].ssh("systemctl show -P MainPID ipcontroller")
    engine_file = str(folder / "files" / "ipcontroller-engine.json")
    done(fab(folder, hosts[0], "deploy-controller", "--files", str(folder / "files")))
    done(fab(folder, hosts[1], "deploy-engine", "--connection", engine_file, "--engines", "2", "--machine", "lab"))
    assert hosts[0].ssh("systemctl show -P MainPID ipcontroller") == controller
    assert hosts[1].ssh("systemctl show -P MainPID ipengine@1 ipengine@2") == before


def test_fewer_engines_are_asked_for_and_the_others_end(hosts, folder):
    engine_file = str(folder / "files" / "ipcontroller-engine.json")
    done(fab(folder, hosts[1], "deploy-engine", "--connection", engine_file, "--engines", "1", "--machine", "lab"))
    assert hosts[1].ssh("systemctl is-active ipengine@1 ipengine@2", check=False).split() == ["active", "inactive"]


def test_the_connection_is_fetched(hosts, folder):
    done(fab(folder, hosts[0], "fetch-connection", "--files", str(folder / "again")))
    for kind in ("engine", "client"):
        name = f"ipcontroller-{kind}.json"
        assert json.loads((folder / "again" / name).read_text()) == json.loads((folder / "files" / name).read_text())


def test_a_service_is_waited_for_and_its_log_shown(hosts, folder):
    assert "online" in done(fab(folder, hosts[1], "wait-for-svc", "--service", "ipengine"))
    assert "Completed registration" in done(fab(folder, hosts[1], "service-logs", "--service", "ipengine"))
    missing = fab(folder, hosts[0], "wait-for-svc", "--service", "ipengine", "--timeout", "1")
    assert missing.returncode == 1
    wrong = fab(folder, hosts[0], "wait-for-svc", "--service", "ipengin")
    assert wrong.returncode == 2
    assert "ipengine" in wrong.stderr


def test_undeploying_leaves_nothing_of_ours(hosts, folder):
    for host in reversed(hosts):
        done(fab(folder, host, "undeploy", "--software"))
    for host in hosts:
        left = (
            "ls -d /opt/ipyfleet /etc/ipyfleet /var/lib/ipyparallel /etc/systemd/system/ip* /etc/profile.d/ipyfleet.sh"
        )
        assert host.ssh(f"sudo {left}", check=False) == ""
        assert host.ssh("ps -u ipyparallel -o pid=", check=False).strip() == ""
        assert host.ssh("systemctl list-units --all --plain --no-legend 'ip*'").strip() == ""


def test_without_a_host_or_a_connection_the_message_says_what_to_give(hosts, folder):
    words = {"IPYFLEET_HOME": str(folder / "state"), "HOME": str(folder)}
    alone = subprocess.run([FAB, "fetch-connection"], cwd=ROOT, env=os.environ | words, capture_output=True, text=True)
    assert alone.returncode == 2
    assert "fab -H" in alone.stderr
    nothing = fab(folder, hosts[0], "deploy-engine")
    assert nothing.returncode == 2
    assert "--connection" in nothing.stderr
