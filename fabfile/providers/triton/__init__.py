"""Provider ``triton``: SmartOS machines of a Triton data center, by its CloudAPI.

The truth about machines is in their tags, set by the call that makes them; nothing of it is kept here. Each concern
has its module; this one says how they make up a provider.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial

from ... import named_hosts
from ...errors import ClusterError, ProviderRefused, UsageError, raise_together
from ...kinds import nearest
from ...machines import Cluster, Endpoint, Event, Finding, Found, Machine, MachineSpec, OnEvent, Rate
from ...pkgsrc import MACHINE
from ...remote import Host, each, values
from ...settings import Settings
from . import (
    booting,
    catalog,
    entry,
    identity,
    ingredients,
    joining,
    labels,
    launching,
    marks,
    power,
    preflight,
    prices,
    sightings,
)
from .account import AccountAbilities
from .api import Api
from .catalog import Networks
from .ingredients import Ingredients
from .sweep import cluster_of_remains

NAMED = 10  # machines that an error names one by one


def provider(settings: Settings) -> Triton:
    """The provider for these settings; asks nothing of CloudAPI yet."""
    return Triton(settings)


class Triton(AccountAbilities):
    """Machines of one account in one data center, and what else the account offers there."""

    name = "triton"
    owns_machines = True

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def api(self) -> Api:  # type: ignore[override]  # made when it is first asked
        """The CloudAPI of the profile, or of the data center that ``region`` names beside it."""
        who = identity.load(self.settings.triton_profile)
        api = Api(who)
        if not self.settings.region:
            return api
        there = catalog.datacenters(api)
        if self.settings.region not in there:
            raise UsageError(
                f"{who.url} knows no data center {self.settings.region}{nearest(self.settings.region, there)}",
                hint=f"correct `region`: there are {', '.join(sorted(there))}",
            )
        url = there[self.settings.region]
        return api if url.rstrip("/") == who.url.rstrip("/") else Api(replace(who, url=url))

    def engines_per_machine(self, engines: int) -> int:
        """One engine a processor of the package, one where CloudAPI does not say how many it has."""
        return ingredients.engines_per_machine(ingredients.package(self.api, self.settings, "engine"))

    def hardware(self) -> str:
        """All machines run SmartOS."""
        return MACHINE

    def check(self, new_machines: int) -> list[Finding]:
        """Account, image, packages, networks, firewall and cost, all at once."""
        return preflight.findings(self.api, self.settings, new_machines, controller=not self._has_controller())

    def prepare(self, on_event: OnEvent) -> None:
        """Nothing is made before the machines."""

    def find(self, cluster: str) -> Found:
        """What the tags say; a cluster without machines is one as long as a firewall rule of it is left."""
        groups = sightings.by_cluster(sightings.of_name(self.api, cluster))
        for its, machines in groups.items():
            return self._placed(sightings.found(its, machines, self._networks))
        return Found(cluster_of_remains(self.api, cluster))

    def create(self, cluster: Cluster, specs: Sequence[MachineSpec], on_event: OnEvent) -> tuple[Machine, ...]:
        """Make what is not there, one call a machine, as many at once as CloudAPI's rate allows.

        The firewall's rules come first. Machines that are there already, half made by an earlier run, are waited for.
        With ``min_engines`` there may be fewer than asked: those that did not come are told to ``on_event`` then.
        """
        if not specs:
            return ()
        before = self.find(cluster.name)
        if before.cluster and before.cluster.id != cluster.id:
            raise ProviderRefused(
                f"there is another cluster {cluster.name}, which {before.cluster.owner} made",
                hint="choose another name with --cluster, or have that one removed",
            )
        there = {one.name: one for one in before.machines}
        new = [spec for spec in specs if spec.name not in there]
        roles = dict.fromkeys(spec.role for spec in new)
        made_of: dict[str, Ingredients] = dict(
            values(each(roles, lambda role: (role, ingredients.gather(self.api, self.settings, role))))
        )
        deadline = time.time() + self.settings.lease if self.settings.lease else None
        orders = [ingredients.order(self.settings, cluster, spec, made_of[spec.role], deadline) for spec in new]
        for one in orders:
            one.body()  # what cannot be asked for is said before anything is made
        entry.ensure(self.api, cluster, self.settings)
        waited = [there[spec.name] for spec in specs if spec.name in there]
        wait = partial(launching.reachable, self.api, self.settings, networks=self._networks, on_event=on_event)
        up = values(each(waited, lambda one: wait(one.id)))
        made, failures = launching.launch(self.api, self.settings, orders, self._networks, on_event)
        machines = {one.name: self._gated(one) for one in (*up, *made)}
        self._tolerate(failures, sum(one.role == "engine" for one in {**there, **machines}.values()), on_event)
        on_event(Event(f"{len(made)} machines made"))
        return tuple(machines[spec.name] for spec in specs if spec.name in machines)

    def _tolerate(self, failures: list[ClusterError], engine_machines: int, on_event: OnEvent) -> None:
        """Raise the failures, unless ``min_engines`` is content with the machines that there are."""
        if not failures:
            return
        per_machine = self.settings.engines_per_machine or self.engines_per_machine(self.settings.engines)
        enough = 0 < self.settings.min_engines <= engine_machines * per_machine
        if not enough or any(one.machine == "controller" for one in failures):
            more = len(failures) - NAMED
            counted = [ProviderRefused(f"and {more} more like these")] if more > 0 else []
            raise_together([*failures[:NAMED], *counted])
        for one in failures:
            on_event(Event(f"going on without: {one.message}", one.machine))

    def destroy(self, cluster: str, machines: Sequence[Machine]) -> None:
        """Delete, and make sure that they are gone."""
        if machines:
            power.delete(self.api, cluster, [one.id for one in machines], self.settings.boot_timeout)

    def clean(self, cluster: str) -> None:
        """Remove the firewall's rules, and failed machines in whose place others were made."""
        seen = sightings.of_name(self.api, cluster)
        there = [one for one in seen if not one.failed]
        if there:
            names = ", ".join(one.name for one in there[:NAMED])
            raise ProviderRefused(f"the cluster {cluster!r} still has {names}", hint="run `invoke teardown` again")
        entry.remove(self.api, entry.of_cluster(self.api, cluster))
        power.delete(self.api, cluster, [one.id for one in seen], self.settings.boot_timeout)

    def console(self, machine: Machine) -> str:
        """CloudAPI shows no console."""
        return ""

    def clusters(self) -> list[Found]:
        """Every cluster in the data center that has machines, whoever of the account made it."""
        groups = sightings.by_cluster(sightings.of_everybody(self.api))
        return [self._placed(sightings.found(its, machines, self._networks)) for its, machines in groups.items()]

    def stop(self, cluster: str, machines: Sequence[Machine]) -> None:
        """Switch off, in an orderly way."""
        if machines:
            timeout = self.settings.stop_timeout + self.settings.boot_timeout
            # Before it is off: what a lease has switched off is swept away, disk and all.
            mark = {marks.STOPPED: f"{time.time():.0f}"}
            values(each(machines, lambda one: labels.add(self.api, "tag", one.id, mark)))
            power.stop(self.api, cluster, [one.id for one in machines], timeout)

    def start(self, cluster: str, machines: Sequence[Machine]) -> tuple[Machine, ...]:
        """Switch on; the firewall lets this computer in from where it is now, and leases begin anew."""
        if not machines:
            return ()
        now = self.find(cluster)
        if now.cluster:
            entry.ensure(self.api, now.cluster, self.settings)
        ids = [one.id for one in machines]
        power.start(self.api, cluster, ids, self.settings.boot_timeout)
        values(each(ids, lambda id: labels.remove(self.api, "tag", id, marks.STOPPED)))
        leased = [one for one in now.machines if one.id in ids and one.deadline is not None]
        self.note_deadline(leased, time.time() + self.settings.lease if self.settings.lease else None)
        there = {one.id: one for one in self.find(cluster).machines}
        return tuple(there[id] for id in ids if id in there)

    def let_in(self, cluster: Cluster) -> bool:
        """Make the firewall's rules what the settings, and this computer's address, say now."""
        return entry.ensure(self.api, cluster, self.settings)

    def note_deadline(self, machines: Sequence[Machine], deadline: float | None) -> None:
        """Set the tag that says when the lease ends, and what the machine reads at its next boot."""

        def note(machine: Machine) -> None:
            if deadline is None:
                labels.remove(self.api, "tag", machine.id, marks.DEADLINE)
                labels.remove(self.api, "metadata", machine.id, marks.LEASE)
            else:
                labels.add(self.api, "tag", machine.id, {marks.DEADLINE: f"{deadline:.0f}"})
                labels.add(self.api, "metadata", machine.id, {marks.LEASE: str(math.ceil(self.settings.lease))})

        values(each(machines, note))

    def wait_until_booted(self, machine: Machine, host: Host, timeout: float) -> None:
        """Wait until the machine has run its boot script."""
        booting.wait_until_booted(host, machine.name, timeout)

    def awaits_kit(self, machine: Machine) -> bool:
        """Whether it was told to wait for one, and has not said how it went."""
        return joining.awaits(self.api, machine.id)

    def join(self, machine: Machine, kit: bytes, timeout: float) -> None:
        """Hand it over as metadata, where it is no longer than the machine needs."""
        joining.join(self.api, machine, kit, timeout)

    def rate(self, machines: Sequence[Machine]) -> Rate | None:
        """What machines like these cost while they run, by ``price_per_hour``."""
        return prices.rate(machines, dict(self.settings.price_per_hour))

    def spent(self, machines: Sequence[Machine], now: float) -> float | None:
        """What these machines have cost by now, as if they had run all the time."""
        return prices.spent(machines, dict(self.settings.price_per_hour), now)

    def estimate(self, specs: Sequence[MachineSpec]) -> Rate | None:
        """What machines that are not there yet will cost."""
        names = [ingredients.package(self.api, self.settings, spec.role).name for spec in specs]
        return preflight.cost(names, dict(self.settings.price_per_hour))

    def _has_controller(self) -> bool:
        try:
            return self.find(self.settings.cluster).controller is not None
        except ClusterError:  # the preflight finds out why
            return False

    @cached_property
    def _networks(self) -> Networks:
        return Networks(self.api)

    @cached_property
    def _gateway(self) -> Endpoint | None:
        named = named_hosts.gateway(self.settings)
        return named.endpoint if named else None

    def _gated(self, machine: Machine) -> Machine:
        """The machine as it is reached: through the gateway, if there is one, at its private address."""
        if self._gateway is None or machine.endpoint is None:
            return machine
        return replace(machine, endpoint=replace(machine.endpoint, host=machine.private_address, gateway=self._gateway))

    def _placed(self, found: Found) -> Found:
        return replace(found, machines=tuple(self._gated(one) for one in found.machines))
