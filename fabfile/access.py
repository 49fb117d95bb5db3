"""The user's own way to the machines of a cluster: OpenSSH's, as strict as ours, and what services wrote there.

Says how; nothing here prints, and nothing changes on a machine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from . import service_managers
from .errors import ClusterError, NoSuchCluster, UsageError, at_machine
from .host_keys import replace_file
from .kinds import nearest
from .machines import ROLES, Found, Machine, MachineState
from .observation import LOOK
from .paths import expanded
from .remote import Endpoint, Host, Outcome, each
from .run import Run
from .services import CONTROLLER, Service, Stretch, engine_service
from .ssh_config import snippet

R = TypeVar("R")
Asked = tuple[Outcome[Machine, R], ...]

CONFIG = "ssh_config"


def chosen(found: Found, wanted: str) -> tuple[Machine, ...]:
    """The machines that ``wanted`` names: ``controller``, ``engines``, ``all``, or names with commas between them.

    Raises UsageError for a name that there is not, with the nearest.
    """
    machines = []
    for word in [word.strip() for word in wanted.split(",") if word.strip()] or ["all"]:
        named = [one for one in found.machines if word in (one.name, "all", f"{one.role}s")]
        if not named:
            names = [one.name for one in found.machines]
            raise UsageError(
                f"no machine {word!r} in the cluster{nearest(word, [*names, *ROLES])}",
                hint=f"it is one of {', '.join(ROLES)}, or of {', '.join(names)}",
            )
        machines += named
    return tuple(dict.fromkeys(machines))


def machines_of(run: Run) -> Found:
    """What the provider has of the cluster, host keys pinned; raises NoSuchCluster when there is none."""
    found = run.provider.find(run.settings.cluster)
    if found.cluster is None:
        raise NoSuchCluster(
            f"no cluster {run.settings.cluster!r} on provider {run.provider.name}",
            hint="`invoke provision --engines 4` makes one",
        )
    if run.record.cluster is None or run.record.cluster.id != found.cluster.id:
        raise UsageError(
            f"there is no key for the cluster {found.cluster.name!r} here: {found.cluster.owner} made it",
            hint="`invoke provision --adopt` takes it over",
        )
    return found


def configuration(run: Run, machines: Sequence[Machine]) -> str:
    """What OpenSSH must read to reach these machines as ``CLUSTER-MACHINE``; those without an address are left out."""
    run.pin(machines)
    return _configuration(run, machines)


def export(text: str, file: str, cluster: str) -> Path:
    """Put a cluster's configuration at a path, in the place of an older one of it; the path, as an Include takes it.

    Raises UsageError for a file of another kind that is there, like ~/.ssh/config itself, or if it cannot be written.
    """
    path = expanded(file).absolute()
    try:
        there = path.read_text(errors="replace") if path.exists() else ""
        hosts = re.findall(r"^\s*(?:host|match)\b.*", there, re.IGNORECASE | re.MULTILINE)
        if there.strip() and not (hosts and all(line.startswith(f"Host {cluster}-") for line in (there, *hosts))):
            raise UsageError(
                f"{path} is there and not of this command for {cluster}, it is not overwritten",
                hint="name a new --file; your own ~/.ssh/config takes an Include of it",
            )
        replace_file(path, text.encode())
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", hint="name another --file") from error
    return path


def _configuration(run: Run, machines: Sequence[Machine]) -> str:
    reached = {name_of(run, one): one.endpoint for one in machines if isinstance(one.endpoint, Endpoint)}
    return snippet(reached, run.credentials)


def name_of(run: Run, machine: Machine) -> str:
    """What OpenSSH calls a machine: ``ipython-engine-0``."""
    return f"{run.settings.cluster}-{machine.name}"


def login(run: Run, machine: Machine, command: str) -> tuple[str, ...]:
    """The words of the OpenSSH command that logs in to the machine, or runs a line of shell there.

    Raises ClusterError for a machine that is off or has no address.
    """
    return logins(run, [machine])(machine, command)


def logins(run: Run, machines: Sequence[Machine]) -> Callable[[Machine, str], tuple[str, ...]]:
    """What gives the words of OpenSSH for each of these machines, whose configurations are written once for all.

    A file for each: other commands at the same time are for other machines, and ssh may read it late.
    """
    paths = {one.name: run.store.folder / f"{CONFIG}.{one.name}" for one in machines}
    run.pin(machines)
    for one in machines:
        replace_file(paths[one.name], _configuration(run, [one]).encode())

    def words(machine: Machine, command: str) -> tuple[str, ...]:
        reachable(machine)
        path = paths[machine.name]
        return ("ssh", "-F", str(path), name_of(run, machine), *([command] if command else []))

    return words


def reachable(machine: Machine) -> Endpoint:
    """Where the machine is reached; raises ClusterError for one that is off or has no address."""
    if machine.state is not MachineState.RUNNING or machine.endpoint is None:
        raise ClusterError(
            f"it is {machine.state}" + ("" if machine.endpoint else ", without an address"),
            machine=machine.name,
            hint="`invoke start` starts what is stopped, `invoke provision` replaces what is broken",
        )
    return machine.endpoint


def service_on(run: Run, machine: Machine) -> Service:
    """The controller, or the engines that the machine was given."""
    numbers = [slot.number for slot in sorted(run.record.assigned) if slot.index == machine.index]
    return CONTROLLER if machine.role == "controller" else engine_service(numbers)


def on_each(run: Run, machines: Sequence[Machine], work: Callable[[Host, Machine], R]) -> Asked[R]:
    """What the work gave on each machine, on all at once; an error for one that does not answer."""

    def ask(machine: Machine) -> R:
        reachable(machine)
        try:
            with run.open(machine, LOOK) as host:
                return work(host, machine)
        except ClusterError as error:
            raise at_machine(error, machine.name) from None

    return each(machines, ask)


def last_lines(run: Run, machines: Sequence[Machine], lines: int) -> Asked[str]:
    """The last lines that the services of each machine wrote."""

    def ask(host: Host, machine: Machine) -> str:
        return service_managers.detect(host).logs(host, service_on(run, machine), lines).rstrip("\n")

    return on_each(run, machines, ask)


def past_lines(run: Run, machines: Sequence[Machine], stretch: Stretch) -> Asked[str]:
    """A stretch of what the services of each machine wrote."""

    def ask(host: Host, machine: Machine) -> str:
        return service_managers.detect(host).past(host, service_on(run, machine), stretch).rstrip("\n")

    return on_each(run, machines, ask)
