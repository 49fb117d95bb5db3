"""checkup.py and the command: whom the doctor asks, what, and what becomes of those who do not answer; in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from invoke.context import Context
from invoke.exceptions import Exit

from fabfile import checkup, client_file, observation, session, tunnel
from fabfile.commands import doctor
from fabfile.diagnosis import Diagnosis
from fabfile.errors import NoSuchCluster, RemoteError, UsageError
from fabfile.machines import Cluster
from fabfile.remote import Result
from tests.fakes.commands import SETTINGS, provision, switch_off
from tests.fakes.fleet import SOFTWARE, FakeFleet, FakeHost, new_run

UNIT = "LoadState=loaded\nActiveState=active\nSubState=running\nUnitFileState=enabled\nInvocationID=1"


class Wards:
    """What each machine of the fleet answers the doctor, and what it was asked."""

    def __init__(self, fleet: FakeFleet) -> None:
        self.fleet = fleet
        self.asked: dict[str, tuple[str, ...]] = {}
        self.dumb: set[str] = set()
        self.lines: dict[str, str] = {}

    def answer(self, host: FakeHost, path: Path, *words: str, **options: Any) -> Result:
        """In place of FakeHost.script."""
        if path.name != "examine.sh":
            return self.script(host, path, *words, **options)
        assert options["sudo"]
        self.asked[host.name] = words
        if host.name in self.dumb:
            raise RemoteError("no SSH connection to it", machine=host.name, seen="one\nlast words", hint="see")
        looks = "\n\n".join(f"Id={unit}\n{UNIT}" for unit in words[0].split())
        lines = ["manager=systemd", f"machine={SOFTWARE.platform}", f"software={SOFTWARE.id}", "python=3.11.2"]
        lines += [*(f"look={line}" for line in looks.splitlines()), "package=ipyparallel 9"]
        return Result(words, 0, "\n".join([*lines, self.lines.get(host.name, "")]).strip() + "\n", "")

    script = staticmethod(FakeHost.script)


@pytest.fixture
def wards(fleet: FakeFleet, monkeypatch: pytest.MonkeyPatch) -> Wards:
    """The machines of a fleet as patients; the tunnel of the record is alive and listened to."""
    wards = Wards(fleet)
    monkeypatch.setattr(FakeHost, "script", lambda host, *args, **options: wards.answer(host, *args, **options))
    monkeypatch.setattr(tunnel, "alive", lambda one: one.pid in fleet.tunnels)
    monkeypatch.setattr(tunnel, "silent_ports", lambda one: ())
    monkeypatch.setattr(tunnel, "leads_to", lambda *args: True)  # the fleet's lead nowhere
    return wards


def visit(fleet: FakeFleet, folder: Path) -> Diagnosis:
    """The command without its printing."""
    run = new_run(fleet, folder, SETTINGS)
    before = run.record.tunnel
    observed = session.known(run, observation.observe(run))
    return checkup.examine(run, observed, before)


def wrong(seen: Diagnosis) -> list[str]:
    return [f"{one.level}: {one.machine}: {one.found}" for one in seen.findings if one.level != "ok"]


def test_a_cluster_that_is_well_is_well(fleet, wards, tmp_path):
    provision(fleet, tmp_path, 2)
    seen = visit(fleet, tmp_path)
    assert wrong(seen) == []
    assert [one.name for one in seen.machines] == ["controller", "engine-0", "engine-1"]
    assert (seen.cluster, seen.provider, seen.versions) == ("lab", "memory", {"ipyparallel": "9"})


def test_each_machine_is_asked_for_its_own_services_and_the_engines_for_the_controllers_ports(fleet, wards, tmp_path):
    provision(fleet, tmp_path, 4, per_machine=2)
    visit(fleet, tmp_path)
    connection = new_run(fleet, tmp_path, SETTINGS).record.connection
    assert connection is not None
    assert wards.asked["controller"] == ("ipcontroller.service", "svc:/site/ipcontroller:default")
    units, fmris, *reached = wards.asked["engine-1"]
    assert units == "ipengine@1.service ipengine@2.service ipyfleet-repair.timer"
    assert fmris.split()[1] == "svc:/site/ipengine:engine-2"
    assert reached == [connection.address, *map(str, connection.engine_ports)]


def test_nothing_is_changed(fleet, wards, tmp_path):
    provision(fleet, tmp_path, 2)
    fleet.events.clear()
    visit(fleet, tmp_path)
    assert fleet.events == []


def test_one_that_does_not_answer_keeps_nobody_from_being_examined(fleet, wards, tmp_path):
    provision(fleet, tmp_path, 2)
    wards.dumb = {"engine-0"}
    seen = visit(fleet, tmp_path)
    assert wrong(seen) == ["error: engine-0: it cannot be examined: no SSH connection to it: last words"]
    assert [one.facts is None for one in seen.machines] == [False, True, False]


def test_a_mistake_of_ours_is_no_finding(fleet, wards, tmp_path):
    provision(fleet, tmp_path, 1)
    wards.lines = {"engine-0": "disk=nonsense"}
    with pytest.raises(ValueError, match="unpack"):
        visit(fleet, tmp_path)


def test_one_that_is_off_is_not_asked(fleet, wards, tmp_path):
    provision(fleet, tmp_path, 2)
    switch_off(fleet, tmp_path, "engine-1")
    seen = visit(fleet, tmp_path)
    assert wrong(seen) == ["error: engine-1: it is stopped"]
    assert "engine-1" not in wards.asked


def test_a_tunnel_that_ended_is_told_though_the_look_has_opened_it_again(fleet, wards, tmp_path):
    provision(fleet, tmp_path, 1)
    fleet.tunnels.clear()
    assert wrong(visit(fleet, tmp_path)) == ["warning: here: the tunnel had ended; it is open again now"]
    assert wrong(visit(fleet, tmp_path)) == []


def test_the_client_file_is_compared_with_the_tunnel(fleet, wards, tmp_path):
    provision(fleet, tmp_path, 1)
    path = client_file.client_file_path("lab")
    path.chmod(0o644)
    assert "its mode is 0644" in wrong(visit(fleet, tmp_path))[0]
    document = json.loads(path.read_bytes())
    path.write_text(json.dumps(document | {"mux": 1}))
    path.chmod(0o600)
    assert "mux differ" in wrong(visit(fleet, tmp_path))[0]
    path.unlink()
    assert "there is no client file" in wrong(visit(fleet, tmp_path))[0]


class TestTheCommand:
    @pytest.fixture(autouse=True)
    def opened(self, fleet, tmp_path, monkeypatch) -> None:
        monkeypatch.setattr(session, "open_run", lambda c, **options: new_run(fleet, tmp_path, SETTINGS))

    def run(self, **options: object) -> None:
        doctor.doctor.body.__wrapped__(Context(), cluster="lab", **options)

    def test_it_ends_with_1_for_an_error_and_says_so_last(self, fleet, wards, tmp_path, capsys):
        provision(fleet, tmp_path, 1)
        self.run()
        assert capsys.readouterr().out.splitlines()[-1].startswith("all is well")
        wards.dumb = {"engine-0"}
        with pytest.raises(Exit) as ended:
            self.run()
        assert ended.value.code == 1
        assert capsys.readouterr().out.splitlines()[-1].startswith("1 error; ")

    def test_json_is_one_object_that_says_whether_all_is_well(self, fleet, wards, tmp_path, capsys):
        provision(fleet, tmp_path, 1)
        self.run(json=True)
        assert json.loads(capsys.readouterr().out)["well"] is True

    def test_without_a_cluster_there_is_nothing_to_examine(self, fleet):
        with pytest.raises(NoSuchCluster, match="no cluster 'lab'"):
            self.run()

    def test_a_cluster_of_somebody_else_is_not_examined(self, fleet, wards, tmp_path):
        provision(fleet, tmp_path, 1)
        fleet.world.clusters["lab"] = Cluster("lab", "beef", "bob@desk", 0.0)
        with pytest.raises(UsageError, match="not in your record: bob@desk made it"):
            self.run()
        assert wards.asked == {}
