"""The links of the chain, each a function that takes the value of the link before and may be run again by itself.

observe → plan → create → connect → deploy → count → retire → hand_over: the first is in observation.py, what removes
things in removal.py, the others are here.
Decides order, threads and what is written to the record before each side effect. Nothing here prints: who wants to
see progress passes a listener.
"""

from __future__ import annotations

import getpass
import platform
import secrets
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from . import connection_files, engines, hooks, hub, service_managers
from .client_file import install_client_file, refuse_foreign
from .connection import Connection, at_address, follows, make
from .deployment import arm as arm
from .deployment import controller_of, stale_idents, tolerate
from .deployment import deploy as deploy
from .errors import ClusterError, HubSilent
from .machines import Cluster, Found, Guarding, MachineSpec, MachineState, machine_name
from .observation import LOOK, foreign
from .plan import Plan, Slot, Wanted, make_plan
from .power import stoppable
from .record import UNSURE, Record
from .removal import cut_off
from .run import Run
from .services import Service
from .status import Observed, slot_of

MUTE = 4.0  # seconds that engines have to answer when they are asked first; twice as long each time after


def wanted(run: Run) -> Wanted:
    """What the settings ask for, in terms of the plan."""
    settings, connection, bundle = run.settings, _fitting(run), run.software
    return Wanted(
        engines=settings.engines,
        per_machine=settings.engines_per_machine or run.provider.engines_per_machine(settings.engines),
        controller_digest=engines.controller_digest(settings, connection, bundle),
        engine_digest=engines.engine_digest(settings, connection, bundle),
    )


def plan(run: Run, observed: Observed) -> Plan:
    """What has to be done; refuses a cluster that is not in our record, and a client file that is not of ours."""
    if not observed.ours and observed.found.cluster:
        raise foreign(observed.found.cluster)
    refuse_foreign(run.settings.cluster, {one.id for one in (observed.found.cluster, run.record.cluster) if one})
    return make_plan(wanted(run), observed.seen)


def create(run: Run, observed: Observed, todo: Plan) -> Found:
    """The machines of the plan, made or started; what is broken is taken away first."""
    if observed.found.cluster is None:  # what the record has is of a cluster that is no more
        cut_off(run, observed.found)
        run.record = Record()
    cluster = observed.found.cluster or Cluster(
        run.settings.cluster, secrets.token_hex(4), f"{getpass.getuser()}@{platform.node()}", time.time()
    )
    gone = {machine.name for machine in todo.discard}
    new = {one.name for one in todo.create}  # also those in the place of machines that vanished
    run.save(
        cluster=cluster,
        provider=run.provider.name,
        template=run.settings.template,
        assigned=_assigned(run, observed, todo),
        digests={name: digest for name, digest in run.record.digests.items() if name not in gone | new},
        # Machines may have it from their first boot on, long before `arm` is through.
        lease=run.record.lease if run.record.lease == run.settings.lease else UNSURE,
    )
    if todo.discard:
        run.provider.destroy(cluster.name, todo.discard)
    keys = run.authorized_keys()
    specs = [MachineSpec(one.role, one.index, keys) for one in todo.create]
    for machine in todo.start:
        run.tell("starting", machine.name)
    started = stoppable(run).start(cluster.name, todo.start) if todo.start else ()
    if specs:
        run.provider.prepare(run)
    for spec in specs:
        run.tell("creating", spec.name)
    if todo.deploy and not (specs or todo.start) and isinstance(run.provider, Guarding):
        run.provider.let_in(cluster)  # the run that made the machines may have been one from elsewhere
    asked = [*specs, *_coming(observed, todo, keys)]
    made = run.provider.create(cluster, asked, run) if asked else ()
    machines = {machine.name: machine for machine in observed.found.machines if machine.name not in gone}
    machines |= {machine.name: machine for machine in (*started, *made)}
    run.pin(machines.values())
    return Found(cluster, tuple(machines.values()))


def _coming(observed: Observed, todo: Plan, keys: tuple[str, ...]) -> list[MachineSpec]:
    """The machines of the plan that an earlier run began to make or start, and that have no way in yet."""
    pending = {one.name for one in observed.found.machines if one.state is MachineState.PENDING}
    return [MachineSpec(one.role, one.index, keys) for one in todo.target if one.name in pending]


def _assigned(run: Run, observed: Observed, todo: Plan) -> tuple[Slot, ...]:
    """Every engine that may run from now on: also those to be dropped until they are, not those of lost machines."""
    there = {one.index for one in observed.found.machines if one.role == "engine" and one not in todo.discard}
    lost = {slot for slot in observed.seen.assigned if slot.index not in there}
    return tuple(sorted({*run.record.assigned} - lost | {*todo.engines}))


def connect(run: Run, found: Found, todo: Plan) -> tuple[Connection, str | None]:
    """The connection that controller and engines shall use, and the secret half of its keys if it is new.

    The record's own is kept as long as it is what the settings say and the controller holds the other half of it; a
    changed address is followed.
    """
    controller = controller_of(found)
    connection, secret = _fitting(run), None
    fresh = connection is None or any(one.role == "controller" for one in todo.create)
    if connection is not None and not fresh and any(one.role == "controller" for one in todo.deploy):
        with run.open(controller) as host:
            fresh = connection.public_key not in (None, connection_files.fetch(host).public)
    if connection is None or fresh:
        connection, secret = make(controller.private_address, run.settings)
    elif connection.address != controller.private_address:
        connection = at_address(connection, controller.private_address)
    run.save(connection=connection)
    return connection, secret


def _fitting(run: Run) -> Connection | None:
    """The record's connection, unless it is made for other settings than these."""
    connection = run.record.connection
    return connection if connection and follows(connection, run.settings) else None


def connection_of(run: Run) -> Connection:
    """The connection in the record; raises ClusterError when the cluster has not come that far."""
    if run.record.connection is None:
        raise ClusterError("the cluster has no connection files yet", hint="`invoke provision` makes them")
    return run.record.connection


def wait_for_machines(run: Run, found: Found) -> None:
    """Wait until every machine answers SSH."""
    running = [machine for machine in found.machines if machine.state is not MachineState.STOPPED]
    run.on_each(running, lambda host, machine: run.tell("ssh answers", machine.name), run.settings.boot_timeout)


def compare_connection(run: Run, found: Found) -> None:
    """Fetch the controller's files and compare them with the record's; raises ClusterError naming what differs."""
    with run.open(controller_of(found)) as host:
        differing = connection_files.check(connection_of(run), connection_files.fetch(host))
    if differing:
        raise ClusterError(
            f"the controller's connection files are not those of the record: {'; '.join(differing)}",
            machine="controller",
            hint="`invoke provision` puts them right",
        )


def count(run: Run, observed: Observed, found: Found, todo: Plan, connection: Connection) -> int:
    """Wait until the hub knows every engine of the plan and each new one answered a task; how many there are then.

    Raises HubSilent naming the engines that are missing, unless ``min_engines`` are there.
    """
    aimed, fresh = frozenset(todo.engines), todo.fresh
    if not todo.deploy:
        return len(aimed)
    info = run.tunnel_to(controller_of(found), connection)
    gone = set(stale_idents(observed, todo))
    proved: set[str] = set()
    deadline = time.monotonic() + run.settings.start_timeout
    patience = MUTE

    def slots(idents: Iterable[str]) -> frozenset[Slot]:
        return aimed & {slot for ident in idents if ident not in gone and (slot := slot_of(ident))}

    while True:
        known = hub.wait_for_engines(
            info,
            lambda idents: len(aimed) - len(slots(idents)),
            timeout=max(0.0, deadline - time.monotonic()),
            beat=lambda left: run.tell(f"{len(aimed) - left} of {len(aimed)} engines registered"),
        )
        asked = {number: ident for number, ident in known.items() if slots([ident]) & fresh and ident not in proved}
        # Each time by another client, and not for long: an engine that a machine's boot had started and that was
        # started anew since has two idents for a while, and no client is certain to hear that one of them is dead.
        proved |= {asked[number] for number in hub.probe(info, asked, patience)}
        there = slots(ident for ident in known.values() if ident in proved or slot_of(ident) not in fresh)
        if there == aimed or time.monotonic() >= deadline:
            break
        patience = min(2 * patience, max(MUTE, deadline - time.monotonic()))
    gone |= {ident for ident in known.values() if ident not in proved and slot_of(ident) in there & fresh}
    _wait_for_the_gone(run, info, gone, known.values())
    missing = sorted(aimed - there)
    if missing:
        failure = HubSilent(
            f"{len(there)} of {len(aimed)} engines answer; missing: {', '.join(str(slot) for slot in missing)}",
            seen=_last_words(run, found, missing[0]),
            hint="`invoke provision` tries again; `invoke status` shows the state of their services",
        )
        tolerate(run, [failure], len(there))
    run.tell(f"all {len(there)} answer" if not missing else f"{len(there)} answer")
    return len(there)


def _wait_for_the_gone(run: Run, info: Mapping[str, Any], gone: Collection[str], known: Collection[str]) -> None:
    """Wait until the hub has given up the engines that were stopped; nothing where it knows of their end, as it should.

    A client that is made while it gives one up may hold it for alive for ever, and wait for it.
    """
    if not set(gone).intersection(known):
        return
    hub.wait_for_engines(
        info,
        lambda idents: len(set(gone).intersection(idents)),
        timeout=run.settings.patience + LOOK,
        beat=lambda left: run.tell(f"the hub still lists {left} that have ended") if left else None,
    )


def _last_words(run: Run, found: Found, slot: Slot) -> str:
    """What the missing engine's service wrote last, as far as it can be had."""
    machine = found.by_name(machine_name("engine", slot.index))
    if machine is None:
        return ""
    try:
        with run.open(machine, LOOK) as host:
            return service_managers.detect(host).logs(host, Service("ipengine", (str(slot.number),)), 15)
    except ClusterError as error:
        return str(error)


def hand_over(run: Run, found: Found, connection: Connection) -> None:
    """Open the tunnel if need be, and write the client file that leads through it for ``ipp.Client(cluster_id=…)``."""
    run.tunnel_to(controller_of(found), connection)
    if found.cluster and run.record.tunnel:
        path = install_client_file(found.cluster, connection, run.record.tunnel.ports)
        run.save(client_file=str(path))


def announce(run: Run, found: Found, todo: Plan) -> None:
    """Call what the user has for a cluster that has come up, on the controller's machine; not when nothing changed."""
    if todo.deploy and "cluster_up" in dict(run.settings.hooks):
        machine = controller_of(found)
        with run.open(machine) as host:
            hooks.call(run.settings, "cluster_up", host, machine, run)
