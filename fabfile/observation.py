"""Look at a cluster: machines from the provider, engines from the hub, services over SSH where those two leave a doubt.

Changes nothing on any machine, but reopens a dead tunnel; ``adopt`` takes over a cluster that is not in our record.
What is seen is judged in status.py and plan.py.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from typing import Any

from . import boot, connection_files, engines, hub, named_hosts, record, service_managers
from .connection import Connection, parse
from .errors import ClusterError, Locked, Several, UsageError, at_machine
from .machines import Authorizing, Cluster, Found, Guarding, Machine, MachineState, Priced, wait_for_ssh
from .plan import Seen, Slot
from .remote import each
from .run import Run
from .services import CONTROLLER, engine_service
from .status import Hub, Observed, Status, slot_of, summarise

HUB_PATIENCE = 2.0  # seconds that the hub may take to answer one question
LOOK = 5.0  # seconds that a machine may take to answer SSH when only its state is asked


@dataclass(frozen=True)
class HubView:
    """What the hub says: our engines and whether each has work (None: it does not answer), all idents, those of others.

    An engine whose machine is gone is not ours: the hub still lists it until it has missed enough heartbeats.
    """

    state: Hub
    engines: Mapping[Slot, bool] | None = None
    idents: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def observe(run: Run, *, services: bool = False) -> Observed:
    """One look at the cluster: provider, hub through the tunnel (reopened when it is dead), services where asked.

    With ``services``, machines whose engines the hub does not account for are asked over SSH for their services' state.
    """
    found, known = run.provider.find(run.settings.cluster), run.record
    if found.machines and not found.cluster:  # they may be anybody's and do not answer: believe the record
        found = replace(found, cluster=known.cluster)
    if found.cluster is None:
        return Observed(found, Seen())
    if known.cluster is None or known.cluster.id != found.cluster.id:
        return Observed(found, Seen(machines=found.machines), ours=False, hub="no way in")
    view = ask_hub(run, found)
    seen = Seen(
        machines=found.machines,
        hub_up=view.engines is not None,
        registered=view.engines or {},
        assigned=frozenset(known.assigned),
        digests=dict(known.digests),
    )
    observed = Observed(found, seen, hub=view.state, idents=view.idents, others=view.others)
    if not services:
        return observed
    states, unreached = _ask_services(run, observed)
    return replace(observed, services=states, unreached=unreached, leases=_ask_leases(run, found))


def ask_hub(run: Run, found: Found) -> HubView:
    """Which engines are registered and at work, who else is there, and how the hub is."""
    controller, connection = found.controller, run.record.connection
    if connection is None or controller is None or controller.state is not MachineState.RUNNING:
        return HubView("")
    try:
        info = _way_to(run, found.cluster, controller, connection)
    except Locked:
        return HubView("in use")
    except ClusterError:
        return HubView("silent")
    with hub.Questions(info) as questions:
        known = questions.registered(HUB_PATIENCE)
        queues = questions.queues(HUB_PATIENCE) if known else None
    if known is None or (known and queues is None):  # who does not know what is at work may not call it idle
        return HubView("silent")
    busy = {number for number, load in queues.engines.items() if load.busy} if queues else set()
    slots = {number: slot_of(ident) for number, ident in known.items()}
    there = [machine for machine in found.machines if machine.state is not MachineState.LOST]
    present = {machine.index for machine in there if machine.role == "engine"}
    return HubView(
        "answers",
        {slot: number in busy for number, slot in slots.items() if slot and slot.index in present},
        tuple(known.values()),
        tuple(sorted(known[number] for number, slot in slots.items() if not slot)),
    )


def _way_to(run: Run, cluster: Cluster | None, controller: Machine, connection: Connection) -> dict[str, Any]:
    """The client document through the tunnel, this computer being let in first if it comes from elsewhere than before.

    Only a command that may change the cluster does that: two people who just look would shut each other out in turns.
    """
    try:
        return run.tunnel_to(controller, connection)
    except Locked:
        raise
    except ClusterError:
        if not (cluster and run.store.locked and isinstance(run.provider, Guarding) and run.provider.let_in(cluster)):
            raise
    run.tell("this computer let in from where it is now")
    return run.tunnel_to(controller, connection)


def _ask_services(run: Run, observed: Observed) -> tuple[dict[str, str], dict[str, str]]:
    """The state of the service on each running machine that the hub's answer does not account for; why there is none.

    Both by the machine's name; a machine is in one of them.
    """
    seen = observed.seen
    missing = {slot.index for slot in seen.assigned - seen.registered.keys()}

    def in_doubt(machine: Machine) -> bool:
        return not seen.hub_up or (machine.role == "engine" and machine.index in missing)

    def look_at(machine: Machine) -> str:
        numbers = [slot.number for slot in sorted(seen.assigned) if slot.index == machine.index]
        service = CONTROLLER if machine.role == "controller" else engine_service(numbers or [1])
        with run.open(machine, LOOK) as host:
            looks = service_managers.detect(host).state(host, service)
        return ", ".join(sorted({str(one.state) for one in looks.values()}))

    running = [one for one in observed.found.machines if one.state is MachineState.RUNNING and in_doubt(one)]
    outcomes = each(running, look_at)
    states = {one.item.name: one.value for one in outcomes if one.value is not None}
    return states, {one.item.name: str(one.error).splitlines()[0] for one in outcomes if one.error is not None}


def _ask_leases(run: Run, found: Found) -> dict[str, float]:
    """The seconds that each machine has left, from its own timer; nothing is asked when none was armed."""

    def left_on(machine: Machine) -> float | None:
        with run.open(machine, LOOK) as host:
            return service_managers.detect(host).lease_left(host)

    armed = [one for one in found.machines if one.state is MachineState.RUNNING] if run.record.lease else []
    return {one.item.name: one.value for one in each(armed, left_on) if one.value is not None}


def look(run: Run) -> Status:
    """The status of the cluster, from the provider's and the hub's own word, and the record as it is by now."""
    run.record = record.load(run.store)
    observed = observe(run, services=True)
    seen = summarise(run.settings.cluster, run.provider.name, observed, time.time())
    if not isinstance(run.provider, Priced) or not observed.found.machines:
        return seen
    running = [one for one in observed.found.machines if one.state is MachineState.RUNNING]
    rate, cost = None, None
    with suppress(ClusterError):  # what it costs is good to know, but no reason to say nothing
        rate = run.provider.rate(running)
        cost = run.provider.spent(observed.found.machines, time.time())
    return replace(seen, cost=cost, hourly=rate.hourly if rate else None)


def foreign(cluster: Cluster) -> UsageError:
    """The refusal to change a cluster that is not in our record."""
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(cluster.created))
    return UsageError(
        f"the cluster {cluster.name!r} is not in your record: {cluster.owner} made it on {made}",
        hint="`invoke provision --adopt` takes it over, `invoke teardown` removes it; "
        "or choose another name with --cluster",
    )


def adopt(run: Run) -> Observed:
    """Take a cluster that is not in our record into it: a key of ours let in, what runs read back; then observe it.

    A cluster that is in the record is just observed.
    """
    found = run.provider.find(run.settings.cluster)
    if found.cluster is None or (run.record.cluster and run.record.cluster.id == found.cluster.id):
        return observe(run)
    run.pin(found.machines)
    run.tell("adopting")
    if isinstance(run.provider, Authorizing):
        run.provider.authorize(run.settings.cluster, run.authorized_keys()[0])
    else:
        if isinstance(run.provider, Guarding):
            run.provider.let_in(found.cluster)
        _authorize(run, [one for one in found.machines if one.state is MachineState.RUNNING])
    outcomes = each([one for one in found.machines if one.state is MachineState.RUNNING], lambda m: _deployed(run, m))
    marks = {outcome.item: outcome.value for outcome in outcomes if outcome.value}
    run.save(
        cluster=found.cluster,
        provider=run.provider.name,
        template=run.settings.template,
        connection=_fetched(run, found),
        tunnel=None,
        assigned=tuple(Slot(one.index, number) for one, (_, numbers) in marks.items() for number in numbers),
        digests={one.name: digest for one, (digest, _) in marks.items()},
    )
    return observe(run)


def _authorize(run: Run, machines: Sequence[Machine]) -> None:
    """Let a key of ours in where one of the user's own may log in; hosts that are reached by these anyway need none."""
    key = run.authorized_keys()[0]

    def let_in(machine: Machine) -> None:
        endpoint = machine.endpoint
        if endpoint:
            own = named_hosts.own_key_files(endpoint.host, run.settings.key_file)
            endpoint = replace(endpoint, key_files=own)
        with closing(wait_for_ssh(replace(machine, endpoint=endpoint), run.credentials, LOOK)) as host:
            host.script(boot.script("authorize.sh"), key)

    made = [one for one in machines if one.endpoint and one.endpoint.key_files is None]
    failures = [at_machine(one.error, one.item.name) for one in each(made, let_in) if one.error]
    if failures:
        raise Several(
            [
                *failures,
                ClusterError(
                    f"{run.settings.cluster} was not taken over: no key of yours may log in to it",
                    hint="have a key in your ssh-agent or ~/.ssh, or name one by `key_file`, that the cluster was made "
                    "with (`ssh_keys` on the other computer); `invoke teardown --adopt` needs no login",
                ),
            ]
        )


def _deployed(run: Run, machine: Machine) -> tuple[str, tuple[int, ...]]:
    with run.open(machine, LOOK) as host:
        return engines.survey(host).marks["ipcontroller" if machine.role == "controller" else "ipengine"]


def _fetched(run: Run, found: Found) -> Connection | None:
    """The connection as the controller's machine holds it; None when it has none that is of use."""
    if found.controller is None or found.controller.state is not MachineState.RUNNING:
        return None
    with run.open(found.controller, LOOK) as host:
        fetched = connection_files.fetch(host)
    return parse(fetched.engine, fetched.client) if fetched.engine and fetched.client else None
