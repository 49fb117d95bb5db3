"""status.py: what an observation means."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fabfile.machines import Cluster, Endpoint, Found, Machine, MachineState, machine_name
from fabfile.plan import Seen, Slot
from fabfile.status import Observed, parse_ident, slot_of, summarise

CLUSTER = Cluster("lab", "c0ffee", "ada@desk", 1000.0)
NOW = 1090.0


def machine(role: str, index: int, **changes) -> Machine:
    values = {"state": MachineState.RUNNING, "endpoint": Endpoint(f"10.0.0.{10 + index}", "ipyfleet")}
    return Machine(machine_name(role, index), f"{role}{index}", role, index, **(values | changes))


def observed(*machines: Machine, registered: dict[Slot, bool] | None = None, engines: int = 2, **changes) -> Observed:
    found = Found(CLUSTER, machines or (machine("controller", 0), machine("engine", 0), machine("engine", 1)))
    known = {Slot(0, 1): False, Slot(1, 1): True} if registered is None else registered
    seen = Seen(found.machines, changes.pop("hub_up", True), known, frozenset(Slot(i, 1) for i in range(engines)))
    return Observed(found, seen, **({"hub": "answers"} | changes))


def test_all_engines_in_the_hub_is_healthy():
    status = summarise("lab", "local", observed(), NOW)
    assert (status.state, status.exit_code, status.engines, status.expected) == ("healthy", 0, 2, 2)
    assert status.age == 90
    assert [(one.name, one.service, one.engines, one.busy) for one in status.machines] == [
        ("controller", "online", 0, 0),
        ("engine-0", "online", 1, 0),
        ("engine-1", "online", 1, 1),
    ]


def test_nothing_there_is_none():
    status = summarise("lab", "local", Observed(Found(), Seen()), NOW)
    assert (status.state, status.exit_code) == ("none", 3)


def test_an_engine_that_the_hub_does_not_know_is_degraded_whatever_its_service_says():
    status = summarise("lab", "local", observed(registered={Slot(0, 1): False}, services={"engine-1": "online"}), NOW)
    assert (status.state, status.exit_code) == ("degraded", 1)
    assert status.problems == (
        "engine-1 engine 1 is not in the hub (service: online): look again in a moment if it was only just started; "
        "else `invoke provision` puts it right",
    )


@pytest.mark.parametrize("states", ["starting", "offline, starting"])
def test_what_is_only_just_starting_is_waited_for_and_not_mended(states):
    seen = observed(registered={Slot(0, 1): False}, services={"engine-1": states})
    (problem,) = summarise("lab", "local", seen, NOW).problems
    assert "look again in a moment" in problem
    assert "`invoke logs --on engine-1`" in problem
    seen = observed(hub_up=False, registered={}, hub="silent", services={"controller": states})
    status = summarise("lab", "local", seen, NOW)
    assert status.state == "degraded"
    assert "look again in a moment" in status.problems[0]
    assert "`invoke logs --on controller`" in status.problems[0]
    assert "provision" not in status.problems[0]


def test_a_machine_that_cannot_be_asked_is_a_problem_and_no_state_of_a_service():
    why = "engine-1: 10.0.0.3:22 does not answer"
    seen = observed(registered={Slot(0, 1): False}, unreached={"engine-1": why})
    status = summarise("lab", "local", seen, NOW)
    assert why in status.problems
    assert [one.service for one in status.machines if one.name == "engine-1"] == ["unknown"]


def test_a_silent_hub_is_degraded_and_the_controllers_service_is_shown():
    status = summarise(
        "lab", "local", observed(hub_up=False, registered={}, hub="silent", services={"controller": "maintenance"}), NOW
    )
    assert status.state == "degraded"
    said = "the hub does not answer (controller service: maintenance): `invoke provision` puts it right"
    assert status.problems == (said,)
    hanging = observed(hub_up=False, registered={}, hub="silent", services={"controller": "online"})
    (problem,) = summarise("lab", "local", hanging, NOW).problems
    assert "look again in a moment if it was only just started; else `invoke stop --machine controller`" in problem


def test_a_hub_that_was_not_asked_because_of_another_command_is_not_called_silent():
    status = summarise("lab", "local", observed(hub_up=False, registered={}, hub="in use"), NOW)
    assert [problem.partition(";")[0] for problem in status.problems] == [
        "engines: unknown as long as another command is changing this cluster"
    ]


def test_a_cluster_without_engines_is_not_healthy():
    status = summarise("lab", "local", observed(machine("controller", 0), registered={}, engines=0), NOW)
    assert status.problems == ("it has no engines: `invoke provision` puts it right",)


@pytest.mark.parametrize(
    ("machines", "problem"),
    [
        ((machine("controller", 0), machine("engine", 0)), "engine-1 is gone: `invoke provision` puts it right"),
        ((machine("engine", 0), machine("engine", 1)), "the controller's machine is gone: `invoke provision`"),
        (
            (machine("controller", 0), machine("engine", 0), machine("engine", 1, state=MachineState.STOPPED)),
            "engine-1 is stopped: `invoke start` starts it",
        ),
        (
            (
                machine("controller", 0),
                machine("engine", 0),
                machine("engine", 1, state=MachineState.FAILED, detail="x"),
            ),
            "engine-1 is failed (x)",
        ),
    ],
)
def test_a_machine_that_is_gone_stopped_or_failed_is_named_with_the_cure(machines, problem):
    registered = {Slot(one.index, 1): False for one in machines if one.state is MachineState.RUNNING}
    status = summarise("lab", "local", observed(*machines, registered=registered), NOW)
    assert status.state == "degraded"
    assert any(text.startswith(problem) for text in status.problems), status.problems


def test_a_cluster_that_is_not_in_the_record_names_who_made_it():
    status = summarise("lab", "local", observed(ours=False, hub="no way in", hub_up=False, registered={}), NOW)
    assert status.exit_code == 1
    assert "ada@desk made it" in status.problems[0]
    assert "engines: unknown, no key for this cluster" in status.problems


def test_the_shortest_lease_counts():
    status = summarise("lab", "local", observed(leases={"controller": 50.0, "engine-1": 20.0}), NOW)
    assert status.lease_left == 20.0
    with_tag = observed(machine("controller", 0, deadline=NOW + 5), engines=0, registered={})
    assert summarise("lab", "local", with_tag, NOW).lease_left == 5.0
    asked = replace(with_tag, leases={"controller": 50.0})
    assert summarise("lab", "local", asked, NOW).lease_left == 50.0  # its own timer is right, the tag a copy


def test_a_machines_own_timer_is_believed_rather_than_a_tag():
    both = observed(machine("controller", 0, deadline=NOW + 5), engines=0, registered={}, leases={"controller": 50.0})
    assert summarise("lab", "local", both, NOW).lease_left == 50.0


@pytest.mark.parametrize(
    ("ident", "parsed", "slot"),
    [
        ("engine-3-12-abc", ("engine-3", 12), Slot(3, 12)),
        ("lab7-1-abc", ("lab7", 1), None),
        ("two-words-1-abc", ("two-words", 1), None),
        ("engine-x-1-abc", ("engine-x", 1), None),
        ("0f3c2b1a-deadbeef", None, None),
        ("nothing", None, None),
        ("", None, None),
    ],
)
def test_an_ident_tells_machine_and_number_or_is_of_somebody_else(ident, parsed, slot):
    assert parse_ident(ident) == parsed
    assert slot_of(ident) == slot
