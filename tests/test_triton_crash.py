"""A command that is killed after any of its calls to CloudAPI: the next one ends where an undisturbed one would have.

The command is a process of its own that ends at once after its k-th call, for every k until it is through.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fabfile.machines import Cluster, MachineSpec, MachineState, silent
from fabfile.providers.triton import Triton, instances
from fabfile.settings import Settings
from tests.cloudapi.fixtures import client, environment
from tests.cloudapi.server import CloudApi
from tests.loopback_cluster import wait_until
from tests.test_triton_launching import Publishing

CLUSTER = Cluster("lab", "c0ffee12", "ada@desk", 1_700_000_000.0)
SPECS = [MachineSpec("controller", 0), MachineSpec("engine", 0), MachineSpec("engine", 1)]
NAMES = ["controller", "engine-0", "engine-1"]
KILLED = 9
COMMAND = """
import os, sys, threading
from fabfile.machines import silent
from fabfile.providers.triton.api import Api
from tests.test_triton_crash import CLUSTER, SPECS, provider
left, lock, call = int(sys.argv[1]), threading.Lock(), Api.call

def counted(self, *words, **options):
    global left
    answer = call(self, *words, **options)
    with lock:
        left -= 1
        if left == 0:
            os._exit(9)
    return answer

Api.call = counted
triton = provider()
if sys.argv[2] == "create":
    triton.create(CLUSTER, SPECS, silent)
else:
    triton.destroy("lab", triton.find("lab").machines)
    triton.clean("lab")
"""


def provider() -> Triton:
    return Triton(
        Settings(
            provider="triton",
            machine_type=(),
            controller_type=(),
            ssh_from=("192.0.2.0/24",),
            boot_timeout=20.0,
            lease=3600.0,
        )
    )


def crash(cloudapi: CloudApi, folder: Path, doing: str, calls: int) -> bool:
    """Whether the command was killed after so many calls; False when it was through before."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, str(calls), doing],
        env=os.environ | environment(cloudapi, home) | {"NO_PROXY": "127.0.0.1"},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode in (0, KILLED), done.stderr
    wait_until(lambda: shown(cloudapi) == {vm.id for vm in cloudapi.world.machines.values() if vm.active})
    return done.returncode == KILLED


def shown(cloudapi: CloudApi) -> set[str]:
    """The machines that lists show: somewhat later than they are ordered."""
    return {one.id for one in instances.tagged(client(cloudapi), {})}


def left(cloudapi: CloudApi) -> list[str]:
    return [vm.name for vm in cloudapi.world.machines.values() if vm.active] + [
        rule["rule"] for rule in cloudapi.world.rules.values()
    ]


def remove(triton: Triton) -> None:
    """As teardown does: a machine that the killed command had ordered may be shown only later."""
    while found := triton.find("lab").machines:
        triton.destroy("lab", found)
    triton.clean("lab")


@pytest.fixture
def triton(cloudapi: CloudApi) -> Triton:
    cloudapi.machine = Publishing
    cloudapi.throttle.burst = 10_000.0  # each command is a new one, and none knows what the one before it has asked
    triton = provider()
    triton.__dict__["api"] = client(cloudapi, overall=20.0)
    return triton


@pytest.mark.timeout(600)
def test_creation_that_is_killed_after_any_call_is_resumed_and_removed(
    cloudapi: CloudApi, triton: Triton, tmp_path: Path
) -> None:
    triton.create(CLUSTER, SPECS, silent)
    undisturbed = sorted(left(cloudapi))
    remove(triton)
    assert left(cloudapi) == []
    calls = 1
    while crash(cloudapi, tmp_path, "create", calls):
        if calls % 2:  # every second one is resumed, the others are removed as they are
            made = triton.create(CLUSTER, SPECS, silent)
            assert [one.name for one in made] == NAMES, f"killed after {calls} calls"
            assert {one.state for one in made} == {MachineState.RUNNING}
            assert sorted(left(cloudapi)) == undisturbed, f"killed after {calls} calls"
        remove(triton)
        assert left(cloudapi) == [], f"killed after {calls} calls"
        calls += 1
    assert calls > 10
    remove(triton)


@pytest.mark.timeout(600)
def test_removal_that_is_killed_after_any_call_is_done_again(
    cloudapi: CloudApi, triton: Triton, tmp_path: Path
) -> None:
    calls = 1
    while True:
        triton.create(CLUSTER, SPECS, silent)
        if not crash(cloudapi, tmp_path, "remove", calls):
            break
        remove(triton)
        assert left(cloudapi) == [], f"killed after {calls} calls"
        calls += 1
    assert left(cloudapi) == []
    assert calls > 5
