"""A provider whose machines are entries of a dict: as quick as a test wants, as exact as the contract demands."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from fabfile.errors import ProviderRefused
from fabfile.machines import Cluster, Event, Finding, Found, Machine, MachineSpec, MachineState, OnEvent
from fabfile.remote import Endpoint

OnCall = Callable[[str], None]


@dataclass
class World:
    """What is there, whoever looks: clusters by name, machines by cluster and name, keys and disks by machine id."""

    clusters: dict[str, Cluster] = field(default_factory=dict)
    machines: dict[tuple[str, str], Machine] = field(default_factory=dict)
    keys: dict[str, list[str]] = field(default_factory=dict)
    disks: dict[str, str] = field(default_factory=dict)
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    @property
    def empty(self) -> bool:
        """Whether nothing at all is left."""
        return not (self.clusters or self.machines or self.keys or self.disks)


def deaf(call: str) -> None:
    """The hook that does nothing."""


class MemoryProvider:
    """Provider, Stoppable and Authorizing on a World.

    ``on_call`` hears the verb's name before and after every single change (one machine made, one destroyed, …); what
    it raises ends the verb right there, with the changes before it made and those after it not.
    """

    name = "memory"
    owns_machines = True

    def __init__(self, world: World | None = None, *, per_machine: int = 1, on_call: OnCall = deaf) -> None:
        self.world = world or World()
        self.per_machine = per_machine
        self.on_call = on_call

    def engines_per_machine(self, engines: int) -> int:
        """As many as the test says."""
        return self.per_machine

    def check(self, new_machines: int) -> list[Finding]:
        """Nothing stands against it."""
        return []

    def prepare(self, on_event: OnEvent) -> None:
        """Nothing to prepare."""

    def find(self, cluster: str) -> Found:
        """What the world has."""
        machines = [machine for (name, _), machine in self.world.machines.items() if name == cluster]
        return Found(self.world.clusters.get(cluster), tuple(machines))

    def clusters(self) -> list[Found]:
        """Every cluster in the world."""
        return [self.find(name) for name in self.world.clusters]

    def create(self, cluster: Cluster, specs: Sequence[MachineSpec], on_event: OnEvent) -> tuple[Machine, ...]:
        """One machine after the other."""
        if not specs:
            return ()
        known = self.world.clusters.get(cluster.name)
        if known and known.id != cluster.id:
            raise ProviderRefused(f"there is a cluster {cluster.name} already, made by {known.owner}")
        for spec in specs:
            if (cluster.name, spec.name) not in self.world.machines:
                self._change("create", lambda spec=spec: self._make(cluster, spec))
                on_event(Event("made", spec.name))
        return tuple(self.world.machines[cluster.name, spec.name] for spec in specs)

    def destroy(self, cluster: str, machines: Sequence[Machine]) -> None:
        """One machine after the other."""
        for machine in self._meant(cluster, machines):
            self._change("destroy", lambda machine=machine: self._unmake(cluster, machine))

    def clean(self, cluster: str) -> None:
        """Forget the cluster."""
        left = self.find(cluster).machines
        if left:
            raise ProviderRefused(f"{cluster} still has machines: {', '.join(machine.name for machine in left)}")
        if cluster in self.world.clusters:
            self._change("clean", lambda: self.world.clusters.pop(cluster))

    def console(self, machine: Machine) -> str:
        """A line, as long as the machine exists."""
        return f"{machine.name} booted" if machine.id in self.world.keys else ""

    def stop(self, cluster: str, machines: Sequence[Machine]) -> None:
        """One machine after the other."""
        for machine in self._meant(cluster, machines):
            if machine.state is MachineState.RUNNING:
                self._change("stop", lambda machine=machine: self._set(cluster, machine, MachineState.STOPPED))

    def start(self, cluster: str, machines: Sequence[Machine]) -> tuple[Machine, ...]:
        """One machine after the other."""
        for machine in self._meant(cluster, machines):
            if machine.state is MachineState.STOPPED:
                self._change("start", lambda machine=machine: self._set(cluster, machine, MachineState.RUNNING))
        return tuple(self._meant(cluster, machines))

    def authorize(self, cluster: str, public_key: str) -> None:
        """One machine after the other."""
        for machine in self.find(cluster).machines:
            if public_key not in self.world.keys[machine.id]:
                self._change("authorize", lambda machine=machine: self.world.keys[machine.id].append(public_key))

    def _change(self, verb: str, change: Callable[[], object]) -> None:
        self.on_call(verb)
        change()
        self.on_call(verb)

    def _meant(self, cluster: str, machines: Sequence[Machine]) -> list[Machine]:
        mine = {machine.id: machine for machine in self.find(cluster).machines}
        return [mine[machine.id] for machine in machines if machine.id in mine]

    def _make(self, cluster: Cluster, spec: MachineSpec) -> None:
        number = next(self.world.numbers)
        address = f"10.0.{number // 200}.{number % 200 + 10}"
        machine = Machine(
            name=spec.name,
            id=f"m{number}",
            role=spec.role,
            index=spec.index,
            state=MachineState.RUNNING,
            endpoint=Endpoint(address, "ipyfleet"),
            private_address=address,
            host_keys=(f"ssh-ed25519 KEY{number}",),
            created=1_700_000_000.0 + number,
        )
        self.world.clusters[cluster.name] = cluster
        self.world.machines[cluster.name, spec.name] = machine
        self.world.keys[machine.id] = list(spec.authorized_keys)

    def _unmake(self, cluster: str, machine: Machine) -> None:
        del self.world.machines[cluster, machine.name]
        del self.world.keys[machine.id]
        self.world.disks.pop(machine.id, None)

    def _set(self, cluster: str, machine: Machine, state: MachineState) -> None:
        self.world.machines[cluster, machine.name] = replace(machine, state=state)
