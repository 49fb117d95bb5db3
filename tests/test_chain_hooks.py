"""When the user's hooks are called, on a fleet in memory."""

from __future__ import annotations

import pytest

from fabfile import hooks, removal
from fabfile.errors import ClusterError
from fabfile.settings import Settings
from tests.fakes.commands import provision
from tests.fakes.fleet import FakeFleet, new_run

EVENTS = {"hooks": tuple((event, ("/x.sh",)) for event in ("cluster_up", "machine_down", "machine_up"))}


class Called:
    """Stands in for what runs on machines: remembers the calls, fails where it shall."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.failing = ""

    def __call__(self, settings, event, host, machine, on_event) -> None:
        self.calls.append(f"{event} {machine.name}")
        if self.calls[-1] == self.failing:
            raise ClusterError(f"your hook failed on {machine.name}")

    def taken(self) -> list[str]:
        """The calls since the last time, in the order of their names."""
        taken, self.calls = sorted(self.calls), []
        return taken


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> Called:
    stand_in = Called()
    monkeypatch.setattr(hooks, "call", stand_in)
    return stand_in


def take_down(fleet: FakeFleet, folder, *, forget: bool = False) -> None:
    it = new_run(fleet, folder, Settings(cluster="lab", provider="memory", **EVENTS))
    with it.store.lock("teardown"):
        removal.take_down(it, forget=forget)


def test_each_new_machine_once_and_the_cluster_when_something_was_deployed(fleet, tmp_path, called):
    provision(fleet, tmp_path, 2, **EVENTS)
    up = ["machine_up controller", "machine_up engine-0", "machine_up engine-1"]
    assert [call for call in called.taken() if "machine" in call] == up
    provision(fleet, tmp_path, 2, **EVENTS)
    assert called.taken() == []
    provision(fleet, tmp_path, 3, **EVENTS)
    assert called.taken() == ["machine_up engine-2"]


@pytest.mark.parametrize("name", ["controller", "engine-1"])
def test_what_takes_the_place_of_a_machine_that_vanished_is_a_new_machine(name, fleet, tmp_path, called):
    provision(fleet, tmp_path, 2, **EVENTS)
    called.taken()
    del fleet.world.machines["lab", name]
    provision(fleet, tmp_path, 2, **EVENTS)
    assert called.taken() == [f"machine_up {name}"]


def test_one_that_failed_is_called_again_and_keeps_engines_from_starting(fleet, tmp_path, called):
    called.failing = "machine_up engine-1"
    with pytest.raises(ClusterError, match="your hook failed on engine-1"):
        provision(fleet, tmp_path, 2, **EVENTS)
    assert ("ipengine", "1") not in fleet.on(fleet.machine("engine-1")).running
    called.taken()
    called.failing = ""
    provision(fleet, tmp_path, 2, **EVENTS)
    assert called.taken() == ["machine_up engine-1"]


def test_before_a_machine_goes_and_nothing_goes_when_it_fails(fleet, tmp_path, called):
    provision(fleet, tmp_path, 2, **EVENTS)
    called.taken()
    provision(fleet, tmp_path, 1, **EVENTS)
    assert called.taken() == ["machine_down engine-1"]
    called.failing = "machine_down engine-0"
    with pytest.raises(ClusterError, match=r"your hook failed on engine-0[\s\S]*nothing was removed"):
        take_down(fleet, tmp_path)
    assert fleet.machine("engine-0")
    take_down(fleet, tmp_path, forget=True)
    assert fleet.world.machines == {}
