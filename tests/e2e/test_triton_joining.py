"""``join: metadata``: engine machines deploy themselves from what they are told, and nothing secret stays there."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from platformdirs import user_cache_path

from fabfile.pkgsrc import MACHINE
from fabfile.settings import Settings
from fabfile.software import software, wheelhouse
from tests.cloudapi.fixtures import environment
from tests.cloudapi.server import CloudApi
from tests.e2e.cluster import BIN, UserCluster, until
from tests.e2e.smf_hosts import INDEX
from tests.e2e.test_triton_cluster import computes, machine
from tests.e2e.triton_machines import Site, whole_machines

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
TELL_PIP = f'#!/bin/sh\nprintf "[global]\\nno-index = true\\nfind-links = {INDEX}\\n" >/etc/pip.conf\n'


@pytest.fixture(scope="module")
def site(cloudapi_server: CloudApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    index = wheelhouse(software(Settings(), MACHINE)).read_bytes()
    with whole_machines(cloudapi_server, tmp_path_factory.mktemp("site"), index=index) as site:
        yield site


@pytest.fixture(scope="module")
def user(cloudapi_server: CloudApi, site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UserCluster]:
    folder = tmp_path_factory.mktemp("user")
    (folder / "home").mkdir()
    (folder / "index.sh").write_text(TELL_PIP)
    config = folder / "config" / "ipyfleet"
    config.mkdir(parents=True)
    triton = {
        "extends": "triton",
        "ssh_from": ["10.203.0.0/16"],
        "lease": "6h",
        "boot_timeout": "2m",
        "userdata": str(folder / "index.sh"),
        "join": "metadata",
        "allow_secret_in_metadata": True,
    }
    (config / "config.yaml").write_text(json.dumps({"template": "selfish", "templates": {"selfish": triton}}))
    user = UserCluster("joiners", folder)
    user.environment |= {"XDG_CACHE_HOME": str(user_cache_path()), "NO_PROXY": "127.0.0.1"}
    user.environment |= environment(cloudapi_server, folder / "home")
    yield user
    user.teardown()


def test_without_leave_the_secret_goes_nowhere(cloudapi_server: CloudApi, user: UserCluster) -> None:
    refused = user.run("/usr/bin/env", "IPYFLEET_ALLOW_SECRET_IN_METADATA=no", str(BIN / "invoke"), "provision")
    assert refused.returncode == 2
    assert "allow_secret_in_metadata" in refused.stderr
    assert cloudapi_server.world.machines == {}


def test_machines_join_by_themselves(cloudapi_server: CloudApi, user: UserCluster) -> None:
    made = user.run("invoke", "provision", "--engines", "2", timeout=600)
    assert made.returncode == 0, made.stderr
    assert "every key of the account can read the engines' connection file" in made.stderr
    assert "2 engines on 3 machines in" in made.stdout
    assert made.stdout.count("has joined") == 2
    assert computes(user, 2)


def test_a_service_of_their_own_did_it_and_is_done(cloudapi_server: CloudApi, user: UserCluster) -> None:
    root = machine(cloudapi_server, "engine-0").root()
    log = root.ssh("cat $(svcs -L ipyfleet-join)")
    assert "join: done" in log
    assert root.ssh("svcs -Ho STA ipyfleet-join").strip() == "ON"
    assert root.ssh("ls /var/db/ipyfleet/kit /var/db/ipyfleet/kit.tar", check=False) == ""


def test_the_secret_is_gone_from_metadata_and_never_was_in_the_log(
    cloudapi_server: CloudApi, user: UserCluster
) -> None:
    secret = json.loads(user.client_file.read_text())["curve_serverkey"]
    for vm in cloudapi_server.world.machines.values():
        assert "ipyfleet.join" not in vm.metadata
        assert secret not in json.dumps(vm.metadata)
    root = machine(cloudapi_server, "engine-1").root()
    assert root.ssh("mdata-get ipyfleet.joined").strip() == "joined"
    assert root.ssh("mdata-get ipyfleet.join", check=False) == ""
    assert secret not in root.ssh("cat /var/svc/log/*", check=False)


def test_a_second_time_nothing_is_done(user: UserCluster) -> None:
    assert "nothing to do" in user.invoke("provision", "--engines", "2")


def test_they_come_back_after_a_stop(user: UserCluster) -> None:
    user.invoke("stop", "--yes")
    user.invoke("start")
    assert computes(user, 2)


def test_one_that_cannot_join_says_why_and_the_next_try_goes_over_ssh(
    cloudapi_server: CloudApi, user: UserCluster
) -> None:
    (user.folder / "index.sh").write_text(TELL_PIP.replace(INDEX, "/nowhere"))
    failed = user.run("invoke", "provision", "--engines", "3", timeout=600)
    assert failed.returncode == 1
    assert "engine-2: it could not join by itself" in failed.stderr
    assert "ipyparallel" in failed.stderr
    assert "ipyfleet.join" not in (machine(cloudapi_server, "engine-2").said() or {})
    assert "3 engines on 4 machines in" in user.invoke("provision", "--engines", "3", timeout=600)
    assert computes(user, 3)


def test_teardown_leaves_nothing(cloudapi_server: CloudApi, user: UserCluster) -> None:
    user.invoke("teardown", "--yes")
    assert [vm.name for vm in cloudapi_server.world.machines.values() if not vm.gone] == []
    until("no rule is left", lambda: cloudapi_server.world.rules == {}, 10)
