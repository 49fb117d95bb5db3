"""The status of a cluster: what was seen of it, and what that means. Pure: asks nothing, prints nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from .machines import Found, Machine, MachineState, machine_name
from .plan import Seen, Slot
from .services import ServiceState

Hub = Literal["answers", "silent", "in use", "no way in", ""]


@dataclass(frozen=True)
class Observed:
    """One look at a cluster: machines from the provider, engines from the hub, the rest from our record.

    ``ours`` says whether the machines are those of our record; ``idents`` are all that the hub knows, ``others`` those
    that belong to no machine of the cluster; of machines that were asked, ``services`` holds the state, ``unreached``
    why there is none, and ``leases`` the seconds left.
    """

    found: Found
    seen: Seen
    ours: bool = True
    hub: Hub = ""
    idents: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    services: Mapping[str, str] = field(default_factory=dict)
    unreached: Mapping[str, str] = field(default_factory=dict)
    leases: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class MachineStatus:
    """One line of the status."""

    name: str
    role: str
    state: str
    service: str
    engines: int
    expected: int
    busy: int
    address: str


@dataclass(frozen=True)
class Status:
    """A cluster as a person or program wants to know it; ``age`` and ``lease_left`` are seconds.

    ``cost`` is what it has cost so far and ``hourly`` what it costs an hour, in US dollars; None where nobody says.
    """

    name: str
    provider: str
    state: Literal["healthy", "degraded", "none"]
    hub: Hub = ""
    engines: int = 0
    expected: int = 0
    machines: tuple[MachineStatus, ...] = ()
    others: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    owner: str = ""
    cluster_id: str = ""
    age: float | None = None
    lease_left: float | None = None
    cost: float | None = None
    hourly: float | None = None

    @property
    def exit_code(self) -> int:
        """0 healthy, 1 degraded, 3 none."""
        return {"healthy": 0, "degraded": 1, "none": 3}[self.state]


def parse_ident(ident: str) -> tuple[str, int] | None:
    """Machine name and engine number of an ident ``<machine>-<number>-<nonce>``; None when it is not of that form."""
    machine, _, rest = ident.rpartition("-")
    machine, _, number = machine.rpartition("-")
    return (machine, int(number)) if machine and rest and number.isdigit() else None


def slot_of(ident: str) -> Slot | None:
    """The engine of ours that has this ident; None for an engine that somebody else started."""
    parsed = parse_ident(ident)
    if not parsed or not parsed[0].startswith("engine-"):
        return None
    index = parsed[0].removeprefix("engine-")
    return Slot(int(index), parsed[1]) if index.isdigit() else None


def summarise(name: str, provider: str, observed: Observed, now: float) -> Status:
    """What an observation means at the time ``now`` (epoch seconds)."""
    found, seen = observed.found, observed.seen
    if found.cluster is None:
        return Status(name, provider, "none")
    expected = seen.assigned | frozenset(seen.registered)
    names = {machine_name("engine", slot.index) for slot in expected} | {machine.name for machine in found.machines}
    lines = tuple(_line(name, observed, expected) for name in sorted(names, key=_order))
    problems = _problems(observed, expected)
    asked = observed.leases  # a machine's own timer is the truth, a tag what was known when it was set
    told = [one for one in found.machines if one.name not in asked and one.state is not MachineState.STOPPED]
    left = [one.deadline - now for one in told if one.deadline is not None]
    left += asked.values()
    return Status(
        name=name,
        provider=provider,
        state="degraded" if problems else "healthy",
        hub=observed.hub,
        engines=len(seen.registered),
        expected=len(expected),
        machines=lines,
        others=observed.others,
        problems=problems,
        owner=found.cluster.owner,
        cluster_id=found.cluster.id,
        age=max(0.0, now - found.cluster.created),
        lease_left=max(0.0, min(left)) if left else None,
    )


def _order(name: str) -> tuple[bool, int]:
    return name != "controller", int(name.rpartition("-")[2]) if name != "controller" else 0


def _line(name: str, observed: Observed, expected: frozenset[Slot]) -> MachineStatus:
    machine = observed.found.by_name(name)
    index = _order(name)[1]
    mine = [slot for slot in expected if slot.index == index] if name != "controller" else []
    known = [slot for slot in mine if slot in observed.seen.registered]
    proved = len(known) == len(mine) and bool(mine) if name != "controller" else observed.seen.hub_up
    service = observed.services.get(name, str(ServiceState.ONLINE) if proved else "unknown")
    return MachineStatus(
        name=name,
        role="controller" if name == "controller" else "engine",
        state=str(machine.state) if machine else "gone",
        service=service if machine and machine.state is MachineState.RUNNING else "",
        engines=len(known),
        expected=len(mine),
        busy=sum(observed.seen.registered[slot] for slot in known),
        address=str(machine.endpoint) if machine and machine.endpoint else "",
    )


def _problems(observed: Observed, expected: frozenset[Slot]) -> tuple[str, ...]:
    found, seen = observed.found, observed.seen
    again = "`invoke provision` puts it right"
    problems = []
    if not observed.ours and found.cluster:
        problems.append(
            f"this cluster is not in your record; {found.cluster.owner} made it. "
            "`invoke provision --adopt` takes it over, `invoke teardown` removes it"
        )
    if not found.controller:
        problems.append(f"the controller's machine is gone: {again}")
    problems += [_broken(machine) for machine in found.machines if machine.state is not MachineState.RUNNING]
    problems += [why if why.startswith(name) else f"{name}: {why}" for name, why in sorted(observed.unreached.items())]
    if observed.hub == "no way in":
        problems.append("engines: unknown, no key for this cluster")
    elif observed.hub == "in use":
        problems.append(
            "engines: unknown as long as another command is changing this cluster; look again when it is done"
        )
    elif not seen.hub_up and found.controller and found.controller.state is MachineState.RUNNING:
        service = observed.services.get("controller", "unknown")
        anew = "`invoke stop --machine controller` and `invoke start` start it anew"
        cure = _patience("controller", service, anew if service == ServiceState.ONLINE else again)
        problems.append(f"the hub does not answer (controller service: {service}): {cure}")
    if observed.ours and not expected:
        problems.append(f"it has no engines: {again}")
    if seen.hub_up:
        running = {machine.index for machine in found.machines if _is_engine(machine) and _runs(machine)}
        present = {machine.index for machine in found.machines if _is_engine(machine)}
        services = {slot: observed.services.get(machine_name("engine", slot.index), "unknown") for slot in expected}
        problems += [
            f"{slot} is not in the hub (service: {services[slot]}): "
            f"{_patience(machine_name('engine', slot.index), services[slot], again)}"
            for slot in sorted(expected - seen.registered.keys())
            if slot.index in running
        ]
        problems += [
            f"{machine_name('engine', index)} is gone: {again}"
            for index in sorted({slot.index for slot in expected} - present)
        ]
    return tuple(problems)


def _patience(name: str, service: str, cure: str) -> str:
    """The cure of what does not serve yet, for which it may be too early: ``service`` are its services' states."""
    if ServiceState.STARTING in service.split(", "):
        return f"look again in a moment; if it stays so, `invoke logs --on {name}` shows why"
    if service == ServiceState.ONLINE:
        return f"look again in a moment if it was only just started; else {cure}"
    return cure


def _is_engine(machine: Machine) -> bool:
    return machine.role == "engine"


def _runs(machine: Machine) -> bool:
    return machine.state is MachineState.RUNNING


def _broken(machine: Machine) -> str:
    detail = f" ({machine.detail})" if machine.detail else ""
    if machine.state is MachineState.STOPPED:
        return f"{machine.name} is stopped{detail}: `invoke start` starts it"
    if machine.state is MachineState.PENDING:
        return f"{machine.name} is pending{detail}: look again in a moment"
    return f"{machine.name} is {machine.state}{detail}: `invoke provision` replaces it"
