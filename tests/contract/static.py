"""The contract of providers, as far as it can hold for hosts that somebody else has: they are not made, nor stopped."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fabfile.machines import Cluster, MachineSpec, silent
from tests.contract.provider import ProviderContract


class StaticContract(ProviderContract):
    """Three hosts, one for each machine of the contract."""

    # A host has no console that we could read, and is never powered off.
    test_the_console_is_text_also_of_a_machine_that_is_gone = None  # type: ignore[assignment]  # taken out
    test_a_stopped_machine_keeps_its_disk_and_its_host_key = None  # type: ignore[assignment]  # taken out
    test_stopping_and_starting_none_touches_none = None  # type: ignore[assignment]  # taken out

    @pytest.fixture
    def foreign(self) -> Iterator[Cluster]:
        """Another cluster, on the host that the contract's would use last."""
        cluster = Cluster("foreign", "decade", "others@here", 1_700_000_001.0)
        self.new_provider().create(cluster, [MachineSpec("engine", 1)], silent)
        yield cluster
        self.remove(cluster.name)

    def test_a_cluster_can_be_made_again_after_it_was_removed(self, cluster: Cluster) -> None:
        """The machines' ids are those of the hosts, and so the same ones."""
        self.create(cluster, MachineSpec("controller", 0))
        self.remove(cluster.name)
        second = Cluster(cluster.name, "second", cluster.owner, cluster.created)
        self.create(second, MachineSpec("controller", 0))
        assert self.new_provider().find(cluster.name).cluster == second
