"""`restart`, `packages.*` and `hooks.*` on a real cluster, as a person uses them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.e2e.cluster import UserCluster, until
from tests.e2e.machines import audit
from tests.wheels import make_wheel

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
SLOW = """
import sys, time, ipyparallel as ipp
rc = ipp.Client(sys.argv[1])
task = rc[rc.ids[0]].apply_async(time.sleep, 8)
print("sent", flush=True)
task.get(timeout=120)
print("done", flush=True)
"""


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UserCluster]:
    before = set(audit())
    folder = tmp_path_factory.mktemp("user")
    config = folder / "config" / "ipyfleet"
    config.mkdir(parents=True)
    (folder / "greet.sh").write_text('#!/bin/sh\necho "$IPYFLEET_MACHINE $IPYFLEET_ROLE" >>/root/greeted\n')
    (folder / "fail.sh").write_text("#!/bin/sh\necho no such luck >&2\nexit 3\n")
    hooks = {"machine_up": [str(folder / "greet.sh")], "machine_down": [str(folder / "fail.sh")]}
    (config / "config.yaml").write_text(json.dumps({"hooks": hooks}))
    user = UserCluster(f"res{os.getpid()}", folder)
    user.environment["PIP_FIND_LINKS"] = str(folder / "wheels")
    user.invoke("provision", "--engines", "2", timeout=600)
    yield user
    user.run("invoke", "teardown", "--yes", "--forget")
    assert set(audit()) - before == set()


def idents(user: UserCluster) -> set[str]:
    with user.client() as client:
        return set(client._engines.values())


def test_engines_start_anew_and_answer(user: UserCluster) -> None:
    before = idents(user)
    assert "2 engines restarted in" in user.invoke("restart")
    after = idents(user)
    assert len(after) == 2
    assert not after & before


def test_only_those_that_are_named(user: UserCluster) -> None:
    before = idents(user)
    assert "1 engine restarted in" in user.invoke("restart", "--on", "engine-1")
    kept = idents(user) & before
    assert len(kept) == 1
    assert next(iter(kept)).startswith("engine-0-")


def test_running_tasks_are_asked_about_or_waited_for(user: UserCluster) -> None:
    words = [sys.executable, "-c", SLOW, str(user.client_file)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "sent\n"
        until("it is at work", lambda: any(one["busy"] for one in user.status()["machines"]), 5)
        refused = user.run("invoke", "restart")
        assert refused.returncode == 2
        assert "at work, and would be disturbed" in refused.stderr
        late = user.run("invoke", "restart", "--drain", "--timeout", "1")
        assert late.returncode == 1
        assert "still at work after 1 s: engine-" in late.stderr
        assert "2 engines restarted in" in user.invoke("restart", "--drain")
        assert child.communicate(timeout=60)[0] == "done\n"


def test_the_controller_starts_anew_with_its_engines(user: UserCluster) -> None:
    before = idents(user)
    assert "clients that were open must be made again" in user.invoke("restart", "--what", "controller")
    assert not idents(user) & before
    with user.client() as client:
        assert client[:].apply_sync(pow, 2, 5) == [32, 32]


def test_a_machine_that_is_off_keeps_no_other_from_it(user: UserCluster) -> None:
    user.invoke("stop", "--machine", "engine-1", "--yes")
    done = user.run("invoke", "restart")
    assert done.returncode == 1
    assert "1 engine restarted in" in done.stdout
    assert "not restarted, because they are off: engine-1" in done.stderr
    user.invoke("start")
    assert len(idents(user)) == 2


def test_what_cannot_be_meant_is_refused(user: UserCluster) -> None:
    for words, said in (
        (("restart", "--what", "engin"), "did you mean engines?"),
        (("restart", "--what", "all", "--on", "engine-0"), "leave --on out"),
        (("restart", "--timeout", "5"), "goes with --drain"),
        (("restart", "--on", "engine-7"), "no machine 'engine-7'"),
        (("packages.add",), "which packages?"),
        (("packages.add", "--names", "a b!"), "has 'b!'"),
        (("packages.add", "--requirements", "/no/such"), "/no/such cannot be read"),
        (("hooks.run",), "the hooks of which event?"),
        (("hooks.run", "--event", "machine_upp"), "did you mean machine_up?"),
        (("hooks.run", "--event", "machine_up", "--name", "greet"), "did you mean greet.sh?"),
        (("hooks.run", "--event", "cluster_up"), "there are no hooks of cluster_up"),
    ):
        done = user.run("invoke", *words)
        assert done.returncode == 2, (words, done.stderr)
        assert said in done.stderr


def test_packages_are_put_on_all_machines_and_on_those_that_come_later(user: UserCluster) -> None:
    make_wheel(user.folder / "wheels", "spectralib", "1.5")
    unknown = user.run("invoke", "packages.add", "--names", "nobody-has-this")
    assert unknown.returncode == 1
    assert "nobody-has-this" in unknown.stderr
    (user.folder / "needs.txt").write_text("# for the fit\nspectralib>=1\n")
    user.invoke("packages.add", "--requirements", str(user.folder / "needs.txt"))
    assert ["spectralib", "1.5", "1.5"] in [line.split() for line in user.invoke("packages.list").splitlines()]
    assert "nothing to do" in user.invoke("provision")
    user.invoke("provision", "--engines", "3")
    with user.client() as client:
        client.wait_for_engines(3, timeout=30)
        print(client._engines, client.ids)
        client[:].execute("from importlib.metadata import version").get(timeout=30)
        assert client[:].pull("version('spectralib')").get(timeout=30) == ["1.5"] * 3


def test_hooks_run_by_name_also_later(user: UserCluster) -> None:
    assert "machine_up    " in user.invoke("hooks.list")
    shown = user.invoke("hooks.run", "--event", "machine_up", "--name", "greet.sh", "--on", "engines")
    assert "engine-0 | done" in shown
    assert user.ssh("engine-0", "sudo cat /root/greeted") == "engine-0 engine\n" * 2
    failed = user.run("invoke", "hooks.run", "--event", "machine_down", "--on", "engine-0,engine-1")
    assert failed.returncode == 1
    assert failed.stderr.count("no such luck") == 2


def test_settings_that_have_changed_come_by_provision_and_not_by_a_restart(user: UserCluster) -> None:
    user.environment["IPYFLEET_ENGINE_ENV"] = "OMP_NUM_THREADS=1"
    refused = user.run("invoke", "restart")
    assert refused.returncode == 2
    assert "software or settings have changed" in refused.stderr
    user.invoke("provision")
    assert "engines restarted in" in user.invoke("restart")
