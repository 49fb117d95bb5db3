"""`fab -H` on hosts with SMF: real machines that carry the stand-in and say that they run SmartOS."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.e2e.cluster import until
from tests.e2e.machines import BareHost, audit
from tests.e2e.smf_hosts import TORNADO, left_on, smf_hosts
from tests.e2e.test_hosts import done, fab

PYTHON = "/opt/ipyfleet/env/bin/python"

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[BareHost]]:
    before = set(audit())
    with smf_hosts(2, f"smf{os.getpid()}", tmp_path_factory.mktemp("smf")) as hosts:
        yield hosts
    assert set(audit()) - before == set()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fab")


@pytest.fixture(scope="module")
def deployed(hosts: list[BareHost], folder: Path) -> str:
    """A controller on the first host, two engines on the second; what fab said of the engines."""
    files = str(folder / "files")
    done(fab(folder, hosts[0], "deploy-controller", "--files", files))
    words = ("--connection", f"{files}/ipcontroller-engine.json", "--engines", "2", "--machine", "lab")
    return done(fab(folder, hosts[1], "deploy-engine", *words))


def compute(host: BareHost) -> str:
    """What all engines answer to a client on the controller's host."""
    program = "import ipyparallel as ipp; print(ipp.Client()[:].map_sync(pow, range(4), [3] * 4))"
    return host.ssh(f"{PYTHON} -c '{program}'").strip()


def test_software_comes_from_pkgsrc_and_differences_are_told(hosts: list[BareHost], deployed: str) -> None:
    assert "software installed" in deployed
    assert f"tornado is {TORNADO} there, {version('tornado')} here" in deployed
    assert hosts[1].ssh("readlink /opt/local/bin/python3*").startswith("/usr/bin/python3")
    for name in ("zmq", "tornado", "numpy"):
        where = hosts[1].ssh(f"{PYTHON} -c 'import {name}; print({name}.__file__)'")
        assert where.startswith("/usr/local/lib/")
    program = "import IPython, ipykernel; print(IPython.__file__, IPython.__version__, ipykernel.__version__)"
    where, ipython, ipykernel = hosts[1].ssh(f"{PYTHON} -c '{program}'").split()
    assert where.startswith("/opt/ipyfleet/env/")
    assert ipython == version("ipython")
    assert ipykernel.startswith("6.")  # which goes with that tornado


def test_engines_answer(hosts: list[BareHost], deployed: str) -> None:
    idents = deployed.split("online, ")[1].strip().split(", ")
    assert sorted(ident.rpartition("-")[0] for ident in idents) == ["lab-1", "lab-2"]
    assert compute(hosts[0]) == "[0, 1, 8, 27]"


def test_a_second_time_it_changes_nothing(hosts: list[BareHost], folder: Path, deployed: str) -> None:
    patterns = "svc:/site/ipcontroller:default", "'svc:/site/ipengine:*'"
    before = [host.ssh(f"svcs -Ho CTID {one}") for host, one in zip(hosts, patterns, strict=True)]
    files = str(folder / "files")
    done(fab(folder, hosts[0], "deploy-controller", "--files", files))
    words = ("--connection", f"{files}/ipcontroller-engine.json", "--engines", "2", "--machine", "lab")
    assert "software" not in done(fab(folder, hosts[1], "deploy-engine", *words))
    assert [host.ssh(f"svcs -Ho CTID {one}") for host, one in zip(hosts, patterns, strict=True)] == before


def test_the_connection_is_fetched(hosts: list[BareHost], folder: Path, deployed: str) -> None:
    done(fab(folder, hosts[0], "fetch-connection", "--files", str(folder / "again")))
    for kind in ("engine", "client"):
        name = f"ipcontroller-{kind}.json"
        assert json.loads((folder / "again" / name).read_text()) == json.loads((folder / "files" / name).read_text())


def test_any_service_can_be_waited_for_and_its_log_shown(hosts: list[BareHost], folder: Path, deployed: str) -> None:
    assert "online" in done(fab(folder, hosts[1], "wait-for-svc", "--service", "ipengine"))
    assert "Completed registration" in done(fab(folder, hosts[1], "service-logs", "--service", "ipengine"))
    network = "svc:/milestone/network:default"
    assert f"{network} online" in done(fab(folder, hosts[1], "wait-for-svc", "--service", network))
    short = fab(folder, hosts[1], "service-logs", "--service", "mdata:fetch")
    assert "smartdc-mdata:fetch.log" in done(short)
    missing = fab(folder, hosts[1], "wait-for-svc", "--service", "svc:/site/none:default", "--timeout", "1")
    assert missing.returncode == 1
    assert "svc:/site/none:default" in missing.stderr


def test_an_engine_that_is_killed_comes_back(hosts: list[BareHost], deployed: str) -> None:
    before = hosts[1].ssh("svcprop -p restarter/start_pid svc:/site/ipengine:engine-1").strip()
    hosts[1].ssh(f"kill -9 {before}")
    until("three answers again", lambda: compute(hosts[0]) == "[0, 1, 8, 27]", 60)
    assert hosts[1].ssh("svcprop -p restarter/start_pid svc:/site/ipengine:engine-1").strip() != before


def test_a_service_in_maintenance_is_told_with_its_log_and_cured_by_the_next_deployment(
    hosts: list[BareHost], folder: Path, deployed: str
) -> None:
    hosts[1].ssh("mv /etc/ipyfleet/engine.json /root/ && svcadm mark maintenance svc:/site/ipengine:engine-1")
    failed = fab(folder, hosts[1], "wait-for-svc", "--service", "ipengine")
    assert failed.returncode == 1
    assert "maintenance" in failed.stderr
    assert "svc:/site/ipengine:engine-1" in failed.stderr
    words = ("--connection", str(folder / "files" / "ipcontroller-engine.json"), "--engines", "2", "--machine", "lab")
    assert "online" in done(fab(folder, hosts[1], "deploy-engine", *words))


def test_a_service_that_nobody_knows_is_refused_before_the_host_is_asked(hosts: list[BareHost], folder: Path) -> None:
    wrong = fab(folder, hosts[0], "wait-for-svc", "--service", "ipengin")
    assert wrong.returncode == 2
    assert "ipengine" in wrong.stderr


def test_a_package_that_pkgsrc_lacks_is_named_with_what_to_do(hosts: list[BareHost], folder: Path) -> None:
    words = ("deploy-controller", "--files", str(folder / "other"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYFLEET_PACKAGES", "numpy,cryptography")
        refused = fab(folder, hosts[0], *words)
    assert refused.returncode == 1
    assert "-cryptography" in refused.stderr
    assert "leave these out of `packages`" in refused.stderr


def test_undeploying_leaves_nothing_of_ours(hosts: list[BareHost], folder: Path, deployed: str) -> None:
    for host in reversed(hosts):
        done(fab(folder, host, "undeploy", "--software"))
        assert left_on(host) == ""
        assert host.ssh("ps -u ipyparallel -o pid=", check=False).strip() == ""


def test_there_are_no_other_ways_than_those_of_illumos(hosts: list[BareHost]) -> None:
    for name in ("flock", "runuser", "sudo", "systemctl", "timeout"):
        assert hosts[0].ssh(f"command -v {name}", check=False) == ""
