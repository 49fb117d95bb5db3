"""ipyparallel's own controller and engines as services of the stand-in's SMF, through all that may happen to them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback_cluster import ENGINES_ADDRESS, free_block

from fabfile import connection, connection_files, hub
from fabfile.engines import controller_values, engine_values
from fabfile.service_managers.smf import service_manager as smf
from fabfile.services import CONTROLLER, ServiceState, engine_service, wait_for_svc
from fabfile.settings import Settings
from tests.smf_zone import Zone

ENGINES = engine_service([1, 2])


class Cluster:
    """A controller and two engines in one zone."""

    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        zone.run_ipyparallel()
        settings = Settings(first_port=free_block(), engines=2, patience=4.0, stop_timeout=5.0)
        made, secret = connection.make(ENGINES_ADDRESS, settings)
        self.info = made.client_info
        files = connection_files.controller_files(made, secret, settings)
        smf.bring_up(zone, CONTROLLER, controller_values(settings), files)
        smf.bring_up(zone, ENGINES, engine_values(settings, "engine-0"), connection_files.engine_files(made))
        wait_for_svc(smf, zone, CONTROLLER)
        self.wait(2)

    def wait(self, count: int, other: frozenset[str] = frozenset()) -> frozenset[str]:
        """Wait until the hub knows so many engines, none of them among ``other``; their idents."""
        found: frozenset[str] = frozenset()

        def known() -> bool:
            nonlocal found
            found = frozenset((hub.registered(self.info) or {}).values())
            return len(found) == count and not found & other

        self.zone.until(known, f"{count} engines", 60)
        return found


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    zone = Zone(tmp_path_factory.mktemp("zone"), lifetime=500.0)
    try:
        yield Cluster(zone)
    finally:
        zone.smf.close()


def test_engines_answer_tasks(cluster: Cluster) -> None:
    assert len(hub.probe(cluster.info, hub.registered(cluster.info) or {})) == 2


def test_an_engine_that_is_stopped_signs_out_at_once(cluster: Cluster) -> None:
    begun = time.monotonic()
    smf.stop(cluster.zone, engine_service([1]))
    (left,) = cluster.wait(1)
    assert time.monotonic() - begun < 4.0 * 2
    assert left.startswith("engine-0-2-")
    smf.start(cluster.zone, engine_service([1]))
    cluster.wait(2)


def test_a_controller_that_was_killed_waits_until_its_engines_have_left_and_takes_them_back(cluster: Cluster) -> None:
    before = cluster.wait(2)
    cluster.zone.kill(CONTROLLER)
    cluster.zone.until(lambda: smf.state(cluster.zone, CONTROLLER)[""].state is ServiceState.STARTING, "it waits")
    assert len(cluster.wait(2, before)) == 2
    assert len(hub.probe(cluster.info, hub.registered(cluster.info) or {})) == 2


def test_an_engine_that_the_hub_does_not_know_is_restarted(cluster: Cluster) -> None:
    before = cluster.wait(2)
    folder = cluster.zone.path("/var/lib/ipyparallel/ipengine")
    note = folder / "ipengine@2.ident"
    note.write_text("engine-0-2-unknown\n")
    long_ago = time.time() - 60
    os.utime(note, (long_ago, long_ago))
    environment = ["env", f"IPYFLEET_RUN={folder}", str(cluster.zone.path("/opt/ipyfleet/libexec/engine-repair"))]
    for step in ("ask", "restart"):
        done = cluster.zone.smf.run(*environment, step)
        assert done.returncode == 0, done.stderr
    assert "engine 2 runs, but the hub does not know it: restarting" in done.stdout
    cluster.zone.until(lambda: cluster.wait(2) != before, "another engine")


def test_an_engine_that_is_killed_comes_back_under_another_ident(cluster: Cluster) -> None:
    before = cluster.wait(2)
    pid = int(cluster.zone.smf.ok("svcprop", "-p", "restarter/start_pid", "svc:/site/ipengine:engine-1"))
    os.kill(pid, signal.SIGKILL)
    cluster.zone.until(lambda: len(cluster.wait(2) & before) == 1, "one new engine", 60)


def test_no_secret_is_in_smf_or_in_a_log(cluster: Cluster) -> None:
    secrets = [cluster.info["key"]] if cluster.info.get("key") else []
    secrets += [value for name, value in cluster.info.items() if "curve" in name and value]
    assert secrets
    smf_says = cluster.zone.smf.ok("svcprop", "-c", "svc:/site/ipengine:engine-1", "svc:/site/ipcontroller:default")
    logs = [path.read_text() for path in Path(cluster.zone.smf.place.logs).iterdir()]
    assert not [secret for secret in secrets for text in (smf_says, *logs) if secret in text]
