"""Machines switched off and on again, their disks kept; what runs on them comes back with them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from . import hub, tunnel
from .errors import ClusterError, UsageError
from .machines import Found, Machine, MachineState, Stoppable
from .plan import Seen, Slot
from .run import Run
from .status import Observed, slot_of


def chosen(found: Found, name: str) -> tuple[Machine, ...]:
    """The machine of that name, or all for ""; raises UsageError with the nearest name when there is none such."""
    if not name:
        return found.machines
    machine = found.by_name(name)
    if machine is None:
        names = ", ".join(machine.name for machine in found.machines)
        raise UsageError(f"no machine {name!r} in the cluster", hint=f"its machines are {names}")
    return (machine,)


def at_work(observed: Observed, machines: tuple[Machine, ...]) -> tuple[Slot, ...]:
    """The engines that would lose work if these machines went off: all of them with the controller."""
    everybody = any(machine.role == "controller" for machine in machines)
    indexes = {machine.index for machine in machines if machine.role == "engine"}
    busy = (slot for slot, works in observed.seen.registered.items() if works)
    return tuple(sorted(slot for slot in busy if everybody or slot.index in indexes))


def stop(run: Run, machines: tuple[Machine, ...]) -> None:
    """Switch these machines off in an orderly way."""
    provider = stoppable(run)
    if any(machine.role == "controller" for machine in machines) and run.record.tunnel:
        tunnel.end_tunnel(run.record.tunnel, run.store.folder)
    for machine in machines:
        run.tell("stopping", machine.name)
    provider.stop(run.settings.cluster, machines)
    found = run.provider.find(run.settings.cluster)
    # One that has failed or is lost is of no use, on or off, and a lost one is shown for a while.
    left = [one.name for one in machines if _state(found, one) in (MachineState.PENDING, MachineState.RUNNING)]
    if left:
        raise ClusterError(f"still on: {', '.join(left)}", hint="run `invoke stop` again")
    for machine in machines:
        run.tell("stopped", machine.name)
    _sign_off(run, found, {one.index for one in machines if one.role == "engine" and _off(found, one)})


def _off(found: Found, machine: Machine) -> bool:
    return _state(found, machine) in (None, MachineState.STOPPED)


def _sign_off(run: Run, found: Found, indexes: Collection[int]) -> None:
    """Have a hub that goes on give up the engines of these machines, which are off by now.

    What they tell it while their machine goes down may be lost. It would hold them for alive until its patience is
    over, and `start` and every client would wait for them.
    """
    controller, connection = found.controller, run.record.connection
    if not indexes or connection is None or controller is None or controller.state is not MachineState.RUNNING:
        return
    try:
        info = run.tunnel_to(controller, connection)
    except ClusterError:  # they are given up later
        return
    with hub.Questions(info) as questions:
        known = questions.registered() or {}
        ended = [number for number, ident in known.items() if (slot := slot_of(ident)) and slot.index in indexes]
        if ended:
            questions.give_up(ended)


def _state(found: Found, machine: Machine) -> MachineState | None:
    now = found.by_name(machine.name)
    return now.state if now else None


def stoppable(run: Run) -> Stoppable:
    """The provider, if it can stop machines; raises UsageError if not."""
    if not isinstance(run.provider, Stoppable):
        raise UsageError(
            f"provider {run.provider.name} cannot switch machines off and on",
            hint="`invoke teardown` takes the services off them",
        )
    return run.provider


def as_if_only(observed: Observed, machines: tuple[Machine, ...]) -> Observed:
    """The observation without the machines that are off and shall stay so, for a plan that starts only these.

    The controller's is always among those that start: without it an engine is of no use. Where some stay off, those
    that have failed or are lost are left alone too: what took their place could be given the name of one that is off.
    """
    off = [
        one
        for one in observed.found.machines
        if one.state is MachineState.STOPPED and one.role != "controller" and one not in machines
    ]
    if not off:
        return observed
    failed = [
        one
        for one in observed.found.machines
        if one.state in (MachineState.FAILED, MachineState.LOST) and one.role != "controller" and one not in machines
    ]
    kept = tuple(one for one in observed.found.machines if one not in (*off, *failed))
    indexes = {one.index for one in kept if one.role == "engine"}
    seen = observed.seen
    return replace(
        observed,
        found=replace(observed.found, machines=kept),
        seen=Seen(
            kept,
            seen.hub_up,
            seen.registered,
            frozenset(slot for slot in seen.assigned if slot.index in indexes),
            seen.digests,
        ),
    )


def settle_for(run: Run, observed: Observed) -> None:
    """Want as many engines as the observed machines were given, whatever the settings ask for."""
    run.settings = replace(run.settings, engines=len(observed.seen.assigned))
