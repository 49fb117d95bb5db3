"""A cluster on Triton as a user has it: instances of our CloudAPI are whole machines that carry the SMF stand-in."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from platformdirs import user_cache_path

from tests.cloudapi.fixtures import environment
from tests.cloudapi.server import CloudApi
from tests.cloudapi.signing import public_key
from tests.e2e.cluster import UserCluster, until
from tests.e2e.daily import check_daily_commands
from tests.e2e.triton_machines import Site, SmartMachine, whole_machines

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
NAME = "sunny"


@pytest.fixture(scope="module")
def site(cloudapi_server: CloudApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with whole_machines(cloudapi_server, tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture(scope="module")
def user(cloudapi_server: CloudApi, site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UserCluster]:
    folder = tmp_path_factory.mktemp("user")
    (folder / "home").mkdir()
    (folder / "first.sh").write_text('#!/bin/sh\necho "$PATH" >/root/first\n')
    config = folder / "config" / "ipyfleet"
    config.mkdir(parents=True)
    triton = {
        "extends": "triton",
        "ssh_from": ["10.203.0.0/16"],
        "lease": "6h",
        "boot_timeout": "2m",
        "tags": {"project": "spectra"},
        "price_per_hour": {"sample-1G": 0.02},
        "userdata": str(folder / "first.sh"),
        "affinity": ["role!=~engine"],
        "ssh_keys": [public_key("id_ed25519").line],
    }
    (config / "config.yaml").write_text(json.dumps({"template": "sun", "templates": {"sun": triton}}))
    user = UserCluster(NAME, folder)
    user.environment |= {"XDG_CACHE_HOME": str(user_cache_path()), "NO_PROXY": "127.0.0.1"}
    user.environment |= environment(cloudapi_server, folder / "home")
    yield user
    user.teardown()


def machine(cloudapi: CloudApi, name: str) -> SmartMachine:
    """The machine behind an instance of the cluster, by its name there."""
    (found,) = [vm for vm in cloudapi.world.machines.values() if vm.active and vm.name.endswith(f"-{name}")]
    assert isinstance(found.machine, SmartMachine)
    return found.machine


def computes(user: UserCluster, engines: int) -> bool:
    with user.client() as client:
        client.wait_for_engines(engines, timeout=30)
        return client[:].map_sync(pow, range(8), [30] * 8) == [x**30 for x in range(8)] and len(client) == engines


def test_the_plan_says_what_it_would_cost_and_makes_nothing(cloudapi_server: CloudApi, user: UserCluster) -> None:
    planned = user.run("invoke", "step.check", "--engines", "4")
    assert planned.stdout.splitlines()[0] == "create   controller"
    assert "0.100 US dollars an hour" in planned.stderr
    assert cloudapi_server.world.machines == {}


def test_one_command_makes_a_cluster_that_computes(cloudapi_server: CloudApi, user: UserCluster) -> None:
    assert "4 engines on 5 machines in" in user.invoke("provision", "--engines", "4", timeout=600)
    assert computes(user, 4)
    status = user.status()
    assert (status["state"], status["provider"], status["engines"]) == ("healthy", "triton", 4)
    assert 21000 < status["lease_left"] <= 21600
    assert status["hourly"] == pytest.approx(0.1)
    for vm in cloudapi_server.world.machines.values():
        assert (vm.firewall_enabled, vm.tags["project"]) == (True, "spectra")
    assert machine(cloudapi_server, "engine-0").root().ssh("cat /root/first").startswith("/usr/xpg4/bin:/usr/sbin")


def test_the_commands_of_every_day(user: UserCluster, tmp_path: Path) -> None:
    check_daily_commands(user, tmp_path, 4)


def test_only_the_services_lease_counts_once_it_is_there(cloudapi_server: CloudApi, user: UserCluster) -> None:
    one = machine(cloudapi_server, "engine-1").root()
    assert one.ssh("svcs -Ho STA svc:/site/ipyfleet-lease:default").strip() == "ON"
    assert one.ssh("ls /var/run/ipyfleet/lease.pid", check=False) == ""


def test_a_second_time_nothing_is_done(user: UserCluster) -> None:
    assert "nothing to do" in user.invoke("provision", "--engines", "4")


def test_no_secret_is_in_metadata_tags_or_services(cloudapi_server: CloudApi, user: UserCluster) -> None:
    secrets = [json.loads(user.client_file.read_text())["curve_serverkey"]]
    secrets.append((user.folder / "state" / NAME / "id_ed25519").read_text().split("\n")[1])
    told = [json.dumps([vm.metadata, vm.tags]) for vm in cloudapi_server.world.machines.values()]
    told.append(machine(cloudapi_server, "engine-0").root().ssh("svcprop 'svc:/site/*'", check=False))
    assert [secret for secret in secrets for text in told if secret in text] == []


def test_engine_and_controller_that_are_killed_come_back(cloudapi_server: CloudApi, user: UserCluster) -> None:
    for name, fmri in (("engine-2", "ipengine:engine-1"), ("controller", "ipcontroller:default")):
        machine(cloudapi_server, name).root().ssh(f"kill -9 $(svcprop -p restarter/start_pid svc:/site/{fmri})")
        until("healthy again", lambda: user.status()["state"] == "healthy", 90)
    assert computes(user, 4)


def test_services_in_maintenance_are_seen_and_cured(cloudapi_server: CloudApi, user: UserCluster) -> None:
    machine(cloudapi_server, "engine-3").root().ssh("svcadm mark maintenance svc:/site/ipengine:engine-1")
    until("degraded", lambda: user.status()["state"] == "degraded", 60)
    assert "maintenance" in user.invoke("status", code=1)
    user.invoke("provision", "--engines", "4")
    assert user.status()["state"] == "healthy"


def test_it_grows_and_shrinks(cloudapi_server: CloudApi, user: UserCluster) -> None:
    assert "5 engines on 6 machines in" in user.invoke("provision", "--engines", "5")
    assert computes(user, 5)
    user.invoke("provision", "--engines", "2")
    assert computes(user, 2)
    assert sum(vm.active for vm in cloudapi_server.world.machines.values()) == 3


def test_machines_that_were_off_come_back_with_their_engines(cloudapi_server: CloudApi, user: UserCluster) -> None:
    user.invoke("stop", "--yes")
    assert {vm.shown for vm in cloudapi_server.world.machines.values() if vm.active} == {"stopped"}
    assert "stopped" in user.invoke("status", code=1)
    user.invoke("start")
    assert computes(user, 2)


def test_a_machine_that_could_not_be_made_is_explained_and_replaced(
    cloudapi_server: CloudApi, user: UserCluster
) -> None:
    cloudapi_server.faults.fail_provisioning()
    failed = user.run("invoke", "provision", "--engines", "3")
    assert failed.returncode == 4
    assert "engine-2: it could not be made" in failed.stderr
    assert "provision failed" in failed.stderr
    assert "engine-2 is failed (it could not be made)" in user.invoke("status", code=1)
    assert "3 engines on 4 machines in" in user.invoke("provision", "--engines", "3")
    assert computes(user, 3)
    assert [vm.name for vm in cloudapi_server.world.machines.values() if vm.state == "failed"] == []


def test_a_lease_that_is_over_switches_the_machine_off_and_the_sweep_finds_it(
    cloudapi_server: CloudApi, user: UserCluster
) -> None:
    one = machine(cloudapi_server, "engine-2")
    one.root().ssh("svcadm disable -s svc:/site/ipyfleet-lease:default")
    one.root().ssh("svccfg -s svc:/site/ipyfleet-lease setprop config/seconds = astring: 1")
    one.root().ssh("svcadm refresh ipyfleet-lease:default && svcadm enable ipyfleet-lease:default")
    until("off", lambda: one.off, 60)
    cloudapi_server.went_off(one.vm.id)
    one.vm.tags["ipyfleet.deadline"] = "1000"
    assert "engine-2 is stopped" in user.invoke("status", code=1)
    assert "its lease is over" in user.invoke("sweep")
    assert "1 of 1 removed" in user.invoke("sweep", "--delete", "--yes")
    user.invoke("provision", "--engines", "2", "--yes")
    until("the hub has given up the engine that went", lambda: computes(user, 2), 60)


def test_the_account_shows_it(cloudapi_server: CloudApi, user: UserCluster) -> None:
    assert NAME in user.invoke("clusters")
    assert "sample-1G" in user.invoke("types")
    assert "base-64-lts@24.4.1" in user.invoke("images.list")
    assert "nothing is left over" in user.invoke("sweep")
    assert user.run("invoke", "console").returncode == 0


def test_another_computer_takes_it_over_with_a_key_of_the_users_own(
    cloudapi_server: CloudApi, user: UserCluster, tmp_path: Path
) -> None:
    other = UserCluster(NAME, tmp_path)
    other.environment = user.environment | {
        "IPYFLEET_HOME": str(tmp_path / "state"),
        "IPYTHONDIR": str(tmp_path / "ipython"),
    }
    environment(cloudapi_server, tmp_path, key="id_rsa")
    other.environment["IPYFLEET_KEY_FILE"] = str(tmp_path / ".ssh/id_rsa")
    assert "no key for this cluster" in other.invoke("status", code=1)
    refused = other.run("invoke", "provision", "--adopt")
    assert refused.returncode == 1
    assert "no key of yours may log in to it" in refused.stderr
    other.environment["IPYFLEET_KEY_FILE"] = str(user.folder / "home/.ssh/id_ed25519")
    other.invoke("provision", "--adopt")
    assert computes(other, 2)
    assert other.status()["state"] == "healthy"


def test_teardown_leaves_nothing(cloudapi_server: CloudApi, user: UserCluster) -> None:
    user.invoke("teardown", "--yes")
    assert [vm.name for vm in cloudapi_server.world.machines.values() if not vm.gone] == []
    assert cloudapi_server.world.rules == {}
    assert user.run("invoke", "status").returncode == 3
    assert not user.client_file.exists()
    assert not (user.folder / "state" / NAME).exists() or os.listdir(user.folder / "state" / NAME) == []
