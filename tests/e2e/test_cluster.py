"""The whole of it, as a user has it: real machines, real SSH, real ipyparallel, from provision to teardown."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import acceptance
from tests.e2e.cluster import BIN, ROOT, UserCluster, until
from tests.e2e.machines import audit

pytestmark = pytest.mark.e2e


@pytest.fixture
def left_before() -> set[str]:
    return set(audit())


@pytest.fixture
def cluster(tmp_path: Path, left_before: set[str], request: pytest.FixtureRequest) -> Iterator[UserCluster]:
    cluster = UserCluster(f"t{os.getpid()}-{abs(hash(request.node.name)) % 1000}", tmp_path)
    yield cluster
    cluster.teardown()
    assert set(audit()) - left_before == set()


def power(cluster: UserCluster) -> list[int]:
    with cluster.client() as client:
        return client[:].map_sync(pow, range(8), [30] * 8)


def idents(cluster: UserCluster) -> set[str]:
    with cluster.client() as client:
        return set(client._engines.values())


def test_a_cluster_lives_from_provision_to_teardown(cluster, left_before):
    shown = cluster.invoke("provision", "--engines", "2")
    assert "2 engines on 3 machines in" in shown
    assert cluster.client_file.stat().st_mode & 0o777 == 0o600
    status = cluster.status()
    assert (status["state"], status["engines"], status["expected"]) == ("healthy", 2, 2)
    assert power(cluster) == [x**30 for x in range(8)]

    # An engine that is killed is back by itself.
    before = idents(cluster)
    cluster.ssh("engine-0", "sudo kill -9 $(systemctl show -P MainPID ipengine@1)")
    until("the killed engine is back", lambda: len(idents(cluster)) == 2 and idents(cluster) != before, 10)

    # A controller that is killed comes back, and all engines with it.
    before = idents(cluster)
    cluster.ssh("controller", "sudo kill -9 $(systemctl show -P MainPID ipcontroller)")
    until("every engine answers again", lambda: not idents(cluster) & before and power(cluster)[7] == 7**30, 60)
    until("the status is healthy", lambda: cluster.status()["state"] == "healthy", 30)

    # Nothing to do is nothing done.
    before = idents(cluster)
    assert "nothing to do" in cluster.invoke("provision", "--engines", "2")
    assert cluster.invoke("provision", "--engines", "2", "--plan").strip() == "nothing to do"
    assert idents(cluster) == before

    # Growing disturbs nobody at work, and shrinking is refused as long as somebody is.
    with cluster.client() as client:
        working = client[:].apply_async(time.sleep, 60)
        cluster.invoke("provision", "--engines", "4")
        assert before < idents(cluster)
        refused = cluster.run("invoke", "provision", "--engines", "1")
        assert refused.returncode == 2
        assert "at work" in refused.stderr
        assert "--yes" in refused.stderr
        assert [one["busy"] for one in cluster.status()["machines"] if one["role"] == "engine"] == [1, 1, 0, 0]
        assert not working.ready()
        assert working.get(timeout=90) == [None, None]
    assert cluster.status()["engines"] == 4

    shown = cluster.invoke("provision", "--engines", "1")
    assert "1 engine on 2 machines" in shown
    status = cluster.status()
    assert (status["state"], status["engines"], len(status["machines"])) == ("healthy", 1, 2)

    # A machine off and on again, then all of them.
    cluster.invoke("stop", "--machine", "engine-0")
    stopped = cluster.run("invoke", "status")
    assert stopped.returncode == 1
    assert "engine-0 is stopped" in stopped.stdout
    cluster.invoke("start", "--machine", "engine-0")
    assert power(cluster) == [x**30 for x in range(8)]
    cluster.invoke("stop")
    cluster.invoke("start")
    assert power(cluster) == [x**30 for x in range(8)]

    record = cluster.folder / "state" / cluster.name
    tunnel = (record / "record.json").read_text()
    cluster.invoke("teardown", "--yes")
    assert cluster.run("invoke", "status").returncode == 3
    assert cluster.run("invoke", "teardown", "--yes").returncode == 3
    assert not record.exists()
    assert not cluster.client_file.exists()
    assert set(audit()) - left_before == set()
    process = Path(f"/proc/{pid_of_tunnel(tunnel)}")  # of a parent that is no more: whoever took it over buries it
    until("the tunnel is no more", lambda: not process.exists(), 10)


def pid_of_tunnel(record: str) -> int:
    import json

    return json.loads(record)["tunnel"]["pid"]


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UserCluster]:
    cluster = UserCluster(f"four{os.getpid()}", tmp_path_factory.mktemp("four"))
    cluster.invoke("provision", "--engines", "4")
    yield cluster
    cluster.teardown()


def test_the_session_of_the_old_recipe_runs(four):
    acceptance.check_interactive_session(four.name, four.environment)


def test_the_printed_snippet_runs_as_it_stands(four):
    shown = four.invoke("provision", "--engines", "4")
    snippet = "\n".join(line.removeprefix("    ") for line in shown.splitlines() if line.startswith("    "))
    assert "ipp.Client(cluster_id=" in snippet
    program = snippet + "\nprint(rc.ids, rc[:].map_sync(lambda x: x**30, range(8)))\n"
    done = subprocess.run(
        [BIN / "python", "-c", program], env=four.environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == f"[0, 1, 2, 3] {[x**30 for x in range(8)]}", done.stderr


def test_the_first_steps_of_the_examples_run(four):
    acceptance.check_first_steps(four.name, four.environment)


def test_engines_talk_to_each_other_over_tcp(four):
    acceptance.check_wave2d(four.name, four.environment)


def test_the_wave_equation_of_ipyparallel_gives_its_norm(four, tmp_path):
    acceptance.check_upstream_wave2d(four.name, four.environment, tmp_path)


def test_on_the_controllers_machine_a_client_needs_no_arguments(four):
    program = "import ipyparallel as ipp; print(ipp.Client().ids)"
    assert four.ssh("controller", f'/opt/ipyfleet/env/bin/python -c "{program}"').strip() == "[0, 1, 2, 3]"


def test_a_dead_tunnel_is_opened_again_on_the_same_ports_and_an_open_client_goes_on(four):
    before = four.client_file.read_text()
    with four.client() as client:
        os.kill(pid_of_tunnel((four.folder / "state" / four.name / "record.json").read_text()), 15)
        time.sleep(0.5)
        assert four.status()["state"] == "healthy"
        assert client[:].apply_async(os.getpid).get(timeout=20)
    assert four.client_file.read_text() == before


def test_the_command_ends_though_the_tunnel_lives_and_its_output_is_piped(four):
    words = f"'{BIN}/invoke' provision --engines 4 | tee '{four.folder}/out'"
    done = subprocess.run(["sh", "-c", words], cwd=ROOT, env=four.environment, capture_output=True, timeout=60)
    assert b"nothing to do" in done.stdout


def test_every_file_of_the_record_is_for_its_owner_alone(four):
    record = four.folder / "state" / four.name
    assert record.stat().st_mode & 0o777 == 0o700
    assert {path.name: path.stat().st_mode & 0o077 for path in record.iterdir()} == {
        p.name: 0 for p in record.iterdir()
    }


def test_no_secret_stands_in_a_command_line_a_unit_or_a_log_of_any_machine(four):
    secret = four.ssh("controller", "sudo cat /etc/ipyfleet/curve.json").split('"secret": "')[1].split('"')[0]
    public = four.ssh("controller", "sudo cat /etc/ipyfleet/curve.json").split('"public": "')[1].split('"')[0]
    shown = ("cat /proc/[0-9]*/cmdline", 'systemctl show "ip*"', "journalctl -q", "cat /etc/ipyfleet/*.values")
    look = f"sudo sh -c '{'; '.join(shown)}' | tr '\\0' ' '"
    for machine in ("controller", "engine-0", "engine-3"):
        seen = four.ssh(machine, look)
        assert "ip" in seen
        assert secret not in seen
        assert public not in seen
    kept = "".join(path.read_text(errors="replace") for path in (four.folder / "state" / four.name).iterdir())
    assert secret not in kept


def test_a_cluster_whose_record_is_lost_is_shown_adopted_and_torn_down(four, tmp_path):
    elsewhere = UserCluster(four.name, tmp_path)
    shown = elsewhere.run("invoke", "status")
    assert shown.returncode == 1
    assert "not in your record" in shown.stdout
    refused = elsewhere.run("invoke", "provision", "--engines", "4")
    assert refused.returncode == 2
    assert "--adopt" in refused.stderr
    before = idents(four)
    assert "nothing to do" in elsewhere.invoke("provision", "--engines", "4", "--adopt")
    assert idents(elsewhere) == before
    assert elsewhere.status()["state"] == "healthy"


def test_two_clusters_side_by_side_do_not_meet(four, cluster):
    cluster.invoke("provision", "--engines", "1")
    with cluster.client() as one, four.client() as other:
        assert (len(one.ids), len(other.ids)) == (1, 4)
        assert not set(one._engines.values()) & set(other._engines.values())
    cluster.invoke("teardown", "--yes")
    assert four.status()["state"] == "healthy"


def test_a_second_command_at_the_same_time_is_refused_and_says_who_is_at_it(four, cluster):
    words = [str(BIN / "invoke"), "provision", "--engines", "1"]
    first = subprocess.Popen(words, cwd=ROOT, env=cluster.environment, stdout=subprocess.DEVNULL)
    try:
        until("the first one has the lock", (cluster.folder / "state" / cluster.name / "lock").exists, 10)
        second = cluster.run("invoke", "provision", "--engines", "2")
        assert second.returncode == 1
        assert str(first.pid) in second.stderr
        assert "provision" in second.stderr
    finally:
        assert first.wait(timeout=120) == 0


def test_interrupted_by_the_user_it_says_so_and_goes_on_from_there(cluster):
    words = [str(BIN / "invoke"), "provision", "--engines", "2"]
    first = subprocess.Popen(words, cwd=ROOT, env=cluster.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert first.stdout is not None
    for line in first.stdout:
        if b"ssh answers" in line:
            break
    first.send_signal(2)
    _, errors = first.communicate(timeout=60)
    assert first.returncode == 130
    assert b"interrupted" in errors
    cluster.invoke("provision", "--engines", "2")
    assert power(cluster) == [x**30 for x in range(8)]


def test_half_of_the_machines_gone_is_reported_mended_and_torn_down(cluster):
    cluster.invoke("provision", "--engines", "2")
    cluster.ssh("engine-1", "sudo systemctl poweroff", check=False)
    until("it is seen", lambda: cluster.run("invoke", "status").returncode == 1, 20)
    assert "engine-1 is stopped" in cluster.run("invoke", "status").stdout
    cluster.invoke("provision", "--engines", "2")
    assert cluster.status()["state"] == "healthy"
    cluster.ssh("engine-1", "sudo systemctl poweroff", check=False)
    cluster.invoke("teardown", "--yes")
