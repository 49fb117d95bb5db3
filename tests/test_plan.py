"""plan.py: what is wanted against what is seen."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fabfile.machines import Machine, MachineState, machine_name
from fabfile.plan import Deployment, Seen, Slot, Wanted, make_plan

RUNNING, STOPPED, FAILED = MachineState.RUNNING, MachineState.STOPPED, MachineState.FAILED
LOST = MachineState.LOST


def machine(index: int, role: str = "engine", state: MachineState = RUNNING) -> Machine:
    return Machine(machine_name(role, index), f"id-{role}-{index}", role, index, state)


def healthy(engines: int, busy: frozenset[int] = frozenset(), **changes) -> Seen:
    """A cluster with one engine a machine, all registered, those of these indexes at work."""
    values = {
        "machines": (machine(0, "controller"), *(machine(index) for index in range(engines))),
        "hub_up": True,
        "registered": {Slot(index, 1): index in busy for index in range(engines)},
        "assigned": frozenset(Slot(index, 1) for index in range(engines)),
        "digests": {"controller": "c", **{machine_name("engine", index): "e" for index in range(engines)}},
    }
    return Seen(**(values | changes))


def wanted(engines: int, per_machine: int = 1) -> Wanted:
    return Wanted(engines, per_machine, "c", "e")


def test_from_nothing_a_controller_and_the_engines_are_created_and_deployed():
    plan = make_plan(wanted(2), Seen())
    assert [one.name for one in plan.create] == ["controller", "engine-0", "engine-1"]
    assert plan.deploy == plan.create
    assert plan.engines == (Slot(0, 1), Slot(1, 1))
    assert not plan.disturbs


def test_a_healthy_cluster_needs_nothing():
    assert make_plan(wanted(4), healthy(4)).empty


def test_growing_adds_machines_and_touches_no_other():
    plan = make_plan(wanted(4), healthy(2, busy=frozenset({0, 1})))
    assert [one.name for one in plan.create] == ["engine-2", "engine-3"]
    assert plan.deploy == plan.create
    assert not plan.disturbs


def test_shrinking_removes_idle_engines_first():
    plan = make_plan(wanted(1), healthy(4, busy=frozenset({2})))
    assert [one.name for one in plan.remove] == ["engine-0", "engine-1", "engine-3"]
    assert not plan.disturbs
    assert not plan.deploy


def test_shrinking_below_the_engines_at_work_names_those_it_would_disturb():
    plan = make_plan(wanted(1), healthy(3, busy=frozenset({0, 1, 2})))
    assert plan.disturbs == (Slot(1, 1), Slot(2, 1))


def test_engines_share_machines_evenly():
    plan = make_plan(wanted(5, per_machine=2), Seen())
    assert [one.numbers for one in plan.create[1:]] == [(1, 2), (1, 2), (1,)]


def test_dropping_one_engine_of_a_machine_takes_the_idle_one_whatever_its_number():
    seen = healthy(1, registered={Slot(0, 1): False, Slot(0, 2): True}, assigned=frozenset({Slot(0, 1), Slot(0, 2)}))
    plan = make_plan(wanted(1, per_machine=2), seen)
    assert plan.drop == (Slot(0, 1),)
    assert plan.deploy == (Deployment("engine", 0, (2,)),)
    assert not plan.disturbs


def test_a_missing_index_is_filled_before_a_higher_one_is_used():
    seen = healthy(3)
    gap = Seen(
        tuple(one for one in seen.machines if one.name != "engine-1"),
        True,
        {slot: False for slot in seen.registered if slot.index != 1},
        frozenset(slot for slot in seen.assigned if slot.index != 1),
        seen.digests,
    )
    assert [one.name for one in make_plan(wanted(3), gap).create] == ["engine-1"]


def test_a_stopped_machine_is_started_and_deployed_again():
    seen = healthy(2, machines=(machine(0, "controller"), machine(0), machine(1, state=STOPPED)))
    seen = Seen(seen.machines, True, {Slot(0, 1): False}, seen.assigned, seen.digests)
    plan = make_plan(wanted(2), seen)
    assert [one.name for one in plan.start] == ["engine-1"]
    assert [one.name for one in plan.deploy] == ["engine-1"]
    assert not plan.create


def test_an_engine_whose_machine_is_off_starts_with_it_and_need_not_be_started_twice():
    on, off = machine(1), machine(1, state=STOPPED)
    for one, restart in ((on, (1,)), (off, ())):
        machines = (machine(0, "controller"), machine(0), one)
        (deployed,) = make_plan(wanted(2), healthy(2, machines=machines, registered={Slot(0, 1): False})).deploy
        assert deployed == Deployment("engine", 1, (1,), restart)
    plan = make_plan(wanted(2), healthy(2, machines=machines, registered={Slot(0, 1): False}))
    assert plan.renewed == {Slot(1, 1)}


def test_a_failed_machine_is_replaced_unless_the_hub_still_knows_its_engine():
    machines = (machine(0, "controller"), machine(0), machine(1, state=FAILED))
    assert make_plan(wanted(2), healthy(2, machines=machines)).empty is False
    silent = healthy(2, machines=machines, registered={Slot(0, 1): False})
    plan = make_plan(wanted(2), silent)
    assert [one.name for one in plan.discard] == ["engine-1"]
    assert [one.name for one in plan.create] == ["engine-1"]
    assert not make_plan(wanted(2), healthy(2, machines=machines)).discard


def test_a_lost_machine_is_replaced_whatever_the_hub_still_lists():
    machines = (machine(0, "controller"), machine(0), machine(1, state=LOST))
    plan = make_plan(wanted(2), healthy(2, machines=machines))
    assert [one.name for one in plan.discard] == ["engine-1"]
    assert [one.name for one in plan.create] == ["engine-1"]
    lost = (machine(0, "controller", LOST), machine(0), machine(1))
    assert [one.name for one in make_plan(wanted(2), healthy(2, machines=lost)).discard] == ["controller"]


def test_an_engine_that_the_hub_does_not_know_is_restarted():
    plan = make_plan(wanted(2), healthy(2, registered={Slot(0, 1): True}))
    assert plan.deploy == (Deployment("engine", 1, (1,), restart=(1,)),)
    assert not plan.disturbs


def test_while_the_hub_is_silent_engines_are_started_but_not_restarted():
    plan = make_plan(wanted(1), healthy(1, hub_up=False, registered={}))
    assert plan.deploy == (Deployment("controller", 0), Deployment("engine", 0, (1,)))


def test_a_new_version_of_the_engines_restarts_them_and_says_who_is_disturbed():
    plan = make_plan(Wanted(2, 1, "c", "newer"), healthy(2, busy=frozenset({1})))
    assert [one.restart for one in plan.deploy] == [(1,), (1,)]
    assert plan.disturbs == (Slot(1, 1),)
    assert not plan.restart_controller


def test_while_the_hub_is_silent_machines_that_run_are_kept_before_those_that_are_off():
    machines = (machine(0, "controller"), machine(0, state=STOPPED), machine(1))
    plan = make_plan(wanted(1), healthy(2, machines=machines, hub_up=False, registered={}))
    assert [one.name for one in plan.remove] == ["engine-0"]
    assert not plan.start


def test_engines_that_run_in_nobody_knows_which_version_are_restarted_and_that_is_said():
    plan = make_plan(wanted(2), healthy(2, busy=frozenset({1}), digests={"controller": "c", "engine-0": "e"}))
    assert plan.deploy == (Deployment("engine", 1, (1,), restart=(1,)),)
    assert plan.disturbs == (Slot(1, 1),)


def test_a_new_version_of_the_controller_makes_everything_start_again():
    plan = make_plan(Wanted(2, 1, "newer", "e"), healthy(2, busy=frozenset({0})))
    assert plan.restart_controller
    assert [one.name for one in plan.deploy] == ["controller", "engine-0", "engine-1"]
    assert plan.disturbs == (Slot(0, 1),)


@st.composite
def clusters(draw) -> Seen:
    """Any half-made, half-broken cluster."""
    indexes = draw(st.sets(st.integers(0, 6)))
    states = st.sampled_from([RUNNING, RUNNING, STOPPED, FAILED, LOST])
    machines = [machine(index, state=draw(states)) for index in sorted(indexes)]
    if draw(st.booleans()):
        machines.insert(0, machine(0, "controller", draw(states)))
    slots = {Slot(index, number) for index in indexes for number in draw(st.sets(st.integers(1, 3)))}
    hub_up = draw(st.booleans())
    registered = {slot: draw(st.booleans()) for slot in slots if hub_up and draw(st.booleans())}
    digests = {one.name: draw(st.sampled_from(["c", "e", "old"])) for one in machines}
    return Seen(tuple(machines), hub_up, registered, frozenset(slots), digests)


def carried_out(plan, seen: Seen, want: Wanted) -> Seen:
    machines = tuple(machine(one.index, one.role) for one in plan.target)
    digests = {one.name: want.controller_digest if one.role == "controller" else want.engine_digest for one in machines}
    registered = {slot: seen.registered.get(slot, False) for slot in plan.engines}
    return Seen(machines, True, registered, frozenset(plan.engines), digests)


@given(clusters(), st.integers(1, 9), st.integers(1, 3))
def test_a_plan_carried_out_leaves_the_wanted_number_of_engines_and_nothing_to_do(seen, engines, per_machine):
    want = wanted(engines, per_machine)
    plan = make_plan(want, seen)
    assert len(plan.engines) == engines
    assert make_plan(want, carried_out(plan, seen, want)).empty


@given(clusters(), st.integers(1, 9), st.integers(1, 3))
def test_every_machine_is_kept_replaced_or_removed_and_the_names_are_unique(seen, engines, per_machine):
    plan = make_plan(wanted(engines, per_machine), seen)
    names = [one.name for one in plan.target]
    assert len(names) == len(set(names))
    for one in seen.machines:
        assert (one.name in names) + (one in plan.remove) + (one in plan.discard and one.name not in names) == 1
