"""`invoke doctor` on a real cluster: faults that are made for real, each found, and gone by the cure that it names."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import BIN, ROOT, UserCluster, until
from tests.e2e.machines import audit

pytestmark = pytest.mark.e2e

ENV = "/opt/ipyfleet/env"


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UserCluster]:
    before = set(audit())
    user = UserCluster(f"doc{os.getpid()}", tmp_path_factory.mktemp("user"))
    user.invoke("provision", "--engines", "2", timeout=600)
    yield user
    user.teardown()
    assert set(audit()) - before == set()


@pytest.fixture(autouse=True)
def well(user: UserCluster) -> Iterator[None]:
    """Every test begins and ends with a cluster that is well."""
    assert faults(user) == []
    yield
    assert faults(user) == []


def visit(user: UserCluster) -> dict[str, Any]:
    """What `invoke doctor --json` says; its exit code is the one that goes with it."""
    done = user.run("invoke", "doctor", "--json", timeout=60)
    said: dict[str, Any] = json.loads(done.stdout)
    levels = {one["level"] for one in said["findings"]}
    assert (done.returncode, said["well"]) == (int("error" in levels), levels == {"ok"}), done.stderr
    return said


def faults(user: UserCluster) -> list[dict[str, str]]:
    return [one for one in visit(user)["findings"] if one["level"] != "ok"]


def only(user: UserCluster) -> dict[str, str]:
    found = faults(user)
    assert len(found) == 1, found
    return found[0]


def cured(user: UserCluster, cure: str) -> str:
    """Type the commands that a cure names, one after the other, in a shell; what they print."""
    commands = re.findall(r"`([^`]+)`", cure)
    assert commands
    environment = user.environment | {"PATH": f"{BIN}:{os.environ['PATH']}"}
    shown = ""
    for command in commands:
        words = ("sh", "-c", command)
        done = subprocess.run(
            words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stderr}"
        shown += done.stdout
    return shown


def test_all_is_well_and_the_main_versions_are_shown(user: UserCluster) -> None:
    begun = time.monotonic()
    lines = user.invoke("doctor").splitlines()
    assert time.monotonic() - begun < 10
    assert lines[-1].startswith("all is well")
    assert [line.split()[0] for line in lines[1:5]] == ["here", "controller", "engine-0", "engine-1"]
    assert len({tuple(line.split()[2:5]) for line in lines[1:5]}) == 1  # ipyparallel, pyzmq, numpy
    said = visit(user)
    assert {one["facts"]["manager"] for one in said["machines"]} == {"systemd"}
    assert all(low <= 0.0 <= high for low, high in (one["facts"]["ahead"] for one in said["machines"]))


def test_an_engine_that_was_stopped(user: UserCluster) -> None:
    user.ssh("engine-1", "sudo systemctl stop ipengine@1")
    found = only(user)
    assert (found["level"], found["machine"]) == ("error", "engine-1")
    assert found["found"] == "ipengine@1 is offline (inactive/dead)"
    cured(user, found["cure"])


def test_the_repair_timer_that_was_stopped(user: UserCluster) -> None:
    user.ssh("engine-0", "sudo systemctl stop ipyfleet-repair.timer")
    found = only(user)
    assert found["found"] == "ipyfleet-repair is disabled (inactive/dead)"
    cured(user, found["cure"])


def test_a_package_that_was_removed_from_one_machine(user: UserCluster) -> None:
    user.ssh("engine-0", f"sudo {ENV}/bin/python -m pip uninstall -q -y --root-user-action ignore numpy")
    found = only(user)
    assert (found["level"], found["machine"], found["found"]) == ("error", "engine-0", "its environment lacks numpy")
    cured(user, found["cure"])
    assert user.ssh("engine-0", f"{ENV}/bin/python -c 'import numpy; print(6 * 7)'").strip() == "42"


def test_another_python_is_found_while_engines_run_and_no_function_is_sent(user: UserCluster) -> None:
    python = f"{ENV}/bin/python"
    disguise = f"#!/bin/sh\n{python}.own \"$@\" | sed 's/^python=3\\.[0-9]*/python=3.99/'\n"
    user.ssh("engine-0", f"sudo mv {python} {python}.own && sudo tee {python} >/dev/null <<'END'\n{disguise}END\n")
    user.ssh("engine-0", f"sudo chmod 755 {python}")
    found = only(user)
    assert (found["level"], found["machine"]) == ("error", "engine-0")
    assert found["found"].startswith("it has Python 3.99.")
    assert user.status()["engines"] == 2
    user.ssh("engine-0", f"sudo mv {python}.own {python}")


def test_an_environment_without_a_python(user: UserCluster) -> None:
    user.ssh("engine-1", f"sudo mv {ENV}/bin/python {ENV}/bin/python.away")
    found = only(user)
    assert (found["level"], found["machine"]) == ("error", "engine-1")
    assert "does not run" in found["found"]
    cured(user, found["cure"])


def test_other_software_than_this_computer_would_deploy(user: UserCluster) -> None:
    user.ssh(
        "engine-1", f"sudo cp -p {ENV}/ipyfleet-software-id /root/id; echo beef | sudo tee {ENV}/ipyfleet-software-id"
    )
    found = only(user)
    assert (found["level"], found["machine"]) == ("warning", "engine-1")
    assert found["found"].startswith("it has software beef, this computer would deploy ")
    user.ssh("engine-1", f"sudo mv /root/id {ENV}/ipyfleet-software-id")


def test_a_disk_that_is_full(user: UserCluster) -> None:
    user.ssh(
        "engine-0",
        "sudo mount -t tmpfs -o size=1m small /tmp && sudo head -c 900000 /dev/zero | sudo tee /tmp/a >/dev/null",
    )
    try:
        found = only(user)
        assert (found["level"], found["machine"]) == ("warning", "engine-0")
        assert found["found"].startswith("/tmp: 0.")
        assert "/tmp/a" in cured(user, found["cure"])
    finally:
        user.ssh("engine-0", "sudo umount /tmp")


def test_a_tunnel_that_was_killed_is_told_and_open_again(user: UserCluster) -> None:
    record = json.loads((user.folder / "state" / user.name / "record.json").read_text())
    os.kill(record["tunnel"]["pid"], signal.SIGKILL)
    found = only(user)
    assert (found["level"], found["machine"]) == ("warning", "here")
    assert found["found"] == "the tunnel had ended; it is open again now"
    with user.client() as client:
        assert client[:].apply_sync(os.getpid)


def test_a_client_file_that_others_may_read_and_one_that_is_gone(user: UserCluster) -> None:
    user.client_file.chmod(0o644)
    found = only(user)
    assert (found["level"], found["machine"]) == ("error", "here")
    cured(user, found["cure"])
    assert user.client_file.stat().st_mode & 0o777 == 0o600
    user.client_file.unlink()
    found = only(user)
    assert "there is no client file" in found["found"]
    cured(user, found["cure"])


def test_a_controller_that_an_engines_machine_does_not_reach(user: UserCluster) -> None:
    address = next(one["address"] for one in user.status()["machines"] if one["name"] == "controller").partition("@")[2]
    user.ssh("engine-1", f"sudo ip route add prohibit {address}/32")
    try:
        found = [one for one in faults(user) if "ports" in one["found"]]
        assert [(one["level"], one["machine"]) for one in found] == [("error", "engine-1")]
        assert "10101 (" in found[0]["found"]
    finally:
        user.ssh("engine-1", f"sudo ip route del prohibit {address}/32")
    user.invoke("provision")
    until("all is well", lambda: not faults(user), 60)


def test_a_machine_that_does_not_answer_and_one_that_is_off(user: UserCluster) -> None:
    user.ssh(
        "engine-0",
        "sudo systemctl stop ssh.socket; sudo systemd-run --on-active=15 systemctl start ssh; sudo systemctl stop ssh",
    )
    found = only(user)
    assert (found["level"], found["machine"]) == ("error", "engine-0")
    assert found["found"].startswith("it cannot be examined: no SSH connection to ")
    assert [one["name"] for one in visit(user)["machines"] if one["facts"]] == ["controller", "engine-1"]
    until("SSH is back", lambda: not faults(user), 60)
    user.invoke("stop", "--machine", "engine-1", "--yes")
    assert only(user)["found"] == "it is stopped"
    cured(user, only(user)["cure"])


def test_a_controller_that_was_stopped(user: UserCluster) -> None:
    user.ssh("controller", "sudo systemctl stop ipcontroller")
    found = only(user)
    assert (found["machine"], found["found"]) == ("controller", "ipcontroller is offline (inactive/dead)")
    cured(user, found["cure"])
    until("all is well", lambda: not faults(user), 60)


def test_without_a_cluster_or_a_key_for_it_the_message_is_clean(user: UserCluster, tmp_path: Path) -> None:
    none = user.run("invoke", "doctor", "--cluster", "nosuch")
    assert (none.returncode, none.stdout) == (3, "")
    assert "no cluster 'nosuch'" in none.stderr
    stranger = UserCluster(user.name, tmp_path).run("invoke", "doctor")
    assert (stranger.returncode, stranger.stdout) == (2, "")
    assert "--adopt" in stranger.stderr
