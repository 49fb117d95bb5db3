"""Hosts that you already have: nothing is made and nothing is ever powered off, a host is only claimed and let go.

The truth about a cluster lies on its hosts: /etc/ipyfleet/owner.json says whose a host is, written before anything else
is put there and removed after everything else. A machine's id is its host as the settings name it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...errors import ClusterError, ProviderRefused
from ...machines import Cluster, Event, Finding, Found, Machine, MachineSpec, MachineState, OnEvent, machine_name
from ...remote import Host, each, values
from ...settings import Settings
from ...software import software
from . import preflight
from .owner import Owner, whose
from .places import Look, Places, role_of


def provider(settings: Settings) -> Static:
    """The provider for these settings."""
    return Static(settings)


class Static:
    """The hosts of ``hosts:``, and ``controller_host:``, which is the first of them unless it is named."""

    name = "static"
    owns_machines = False

    def __init__(self, settings: Settings, places: Places | None = None) -> None:
        self._settings = settings
        self._controller = settings.controller_host or next(iter(settings.hosts), "")
        self._places = places or Places(settings)
        self._seen: dict[str, Look] = {}

    def engines_per_machine(self, engines: int) -> int:
        """Engines are spread over all hosts."""
        return -(-engines // max(1, len(self._settings.hosts)))

    def check(self, new_machines: int) -> list[Finding]:
        """Enough hosts, each of them reachable, ready for our services, and nobody else's."""
        settings = self._settings
        findings = list(preflight.of_the_list(settings))
        if not settings.hosts:
            return findings
        per_machine = settings.engines_per_machine or self.engines_per_machine(settings.engines)
        needed = settings.hosts[: -(-settings.engines // per_machine)]
        looks, failures = self._places.look_around((self._controller, *needed), settings.cluster, self._seen)
        findings += preflight.of_the_hosts(looks, failures, settings, software(settings))
        return findings + list(preflight.of_them_together(list(looks.values()), self._controller))

    def prepare(self, on_event: OnEvent) -> None:
        """Nothing has to be made or asked."""

    def find(self, cluster: str) -> Found:
        """The hosts that say they are the cluster's; one that does not answer, and is known to be, has failed.

        When two clusters have this name, it is the one on the host that is listed first. When no host answers at all,
        each of them may be the cluster's, and none is passed over in silence.
        """
        looks, failures = self._look_around(cluster)
        self._seen = looks
        owner = next((look.owner for look in looks.values() if look.is_of(cluster)), None)
        if owner is None:
            return Found(None, () if looks else tuple(_failed(*item, failures) for item in self._listed()))
        mine = _of(owner.cluster, looks)
        known = {name: place for look in mine.values() if look.owner for name, place in look.owner.places.items()}
        gone = {name: _failed(name, place, failures) for name, place in known.items() if place in failures}
        there = {machine.name: machine for look in mine.values() for machine in look.machines}
        return Found(owner.cluster, tuple(sorted((gone | there).values(), key=lambda one: (one.role, one.index))))

    def create(self, cluster: Cluster, specs: Sequence[MachineSpec], on_event: OnEvent) -> tuple[Machine, ...]:
        """Claim a host for each: the i-th for engine-i, else the first free one; one of another cluster is refused.

        Chooses by the last look that ``find`` had; a host that became another's since refuses to be claimed.
        """
        looks, failures = self._look_around(cluster.name, self._forget())
        mine = _of(cluster, looks)
        for place, look in looks.items():
            if look.is_of(cluster.name) and place not in mine:
                raise ProviderRefused(
                    f"{place} {whose(look.owner)}", hint="choose another name with --cluster, or remove that cluster"
                )
        there = {machine.name: place for place, look in mine.items() for machine in look.machines}
        new = self._choose([spec for spec in specs if spec.name not in there], there)
        known = {name: place for look in mine.values() if look.owner for name, place in look.owner.places.items()}
        places = known | there | new

        def claim(place: str) -> Look:
            if place in failures:
                raise failures[place]
            names = {name: time.time() for name, its in new.items() if its == place}
            before = mine[place].owner if place in mine else None
            owner = Owner(cluster, {**names, **(before.names if before else {})}, places)
            self._places.claim(place, owner)
            for name in names:
                on_event(Event(f"claimed {place}", name))
            return replace(looks[place], owner=owner)

        claimed = values(each(dict.fromkeys(new.values()), claim))
        machines = {machine.name: machine for look in (*mine.values(), *claimed) for machine in look.machines}
        return tuple(machines[spec.name] for spec in specs)

    def destroy(self, cluster: str, machines: Sequence[Machine]) -> None:
        """Let go of hosts; one that is nothing of the cluster any more is cleared of everything that we put there.

        A machine that had failed when it was looked at, and still does not answer, is passed over.
        """
        self._forget()

        def let_go(place: str) -> None:
            going = [machine for machine in machines if machine.id == place]
            try:
                look = self._places.look(place)
            except ClusterError:
                if all(machine.state is MachineState.FAILED for machine in going):
                    return
                raise
            if look.owner is None or not look.is_of(cluster):
                return
            # One that was let go and claimed again since is another machine; a failed one has no time.
            gone = {machine.name: machine.created for machine in going}
            names = {name: since for name, since in look.owner.names.items() if gone.get(name, -1) not in (0, since)}
            if names == look.owner.names:
                return
            if names:
                self._places.claim(place, replace(look.owner, names=names))
            else:
                self._places.clear(place)

        values(each(dict.fromkeys(machine.id for machine in machines), let_go))

    def clean(self, cluster: str) -> None:
        """Nothing is left beside the hosts; raises ProviderRefused when there is one left."""
        found = self.find(cluster)
        if found.cluster:
            names = ", ".join(f"{machine.name} ({machine.id})" for machine in found.machines)
            raise ProviderRefused(f"the cluster {cluster!r} still has {names}", hint="run `invoke teardown` again")

    def connected(self, machine: Machine) -> Host | None:
        """The connection to a host that was looked at."""
        return self._places.connected(machine.id)

    def console(self, machine: Machine) -> str:
        """What a host writes on its console does not reach us."""
        return ""

    def clusters(self) -> list[Found]:
        """Every cluster that one of the hosts belongs to."""
        looks, _ = self._look_around(self._settings.cluster)
        clusters = {look.owner.cluster.id: look.owner.cluster for look in looks.values() if look.owner}
        return [
            Found(cluster, tuple(machine for look in _of(cluster, looks).values() for machine in look.machines))
            for cluster in clusters.values()
        ]

    def close(self) -> None:
        """Close all connections."""
        self._places.close()

    def _look_around(
        self, cluster: str, seen: Mapping[str, Look] | None = None
    ) -> tuple[dict[str, Look], dict[str, ClusterError]]:
        places = (self._controller, *self._settings.hosts) if self._controller else ()
        return self._places.look_around(places, cluster, seen)

    def _forget(self) -> Mapping[str, Look]:
        """The last looks, from now on forgotten: what follows changes whose the hosts are."""
        seen, self._seen = self._seen, {}
        return seen

    def _listed(self) -> list[tuple[str, str]]:
        """Every machine that the settings have a host for, with that host."""
        engines = [(machine_name("engine", index), host) for index, host in enumerate(self._settings.hosts)]
        return [("controller", self._controller), *engines] if self._controller else []

    def _choose(self, specs: Sequence[MachineSpec], there: Mapping[str, str]) -> dict[str, str]:
        """A host for each machine to come, by name; an engine's is one that has no engine machine yet."""
        hosts = self._settings.hosts
        taken = {place for name, place in there.items() if role_of(name)[0] == "engine"}
        free = [host for host in dict.fromkeys(hosts) if host not in taken]
        chosen: dict[str, str] = {}
        for spec in specs:
            place = self._controller
            if spec.role == "engine":
                own = hosts[spec.index] if spec.index < len(hosts) else ""
                place = own if own in free else next(iter(free), "")
                free = [host for host in free if host != place]
            if not place:
                raise ProviderRefused(
                    f"no host is left for {spec.name}: {len(hosts)} are listed",
                    hint="list more hosts in `hosts`, or raise engines_per_machine",
                )
            chosen[spec.name] = place
        return chosen


def _of(cluster: Cluster, looks: Mapping[str, Look]) -> dict[str, Look]:
    """Those of the hosts that are the very cluster's."""
    return {place: look for place, look in looks.items() if look.owner and look.owner.cluster.id == cluster.id}


def _failed(name: str, place: str, failures: Mapping[str, ClusterError]) -> Machine:
    role, index = role_of(name)
    return Machine(name, place, role, index, MachineState.FAILED, detail=failures[place].message)
