"""The whole chain on hosts that one already has, two of them with SMF: a cluster of both kinds, through its life."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from fabfile import host_keys
from tests.e2e.cluster import UserCluster, until
from tests.e2e.machines import BareHost, audit, bare_hosts
from tests.e2e.smf_hosts import TORNADO, become_smartos, left_on

pytestmark = pytest.mark.e2e

NAME = f"sun{os.getpid()}"


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[BareHost]]:
    """Two hosts with SMF and one with systemd."""
    before = set(audit())
    with bare_hosts(3, NAME, tmp_path_factory.mktemp("bare")) as hosts:
        yield [become_smartos(hosts[0]), become_smartos(hosts[1]), hosts[2]]
    assert set(audit()) - before == set()


@pytest.fixture(scope="module")
def cluster(hosts: list[BareHost], tmp_path_factory: pytest.TempPathFactory) -> Iterator[UserCluster]:
    folder = tmp_path_factory.mktemp("static")
    (folder / "config" / "ipyfleet").mkdir(parents=True)
    ssh_config = folder / "ssh_config"
    lines = [
        f"Host lab{n}\n  HostName {one.endpoint.host}\n  User {one.endpoint.user}\n" for n, one in enumerate(hosts)
    ]
    known = folder / "known_hosts"
    lines += [f"Host *\n  IdentityFile {hosts[0].credentials.key_file}\n  UserKnownHostsFile {known}\n"]
    ssh_config.write_text("".join(lines))
    for host in hosts:
        host_keys.pin(known, host.endpoint, [host.host_key])
    lab = {"extends": "static", "hosts": ["lab0", "lab1", "lab2"], "ssh_config": str(ssh_config), "lease": "2h"}
    (folder / "config" / "ipyfleet" / "config.yaml").write_text(
        json.dumps({"template": "lab", "templates": {"lab": lab}})
    )
    cluster = UserCluster(NAME, folder)
    yield cluster
    cluster.run("invoke", "teardown", "--yes", "--adopt")


def computes(cluster: UserCluster, engines: int) -> bool:
    """Whether that many engines answer a client."""
    with cluster.client() as client:
        client.wait_for_engines(engines, timeout=30)
        return client[:].map_sync(pow, range(8), [30] * 8) == [x**30 for x in range(8)] and len(client) == engines


def test_hosts_of_both_kinds_become_one_cluster(cluster: UserCluster) -> None:
    assert "3 engines on 4 machines in" in cluster.invoke("provision", "--engines", "3", timeout=600)
    assert computes(cluster, 3)
    status = cluster.status()
    assert (status["state"], status["engines"]) == ("healthy", 3)
    assert 7000 < status["lease_left"] <= 7200
    assert "nothing to do" in cluster.invoke("provision", "--engines", "3")


def test_the_doctor_examines_hosts_of_both_kinds(cluster: UserCluster, hosts: list[BareHost]) -> None:
    said = json.loads(cluster.invoke("doctor", "--json"))
    facts = {one["name"]: one["facts"] for one in said["machines"]}
    assert [facts[name]["manager"] for name in ("controller", "engine-0", "engine-1", "engine-2")] == [
        *("smf", "smf", "smf", "systemd"),
    ]
    for one in facts.values():
        assert {service["look"]["state"] for service in one["services"]} == {"online"}
        assert "ipyfleet-lease" in [service["name"] for service in one["services"]]
        assert one["files"][1] >= 4096
    wrong = [one for one in said["findings"] if one["level"] != "ok"]
    assert {(one["level"], one["machine"]) for one in wrong} == {
        *(("warning", name) for name in ("controller", "engine-0", "engine-1")),  # their pkgsrc has another tornado
    }
    assert [one["found"] for one in wrong if f"tornado {TORNADO} (here " not in one["found"]] == []
    hosts[1].ssh("svcadm disable -s svc:/site/ipyfleet-repair:default")
    (found,) = [
        one for one in json.loads(cluster.invoke("doctor", "--json", code=1))["findings"] if one["level"] == "error"
    ]
    assert (found["machine"], found["found"]) == ("engine-1", "ipyfleet-repair is disabled (DIS -)")
    assert "--command 'svcadm enable svc:/site/ipyfleet-repair:default'" in found["cure"]
    hosts[1].ssh("svcadm enable -s svc:/site/ipyfleet-repair:default")


def test_an_engine_and_then_the_controller_that_are_killed_come_back(
    cluster: UserCluster, hosts: list[BareHost]
) -> None:
    hosts[1].ssh("kill -9 $(svcprop -p restarter/start_pid svc:/site/ipengine:engine-1)")
    until("healthy again", lambda: cluster.status()["state"] == "healthy", 60)
    hosts[0].ssh("kill -9 $(svcprop -p restarter/start_pid svc:/site/ipcontroller:default)")
    until("healthy again", lambda: cluster.status()["state"] == "healthy", 90)
    assert computes(cluster, 3)


def test_services_in_maintenance_are_shown_and_cured_by_the_next_provision(
    cluster: UserCluster, hosts: list[BareHost]
) -> None:
    hosts[1].ssh("svcadm mark maintenance svc:/site/ipengine:engine-1")
    until("seen as degraded", lambda: cluster.status()["state"] == "degraded", 60)
    assert "maintenance" in cluster.invoke("status", code=1)
    cluster.invoke("provision", "--engines", "3")
    assert cluster.status()["state"] == "healthy"
    hosts[0].ssh("svcadm mark maintenance svc:/site/ipcontroller:default")
    until("seen as degraded", lambda: cluster.status()["state"] == "degraded", 60)
    cluster.invoke("provision", "--engines", "3", "--yes")
    assert computes(cluster, 3)


def test_it_grows_and_shrinks(cluster: UserCluster) -> None:
    assert "6 engines on 4 machines in" in cluster.invoke("provision", "--engines", "6")
    assert computes(cluster, 6)
    assert "2 engines on" in cluster.invoke("provision", "--engines", "2")
    assert computes(cluster, 2)


def test_values_with_every_sign_reach_the_engines(cluster: UserCluster) -> None:
    odd = "a b  \"c\" 'd' $HOME `e` \\f #g =h (i)"
    folder = cluster.folder / "config" / "ipyfleet"
    settings = json.loads((folder / "config.yaml").read_text())
    settings["templates"]["lab"]["engine_env"] = {"ODD": odd}
    (folder / "config.yaml").write_text(json.dumps(settings))
    cluster.invoke("provision", "--engines", "2")
    with cluster.client() as client:
        client.wait_for_engines(2, timeout=30)
        import os as anywhere

        assert client[:].apply_sync(anywhere.getenv, "ODD") == [odd, odd]


def test_teardown_leaves_the_hosts_as_they_were(cluster: UserCluster, hosts: list[BareHost]) -> None:
    cluster.invoke("teardown", "--yes")
    assert cluster.run("invoke", "status").returncode == 3
    for host in hosts:
        assert left_on(host) == ""
