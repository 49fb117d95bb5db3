"""The in-memory provider keeps the contract, so that what is tested on it holds for real ones."""

from __future__ import annotations

import pytest

from fabfile.machines import Cluster, Machine, MachineState, silent
from tests.contract.provider import TRIO, ProviderContract
from tests.fakes.provider import MemoryProvider, World

OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOtherOtherOtherOtherOtherOtherOtherOtherOth other"
CLUSTER = Cluster("crash", "1", "tests@here", 1.0)


class TestMemoryProvider(ProviderContract):
    """The contract, on a dict."""

    @pytest.fixture(autouse=True)
    def _world(self) -> None:
        self.world = World()

    def new_provider(self) -> MemoryProvider:
        return MemoryProvider(self.world)

    def write(self, machine: Machine, text: str) -> None:
        self.world.disks[machine.id] = text

    def read(self, machine: Machine) -> str:
        return self.world.disks[machine.id]

    def lets_in(self, machine: Machine) -> bool:
        return OTHER in self.world.keys[machine.id]

    def other_key(self) -> str:
        return OTHER

    def leftovers(self) -> list[str]:
        return [] if self.world.empty else [str(self.world)]


class TestHook:
    """``on_call`` counts changes, and ends the provider at any of them."""

    def test_it_hears_every_change_before_and_after(self) -> None:
        heard: list[str] = []
        provider = MemoryProvider(on_call=heard.append)
        machines = provider.create(CLUSTER, TRIO, silent)
        provider.stop("crash", machines[:1])
        provider.destroy("crash", machines)
        provider.clean("crash")
        assert heard == ["create"] * 6 + ["stop"] * 2 + ["destroy"] * 6 + ["clean"] * 2

    @pytest.mark.parametrize(("calls", "made"), [(0, 0), (1, 1), (2, 1), (3, 2)])
    def test_what_it_raises_ends_the_verb_between_two_changes(self, calls: int, made: int) -> None:
        left = iter(range(calls))

        def die(verb: str) -> None:
            if next(left, None) is None:
                raise KeyboardInterrupt

        provider = MemoryProvider(on_call=die)
        with pytest.raises(KeyboardInterrupt):
            provider.create(CLUSTER, TRIO, silent)
        machines = MemoryProvider(provider.world).find("crash").machines
        assert [machine.state for machine in machines] == [MachineState.RUNNING] * made
