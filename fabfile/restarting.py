"""Controller and engines started anew on machines that stay as they are, running tasks waited for where that is wanted.

It is a plan of its own, carried out by the links of the chain; nothing else is deployed on the way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import replace

from . import chain
from .errors import ClusterError, HubSilent, UsageError, raise_together
from .machines import Found, Machine, MachineState
from .observation import ask_hub
from .plan import Deployment, Plan, Slot
from .run import Run
from .status import Observed

REACH = 20.0  # s that a machine has to answer SSH: they have all booted
LOOK = 1.0  # s between two looks at what is still at work


def plan(run: Run, observed: Observed, machines: Collection[Machine], *, controller: bool) -> Plan:
    """What starts these machines' engines anew; with ``controller`` all of them and the controller before them.

    Raises UsageError when something has changed since they were deployed: then that would come with the restart.
    """
    wanted = chain.wanted(run)
    running = {one.name for one in observed.found.machines if one.state is MachineState.RUNNING}
    chosen = running if controller else {one.name for one in machines} & running
    everybody = [*([Deployment("controller", 0)] if "controller" in running else []), *_engines(observed)]
    deploy = tuple(
        replace(one, restart=one.numbers)
        for one in everybody
        if one.name in chosen and (controller or one.role == "engine")
    )
    digests = {"controller": wanted.controller_digest, "engine": wanted.engine_digest}
    if stale := [one.name for one in deploy if run.record.digests.get(one.name) != digests[one.role]]:
        raise UsageError(
            f"{', '.join(stale)}: software or settings have changed since it was deployed",
            hint="`invoke provision` puts that there, and restarts what it concerns",
        )
    if not controller and not machines:
        raise UsageError(
            "no engines run on the controller's machine", hint="`invoke restart --what controller` restarts it with all"
        )
    if not deploy or (controller and deploy[0].role != "controller"):
        raise UsageError("there is nothing to restart: the machines are off", hint="`invoke start` starts them")
    aimed = {Slot(one.index, number) for one in deploy for number in one.numbers}
    return Plan(
        deploy=deploy,
        keep=tuple(one for one in everybody if one.name in running and one not in deploy and one.name not in chosen),
        disturbs=tuple(sorted(slot for slot in aimed if observed.seen.registered.get(slot))),
        restart_controller=controller,
    )


def _engines(observed: Observed) -> list[Deployment]:
    """The machines with the engines that they were given."""
    numbers: dict[int, list[int]] = {}
    for slot in sorted(observed.seen.assigned):
        numbers.setdefault(slot.index, []).append(slot.number)
    return [Deployment("engine", index, tuple(its)) for index, its in numbers.items()]


def drain(
    run: Run,
    found: Found,
    slots: Collection[Slot],
    timeout: float,
    beat: Callable[[str], object],
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Wait until none of these engines has work, at most ``timeout`` seconds; ``beat`` hears which still have.

    Raises HubSilent when nobody can tell, ClusterError naming those that are still at work when the time is over.
    """
    deadline = time.monotonic() + timeout
    while True:
        loads = ask_hub(run, found).engines
        if loads is None:
            raise HubSilent("the hub does not say which engines are at work", hint="`invoke restart` without --drain")
        busy = sorted(slot for slot in slots if loads.get(slot))
        if not busy:
            return
        names = ", ".join(map(str, busy))
        if time.monotonic() >= deadline:
            raise ClusterError(
                f"still at work after {timeout:g} s: {names}",
                hint="nothing was restarted; give it more --timeout, or --yes without --drain to end the tasks",
            )
        beat(f"waiting for {names}")
        pause(LOOK)


def restart(run: Run, observed: Observed, todo: Plan) -> int:
    """Carry it out; how many engines answer that were started anew.

    Machines that cannot be reached keep no other from being restarted, and are raised together in the end, with the
    engines that do not answer.
    """
    run.settings = replace(run.settings, min_engines=1, boot_timeout=min(REACH, run.settings.boot_timeout))
    if todo.restart_controller:  # one that cannot be reached is found before all the others are stopped
        names = {one.name for one in todo.deploy}
        machines = [one for one in observed.found.machines if one.name in names]
        run.on_each(machines, lambda host, machine: None, run.settings.boot_timeout)
    connection = chain.connection_of(run)
    left = chain.deploy(run, observed, observed.found, todo, connection, None)
    chain.hand_over(run, observed.found, connection)
    run.settings = replace(run.settings, min_engines=0)  # the machines are dealt with: now every engine has to answer
    failures = []
    try:
        chain.count(run, observed, observed.found, replace(left, keep=()), connection)  # others are as they were
    except ClusterError as error:
        failures.append(error)
    missing = [one.name for one in todo.deploy if one not in left.deploy]
    if missing:
        failures.append(
            ClusterError(f"not restarted: {', '.join(missing)}", hint="`invoke doctor` says what is wrong there")
        )
    raise_together(failures)
    return len(left.fresh)
