"""power.py with the chain, on a fleet in memory: machines off and on again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fabfile import power
from fabfile.errors import UsageError
from fabfile.machines import MachineState
from tests.fakes.commands import (
    engines_known,
    provision,
    switch_off,
    switch_on,
)


def test_a_machine_that_was_stopped_comes_back_alone(fleet, tmp_path):
    provision(fleet, tmp_path, 2)
    switch_off(fleet, tmp_path, "engine-0", "engine-1")
    assert engines_known(fleet) == []
    _, run = switch_on(fleet, tmp_path, "engine-1")
    assert engines_known(fleet) == ["engine-1-1"]
    assert fleet.machine("engine-0").state is MachineState.STOPPED
    assert len(run.record.assigned) == 2


def test_a_hub_that_goes_on_is_told_which_engines_went_with_their_machines(fleet, tmp_path):
    provision(fleet, tmp_path, 2)
    (ident,) = [one for one in fleet.registered().values() if one.startswith("engine-1-")]
    fleet.unheard = {7: ident, 8: "engine-0-1-lost", 9: "somebody-1-else"}
    switch_off(fleet, tmp_path, "engine-1")
    assert fleet.unheard == {8: "engine-0-1-lost", 9: "somebody-1-else"}
    switch_off(fleet, tmp_path, "")  # nobody is left to be told


@pytest.mark.parametrize(("name", "engines"), [("controller", []), ("engine-1", ["engine-1-1"])])
def test_of_a_cluster_that_is_off_the_controller_starts_with_any_machine(name, engines, fleet, tmp_path):
    provision(fleet, tmp_path, 2)
    keys = fleet.on(fleet.machine("controller")).files["/etc/ipyfleet/curve.json"]
    switch_off(fleet, tmp_path, "")
    todo, run = switch_on(fleet, tmp_path, name)
    assert todo.create == ()
    assert engines_known(fleet) == engines
    assert fleet.on(fleet.machine("controller")).files["/etc/ipyfleet/curve.json"] == keys
    assert fleet.machine("engine-0").state is MachineState.STOPPED
    assert len(run.record.assigned) == 2


@pytest.mark.parametrize("state", [MachineState.FAILED, MachineState.LOST])
def test_a_cluster_with_a_machine_that_is_of_no_use_can_be_switched_off(state, fleet, tmp_path):
    provision(fleet, tmp_path, 2)
    key = ("lab", "engine-1")
    fleet.world.machines[key] = replace(fleet.world.machines[key], state=state)
    switch_off(fleet, tmp_path, "")
    assert fleet.machine("engine-0").state is MachineState.STOPPED


@pytest.mark.parametrize("state", [MachineState.FAILED, MachineState.LOST, None])
def test_starting_one_machine_makes_none_under_the_name_of_one_that_stays_off(state, fleet, tmp_path):
    provision(fleet, tmp_path, 3)
    switch_off(fleet, tmp_path, "")
    key = ("lab", "engine-1")
    gone = fleet.world.machines.pop(key)
    if state:
        fleet.world.machines[key] = replace(gone, state=state)
    todo, run = switch_on(fleet, tmp_path, "engine-2")
    assert (todo.create, todo.discard) == ((), ())
    assert engines_known(fleet) == ["engine-2-1"]
    assert fleet.machine("engine-0").state is MachineState.STOPPED
    assert len(run.record.assigned) == 3


def test_an_unknown_machine_is_refused_with_the_names_there_are(fleet, tmp_path):
    provision(fleet, tmp_path, 1)
    found = fleet.provider().find("lab")
    with pytest.raises(UsageError, match="no machine 'engine-9'") as refused:
        power.chosen(found, "engine-9")
    assert "controller, engine-0" in refused.value.hint
