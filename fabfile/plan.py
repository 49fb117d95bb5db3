"""The plan: wanted against seen gives what to do, as a value that can be printed, compared with nothing, carried out.

Pure: no machine is asked and no file is read here. Machines are known by role and index, engines by machine and number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .machines import Machine, MachineState, Role, machine_name


@dataclass(frozen=True, order=True)
class Slot:
    """The place of one engine: the machine's index and the engine's number on it, counted from 1."""

    index: int
    number: int

    def __str__(self) -> str:
        return f"{machine_name('engine', self.index)} engine {self.number}"


@dataclass(frozen=True)
class Wanted:
    """What shall be: so many engines, at most ``per_machine`` on one machine, deployed in this version.

    The digests stand for everything that is put on a controller or an engine machine; another digest means that the
    services there must be configured anew and restarted.
    """

    engines: int
    per_machine: int
    controller_digest: str = ""
    engine_digest: str = ""


@dataclass(frozen=True)
class Seen:
    """What is: machines as the provider has them, engines as the hub and the record have them.

    ``hub_up`` says whether the hub answered; ``registered`` maps each engine the hub knows to whether it has work;
    ``assigned`` are the engines that were last put on each machine, ``digests`` what was last deployed by machine name.
    """

    machines: tuple[Machine, ...] = ()
    hub_up: bool = False
    registered: Mapping[Slot, bool] = field(default_factory=dict)
    assigned: frozenset[Slot] = frozenset()
    digests: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Deployment:
    """What shall run on one machine: these engine numbers and no others, none on a controller's.

    ``restart`` are the numbers whose service must not just be started: deployed in another version, or running
    without the hub knowing of it.
    """

    role: Role
    index: int
    numbers: tuple[int, ...] = ()
    restart: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """The machine's name."""
        return machine_name(self.role, self.index)


@dataclass(frozen=True)
class Plan:
    """What to do, in this order: discard, create, start, deploy; then, once all engines answer, remove.

    ``discard`` are broken machines whose place is needed again; ``deploy`` holds the machines to be (re)configured,
    ``keep`` those that are right as they are; ``drop`` are engines to stop on machines that stay; ``disturbs`` are
    the engines that would lose work, and ``restart_controller`` says whether all of them register anew.
    """

    discard: tuple[Machine, ...] = ()
    create: tuple[Deployment, ...] = ()
    start: tuple[Machine, ...] = ()
    deploy: tuple[Deployment, ...] = ()
    keep: tuple[Deployment, ...] = ()
    remove: tuple[Machine, ...] = ()
    drop: tuple[Slot, ...] = ()
    disturbs: tuple[Slot, ...] = ()
    restart_controller: bool = False

    @property
    def empty(self) -> bool:
        """True when everything is as it shall be."""
        return not (self.discard or self.create or self.start or self.deploy or self.remove or self.drop)

    @property
    def target(self) -> tuple[Deployment, ...]:
        """Every machine that the cluster has afterwards, with what runs on it, the controller first."""
        return tuple(sorted((*self.keep, *self.deploy), key=lambda one: (one.role != "controller", one.index)))

    @property
    def engines(self) -> tuple[Slot, ...]:
        """Every engine that the cluster has afterwards."""
        return tuple(Slot(one.index, number) for one in self.target for number in one.numbers)

    @property
    def fresh(self) -> frozenset[Slot]:
        """The engines on machines that are deployed: each has to show that it answers."""
        return frozenset(Slot(one.index, number) for one in self.deploy for number in one.numbers)

    @property
    def renewed(self) -> frozenset[Slot]:
        """The engines that start anew, so that what the hub had under their names before is no proof of them."""
        anew = {one.name for one in self.create} | {machine.name for machine in self.start}
        whole = {slot for slot in self.fresh if machine_name("engine", slot.index) in anew or self.restart_controller}
        return frozenset(whole | {Slot(one.index, number) for one in self.deploy for number in one.restart})


def make_plan(wanted: Wanted, seen: Seen) -> Plan:
    """What brings the cluster from what is seen to what is wanted, disturbing as few engines at work as it can."""
    controller = next((machine for machine in seen.machines if machine.role == "controller"), None)
    engine_machines = {machine.index: machine for machine in seen.machines if machine.role == "engine"}
    broken = [machine for machine in engine_machines.values() if _broken(machine, seen)]
    if controller and (controller.state is MachineState.LOST or (_failed(controller) and not seen.hub_up)):
        broken.append(controller)
    usable = {machine.name: machine for machine in seen.machines if machine not in broken}

    needed = -(-wanted.engines // wanted.per_machine)
    candidates = [index for index, machine in engine_machines.items() if machine.name in usable]
    kept = sorted(candidates, key=lambda index: _worth_keeping(engine_machines[index], seen), reverse=True)[:needed]
    slots = _fill(wanted, seen, kept, needed)
    restart = seen.hub_up and seen.digests.get("controller") != wanted.controller_digest
    target = _target(wanted, seen, slots)
    deploy = [one for one in target if restart or not _as_wanted(one, wanted, seen, usable.get(one.name))]
    remove = [machine for machine in usable.values() if machine.name not in {one.name for one in target}]
    staying = {one.index for one in target if one.role == "engine" and one.name in usable}
    drop = {slot for slot in _current(seen) if slot.index in staying} - slots
    restarted = {Slot(one.index, number) for one in deploy for number in one.restart}
    removed = {slot for slot in seen.registered if slot.index in {machine.index for machine in remove}}
    disturbed = frozenset(seen.registered) if restart else drop | restarted | removed
    return Plan(
        discard=tuple(broken),
        create=tuple(one for one in target if one.name not in usable),
        start=tuple(
            usable[one.name] for one in target if one.name in usable and usable[one.name].state is MachineState.STOPPED
        ),
        deploy=tuple(deploy),
        keep=tuple(one for one in target if one not in deploy),
        remove=tuple(remove),
        drop=tuple(sorted(drop)),
        disturbs=tuple(sorted(slot for slot in disturbed if seen.registered.get(slot))),
        restart_controller=restart,
    )


def _broken(machine: Machine, seen: Seen) -> bool:
    """Lost, or failed says the provider and the hub has nothing that speaks against it."""
    unknown = all(slot.index != machine.index for slot in seen.registered)
    return machine.state is MachineState.LOST or (_failed(machine) and unknown)


def _failed(machine: Machine) -> bool:
    return machine.state is MachineState.FAILED


def _target(wanted: Wanted, seen: Seen, slots: frozenset[Slot]) -> list[Deployment]:
    target = [Deployment("controller", 0)]
    off = {one.index for one in seen.machines if one.role == "engine" and one.state is MachineState.STOPPED}
    for index in sorted({slot.index for slot in slots}):
        numbers = tuple(sorted(slot.number for slot in slots if slot.index == index))
        outdated = seen.digests.get(machine_name("engine", index)) != wanted.engine_digest
        looked_for = seen.hub_up and index not in off  # what is off starts anew by itself, with its machine
        unknown = looked_for and {n for n in numbers if Slot(index, n) in seen.assigned - seen.registered.keys()}
        there = {n for n in numbers if Slot(index, n) in _current(seen)}
        target.append(Deployment("engine", index, numbers, tuple(sorted(there if outdated else unknown or ()))))
    return target


def _current(seen: Seen) -> frozenset[Slot]:
    return seen.assigned | frozenset(seen.registered)


def _worth_keeping(machine: Machine, seen: Seen) -> tuple[int, int, bool, int]:
    """More engines at work, then more engines at all, then one that runs, then the lower index."""
    mine = [slot for slot in seen.registered if slot.index == machine.index]
    running = machine.state is MachineState.RUNNING
    return sum(seen.registered[slot] for slot in mine), len(mine), running, -machine.index


def _fill(wanted: Wanted, seen: Seen, kept: Iterable[int], needed: int) -> frozenset[Slot]:
    """The engines that shall be: those there are, at work before idle before missing, then new ones."""
    kept = sorted(kept)
    there = sorted(
        (slot for slot in _current(seen) if slot.index in kept),
        key=lambda slot: (not seen.registered.get(slot, False), slot not in seen.registered, slot.number, slot.index),
    )
    slots = set(there[: wanted.engines])
    fresh = (index for index in range(needed + len(kept)) if index not in kept)
    places = [*kept, *(index for index, _ in zip(fresh, range(needed - len(kept)), strict=False))]
    for number in range(1, wanted.per_machine + 1):
        for index in places:
            mine = sum(slot.index == index for slot in slots)
            if len(slots) < wanted.engines and mine < wanted.per_machine:
                slots.add(Slot(index, number))
    return frozenset(slots)


def _as_wanted(one: Deployment, wanted: Wanted, seen: Seen, machine: Machine | None) -> bool:
    """Whether nothing has to be done on this machine."""
    if machine is None or machine.state is not MachineState.RUNNING:
        return False
    if one.role == "controller":
        return seen.hub_up and seen.digests.get(one.name) == wanted.controller_digest
    slots = {Slot(one.index, number) for number in one.numbers}
    mine = {slot for slot in _current(seen) if slot.index == one.index}
    return seen.digests.get(one.name) == wanted.engine_digest and slots == mine <= seen.registered.keys()
