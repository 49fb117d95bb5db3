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
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial

from . import connection_files, engines, hub, service_managers
from .arrivals import Arrivals
from .client_file import install_client_file, refuse_foreign
from .connection import Connection, at_address, follows, make
from .errors import ClusterError, HubSilent, ProviderRefused, at_machine, raise_together
from .machines import Cluster, Found, Machine, MachineSpec, MachineState, machine_name
from .observation import LOOK, foreign
from .plan import Deployment, Plan, Slot, Wanted, make_plan
from .power import stoppable
from .record import Record
from .remote import Host, each
from .removal import cut_off
from .run import Run
from .services import Service, engine_service
from .status import Observed, slot_of

HEAD_START = 3.0  # seconds that engines wait at most until the controller was told to start
PROOF = 5.0  # seconds after which engines that the hub does not know yet are looked at on their machine


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
    run.save(
        cluster=cluster,
        provider=run.provider.name,
        template=run.settings.template,
        assigned=_assigned(run, observed, todo),
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
    made = run.provider.create(cluster, specs, run) if specs else ()
    gone = {machine.name for machine in todo.discard}
    machines = {machine.name: machine for machine in observed.found.machines if machine.name not in gone}
    machines |= {machine.name: machine for machine in (*started, *made)}
    run.pin(machines.values())
    return Found(cluster, tuple(machines.values()))


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
    controller = _controller(found)
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


def _controller(found: Found) -> Machine:
    if found.controller is None or not found.controller.private_address:
        raise ProviderRefused(
            "the controller's machine is not there, or has no address yet",
            hint="`invoke status` shows the machines, `invoke provision` makes what is missing",
        )
    return found.controller


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
    with run.open(_controller(found)) as host:
        differing = connection_files.check(connection_of(run), connection_files.fetch(host))
    if differing:
        raise ClusterError(
            f"the controller's connection files are not those of the record: {'; '.join(differing)}",
            machine="controller",
            hint="`invoke provision` puts them right",
        )


def deploy(run: Run, observed: Observed, found: Found, todo: Plan, connection: Connection, secret: str | None) -> Plan:
    """Software, files and services on every machine of the plan, each going on as soon as it is ready itself.

    But the controller has a short head start: on machines that share a computer, engines would take the processors
    from it, and all of them need it. The tunnel is opened meanwhile. Raises all failures together, unless
    ``min_engines`` come up; what succeeded stays and is recorded. The plan without the machines that failed.
    """
    machines = {machine.name: machine for machine in found.machines}
    digests = {
        "controller": engines.controller_digest(run.settings, connection, run.software),
        "engine": engines.engine_digest(run.settings, connection, run.software),
    }
    before = run.record.digests
    outdated = {one.name: "" for one in todo.deploy if before.get(one.name, digests[one.role]) != digests[one.role]}
    run.save(digests={**before, **outdated})  # from here on those are neither what they were nor what they shall be
    if todo.restart_controller:
        run.tell("controller starts anew: engines register again, open clients must be made again")
        _halt(run, found)
    begun = threading.Event()
    arrivals = Arrivals(_stale(observed, todo))
    under_way = len(todo.deploy)
    counting = threading.Lock()

    def work(one: Deployment | None) -> None:
        nonlocal under_way
        if one is None:
            begun.wait(run.settings.boot_timeout)
            with suppress(ClusterError):  # count opens it again and says what is wrong
                info = run.tunnel_to(_controller(found), connection)
                hub.warm_up()  # takes as long as an engine to start
                arrivals.follow(info)
            return
        try:
            with run.open(machines[one.name]) as host:
                run.tell("ssh answers", one.name)
                _deploy_one(run, host, one, todo, connection, secret, begun, arrivals)
            run.tell("online", one.name)
        finally:
            if one.role == "controller":
                begun.set()
            with counting:
                under_way -= 1
            if not under_way:
                arrivals.close()

    if not any(one.role == "controller" for one in todo.deploy):
        begun.set()
    if not todo.deploy:
        arrivals.close()
    failed = {one.item: one.error for one in each([*todo.deploy, None], work) if one.item and one.error}
    left = replace(todo, deploy=tuple(one for one in todo.deploy if one not in failed))
    _tolerate(run, [at_machine(error, one.name) for one, error in failed.items()], len(left.engines))
    return left


def _tolerate(run: Run, failures: list[ClusterError], engines_left: int) -> None:
    """Raise the failures unless ``min_engines`` allows to go on with the engines that are left."""
    minimum = run.settings.min_engines
    if minimum and engines_left >= minimum and not any(failure.machine == "controller" for failure in failures):
        for failure in failures:
            run.tell(f"failed, going on without: {str(failure).splitlines()[0]}", failure.machine)
        return
    raise_together(failures)


def _deploy_one(
    run: Run,
    host: Host,
    one: Deployment,
    todo: Plan,
    connection: Connection,
    secret: str | None,
    begun: threading.Event,
    arrivals: Arrivals,
) -> None:
    seen = engines.survey(host)
    if seen.software != run.software.id:
        engines.install_software(host, run.software)
        run.tell("software installed", one.name)
    if run.settings.lease or run.record.lease:
        engines.set_lease(host, seen.manager, run.settings, _lease_action(run))
    if one.role == "controller":
        digest = engines.controller_digest(run.settings, connection, run.software)
        engines.deploy_controller(host, seen, connection, secret, run.settings, digest, begun.set)
    else:
        digest = engines.engine_digest(run.settings, connection, run.software)
        drop = [slot.number for slot in todo.drop if slot.index == one.index]
        slots = [Slot(one.index, number) for number in one.numbers]
        ready, proved = partial(begun.wait, HEAD_START), partial(arrivals.wait_for, slots, PROOF)
        engines.deploy_engines(host, seen, one, connection, run.settings, digest, drop, ready=ready, proved=proved)
    run.deployed(one.name, digest, frozenset(todo.drop))


def _lease_action(run: Run) -> str:
    return "poweroff" if run.provider.owns_machines else "stop"


def arm(run: Run, found: Found, todo: Plan) -> None:
    """Give the machines that are kept as they are the lease of the settings, when it is another than they have."""
    if run.record.lease == run.settings.lease:
        return
    kept = {one.name for one in todo.keep}

    def work(host: Host, machine: Machine) -> None:
        engines.set_lease(host, service_managers.detect(host), run.settings, _lease_action(run))
        run.tell("lease set" if run.settings.lease else "lease taken away", machine.name)

    run.on_each([one for one in found.machines if one.name in kept], work, run.settings.boot_timeout)
    run.save(lease=run.settings.lease)


def _halt(run: Run, found: Found) -> None:
    """Stop all engines, then the controller: an engine that outlives its controller serves nobody.

    Done in this order, the controller may start again at once.
    """

    def stop_engines(host: Host, machine: Machine) -> None:
        numbers = [slot.number for slot in run.record.assigned if slot.index == machine.index]
        service_managers.detect(host).stop(host, engine_service(numbers))

    recorded = {slot.index for slot in run.record.assigned}
    running = [one for one in found.machines if one.role == "engine" and one.state is MachineState.RUNNING]
    run.on_each([one for one in running if one.index in recorded], stop_engines, run.settings.boot_timeout)
    with run.open(_controller(found)) as host:
        engines.stop_controller(host, service_managers.detect(host))


def count(run: Run, observed: Observed, found: Found, todo: Plan, connection: Connection) -> int:
    """Wait until the hub knows every engine of the plan and each new one answered a task; how many there are then.

    Raises HubSilent naming the engines that are missing, unless ``min_engines`` are there.
    """
    aimed, fresh = frozenset(todo.engines), todo.fresh
    if not todo.deploy:
        return len(aimed)
    info = run.tunnel_to(_controller(found), connection)
    stale = _stale(observed, todo)

    def registered(idents: Iterable[str]) -> frozenset[Slot]:
        return aimed & {slot for ident in idents if ident not in stale and (slot := slot_of(ident))}

    known = hub.wait_for_engines(
        info,
        lambda idents: len(aimed) - len(registered(idents)),
        timeout=run.settings.start_timeout,
        beat=lambda left: run.tell(f"{len(aimed) - left} of {len(aimed)} engines registered"),
    )
    new = [number for number, ident in known.items() if ident not in stale and slot_of(ident) in fresh]
    mute = {
        known[number] for number, answer in hub.probe(info, new, run.settings.start_timeout).items() if answer is None
    }
    there = registered(ident for ident in known.values() if ident not in mute)
    missing = sorted(aimed - there)
    if missing:
        failure = HubSilent(
            f"{len(there)} of {len(aimed)} engines answer; missing: {', '.join(str(slot) for slot in missing)}",
            seen=_last_words(run, found, missing[0]),
            hint="`invoke provision` tries again; `invoke status` shows the state of their services",
        )
        _tolerate(run, [failure], len(there))
    run.tell(f"all {len(there)} answer" if not missing else f"{len(there)} answer")
    return len(there)


def _stale(observed: Observed, todo: Plan) -> frozenset[str]:
    """The idents that the hub knew of engines that start anew: no proof that these have come up."""
    return frozenset(ident for ident in observed.idents if slot_of(ident) in todo.renewed)


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
    run.tunnel_to(_controller(found), connection)
    if found.cluster and run.record.tunnel:
        path = install_client_file(found.cluster, connection, run.record.tunnel.ports)
        run.save(client_file=str(path))
