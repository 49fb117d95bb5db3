"""The way back: machines that are too many, and whole clusters.

Everything here may be run again at any point and is silent about what is gone already.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress

from . import engines, hooks, service_managers, tunnel
from .client_file import remove_client_file
from .errors import ClusterError, HubSilent, ProviderRefused, Several, UsageError
from .machines import Found, Machine, MachineState
from .observation import LOOK, ask_hub
from .plan import Plan
from .record import Record
from .remote import Host
from .run import Run
from .services import CONTROLLER, LEASE, engine_service
from .status import Observed

LATECOMERS = 3  # so often is looked again for machines that were ordered and not shown yet


def retire(run: Run, observed: Observed, todo: Plan) -> None:
    """Remove the machines that are too many, those at work that the plan says it disturbs included.

    Those that have got work since the plan was agreed to are spared. Raises HubSilent, removing nothing, when it cannot
    be told whether they have.
    """
    if not todo.remove:
        return
    loads = ask_hub(run, observed.found).engines
    if loads is None:
        raise HubSilent(
            "the hub did not say which engines are at work, so no machine was removed",
            hint="run the same command again",
        )
    busy = {slot.index for slot, at_work in loads.items() if at_work} - {slot.index for slot in todo.disturbs}
    spared = [machine for machine in todo.remove if machine.role == "engine" and machine.index in busy]
    going = [machine for machine in todo.remove if machine not in spared]
    remove(run, going, [machine for machine in observed.found.machines if machine not in going])
    if spared:
        raise UsageError(
            f"{', '.join(machine.name for machine in spared)} got work in the meantime and was not removed",
            hint="run the same command again when it is idle, or with --yes",
        )


def remove(run: Run, machines: Sequence[Machine], others: Sequence[Machine]) -> None:
    """Remove these machines, services first where the machines stay, and forget what was on them.

    ``others`` are the machines that the cluster keeps.
    """
    _say_goodbye(run, machines)
    for machine in machines:
        run.tell("removing", machine.name)
    _sign_off(run, machines)
    undeploy(run, machines, others)
    run.provider.destroy(run.settings.cluster, machines)
    names = {machine.name for machine in machines}
    gone = {machine.index for machine in machines if machine.role == "engine"}
    run.save(
        assigned=tuple(slot for slot in run.record.assigned if slot.index not in gone),
        digests={name: digest for name, digest in run.record.digests.items() if name not in names},
    )


def undeploy(run: Run, machines: Sequence[Machine], others: Sequence[Machine] = ()) -> None:
    """Take our services off machines that stay when the cluster goes; a host that ``others`` are on keeps its lease."""
    kept = {machine.endpoint for machine in others}

    def work(host: Host, machine: Machine) -> None:
        services = [CONTROLLER if machine.role == "controller" else engine_service(())]
        services += [LEASE] if machine.endpoint not in kept else []
        engines.undeploy(host, service_managers.detect(host), services)

    if not run.provider.owns_machines:
        run.on_each([one for one in machines if one.state is not MachineState.STOPPED], work, LOOK)


def _say_goodbye(run: Run, machines: Sequence[Machine]) -> None:
    """Call what the user has for machines that are about to go, on those that something was deployed on.

    Raises what fails there, before anything is removed: it may be what saves the results. A machine that does not
    answer is one of these.
    """
    if "machine_down" not in dict(run.settings.hooks):
        return
    used = [one for one in machines if one.name in run.record.digests and one.state is MachineState.RUNNING]
    try:
        run.on_each(used, lambda host, machine: hooks.call(run.settings, "machine_down", host, machine, run), LOOK)
    except ClusterError as error:
        kept = ClusterError(
            "nothing was removed, because your hooks (machine_down) could not all be called",
            hint="mend that, or take it out of `hooks`; `invoke teardown --forget` passes it over",
        )
        raise Several([error, kept]) from error


def _sign_off(run: Run, machines: Sequence[Machine]) -> None:
    """End the engines of machines that are about to go, so that the hub knows it at once and not after its patience."""

    def work(host: Host, machine: Machine) -> None:
        numbers = [slot.number for slot in run.record.assigned if slot.index == machine.index]
        service_managers.detect(host).stop(host, engine_service(numbers))

    leaving = [one for one in machines if one.role == "engine" and one.state is MachineState.RUNNING]
    with suppress(ClusterError):  # one that cannot be reached goes all the same
        run.on_each(leaving, work, LOOK)


def cut_off(run: Run, found: Found) -> None:
    """Close this computer's own way in: the tunnel, and the client file of the cluster or of one that was before it."""
    if run.record.tunnel:
        tunnel.end_tunnel(run.record.tunnel, run.store.folder)
    for cluster in {found.cluster, run.record.cluster}:
        if cluster:
            remove_client_file(cluster, run.record.client_file)


def take_down(run: Run, *, forget: bool = False) -> None:
    """Remove everything of the cluster, here and there, and make sure that it is gone.

    ``forget`` insists neither on the user's hooks nor on taking our services off machines that stay.
    """
    name = run.settings.cluster
    found = run.provider.find(name)
    with suppress(ClusterError) if forget else nullcontext():
        _say_goodbye(run, found.machines)
    uncut = None
    try:
        cut_off(run, found)
    except ClusterError as error:  # a file that cannot be removed here costs nothing, machines do
        uncut = error
    for machine in found.machines:
        run.tell("removing", machine.name)
    with suppress(ClusterError) if forget else nullcontext():
        undeploy(run, found.machines)
    _destroy(run, found)
    run.provider.clean(name)
    left = run.provider.find(name)
    if left.cluster:
        raise ProviderRefused(
            f"{name} is still there after removing it: {', '.join(machine.name for machine in left.machines)}",
            hint="run `invoke teardown` again",
        )
    if uncut:
        raise uncut
    run.store.remove()
    run.record = Record()


def _destroy(run: Run, found: Found) -> None:
    """Remove the machines, and those that turn up meanwhile: a command that was killed may have ordered some."""
    for _ in range(LATECOMERS):
        run.provider.destroy(run.settings.cluster, found.machines)
        found = run.provider.find(run.settings.cluster)
        if not found.machines:
            return
        for machine in found.machines:
            run.tell("removing what came late", machine.name)


@contextmanager
def rolling_back(run: Run, observed: Observed, todo: Plan, *, wanted: bool) -> Iterator[None]:
    """When what is inside fails and it is ``wanted``, remove the machines that the plan made, or the new cluster."""
    try:
        yield
    except BaseException as failure:
        if wanted:
            run.tell("rolling back")
            try:
                _roll_back(run, observed, todo)
            except ClusterError as error:
                raise Several([failure, error]) if isinstance(failure, ClusterError) else error from failure
        raise


def _roll_back(run: Run, observed: Observed, todo: Plan) -> None:
    if observed.found.cluster is None:
        take_down(run, forget=True)
        return
    made = {one.name for one in todo.create}
    there = run.provider.find(run.settings.cluster).machines
    remove(run, [one for one in there if one.name in made], [one for one in there if one.name not in made])
