"""The link that puts everything on the machines: each goes on as soon as it is ready itself, the controller first.

Which machines and engines is the plan's to say; what is put on one host, and how, is engines.py's.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

from . import engines, hooks, host_key_rotation, hub, service_managers
from .arrivals import Arrivals
from .connection import Connection
from .errors import ClusterError, ProviderRefused, at_machine, raise_together
from .kit import make_kit
from .machines import Booting, Found, Joining, KeyPublishing, Leasing, Machine, MachineState
from .plan import Deployment, Plan, Slot
from .remote import Host, each
from .run import Run
from .services import engine_service
from .status import Observed, slot_of

HEAD_START = 3.0  # seconds that engines wait at most until the controller was told to start
INSTALLING = 1800.0  # s that a machine may take to get its software from the network
PROOF = 5.0  # seconds after which engines that the hub does not know yet are looked at on their machine


def controller_of(found: Found) -> Machine:
    """The controller's machine; raises ProviderRefused when there is none with an address."""
    if found.controller is None or not found.controller.private_address:
        raise ProviderRefused(
            "the controller's machine is not there, or has no address yet",
            hint="`invoke status` shows the machines, `invoke provision` makes what is missing",
        )
    return found.controller


@dataclass
class Rollout:
    """What the machines that are deployed at the same time have in common."""

    run: Run
    found: Found
    todo: Plan
    connection: Connection
    secret: str | None
    arrivals: Arrivals
    new: frozenset[str] = frozenset()  # names of machines that nothing was ever deployed on
    begun: threading.Event = field(default_factory=threading.Event)  # the controller was told to start

    def work(self, one: Deployment | None) -> None:
        """Deploy one machine; with None keep an eye on the hub meanwhile."""
        if one is None:
            self.watch()
            return
        try:
            machine = self.found.by_name(one.name)
            if machine is None:
                raise ProviderRefused("the provider has made no such machine", hint="run the same command again")
            if self.join(machine, one):
                self.run.tell("has joined", one.name)
                return
            with self.run.open(machine) as host:
                self.run.tell("ssh answers", one.name)
                settle_in(self.run, host, machine)
                self.deploy(host, machine, one)
            self.run.tell("online", one.name)
        finally:
            if one.role == "controller":
                self.begun.set()
            self.arrivals.leave()

    def watch(self) -> None:
        """Open the tunnel as soon as there is something at its end, and follow who arrives at the hub."""
        self.begun.wait(self.run.settings.boot_timeout)
        with suppress(ClusterError):  # count opens it again and says what is wrong
            info = self.run.tunnel_to(controller_of(self.found), self.connection)
            hub.warm_up()  # takes as long as an engine to start
            self.arrivals.follow(info)

    def join(self, machine: Machine, one: Deployment) -> bool:
        """Let a new engine machine deploy itself, where the settings and its provider say so; whether it has."""
        run, provider = self.run, self.run.provider
        wanted = run.settings.join == "metadata" and one.role == "engine" and one.name in self.new
        if not (wanted and isinstance(provider, Joining) and provider.awaits_kit(machine)):
            return False
        digest = engines.engine_digest(run.settings, self.connection, run.software)
        manager = service_managers.get("smf")
        kit = make_kit(manager, one, self.connection, run.settings, run.software, digest, lease_action(run))
        run.tell("joins by itself", one.name)
        provider.join(machine, kit, INSTALLING + run.settings.start_timeout)
        run.deployed(one.name, digest, frozenset())
        return True

    def deploy(self, host: Host, machine: Machine, one: Deployment) -> None:
        """Software, lease, files and services of one machine."""
        run, settings = self.run, self.run.settings
        seen = engines.survey(host)
        software = run.software_for(seen.machine)
        if seen.software != software.id:
            for note in engines.install_software(host, software):
                run.tell(note, one.name)
            run.tell("software installed", one.name)
        if settings.lease or run.record.lease:
            engines.set_lease(host, seen.manager, settings, lease_action(run))
        if one.name in self.new:
            hooks.call(settings, "machine_up", host, machine, run)
        if one.role == "controller":
            digest = engines.controller_digest(settings, self.connection, run.software)
            engines.deploy_controller(host, seen, self.connection, self.secret, settings, digest, self.begun.set)
        else:
            digest = engines.engine_digest(settings, self.connection, run.software)
            drop = [slot.number for slot in self.todo.drop if slot.index == one.index]
            slots = [Slot(one.index, number) for number in one.numbers]
            ready, proved = partial(self.begun.wait, HEAD_START), partial(self.arrivals.wait_for, slots, PROOF)
            engines.deploy_engines(host, seen, one, self.connection, settings, digest, drop, ready=ready, proved=proved)
        run.deployed(one.name, digest, frozenset(self.todo.drop))


def deploy(run: Run, observed: Observed, found: Found, todo: Plan, connection: Connection, secret: str | None) -> Plan:
    """Software, files and services on every machine of the plan, each going on as soon as it is ready itself.

    But the controller has a short head start: on machines that share a computer, engines would take the processors
    from it, and all of them need it. The tunnel is opened meanwhile. Raises all failures together, unless
    ``min_engines`` come up; what succeeded stays and is recorded. The plan without the machines that failed.
    """
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
    arrivals = Arrivals(stale_idents(observed, todo), len(todo.deploy))
    new = frozenset(one.name for one in todo.deploy if one.name not in before)
    rollout = Rollout(run, found, todo, connection, secret, arrivals, new)
    if not any(one.role == "controller" for one in todo.deploy):
        rollout.begun.set()
    failed = {one.item: one.error for one in each([*todo.deploy, None], rollout.work) if one.item and one.error}
    left = replace(todo, deploy=tuple(one for one in todo.deploy if one not in failed))
    tolerate(run, [at_machine(error, one.name) for one, error in failed.items()], len(left.engines))
    return left


def settle_in(run: Run, host: Host, machine: Machine) -> None:
    """What a machine needs once it answers, before anything secret is sent to it; nothing the next time."""
    if isinstance(run.provider, KeyPublishing) and machine.throwaway_key:
        host_key_rotation.replace_throwaway(run.provider, machine, host, run.credentials)
        run.tell("has a host key of its own", machine.name)
    if isinstance(run.provider, Booting):
        run.provider.wait_until_booted(machine, host, run.settings.boot_timeout)
        run.tell("booted", machine.name)


def tolerate(run: Run, failures: list[ClusterError], engines_left: int) -> None:
    """Raise the failures unless ``min_engines`` allows to go on with the engines that are left."""
    minimum = run.settings.min_engines
    if minimum and engines_left >= minimum and not any(failure.machine == "controller" for failure in failures):
        for failure in failures:
            run.tell(f"failed, going on without: {str(failure).splitlines()[0]}", failure.machine)
        return
    raise_together(failures)


def lease_action(run: Run) -> str:
    """What a machine does when its lease is over: off with it, unless it is somebody's own."""
    return "poweroff" if run.provider.owns_machines else "stop"


def arm(run: Run, found: Found, todo: Plan) -> None:
    """Give the machines that are kept as they are the lease of the settings, when it is another than they have."""
    if run.record.lease == run.settings.lease:
        return
    kept = {one.name for one in todo.keep}

    def work(host: Host, machine: Machine) -> None:
        engines.set_lease(host, service_managers.detect(host), run.settings, lease_action(run))
        run.tell("lease set" if run.settings.lease else "lease taken away", machine.name)

    machines = [one for one in found.machines if one.name in kept]
    run.on_each(machines, work, run.settings.boot_timeout)
    news = [one for one in machines if run.record.lease or one.deadline is None]  # others say what they booted with
    if news and isinstance(run.provider, Leasing):
        run.provider.note_deadline(news, time.time() + run.settings.lease if run.settings.lease else None)
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
    with run.open(controller_of(found)) as host:
        engines.stop_controller(host, service_managers.detect(host))


def stale_idents(observed: Observed, todo: Plan) -> frozenset[str]:
    """The idents that the hub knew of engines that start anew: no proof that these have come up."""
    return frozenset(ident for ident in observed.idents if slot_of(ident) in todo.renewed)
