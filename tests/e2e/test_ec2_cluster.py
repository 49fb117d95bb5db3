"""A cluster on EC2 as a user has it: every instance of the test cloud is a whole machine with a real cloud-init."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud.account import Account, until
from tests.cloud.server import Cloud
from tests.e2e.cloud_machines import Site, whole_machines
from tests.e2e.cluster import UserCluster
from tests.e2e.cluster import until as wait
from tests.e2e.daily import check_daily_commands

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
NAME = "cloudy"
SETTINGS = """\
template: aws
templates:
  aws:
    extends: ec2
    region: {region}
    address_service: {url}/checkip
    ssh_from: [{subnet}]
    machine_type: [m7i.large]
    spot: true
    engines_per_machine: 1
    lease: 6h
    tags: {{project: spectra}}
    hooks: {{machine_up: [{folder}/up.sh], machine_down: [{folder}/down.sh]}}
"""


@pytest.fixture(scope="module")
def site(cloud_server: Cloud) -> Iterator[Site]:
    with whole_machines(cloud_server, "ec2site") as site:
        yield site


@pytest.fixture(scope="module")
def user(cloud_server: Cloud, site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UserCluster]:
    folder = tmp_path_factory.mktemp("user")
    for event in ("up", "down"):
        (folder / f"{event}.sh").write_text(f'#!/bin/sh\necho "$IPYFLEET_MACHINE" >/srv/{event}\n')
    config = folder / "config" / "ipyfleet"
    config.mkdir(parents=True)
    filled = SETTINGS.format(region=cloud_server.region, url=cloud_server.url, subnet=site.subnet, folder=folder)
    (config / "config.yaml").write_text(filled)
    user = UserCluster(NAME, folder, alias=lambda host: instance_at(cloud_server, host))
    yield user
    user.teardown()


def instance_at(cloud: Cloud, address: str) -> str:
    """The id of the instance at this address, which its host keys are pinned under."""
    there = {one.get("PublicIpAddress"): str(one["InstanceId"]) for one in Account(cloud).see()}
    return there[address]


def answers(user: UserCluster) -> int:
    """How many engines compute."""
    with user.client() as client:
        return client[:].apply_sync(abs, -7).count(7)


def left(account: Account) -> list[str]:
    """Everything of ours that the account has, seen by other eyes than the provider's."""
    tagged = [{"Name": "tag-key", "Values": ["ipyfleet:cluster"]}]
    ec2 = account.ec2
    found = [one["InstanceId"] for one in account.see() if one["State"]["Name"] != "terminated"]
    found += [one["GroupId"] for one in ec2.describe_security_groups(Filters=tagged)["SecurityGroups"]]
    found += [one["KeyName"] for one in ec2.describe_key_pairs()["KeyPairs"]]
    return found + [one["VolumeId"] for one in ec2.describe_volumes()["Volumes"]]


def test_the_plan_says_what_it_would_cost_and_makes_nothing(cloud_server: Cloud, user: UserCluster) -> None:
    printed = user.invoke("provision", "--engines", "2", "--plan")
    assert printed.splitlines() == ["create   controller", "create   engine-0  1 engine", "create   engine-1  1 engine"]
    checked = user.run("invoke", "step.check", "--engines", "2")
    assert checked.returncode == 0, checked.stderr
    assert "an hour" in checked.stderr
    assert left(Account(cloud_server)) == []


def test_one_command_makes_a_cluster_that_answers(cloud_server: Cloud, user: UserCluster) -> None:
    printed = user.invoke("provision", "--engines", "2")
    assert "2 engines on 3 machines in" in printed
    assert answers(user) == 2
    seen = user.status()
    assert (seen["state"], seen["engines"]) == ("healthy", 2), seen
    assert seen["hourly"] > 0
    assert 5 * 3600 < seen["lease_left"] < 6 * 3600 + 1
    launches = [call for call in cloud_server.called("RunInstances") if call.params.get("DryRun") != "true"]
    assert len(launches) == 2  # one for each role


def test_the_commands_of_every_day(user: UserCluster, tmp_path: Path) -> None:
    check_daily_commands(user, tmp_path, 2)


def test_machines_have_host_keys_of_their_own_and_nothing_secret_in_what_they_were_told(
    cloud_server: Cloud, user: UserCluster
) -> None:
    shown = {name: user.ssh(name, "cat /etc/ssh/ssh_host_ed25519_key.pub") for name in ("controller", "engine-0")}
    assert len({*shown.values()}) == 2
    pinned = (user.folder / "state" / NAME / "known_hosts").read_text()
    for key in shown.values():
        assert key.split()[1] in pinned
    boot_keys = {
        tag["Value"].split()[1]
        for one in Account(cloud_server).see()
        for tag in one["Tags"]
        if tag["Key"] == "ipyfleet:boot-key"
    }
    assert boot_keys
    assert not any(key in pinned for key in boot_keys)


def test_the_users_hook_was_called_on_each_machine_once(user: UserCluster) -> None:
    assert user.ssh("engine-1", "cat /srv/up") == "engine-1\n"


def test_a_second_time_there_is_nothing_to_do(user: UserCluster) -> None:
    assert "nothing to do" in user.invoke("provision", "--engines", "2")


def test_the_account_shows_it(user: UserCluster) -> None:
    (seen,) = json.loads(user.invoke("clusters", "--json"))
    assert seen["cluster"]["name"] == NAME
    assert "nothing is left over" in user.invoke("sweep")
    assert "cloud-init" in user.invoke("console", "--machine", "engine-0")


def test_a_lease_is_begun_anew(user: UserCluster) -> None:
    assert f"the lease of {NAME} ends" in user.invoke("renew", "--lease", "9h")
    assert 8 * 3600 < user.status()["lease_left"] < 9 * 3600 + 1


def test_an_engine_that_amazon_took_away_is_told_and_replaced(cloud_server: Cloud, user: UserCluster) -> None:
    account = Account(cloud_server)
    name = next(
        one["InstanceId"]
        for one in account.see()
        for tag in one["Tags"]
        if one["State"]["Name"] == "running" and tag == {"Key": "ipyfleet:role", "Value": "engine"}
    )
    cloud_server.interrupt(name)
    until(lambda: account.states(name) == {"terminated"}, 60)
    told = user.run("invoke", "status")
    assert told.returncode == 1
    assert "interrupted" in told.stdout
    assert "`invoke provision`" in told.stdout
    assert "2 engines on 3 machines in" in user.invoke("provision", "--engines", "2")
    # Until the hub has missed enough of its heartbeats, a client sees the engine that is gone as well.
    wait("two engines answer", lambda: answers(user) == 2, 60)


def test_it_is_switched_off_and_on_again_at_new_addresses(user: UserCluster) -> None:
    before = {one["name"]: one["address"] for one in user.status()["machines"]}
    refused = user.run("invoke", "stop")
    assert refused.returncode == 2
    assert "spare capacity (spot), which is not kept" in refused.stderr
    user.invoke("stop", "--machine", "controller")
    wait("the controller is off", lambda: user.status()["machines"][0]["state"] == "stopped", 60)
    user.invoke("start")
    after = {one["name"]: one["address"] for one in user.status()["machines"]}
    assert after["controller"] != before["controller"]
    assert answers(user) == 2


def test_nothing_is_left_after_teardown(cloud_server: Cloud, user: UserCluster) -> None:
    assert f"{NAME} is gone" in user.invoke("teardown", "--yes")
    account = Account(cloud_server)
    until(lambda: left(account) == [], 60)
    assert not (user.folder / "state" / NAME).exists()
    assert not user.client_file.exists()
    assert user.run("invoke", "status").returncode == 3


def test_a_lease_that_is_over_ends_every_machine_by_itself(
    cloud_server: Cloud, user: UserCluster, tmp_path: Path
) -> None:
    user.environment["IPYFLEET_LEASE"] = "1m"
    user.environment["IPYFLEET_HOOKS"] = ""
    user.invoke("provision", "--engines", "1")
    account = Account(cloud_server)
    ours = [one["InstanceId"] for one in account.see() if one["State"]["Name"] == "running"]
    assert len(ours) == 2
    until(lambda: account.states(*ours) == {"terminated"}, 120)
    assert user.run("invoke", "status").returncode in (1, 3)
    assert f"{NAME} is gone" in user.invoke("teardown", "--yes")
    until(lambda: left(account) == [], 60)
