"""restarting.py on a fleet in memory: what is planned, and what is waited for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fabfile import hub, restarting
from fabfile.errors import ClusterError, HubSilent, UsageError
from fabfile.machines import MachineState
from fabfile.observation import HubView, observe
from fabfile.plan import Slot
from fabfile.settings import Settings
from tests.fakes.commands import new_run, provision


@pytest.fixture
def seen(fleet, tmp_path):
    """A cluster of three engines, and the run that looks at it."""
    provision(fleet, tmp_path, 3)
    run = new_run(fleet, tmp_path, Settings(cluster="lab", provider="memory", engines=3))
    return run, observe(run)


def observed_by_id(run):
    with hub.Questions({}) as questions:
        return questions.registered()


def chosen(observed, *names):
    return [one for one in observed.found.machines if one.name in names]


def test_only_the_engines_of_the_machines_that_are_named_start_anew(seen):
    run, observed = seen
    todo = restarting.plan(run, observed, chosen(observed, "engine-1"), controller=False)
    assert [one.name for one in todo.deploy] == ["engine-1"]
    assert todo.renewed == {Slot(1, 1)}
    assert {one.name for one in todo.keep} == {"controller", "engine-0", "engine-2"}
    assert not todo.restart_controller


def test_with_the_controller_all_engines_start_anew(seen):
    run, observed = seen
    todo = restarting.plan(run, observed, (), controller=True)
    assert [one.name for one in todo.deploy] == ["controller", "engine-0", "engine-1", "engine-2"]
    assert len(todo.renewed) == 3
    assert todo.restart_controller


def test_engines_at_work_are_disturbed(seen):
    run, observed = seen
    busy = replace(observed.seen, registered={**observed.seen.registered, Slot(2, 1): True})
    observed = replace(observed, seen=busy)
    machines = chosen(observed, "engine-1", "engine-2")
    assert restarting.plan(run, observed, machines, controller=False).disturbs == (Slot(2, 1),)
    assert restarting.plan(run, observed, chosen(observed, "engine-1"), controller=False).disturbs == ()


def test_a_machine_that_is_off_is_left_alone_and_nothing_but_such_is_refused(seen):
    run, observed = seen
    off = tuple(
        replace(one, state=MachineState.STOPPED) if one.name == "engine-1" else one for one in observed.found.machines
    )
    observed = replace(observed, found=replace(observed.found, machines=off))
    todo = restarting.plan(run, observed, chosen(observed, "engine-0", "engine-1"), controller=False)
    assert [one.name for one in todo.deploy] == ["engine-0"]
    with pytest.raises(UsageError, match="nothing to restart"):
        restarting.plan(run, observed, chosen(observed, "engine-1"), controller=False)


def test_what_was_deployed_otherwise_is_provisions_affair(seen):
    run, observed = seen
    run.settings = replace(run.settings, engine_env=(("OMP_NUM_THREADS", "1"),))
    with pytest.raises(UsageError, match=r"engine-0: software or settings have changed"):
        restarting.plan(run, observed, chosen(observed, "engine-0"), controller=False)


def test_draining_waits_until_nothing_is_at_work(seen, monkeypatch):
    run, observed = seen
    looks = [{Slot(0, 1): True}, {Slot(0, 1): True, Slot(1, 1): True}, {Slot(0, 1): False, Slot(2, 1): True}]
    views = iter([HubView("answers", look) for look in looks])
    monkeypatch.setattr(restarting, "ask_hub", lambda run, found: next(views))
    said = []
    restarting.drain(run, observed.found, {Slot(0, 1), Slot(1, 1)}, 60, said.append, pause=lambda seconds: None)
    assert said == ["waiting for engine-0 engine 1", "waiting for engine-0 engine 1, engine-1 engine 1"]


def test_draining_ends_with_the_time_and_with_a_hub_that_is_silent(seen, monkeypatch):
    run, observed = seen
    monkeypatch.setattr(restarting, "ask_hub", lambda run, found: HubView("answers", {Slot(0, 1): True}))
    with pytest.raises(ClusterError, match="still at work after 0 s: engine-0 engine 1"):
        restarting.drain(run, observed.found, {Slot(0, 1)}, 0, lambda text: None)
    monkeypatch.setattr(restarting, "ask_hub", lambda run, found: HubView("silent"))
    with pytest.raises(HubSilent):
        restarting.drain(run, observed.found, {Slot(0, 1)}, 60, lambda text: None)


def test_an_engine_that_does_not_answer_again_is_told_and_not_counted_as_restarted(seen, monkeypatch):
    run, observed = seen
    todo = restarting.plan(run, observed, chosen(observed, "engine-0", "engine-1"), controller=False)
    silent = next(number for number, ident in observed_by_id(run).items() if ident.startswith("engine-1-"))
    monkeypatch.setattr(hub, "probe", lambda info, numbers, timeout: frozenset(numbers) - {silent})
    run.settings = replace(run.settings, start_timeout=0.2)
    with pytest.raises(ClusterError, match="1 of 2 engines answer; missing: engine-1 engine 1"):
        restarting.restart(run, observed, todo)
    assert restarting.restart(run, observed, replace(todo, deploy=todo.deploy[:1], keep=todo.deploy[1:])) == 1


def test_the_controller_is_not_restarted_by_naming_its_machine_and_is_not_called_off(seen):
    run, observed = seen
    with pytest.raises(UsageError) as refused:
        restarting.plan(run, observed, (), controller=False)
    assert "off" not in refused.value.message
    assert "`invoke restart --what controller`" in refused.value.hint
