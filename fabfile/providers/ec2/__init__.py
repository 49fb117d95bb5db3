"""Provider ``ec2``: machines of Amazon EC2.

The truth about machines is in their tags, set by the call that makes them; nothing of it is kept here. Each concern
has its module; this one says how they make up a provider.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial

from ... import named_hosts
from ...errors import ClusterError, ProviderRefused
from ...machines import Cluster, Endpoint, Finding, Found, Machine, MachineSpec, OnEvent, Rate
from ...named_hosts import NamedHost
from ...remote import Host
from ...settings import Settings
from . import booting, creation, instance_types, instances, key_pairs, power, preflight, rules, tags
from .account import AccountAbilities
from .api import Api, code_of, passing_over, told
from .ingredients import launches
from .instance_types import HARDWARE, InstanceType
from .instances import Instance
from .prices import Prices
from .remains import cluster_of_remains, remove_volumes

NAMED = 10  # machines that an error names one by one


def provider(settings: Settings) -> Ec2:
    """The provider for these settings; asks nothing of AWS yet."""
    return Ec2(settings)


class Ec2(AccountAbilities):
    """Machines of one account in one region, and what else the account offers there."""

    name = "ec2"
    owns_machines = True

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.api = Api(settings)

    @cached_property
    def named_gateway(self) -> NamedHost | None:
        """The host to go through to private addresses, reached as the user's own ssh would reach it."""
        return named_hosts.gateway(self.settings)

    @property
    def gateway(self) -> Endpoint | None:
        """How it is reached."""
        return self.named_gateway.endpoint if self.named_gateway else None

    def engines_per_machine(self, engines: int) -> int:
        """One engine a virtual processor: of the listed types, as many as the smallest has."""
        return instance_types.engines_per_machine([self._types[name] for name in self.settings.machine_type])

    def hardware(self) -> str:
        """That of the types of both roles, which have one image."""
        return HARDWARE[instance_types.one_architecture(list(self._types.values()))]

    def check(self, new_machines: int) -> list[Finding]:
        """Credentials, permissions, region, network, images, types, quota, keys and cost, all at once."""
        return preflight.findings(
            self.api,
            self.settings,
            new_machines,
            self._prices,
            controller=not self._has_controller(),
        )

    def prepare(self, on_event: OnEvent) -> None:
        """Nothing is made before the machines: a group and a key are the cluster's, and made with it."""

    def find(self, cluster: str) -> Found:
        """What the tags say; a cluster without machines is one as long as a group or a key of it is left."""
        found = instances.found(instances.described(self.api, cluster), self.settings, self.gateway)
        return found if found.cluster else Found(cluster_of_remains(self.api, cluster))

    def create(self, cluster: Cluster, specs: Sequence[MachineSpec], on_event: OnEvent) -> tuple[Machine, ...]:
        """Launch what is not there, one call a role, both at once; with ``min_engines`` there may be fewer than asked.

        Those that did not come are told to ``on_event`` then; without it, or without a controller, ProviderRefused says
        how many came and why no more.
        """
        if not specs:
            return ()
        settings = self.settings
        needs = partial(launches, self.api, settings, cluster)
        outcome = creation.create(self.api, settings, cluster, specs, needs, on_event, self.gateway)
        if outcome.missing:
            per_machine = settings.engines_per_machine or self.engines_per_machine(settings.engines)
            enough = 0 < settings.min_engines <= outcome.engine_machines * per_machine
            creation.judge(outcome, len(specs), enough, on_event)
        return tuple(outcome.machines[spec.name] for spec in specs if spec.name in outcome.machines)

    def destroy(self, cluster: str, machines: Sequence[Machine]) -> None:
        """Terminate; returns when EC2 says that all of them are on their way out."""
        if machines:
            power.terminate(self.api, cluster, [one.id for one in machines], self.settings.boot_timeout)

    def clean(self, cluster: str) -> None:
        """Remove group and key, once the machines' network interfaces are gone, and volumes that nothing uses."""
        there = [one for one in instances.described(self.api, cluster) if not one.gone]
        if there:
            names = ", ".join(one.name or one.id for one in there[:NAMED])
            raise ProviderRefused(f"the cluster {cluster!r} still has {names}", hint="run `invoke teardown` again")
        rules.delete(self.api, cluster, self.settings.boot_timeout)
        key_pairs.delete(self.api, cluster)
        remove_volumes(self.api, cluster)

    def console(self, machine: Machine) -> str:
        """What the machine wrote on its console, newest lines last; machines of older types show it minutes late."""
        if not any(not one.gone for one in instances.named(self.api, [machine.id])):
            return ""
        with told(f"reading the console of {machine.name}"), passing_over("InvalidInstanceID.NotFound"):
            try:
                answer = self.api.ec2.get_console_output(InstanceId=machine.id, Latest=True)
            except Exception as error:
                if code_of(error) != "UnsupportedOperation":  # types before Nitro cannot show the latest
                    raise
                answer = self.api.ec2.get_console_output(InstanceId=machine.id)
            return str(answer.get("Output") or "")
        return ""

    def clusters(self) -> list[Found]:
        """Every cluster in the region that has machines, whoever made it."""
        groups = instances.of_each_cluster(instances.described(self.api))
        found = (instances.found(group, self.settings, self.gateway) for group in groups)
        return [one for one in found if one.cluster]

    def stop(self, cluster: str, machines: Sequence[Machine]) -> None:
        """Switch off; spot machines, which EC2 does not keep, are terminated."""
        if machines:
            timeout = self.settings.stop_timeout + self.settings.boot_timeout
            power.stop(self.api, cluster, [one.id for one in machines], timeout)

    def start(self, cluster: str, machines: Sequence[Machine]) -> tuple[Machine, ...]:
        """Switch on; the machines with their new addresses. The group lets this computer in from where it is now."""
        if not machines:
            return ()
        ids = {one.id for one in machines}

        def look() -> list[Instance]:
            return [one for one in instances.described(self.api, cluster) if one.id in ids]

        for its in {one.cluster for one in look()}:
            rules.refresh(self.api, its, self.settings)
        noted = [one.id for one in look() if one.tags.deadline is not None]
        power.start(self.api, cluster, ids, self.settings.boot_timeout)
        seen = instances.look_until(
            look,
            lambda seen: all(one.gone or instances.is_up(one, self.settings) for one in seen),
            self.settings.boot_timeout,
        )
        if noted:  # the lease begins anew with this boot
            lease = self.settings.lease
            power.tag(self.api, noted, tags.deadline(time.time() + lease if lease else None))
            seen = look()
        there = {one.id: one for one in instances.found(seen, self.settings, self.gateway).machines}
        return tuple(there[one.id] for one in machines if one.id in there)

    def let_in(self, cluster: Cluster) -> bool:
        """Make the rules of the cluster's group what the settings, and this computer's address, say now."""
        return rules.refresh(self.api, cluster, self.settings)

    def publish_host_keys(self, machine: Machine, keys: Sequence[str], throwaway: str) -> Machine:
        """Set the tag that says which host keys the machine may show."""
        try:
            packed = tags.host_keys(keys)
        except ValueError as error:
            raise ProviderRefused(str(error), machine=machine.name, hint="use Ed25519 host keys") from error
        power.tag(self.api, [machine.id], packed)
        return replace(machine, host_keys=tuple(keys), throwaway_key=throwaway)

    def note_deadline(self, machines: Sequence[Machine], deadline: float | None) -> None:
        """Set the tag that says when the lease ends, of all machines in one call."""
        power.tag(self.api, [one.id for one in machines], tags.deadline(deadline))

    def wait_until_booted(self, machine: Machine, host: Host, timeout: float) -> None:
        """Wait for the end of cloud-init."""
        booting.wait_until_booted(host, machine.name, timeout)

    def rate(self, machines: Sequence[Machine]) -> Rate | None:
        """What machines like these cost while they run."""
        return self._prices.rate(machines)

    def spent(self, machines: Sequence[Machine], now: float) -> float | None:
        """What these machines have cost by now."""
        return self._prices.spent(machines, now)

    def estimate(self, specs: Sequence[MachineSpec]) -> Rate | None:
        """What machines that are not there yet will cost."""
        return self._prices.estimate(specs)

    def _has_controller(self) -> bool:
        try:
            return self.find(self.settings.cluster).controller is not None
        except ClusterError:  # the preflight finds out why
            return False

    @cached_property
    def _types(self) -> dict[str, InstanceType]:
        names = (*self.settings.machine_type, *self.settings.controller_type)
        return {one.name: one for one in instance_types.describe(self.api, names)}

    @cached_property
    def _prices(self) -> Prices:
        return Prices(self.api, self.settings)
