"""Machines of EC2 without a public address, reached through a real SSH server, whose host key the user's ssh knows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fabfile import record
from fabfile.errors import HostKeyError
from fabfile.machines import Cluster, MachineSpec, silent
from fabfile.providers import ec2
from fabfile.run import Run
from fabfile.state import Store
from tests.cloud.fixtures import cloud_settings
from tests.cloud.server import Cloud
from tests.sshd import Sshd, serving

pytestmark = pytest.mark.e2e
LAB = Cluster("lab", "c0ffee", "me@here", 1_700_000_000.0)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Sshd]:
    with serving(tmp_path / "gate") as running:
        yield running


@pytest.fixture
def run(cloud: Cloud, gate: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run whose machines are behind the gateway ``gate``, which the user's own ssh can log in to."""
    monkeypatch.setenv("IPYFLEET_HOME", str(tmp_path / "state"))
    config = tmp_path / "ssh_config"
    lines = [
        "Host gate",
        f"HostName {gate.endpoint.host}",
        f"Port {gate.endpoint.port}",
        f"User {gate.endpoint.user}",
        f"IdentityFile {gate.credentials.key_file}",
        f"UserKnownHostsFile {tmp_path / 'known_hosts'}",
        "GlobalKnownHostsFile /dev/null",
    ]
    config.write_text("\n".join(lines) + "\n")
    private: dict[str, Any] = {"public_address": False, "gateway": "gate", "ssh_config": str(config), "packages": ()}
    settings = cloud_settings(cloud, **private)
    store = Store("lab")
    return Run(settings, ec2.provider(settings), store, record.load(store))


def know(gate: Sshd, tmp_path: Path) -> None:
    """Let the user's ssh know the gateway's host key."""
    (tmp_path / "known_hosts").write_text(f"[{gate.endpoint.host}]:{gate.endpoint.port} {gate.host_key}\n")


def test_they_are_reached_through_it(run: Run, gate: Sshd, tmp_path: Path) -> None:
    know(gate, tmp_path)
    assert [one for one in run.provider.check(1) if one.level == "error"] == []
    with run.store.lock("test"):
        (made,) = run.provider.create(LAB, [MachineSpec("controller", 0, run.authorized_keys())], silent)
        run.pin([made])
        with run.open(made) as host:
            assert host.run("echo", "here").stdout == "here\n"
    assert made.endpoint is not None
    assert made.endpoint.host == made.private_address
    assert gate.log.read_text().count("Accepted publickey") == 1


def test_one_that_is_unknown_is_told_before_anything_is_made_and_never_trusted(
    cloud: Cloud, run: Run, gate: Sshd
) -> None:
    (finding,) = [one for one in run.provider.check(1) if one.level == "error"]
    assert "the host key of gate, which is on the way" in finding.text
    assert "`ssh gate` once" in finding.fix
    cloud.on_paper()
    with run.store.lock("test"):
        made = run.provider.create(LAB, [MachineSpec("controller", 0, run.authorized_keys())], silent)
        with pytest.raises(HostKeyError, match="is unknown"):
            run.pin(made)
    assert "Accepted publickey" not in gate.log.read_text()
