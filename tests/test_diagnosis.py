"""diagnosis.py: what is wrong with a cluster as a whole and with this computer's side of it; how it is told."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from fabfile import checkup, listings, report
from fabfile.client_file import ClientFile
from fabfile.complaints import Examined, Finding
from fabfile.diagnosis import Diagnosis, Here, judge
from fabfile.machines import MachineState
from fabfile.plan import Slot
from fabfile.status import Observed
from tests.test_complaints import PINS, SOFTWARE, WELL, examined, watched
from tests.test_status import machine, observed

PATH = "/home/ada/client.json"
HERE = Here(PATH, ClientFile(0o600, "c0ffee", ()))
CONTROLLER = Examined(
    "controller",
    "controller",
    replace(WELL, services=(watched(name="ipcontroller", own="ipcontroller.service"),), files=(65536, 65536)),
    SOFTWARE,
)
ALL = (CONTROLLER, examined(), replace(examined(), name="engine-1"))


def wrong(seen: Observed, machines: tuple[Examined, ...] = ALL, here: Here = HERE) -> list[Finding]:
    """What is not well, each with a cure."""
    found = [one for one in judge(seen, machines, here) if one.level != "ok"]
    assert all(one.cure for one in found)
    return found


def texts(*args: Any, **options: Any) -> list[str]:
    return [f"{one.level}: {one.machine}: {one.found}" for one in wrong(*args, **options)]


def with_services(one: Examined, *services: Any) -> Examined:
    assert one.facts
    return replace(one, facts=replace(one.facts, services=services))


def test_a_cluster_that_is_well_has_only_findings_that_say_so():
    found = judge(observed(), ALL, HERE)
    assert {one.level for one in found} == {"ok"}
    assert [one.found for one in found[:3]] == [
        "the hub answers and knows all 2 engines",
        "the tunnel leads to ipyfleet@10.0.0.10",
        f"the client file {PATH} leads through the tunnel",
    ]


class TestMachines:
    @pytest.mark.parametrize(
        ("state", "level", "cure"),
        [
            ("stopped", "error", "`invoke start` starts it"),
            ("pending", "warning", "`invoke doctor` again in a moment"),
            ("failed", "error", "`invoke provision` replaces it"),
            ("lost", "error", "`invoke provision` replaces it"),
        ],
    )
    def test_one_that_does_not_run_is_named_and_its_engine_is_not_missed_besides(self, state, level, cure):
        machines = (machine("controller", 0), machine("engine", 0), machine("engine", 1, state=MachineState(state)))
        seen = observed(*machines, registered={Slot(0, 1): False})
        (found,) = wrong(seen, ALL[:2])
        assert (found.level, found.machine, found.found, found.cure) == (level, "engine-1", f"it is {state}", cure)

    def test_one_that_is_gone_is_named(self):
        seen = observed(machine("controller", 0), machine("engine", 0), registered={Slot(0, 1): False})
        assert texts(seen, ALL[:2]) == ["error: engine-1: its machine is gone"]
        without = observed(machine("engine", 0), machine("engine", 1), hub_up=False, registered={}, hub="")
        assert texts(without, ALL[1:]) == ["error: controller: its machine is gone"]

    def test_one_that_cannot_be_reached_is_named_and_the_others_are_judged(self):
        silent = Examined("engine-1", "engine", None, unreached="no SSH connection", hint="see")
        slow = replace(examined(memory=1), name="engine-0")
        assert texts(observed(registered={Slot(0, 1): False}), (CONTROLLER, slow, silent)) == [
            "error: engine-1: it cannot be examined: no SSH connection",
            "warning: engine-0: only 0.0 MB of memory available",
        ]


class TestTheHub:
    def test_an_engine_that_runs_unknown_to_the_hub_is_an_error(self):
        (found,) = wrong(observed(registered={Slot(0, 1): False}))
        assert (found.machine, found.found) == ("engine-1", "the hub does not know its engine 1, which runs")
        soon = "`invoke doctor` again in a moment if it was only just started"
        assert found.cure == f"{soon}; else `invoke provision` starts it anew"

    def test_an_engine_whose_service_is_down_is_told_once(self):
        machines = (*ALL[:2], with_services(ALL[2], watched("offline")))
        assert texts(observed(registered={Slot(0, 1): False}), machines) == [
            "error: engine-1: ipengine@1 is offline (inactive/dead)"
        ]

    def test_a_silent_hub_is_told_with_what_helps_where_its_service_runs(self):
        seen = observed(hub_up=False, registered={}, hub="silent")
        (found,) = wrong(seen)
        assert found.found == "the hub does not answer"
        assert "`invoke stop --machine controller` and `invoke start`" in found.cure
        assert found.cure.startswith("`invoke doctor` again in a moment if it was only just started; else")

    def test_a_lease_that_has_no_timer_hides_neither_a_silent_hub_nor_closed_ports(self):
        assert CONTROLLER.facts
        lease = watched("offline", "ipyfleet-lease", "ipyfleet-lease.timer")
        machines = (
            with_services(CONTROLLER, *CONTROLLER.facts.services, lease),
            replace(examined(closed={10101: "Connection refused"}), name="engine-0"),
            ALL[2],
        )
        assert texts(observed(hub_up=False, registered={}, hub="silent"), machines) == [
            "error: controller: the hub does not answer",
            "error: controller: ipyfleet-lease is offline (inactive/dead)",
            "error: engine-0: it does not reach the controller's ports 10101 (Connection refused)",
        ]

    def test_a_controller_that_is_down_is_told_once_and_its_ports_are_missed_by_nobody(self):
        down = with_services(CONTROLLER, watched("maintenance", "ipcontroller", "ipcontroller.service"))
        shut = replace(examined(closed={10101: "Connection refused"}), name="engine-1")
        seen = observed(hub_up=False, registered={}, hub="silent")
        assert texts(seen, (down, ALL[1], shut)) == ["error: controller: ipcontroller is maintenance (inactive/dead)"]

    def test_a_hub_that_was_not_asked_is_not_called_silent_nor_is_the_tunnel_missed(self):
        seen = observed(hub_up=False, registered={}, hub="in use")
        assert texts(seen, here=replace(HERE, alive=False)) == [
            "warning: here: the hub was not asked: another command is changing this cluster"
        ]

    def test_a_cluster_without_engines_is_an_error(self):
        seen = observed(machine("controller", 0), registered={}, engines=0)
        assert texts(seen, ALL[:1]) == ["error: here: the cluster has no engines"]

    def test_a_controller_that_nothing_was_put_on_is_told(self):
        seen = observed(hub_up=False, registered={}, hub="")
        assert "error: controller: no controller was ever put on it" in texts(seen)


class TestThisComputer:
    @pytest.mark.parametrize(
        ("changes", "found"),
        [
            ({"alive": False}, "error: here: there is no tunnel to ipyfleet@10.0.0.10, and none can be opened"),
            ({"silent": (20001, 20004)}, "error: here: nobody listens on the tunnel's local ports 20001, 20004"),
            ({"reopened": "had ended"}, "warning: here: the tunnel had ended; it is open again now"),
            ({"client": None}, f"error: here: there is no client file {PATH}"),
            (
                {"client": ClientFile(0o600, None, ("ipyfleet",))},
                f"error: here: the client file {PATH} is of another c",
            ),
            ({"client": ClientFile(0o600, "beef", ())}, "is of another cluster (id beef)"),
            ({"client": ClientFile(0o644, "c0ffee", ())}, "opens the cluster to others: its mode is 0644"),
            ({"client": ClientFile(0o600, "c0ffee", ("control", "mux"))}, "tunnel needs: control, mux differ"),
        ],
    )
    def test_each_fault_of_tunnel_and_client_file_is_one_finding(self, changes, found):
        (text,) = texts(observed(), here=replace(HERE, **changes))
        assert found in text

    def test_a_client_file_may_be_open_to_others_and_out_of_date_at_once(self):
        assert len(wrong(observed(), here=replace(HERE, client=ClientFile(0o640, "c0ffee", ("mux",))))) == 2

    def test_a_file_that_others_may_read_is_shut_by_one_command(self):
        (found,) = wrong(observed(), here=replace(HERE, client=ClientFile(0o604, "c0ffee", ())))
        assert found.cure == f"`chmod 600 {PATH}`"


def diagnosis(machines: tuple[Examined, ...] = ALL, here: Here = HERE) -> Diagnosis:
    versions = dict(pin.split("==") for pin in PINS)
    return Diagnosis("lab", "local", "3.11.7", versions, machines, judge(observed(), machines, here))


class TestTelling:
    def test_the_main_versions_come_first_and_all_is_well(self):
        lines = listings.diagnosis(diagnosis())
        assert " ".join(lines[0].split()) == "machine Python ipyparallel pyzmq numpy clock disk free memory"
        assert lines[1].split() == ["here", "3.11.7", "9.2.0", "27.3.0", "2.4.6"]
        assert " ".join(lines[3].split()) == "engine-0 3.11.2 9.2.0 27.3.0 2.4.6 +0.0 s 50.0 GB 2.0 GB"
        assert lines[-1].startswith("all is well")
        assert diagnosis().exit_code == 0

    def test_faults_follow_the_gravest_first_each_with_its_cure(self):
        unreached = Examined("engine-1", "engine", None, unreached="no SSH connection", hint="see that it is up")
        seen = diagnosis((CONTROLLER, examined(python="3.13.1", memory=1), unreached))
        lines = listings.diagnosis(seen)
        assert lines[4].split() == ["engine-1", "?", "?", "?", "?"]
        assert [line.partition(": ")[0] for line in lines[6:12]] == ["error", "  next"] * 2 + ["warning", "  next"]
        assert lines[-1].startswith("2 errors and 1 warning; ")
        assert seen.exit_code == 1

    def test_warnings_alone_are_no_failure(self):
        seen = diagnosis((CONTROLLER, examined(memory=1), ALL[2]))
        assert seen.exit_code == 0
        assert listings.diagnosis(seen)[-1].startswith("1 warning; ")

    def test_cures_are_meant_for_the_cluster_that_was_named(self):
        stopped = with_services(ALL[2], watched("maintenance"))
        told = checkup.meant_for(diagnosis((*ALL[:2], stopped)), "lab", "sun")
        cure = told.findings[0].cure
        assert "`invoke logs --template sun --cluster lab --on engine-1`" in cure
        assert "`invoke provision --template sun --cluster lab`" in cure
        renewed = checkup.meant_for(diagnosis((*ALL[:2], replace(examined(python=""), name="engine-1"))), "lab", "")
        assert "`invoke ssh --cluster lab --machine engine-1 --command 'sudo rm" in renewed.findings[0].cure

    def test_as_json_it_is_one_object(self):
        shown = json.loads(report.as_json(asdict(diagnosis())))
        assert [one["name"] for one in shown["machines"]] == ["controller", "engine-0", "engine-1"]
        assert shown["machines"][1]["facts"]["services"][0]["look"]["state"] == "online"
        assert {one["level"] for one in shown["findings"]} == {"ok"}
