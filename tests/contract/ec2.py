"""The contract of providers on EC2, where the machines of one launch have a host key in common until it is replaced."""

from __future__ import annotations

from fabfile.machines import Cluster, KeyPublishing, Leasing, Machine
from tests.contract.provider import TRIO, ProviderContract

OWN = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBnBr0nQ0hSJV5bJ3hSkxC4h3dCzWyCbOQ4FeZk2Xr9L"


class Ec2Contract(ProviderContract):
    """What is said of all providers, and what only this one promises so far."""

    # Of its own only once the throw-away one is replaced: the next test.
    test_every_machine_has_an_address_and_a_host_key_of_its_own = None  # type: ignore[assignment]  # taken out

    def test_every_machine_has_an_address_of_its_own_and_the_host_key_of_its_launch(self, cluster: Cluster) -> None:
        made = self.create(cluster, *TRIO)
        controller, *engines = made
        assert len({machine.private_address for machine in made if machine.private_address}) == 3
        assert len({machine.endpoint for machine in made if machine.endpoint}) == 3
        for machine in made:
            assert machine.host_keys == (machine.throwaway_key,)
        assert engines[0].host_keys == engines[1].host_keys != controller.host_keys

    def test_the_host_keys_that_are_noted_are_found_again(self, cluster: Cluster) -> None:
        first, second = self.create(cluster, *TRIO[:2])
        provider = self.new_provider()
        assert isinstance(provider, KeyPublishing)
        both = provider.publish_host_keys(first, (*first.host_keys, OWN), first.throwaway_key)
        assert (both.host_keys, both.throwaway_key) == ((first.throwaway_key, OWN), first.throwaway_key)
        assert self.again(both) == both
        own = provider.publish_host_keys(both, (OWN,), "")
        assert (own.host_keys, own.throwaway_key) == ((OWN,), "")
        assert self.again(own) == own
        assert self.again(second).host_keys == second.host_keys

    def test_the_end_of_a_lease_that_is_noted_is_found_again(self, cluster: Cluster) -> None:
        first, second = self.create(cluster, *TRIO[:2])
        provider = self.new_provider()
        assert isinstance(provider, Leasing)
        provider.note_deadline([first, second], 1_900_000_000.0)
        assert (self.again(first).deadline, self.again(second).deadline) == (1_900_000_000.0, 1_900_000_000.0)
        provider.note_deadline([first], None)
        assert (self.again(first).deadline, self.again(second).deadline) == (None, 1_900_000_000.0)

    def again(self, machine: Machine) -> Machine:
        """The machine as a provider finds it that remembers nothing."""
        found = self.new_provider().find("contract").by_name(machine.name)
        assert found is not None
        return found
