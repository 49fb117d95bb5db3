"""What every provider of machines must do, as one class of behaviours that each provider's test module subclasses."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from fabfile.errors import ProviderRefused
from fabfile.machines import (
    Authorizing,
    Cluster,
    Event,
    Machine,
    MachineSpec,
    MachineState,
    Provider,
    Stoppable,
    machine_name,
    silent,
)

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIL4kjbCeiaZNxcUH5gmURVFRf/GP4x9AvUbuWBCBqNrM contract"
CONTROLLER = MachineSpec("controller", 0, (KEY,))
TRIO = (CONTROLLER, MachineSpec("engine", 0, (KEY,)), MachineSpec("engine", 1, (KEY,)))


class ProviderContract:
    """Subclasses say how to come by a provider and how to look into a machine."""

    def new_provider(self) -> Provider:
        """A provider that remembers nothing, of the same machines as those made before in this test."""
        raise NotImplementedError

    def login_key(self) -> str:
        """The public half of the key that ``write``, ``read`` and ``lets_in`` come with."""
        return KEY

    def write(self, machine: Machine, text: str) -> None:
        """Put a text into a file on the machine's disk; waits until the machine answers."""
        raise NotImplementedError

    def read(self, machine: Machine) -> str:
        """The text of that file; waits until the machine answers."""
        raise NotImplementedError

    def lets_in(self, machine: Machine) -> bool:
        """Whether the machine, once it answers, lets a login with another key than ``login_key`` in."""
        raise NotImplementedError

    def other_key(self) -> str:
        """The public half of that other key."""
        raise NotImplementedError

    def leftovers(self) -> list[str]:
        """Everything that the provider's clusters of this test leave, seen by other eyes than the provider's."""
        raise NotImplementedError

    @pytest.fixture
    def cluster(self) -> Iterator[Cluster]:
        """A cluster's tags; whatever is made of it in a test is removed."""
        cluster = Cluster("contract", "c0ffee", "tests@here", 1_700_000_000.0)
        yield cluster
        self.remove(cluster.name)

    @pytest.fixture
    def foreign(self) -> Iterator[Cluster]:
        """Another cluster with one machine."""
        cluster = Cluster("foreign", "decade", "others@here", 1_700_000_001.0)
        self.new_provider().create(cluster, [CONTROLLER], silent)
        yield cluster
        self.remove(cluster.name)

    def remove(self, name: str) -> None:
        """Remove a cluster with all that belongs to it."""
        provider = self.new_provider()
        provider.destroy(name, provider.find(name).machines)
        provider.clean(name)

    def create(self, cluster: Cluster, *specs: MachineSpec) -> tuple[Machine, ...]:
        """Make machines that ``login_key`` opens."""
        keyed = [dataclasses.replace(spec, authorized_keys=(self.login_key(),)) for spec in specs]
        return self.new_provider().create(cluster, keyed, silent)

    def ids(self, cluster: Cluster) -> set[str]:
        """The ids of the machines that a provider finds which has made none."""
        return {machine.id for machine in self.new_provider().find(cluster.name).machines}

    def test_an_unknown_cluster_is_nothing_at_all(self) -> None:
        found = self.new_provider().find("contract")
        assert (found.cluster, found.machines) == (None, ())

    def test_another_provider_object_finds_the_machines_that_one_made(self, cluster: Cluster) -> None:
        made = self.create(cluster, *TRIO)
        found = self.new_provider().find(cluster.name)
        assert {machine.name for machine in made} == {"controller", "engine-0", "engine-1"}
        assert {machine.id for machine in found.machines} == {machine.id for machine in made}
        assert found.cluster == cluster
        for machine in found.machines:
            assert machine.name == machine_name(machine.role, machine.index)
            assert machine.state in (MachineState.PENDING, MachineState.RUNNING)
            assert machine.created > 0

    def test_machines_come_back_in_the_order_asked_for(self, cluster: Cluster) -> None:
        made = self.create(cluster, *reversed(TRIO))
        assert [machine.name for machine in made] == ["engine-1", "engine-0", "controller"]

    def test_every_machine_has_an_address_and_a_host_key_of_its_own(self, cluster: Cluster) -> None:
        made = self.create(cluster, *TRIO)
        assert len({machine.private_address for machine in made if machine.private_address}) == 3
        assert len({machine.endpoint for machine in made if machine.endpoint}) == 3
        assert len({machine.host_keys for machine in made if machine.host_keys}) == 3

    def test_creating_again_makes_no_second_machine(self, cluster: Cluster) -> None:
        first = self.create(cluster, *TRIO)
        again = self.create(cluster, *TRIO)
        assert [machine.id for machine in again] == [machine.id for machine in first]
        assert len(self.ids(cluster)) == 3

    def test_growing_keeps_the_machines_that_there_are(self, cluster: Cluster) -> None:
        before = {machine.id for machine in self.create(cluster, *TRIO[:2])}
        assert before < {machine.id for machine in self.create(cluster, *TRIO)}

    def test_creating_nothing_makes_nothing(self, cluster: Cluster) -> None:
        assert self.create(cluster) == ()
        assert self.new_provider().find(cluster.name).machines == ()
        assert self.leftovers() == []

    def test_creating_says_what_happened(self, cluster: Cluster) -> None:
        heard: list[Event] = []
        self.new_provider().create(cluster, [CONTROLLER], heard.append)
        assert heard

    def test_a_name_that_another_cluster_has_is_refused(self, cluster: Cluster) -> None:
        self.create(cluster, CONTROLLER)
        before = self.ids(cluster)
        with pytest.raises(ProviderRefused, match="contract"):
            self.create(dataclasses.replace(cluster, id="another"), CONTROLLER, TRIO[1])
        assert self.ids(cluster) == before

    def test_destroying_removes_these_machines_and_no_others(self, cluster: Cluster) -> None:
        made = self.create(cluster, *TRIO)
        self.new_provider().destroy(cluster.name, made[1:2])
        assert self.ids(cluster) == {made[0].id, made[2].id}

    def test_destroying_nothing_destroys_nothing(self, cluster: Cluster) -> None:
        made = self.create(cluster, CONTROLLER)
        self.new_provider().destroy(cluster.name, ())
        assert self.ids(cluster) == {made[0].id}

    def test_destroying_what_is_gone_is_silent(self, cluster: Cluster) -> None:
        made = self.create(cluster, *TRIO[:2])
        self.new_provider().destroy(cluster.name, made)
        self.new_provider().destroy(cluster.name, made)
        assert self.ids(cluster) == set()

    def test_a_machine_that_took_a_name_over_is_not_the_one_destroyed(self, cluster: Cluster) -> None:
        old = self.create(cluster, *TRIO[:2])
        self.new_provider().destroy(cluster.name, old[1:])
        new = self.create(cluster, TRIO[1])
        self.new_provider().destroy(cluster.name, old[1:])
        assert self.ids(cluster) == {old[0].id, new[0].id}

    def test_a_foreign_cluster_is_left_alone(self, cluster: Cluster, foreign: Cluster) -> None:
        theirs = self.new_provider().find(foreign.name)
        made = self.create(cluster, *TRIO[:2])
        self.new_provider().destroy(cluster.name, (*made, *theirs.machines))
        self.new_provider().clean(cluster.name)
        after = self.new_provider().find(foreign.name)
        assert [(machine.id, machine.state) for machine in after.machines] == [
            (machine.id, machine.state) for machine in theirs.machines
        ]

    def test_all_clusters_are_listed(self, cluster: Cluster, foreign: Cluster) -> None:
        self.create(cluster, CONTROLLER)
        listed = {found.cluster: len(found.machines) for found in self.new_provider().clusters()}
        assert (listed[cluster], listed[foreign]) == (1, 1)

    def test_cleaning_leaves_nothing(self, cluster: Cluster) -> None:
        made = self.create(cluster, *TRIO)
        self.new_provider().destroy(cluster.name, made)
        self.new_provider().clean(cluster.name)
        assert self.new_provider().find(cluster.name).cluster is None
        assert self.leftovers() == []

    def test_cleaning_what_is_clean_is_silent(self, cluster: Cluster) -> None:
        self.new_provider().clean(cluster.name)
        self.new_provider().clean(cluster.name)

    def test_a_cluster_with_machines_is_not_taken_apart_by_cleaning(self, cluster: Cluster) -> None:
        made = self.create(cluster, CONTROLLER)
        with pytest.raises(ProviderRefused, match="controller"):
            self.new_provider().clean(cluster.name)
        assert self.ids(cluster) == {made[0].id}

    def test_a_cluster_can_be_made_again_after_it_was_removed(self, cluster: Cluster) -> None:
        first = self.create(cluster, CONTROLLER)
        self.remove(cluster.name)
        second = self.create(dataclasses.replace(cluster, id="second"), CONTROLLER)
        assert first[0].id != second[0].id
        found = self.new_provider().find(cluster.name)
        assert found.cluster is not None
        assert found.cluster.id == "second"

    def test_preparing_and_checking_change_nothing(self, cluster: Cluster) -> None:
        self.new_provider().prepare(silent)
        assert [finding for finding in self.new_provider().check(3) if finding.level == "error"] == []
        assert self.leftovers() == []

    def test_the_console_is_text_also_of_a_machine_that_is_gone(self, cluster: Cluster) -> None:
        (machine,) = self.create(cluster, CONTROLLER)
        self.write(machine, "up")
        assert self.new_provider().console(machine)
        self.remove(cluster.name)
        assert self.new_provider().console(machine) == ""

    def test_a_stopped_machine_keeps_its_disk_and_its_host_key(self, cluster: Cluster) -> None:
        provider = self.stoppable()
        (machine,) = self.create(cluster, CONTROLLER)
        self.write(machine, "kept")
        provider.stop(cluster.name, [machine])
        stopped = self.only(cluster)
        provider.stop(cluster.name, [machine])
        (started,) = provider.start(cluster.name, [machine])
        provider.start(cluster.name, [machine])
        assert stopped.state is MachineState.STOPPED
        assert stopped.id == machine.id
        assert (started.id, started.host_keys) == (machine.id, machine.host_keys)
        assert self.only(cluster).state in (MachineState.PENDING, MachineState.RUNNING)
        assert self.read(started) == "kept"

    def test_stopping_and_starting_none_touches_none(self, cluster: Cluster) -> None:
        provider = self.stoppable()
        (machine,) = self.create(cluster, CONTROLLER)
        provider.stop(cluster.name, ())
        assert provider.start(cluster.name, ()) == ()
        assert self.only(cluster).state is machine.state

    def test_a_new_key_is_let_in_once_it_is_authorized(self, cluster: Cluster) -> None:
        provider = self.new_provider()
        if not isinstance(provider, Authorizing):
            return
        (machine,) = self.create(cluster, CONTROLLER)
        self.write(machine, "up")
        assert not self.lets_in(machine)
        provider.authorize(cluster.name, self.other_key())
        provider.authorize(cluster.name, self.other_key())
        assert self.lets_in(machine)
        assert self.read(machine) == "up"

    def stoppable(self) -> Stoppable:
        """The provider as one that can stop machines."""
        provider = self.new_provider()
        assert isinstance(provider, Stoppable)
        return provider

    def only(self, cluster: Cluster) -> Machine:
        """The one machine that the cluster has."""
        (machine,) = self.new_provider().find(cluster.name).machines
        return machine
