"""The SMF manager on a host that runs what it is told to: the real scripts and manifests under the stand-in's SMF."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fabfile.errors import RemoteError, ServiceFailed
from fabfile.remote import File
from fabfile.service_managers.smf import fmris
from fabfile.service_managers.smf import service_manager as smf
from fabfile.services import CONTROLLER, LEASE, ServiceState, engine_service, wait_for_svc
from tests.smf_zone import Zone, runs

ENGINES = engine_service([1, 2])
HARD = ["--a=b c", "--x=$HOME*?[]~#{}", "# no comment", "", "'\"\\`;&()|<>^", "--ä=\t ", " "]
VALUES = {
    "machine": ["engine-0"],
    "heartbeat_misses": ["25"],
    "stop_timeout": ["5"],
    "options": HARD,
    "environment": ["MOTTO=a=b $c  'd'", "EMPTY="],
}


@pytest.fixture
def zone(tmp_path: Path) -> Iterator[Zone]:
    zone = Zone(tmp_path)
    yield zone
    zone.smf.close()


def engine(zone: Zone, number: int) -> dict[str, Any]:
    """What engine number K noted at its last start."""
    path = zone.told / f"engine-{number}"
    zone.until(path.exists, f"engine {number} runs")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def bring_up(zone: Zone, values: dict[str, list[str]] = VALUES, **more: Any) -> dict[str, str]:
    """Bring the engines up and wait for them; their marks."""
    smf.bring_up(zone, ENGINES, values, (File("/etc/ipyfleet/engine.json", b"{}", 0o600),), **more)
    return zone.online(smf, ENGINES)


class TestWhereSmfIsSlow:
    """startd sees new instances late, takes its time with a refresh and holds each state on the way."""

    @pytest.fixture
    def zone(self, tmp_path: Path) -> Iterator[Zone]:
        zone = Zone(tmp_path, adoption=1.0, pace=0.2, refresh=0.7)
        yield zone
        zone.smf.close()

    def test_engines_come_up_change_and_stop(self, zone: Zone) -> None:
        marks = bring_up(zone)
        smf.bring_up(zone, ENGINES, VALUES | {"options": ["--other"]})
        zone.until(lambda: set(marks.items()).isdisjoint(zone.online(smf, ENGINES).items()), "started anew")
        zone.until(lambda: {engine(zone, number)["words"][-1] for number in (1, 2)} == {"--other"}, "the new option")
        smf.stop(zone, ENGINES)
        assert {look.state for look in smf.state(zone, ENGINES).values()} == {ServiceState.DISABLED}
        smf.remove(zone, ENGINES)
        assert {look.state for look in smf.state(zone, ENGINES).values()} == {ServiceState.ABSENT}


class TestEngines:
    def test_come_up_in_one_round_trip_and_find_their_values_unchanged(self, zone: Zone) -> None:
        mark = File("/etc/ipyfleet/ipengine.deployed", b"x 1 2\n")
        smf.bring_up(zone, ENGINES, VALUES, mark=mark)
        assert zone.trips == 1
        assert zone.path(mark.path).exists()
        zone.online(smf, ENGINES)
        for number in (1, 2):
            seen = engine(zone, number)
            assert seen["words"][-len(HARD) :] == HARD
            assert f"--ident=engine-0-{number}-" in " ".join(seen["words"])
            assert "--IPEngine.max_heartbeat_misses=25" in seen["words"]
            assert seen["environment"]["MOTTO"] == "a=b $c  'd'"
            assert seen["environment"]["EMPTY"] == ""
            assert seen["environment"]["HOME"] == str(zone.path("/var/lib/ipyparallel"))
        assert zone.smf.state("svc:/site/ipyfleet-repair:default") == "ON -"

    def test_that_are_right_already_are_left_alone(self, zone: Zone) -> None:
        marks = bring_up(zone)
        assert not smf.install(zone, ENGINES, VALUES, (File("/etc/ipyfleet/engine.json", b"{}", 0o600),))
        assert not smf.configure(zone, ENGINES, VALUES)
        assert bring_up(zone) == marks
        assert "Rereading" not in zone.smf.log("svc:/site/ipengine:engine-1").split("Executing start method")[-1]

    def test_start_anew_when_anything_changed_and_take_the_change(self, zone: Zone) -> None:
        marks = bring_up(zone)
        after = bring_up(zone, VALUES | {"options": ["--other"]})
        assert all(after[number] != marks[number] for number in marks)
        zone.until(lambda: engine(zone, 2)["words"][-1] == "--other", "the new option")
        marks = after
        smf.bring_up(
            zone, ENGINES, VALUES | {"options": ["--other"]}, (File("/etc/ipyfleet/engine.json", b"[]", 0o600),)
        )
        zone.until(lambda: set(marks.items()).isdisjoint(zone.online(smf, ENGINES).items()), "started anew")

    def test_start_anew_one_by_one(self, zone: Zone) -> None:
        marks = bring_up(zone)
        bring_up(zone, anew=("2",))
        zone.until(lambda: zone.online(smf, ENGINES)["2"] != marks["2"], "engine 2 started anew")
        assert zone.online(smf, ENGINES)["1"] == marks["1"]

    def test_more_of_them_leave_the_others_alone(self, zone: Zone) -> None:
        marks = bring_up(zone)
        more = engine_service([1, 2, 3])
        smf.bring_up(zone, more, VALUES, (File("/etc/ipyfleet/engine.json", b"{}", 0o600),))
        after = zone.online(smf, more)
        assert {number: after[number] for number in marks} == marks
        assert engine(zone, 3)["words"][-1] == HARD[-1]

    def test_values_wait_for_the_next_start(self, zone: Zone) -> None:
        marks = bring_up(zone)
        assert smf.configure(zone, ENGINES, VALUES | {"options": ["--later"]})
        time.sleep(0.3)
        assert zone.online(smf, ENGINES) == marks
        smf.restart(zone, ENGINES)
        zone.until(lambda: engine(zone, 1)["words"][-1] == "--later", "the new option")

    def test_what_somebody_else_has_set_is_set_right(self, zone: Zone) -> None:
        bring_up(zone)
        zone.smf.ok("svccfg", "-s", "site/ipengine", "setprop", "config/machine", "=", "astring:", '"his"')
        zone.smf.ok("svcadm", "refresh", "svc:/site/ipengine:engine-1")
        assert smf.configure(zone, ENGINES, VALUES)
        bring_up(zone)
        assert zone.smf.ok("svcprop", "-p", "config/machine", "svc:/site/ipengine:engine-1") == "engine-0\n"

    def test_a_hand_over_that_was_interrupted_is_done_again(self, zone: Zone) -> None:
        marks = bring_up(zone)
        zone.path("/etc/ipyfleet/ipengine.configured").unlink()
        after = bring_up(zone)
        zone.until(lambda: set(marks.items()).isdisjoint(zone.online(smf, ENGINES).items()), f"not {after}")

    def test_a_hand_over_that_was_cut_off_in_the_middle_is_done_again(self, zone: Zone) -> None:
        smf.install(zone, ENGINES)
        zone.smf.ok("svccfg", "-s", "site/ipengine", "addpg", "config", "application")
        assert smf.configure(zone, ENGINES, VALUES)
        bring_up(zone)
        assert engine(zone, 1)["words"][-len(HARD) :] == HARD

    def test_only_the_engine_is_told_to_stop_then_the_rest_is_cleared_away(self, zone: Zone) -> None:
        marks = bring_up(zone, VALUES | {"environment": ["TASK=1", "STAYS=1"]})
        one, two = engine(zone, 1), engine(zone, 2)
        begun = time.monotonic()
        smf.stop(zone, engine_service([1]))
        assert 1 < time.monotonic() - begun < 15
        assert not runs(one["pid"])
        assert not runs(one["worker"])
        assert not (zone.told / "worker-was-told").exists()
        assert runs(two["worker"])
        looks = smf.state(zone, ENGINES)
        assert (looks["1"].state, looks["2"].mark) == (ServiceState.DISABLED, marks["2"])
        assert list(smf.state(zone, engine_service(()))) == ["2"]
        assert not list(zone.path("/var/lib/ipyparallel/ipengine").glob("ipengine@1.ident"))

    def test_a_task_that_takes_too_long_ends_with_its_engine(self, zone: Zone) -> None:
        bring_up(zone, VALUES | {"environment": ["TASK=60"], "stop_timeout": ["1"]})
        engine(zone, 2)
        smf.stop(zone, engine_service(()))
        assert [look.state for look in smf.state(zone, ENGINES).values()] == [ServiceState.DISABLED] * 2
        assert "did not end within 1 s and is killed" in zone.smf.log("svc:/site/ipengine:engine-2")

    def test_stopped_ones_start_again(self, zone: Zone) -> None:
        bring_up(zone)
        smf.stop(zone, ENGINES)
        smf.start(zone, ENGINES)
        marks = zone.online(smf, ENGINES)
        smf.start(zone, ENGINES)
        assert zone.online(smf, ENGINES) == marks

    def test_one_that_is_killed_comes_back(self, zone: Zone) -> None:
        marks = bring_up(zone)
        zone.kill(ENGINES, "engine-1")
        zone.until(lambda: smf.state(zone, ENGINES)["1"].mark not in ("", marks["1"]), "engine 1 is back")

    def test_out_of_maintenance_by_start_and_by_clear(self, zone: Zone) -> None:
        bring_up(zone)
        for verb in (smf.start, smf.clear, smf.restart):
            zone.smf.ok("svcadm", "mark", "maintenance", "svc:/site/ipengine:engine-1")
            zone.smf.wait("svc:/site/ipengine:engine-1", "MNT -")
            verb(zone, ENGINES)
            zone.online(smf, ENGINES)

    def test_removed_leave_nothing_but_what_other_services_may_run(self, zone: Zone) -> None:
        bring_up(zone)
        smf.remove(zone, ENGINES)
        assert {look.state for look in smf.state(zone, ENGINES).values()} == {ServiceState.ABSENT}
        left = list(zone.path("/opt/ipyfleet/libexec").iterdir())
        assert sorted(path.name for path in left) == ["run-as.py", "smf-contract", "smf-values"]
        assert [path.name for path in zone.path("/etc/ipyfleet").iterdir()] == ["engine.json"]
        assert not list(zone.path("/var/svc/manifest/site").iterdir())
        assert not zone.path("/var/lib/ipyparallel/ipengine").exists()
        smf.remove(zone, ENGINES)

    def test_that_loop_show_in_their_log_why(self, zone: Zone) -> None:
        zone.program(zone.path("/opt/ipyfleet/env/bin/python"), "#!/bin/sh\necho no module named numpy >&2\nexit 3\n")
        smf.bring_up(zone, engine_service([1]), VALUES)
        zone.until(lambda: zone.smf.log("svc:/site/ipengine:engine-1").count("no module") > 2, "it loops")
        shown = smf.logs(zone, engine_service([1]), 6)
        assert "no module named numpy" in shown
        assert len(shown.splitlines()) < 20

    def test_that_are_waited_for_are_online_and_those_that_loop_are_not(self, zone: Zone) -> None:
        smf.bring_up(zone, ENGINES, VALUES)
        looks = wait_for_svc(smf, zone, ENGINES, timeout=20)
        assert {look.words for look in looks.values()} == {"ON -"}
        zone.program(zone.path("/opt/ipyfleet/env/bin/python"), "#!/bin/sh\necho broken >&2\nexit 3\n")
        smf.restart(zone, ENGINES)
        with pytest.raises(ServiceFailed, match="ends each time soon after its start") as error:
            wait_for_svc(smf, zone, ENGINES, timeout=40)
        assert "broken" in error.value.seen

    def test_no_engine_at_all_has_no_state_and_a_log_that_says_so(self, zone: Zone) -> None:
        assert smf.state(zone, engine_service(())) == {}
        assert smf.state(zone, engine_service([1]))["1"].state is ServiceState.ABSENT
        assert "doesn't match any instances" in smf.logs(zone, engine_service([1]), 5)
        smf.stop(zone, ENGINES)

    def test_a_value_that_does_not_arrive_as_it_was_is_an_error(self, zone: Zone) -> None:
        bring_up(zone)
        real = zone.smf.bin / "svccfg"
        real.unlink()
        program = (
            f'#!/bin/sh\ncase "$*" in *-f*) sed "s/--kept/--lost/";; esac | exec {zone.smf.bin}/command svccfg "$@"\n'
        )
        zone.program(real, program)
        with pytest.raises(RemoteError) as error:
            smf.bring_up(zone, ENGINES, VALUES | {"options": ["--kept"]})
        assert "SMF holds other values for ipengine than it was given" in error.value.seen
        assert not zone.path("/etc/ipyfleet/ipengine.configured").exists()

    def test_what_smf_refuses_is_an_error_with_its_words(self, zone: Zone) -> None:
        bring_up(zone)
        zone.smf.place.change({"unprivileged": True})
        with pytest.raises(RemoteError) as error:
            smf.bring_up(zone, ENGINES, VALUES | {"options": ["--new"]})
        assert "Permission denied" in error.value.seen


CONTROLLER_VALUES = {"spacing": ["2"], "options": ["--log-level=INFO", "a b"]}
CONFIG = File("/etc/ipyfleet/ipcontroller_config.py", b"")


class TestTheController:
    def test_runs_with_its_options_and_its_own_file(self, zone: Zone) -> None:
        smf.bring_up(zone, CONTROLLER, CONTROLLER_VALUES, (CONFIG,))
        zone.online(smf, CONTROLLER)
        zone.until((zone.told / "files").exists, "it runs")
        config = f"--config={zone.path('/etc/ipyfleet/ipcontroller_config.py')}"
        assert (zone.told / "controller").read_text().splitlines() == [config, "--log-level=INFO", "a b"]

    def test_is_killed_as_a_whole_and_the_next_one_keeps_its_distance(self, zone: Zone) -> None:
        zone.program(zone.smf.bin / "date", '#!/bin/sh\nexec /bin/date "$@"\n')
        smf.bring_up(zone, CONTROLLER, CONTROLLER_VALUES, (CONFIG,))
        zone.online(smf, CONTROLLER)
        contract = zone.smf.ok("svcprop", "-p", "restarter/contract", "svc:/site/ipcontroller:default").strip()
        method = zone.path("/opt/ipyfleet/libexec/controller-method")
        method.write_text(method.read_text().replace('clear "$contract" 20', 'clear "$contract" 1'))
        smf.restart(zone, CONTROLLER)
        zone.until(lambda: "waiting" in zone.smf.log("svc:/site/ipcontroller:default"), "it waits")
        assert smf.state(zone, CONTROLLER)[""].state is ServiceState.STARTING
        zone.online(smf, CONTROLLER)
        assert zone.smf.run("pgrep", "-c", contract).returncode == 1
        assert zone.smf.notes("svc:/site/ipcontroller:default").count("Stopping because service restarting.") == 1

    def test_stopped_while_it_waits_has_not_been(self, zone: Zone) -> None:
        smf.bring_up(zone, CONTROLLER, CONTROLLER_VALUES | {"spacing": ["60"]}, (CONFIG,))
        zone.online(smf, CONTROLLER)
        note = zone.path("/var/lib/ipyparallel/controller-spacing")
        zone.until(lambda: note.exists(), "the note")
        note.write_text(f"stopped {int(time.time()) - 30}\n")
        zone.kill(CONTROLLER)
        zone.until(lambda: smf.state(zone, CONTROLLER)[""].state is ServiceState.STARTING, "it waits")
        before = note.read_text()
        smf.stop(zone, CONTROLLER)
        assert smf.state(zone, CONTROLLER)[""].state is ServiceState.DISABLED
        assert note.read_text() == before


class TestTheLease:
    def arm(self, zone: Zone, seconds: str, action: str = "poweroff") -> None:
        smf.install(zone, LEASE)
        changed = smf.configure(zone, LEASE, {"seconds": [seconds], "action": [action]})
        (smf.restart if changed else smf.start)(zone, LEASE)
        zone.online(smf, LEASE)

    def test_counts_down_and_begins_anew_when_it_is_restarted(self, zone: Zone) -> None:
        assert smf.lease_left(zone) is None
        self.arm(zone, "3600")
        zone.until(lambda: smf.lease_left(zone) is not None, "the note")
        note = zone.path("/var/run/ipyfleet-lease")
        note.write_text(f"1000 {int(time.time()) - 10}\n")
        assert smf.lease_left(zone) == pytest.approx(990, abs=3)
        self.arm(zone, "3600")
        assert smf.lease_left(zone) == pytest.approx(990, abs=5)
        zone.kill(LEASE)
        zone.until(lambda: note.read_text().startswith("1000 ") and "- 10" not in note.read_text(), "it goes on")
        smf.restart(zone, LEASE)
        zone.until(lambda: (smf.lease_left(zone) or 0) > 3500, "begun anew")

    def test_is_armed_again_in_full_at_each_boot(self, zone: Zone) -> None:
        self.arm(zone, "3600")
        note = zone.path("/var/run/ipyfleet-lease")
        zone.until(note.exists, "the note")
        zone.smf.ok("smf-standin", "stop")
        note.unlink()  # the folder is empty after a boot
        zone.smf.ok("smf-standin", "start")
        zone.until(lambda: zone.smf.notes(fmris(LEASE)[0]).count("Enabled.") == 2, "the boot")
        zone.until(lambda: (smf.lease_left(zone) or 0) > 3590, "armed again")

    def test_ends_by_powering_off(self, zone: Zone) -> None:
        self.arm(zone, "1")
        zone.until((zone.told / "poweroff").exists, "power off")

    def test_ends_by_taking_our_services_out_of_use(self, zone: Zone) -> None:
        bring_up(zone)
        self.arm(zone, "1", "stop")
        for name in ("ipengine:engine-1", "ipengine:engine-2", "ipyfleet-repair:default", "ipyfleet-lease:default"):
            zone.smf.wait(f"svc:/site/{name}", "DIS -", 20)
        assert smf.lease_left(zone) is None
        assert not (zone.told / "poweroff").exists()

    def test_taken_away_is_none(self, zone: Zone) -> None:
        self.arm(zone, "3600")
        smf.remove(zone, LEASE)
        assert smf.lease_left(zone) is None
        assert not zone.path("/var/run/ipyfleet-lease").exists()
