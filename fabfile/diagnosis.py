"""What is wrong with a cluster: every machine's own facts held against this computer's, each fault with its cure.

Pure: asks nothing, prints nothing. What one look has found is examination.py's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from . import complaints
from .client_file import ClientFile
from .complaints import Examined, Finding
from .machines import Machine, MachineState, machine_name
from .plan import Slot
from .services import ServiceState, engine_service, instance_name
from .status import Observed

HERE = "here"
AGAIN = "`invoke provision` puts it right"
SOON = "`invoke doctor` again in a moment if it was only just started"
TUNNEL = "`invoke step.tunnel` opens it and writes the client file"


@dataclass(frozen=True)
class Here:
    """This computer's own side: the tunnel's ends and the client file.

    ``reopened`` says why the tunnel had to be opened anew for this look, "" when it had not; ``silent`` are its local
    ports on which nobody listens. ``client`` is the client file at ``path``, None when there is none.
    """

    path: str
    client: ClientFile | None
    alive: bool = True
    reopened: str = ""
    silent: tuple[int, ...] = ()


@dataclass(frozen=True)
class Diagnosis:
    """A cluster as its doctor sees it: ``python`` and ``versions`` are this computer's, findings the gravest first."""

    cluster: str
    provider: str
    python: str
    versions: Mapping[str, str]
    machines: tuple[Examined, ...]
    findings: tuple[Finding, ...]

    def count(self, level: Literal["error", "warning"]) -> int:
        """How many findings are of that level."""
        return sum(one.level == level for one in self.findings)

    @property
    def well(self) -> bool:
        """Whether nothing at all is wrong."""
        return all(one.level == "ok" for one in self.findings)

    @property
    def exit_code(self) -> int:
        """0 without an error, else 1."""
        return int(self.count("error") > 0)


def judge(observed: Observed, examined: Sequence[Examined], here: Here) -> tuple[Finding, ...]:
    """All findings, the gravest first."""
    controller = next((one for one in examined if one.role == "controller" and one.facts), None)
    serving = bool(controller and complaints.works(controller))
    found = [*_machines(observed), *_hub(observed, {one.name: one for one in examined}), *_here(observed, here)]
    for one in examined:
        found += complaints.of(one, serving=serving)
    return tuple(sorted(found, key=lambda one: ("error", "warning", "ok").index(one.level)))


def _machines(observed: Observed) -> Iterator[Finding]:
    """What the provider says of machines, and those that it has no more."""
    found = observed.found
    if not found.controller:
        yield Finding("error", machine_name("controller", 0), "its machine is gone", AGAIN)
    for index in sorted({slot.index for slot in observed.seen.assigned}):
        if not found.by_name(machine_name("engine", index)):
            yield Finding("error", machine_name("engine", index), "its machine is gone", AGAIN)
    yield from (_not_running(one) for one in found.machines if one.state is not MachineState.RUNNING)


def _not_running(machine: Machine) -> Finding:
    what = f"it is {machine.state}" + (f" ({machine.detail})" if machine.detail else "")
    if machine.state is MachineState.STOPPED:
        return Finding("error", machine.name, what, "`invoke start` starts it")
    if machine.state is MachineState.PENDING:
        return Finding("warning", machine.name, what, "`invoke doctor` again in a moment")
    return Finding("error", machine.name, what, "`invoke provision` replaces it")


def _hub(observed: Observed, examined: Mapping[str, Examined]) -> Iterator[Finding]:
    """Whether the hub answers, and knows every engine that the service managers say runs."""
    seen, controller = observed.seen, observed.found.controller
    if controller is None or controller.state is not MachineState.RUNNING:
        return
    if observed.hub == "in use":
        cure = "`invoke doctor` again when it is done"
        yield Finding("warning", HERE, "the hub was not asked: another command is changing this cluster", cure)
        return
    if not seen.hub_up:
        one = examined.get(controller.name)
        serving = bool(one and complaints.works(one))
        if one is None or one.facts is None or serving:  # else what is told of its service is reason enough
            what = "the hub does not answer" if observed.hub else "no controller was ever put on it"
            cure = AGAIN
            if serving:
                cure = f"{SOON}; else `invoke stop --machine controller` and `invoke start` start it anew"
            yield Finding("error", controller.name, what, cure)
        return
    unknown = sorted(seen.assigned - seen.registered.keys())
    for slot in unknown:
        if not _excused(slot, observed, examined):
            what = f"the hub does not know its engine {slot.number}, which runs"
            cure = f"{SOON}; else `invoke provision` starts it anew"
            yield Finding("error", machine_name("engine", slot.index), what, cure)
    if not seen.assigned:
        yield Finding("error", HERE, "the cluster has no engines", AGAIN)
    elif not unknown:
        yield Finding("ok", controller.name, f"the hub answers and knows all {len(seen.assigned)} engines")


def _excused(slot: Slot, observed: Observed, examined: Mapping[str, Examined]) -> bool:
    """Whether an engine is known to be away for a reason that is told of its machine or service."""
    machine = observed.found.by_name(machine_name("engine", slot.index))
    if machine is None or machine.state is not MachineState.RUNNING:
        return True
    one = examined.get(machine.name)
    if one is None or one.facts is None:
        return one is not None
    name = instance_name(engine_service([slot.number]), str(slot.number))
    return any(seen.name == name and seen.look.state is not ServiceState.ONLINE for seen in one.facts.services)


def _here(observed: Observed, here: Here) -> Iterator[Finding]:
    """The tunnel and the client file, as far as there is a controller for them to lead to."""
    controller = observed.found.controller
    if controller is None or controller.state is not MachineState.RUNNING or observed.hub in ("in use", ""):
        return
    if not here.alive:
        yield Finding("error", HERE, f"there is no tunnel to {controller.endpoint}, and none can be opened", TUNNEL)
    elif here.silent:
        ports = ", ".join(map(str, here.silent))
        yield Finding("error", HERE, f"nobody listens on the tunnel's local ports {ports}", TUNNEL)
    elif here.reopened:
        what = f"the tunnel {here.reopened}; it is open again now"
        yield Finding("warning", HERE, what, "clients that were open go on; `invoke doctor` sees whether it stays")
    else:
        yield Finding("ok", HERE, f"the tunnel leads to {controller.endpoint}")
    yield from _client_file(observed, here)


def _client_file(observed: Observed, here: Here) -> Iterator[Finding]:
    client, cluster = here.client, observed.found.cluster
    if client is None:
        what = f"there is no client file {here.path}: ipp.Client(cluster_id=…) does not find the cluster"
        yield Finding("error", HERE, what, TUNNEL)
        return
    if cluster and client.owner != cluster.id:
        whose = "another controller" if client.owner is None else f"another cluster (id {client.owner})"
        cure = f"`rm {here.path}` if that one is gone, then `invoke step.tunnel`"
        yield Finding("error", HERE, f"the client file {here.path} is of {whose}", cure)
        return
    if client.mode & 0o077:
        what = f"the client file {here.path} opens the cluster to others: its mode is {client.mode:04o}"
        yield Finding("error", HERE, what, f"`chmod 600 {here.path}`")
    if client.differing:
        what = f"the client file {here.path} is not what the tunnel needs: {', '.join(client.differing)} differ"
        yield Finding("error", HERE, what, TUNNEL)
    elif not client.mode & 0o077:
        yield Finding("ok", HERE, f"the client file {here.path} leads through the tunnel")
