"""Machines, and what a provider of machines must be able to do.

A provider (providers/local, providers/static, …) turns specifications into machines that answer SSH. It knows nothing
of services, engines or the hub; everything passed here is a frozen value that a test can write in one line.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol, runtime_checkable

from .errors import RemoteError
from .remote import Credentials, Host
from .remote import Endpoint as Endpoint

Role = Literal["controller", "engine"]
ROLES = ("controller", "engines", "all")  # what machines are called together


class MachineState(StrEnum):
    """What the provider says of a machine; whether it answers is another question.

    One that has ``FAILED`` may be at work all the same, one that is ``LOST`` is no more, though nobody asked for that.
    """

    PENDING = "pending"
    RUNNING = "running"
    STOPPED = "stopped"
    FAILED = "failed"
    LOST = "lost"


@dataclass(frozen=True)
class Machine:
    """One machine of a cluster, as its provider knows it.

    ``host_keys`` are public host keys, ``type base64`` each; ``private_address`` is the address the other machines
    of the cluster reach it by; ``created`` and ``deadline`` are seconds since the epoch, deadline None without a lease.
    ``throwaway_key`` is the one of its host keys, if any, that is good until the first verified login only; ``kind`` is
    the provider's name for its size; ``interruptible`` says that the provider may take it away at any time.
    """

    name: str
    id: str
    role: Role
    index: int
    state: MachineState
    endpoint: Endpoint | None = None
    private_address: str = ""
    host_keys: tuple[str, ...] = ()
    deadline: float | None = None
    created: float = 0.0
    detail: str = ""
    throwaway_key: str = ""
    kind: str = ""
    interruptible: bool = False


@dataclass(frozen=True)
class MachineSpec:
    """A machine that shall be: ``authorized_keys`` are the SSH public keys that may log in."""

    role: Role
    index: int
    authorized_keys: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """``controller`` or ``engine-3``: unique in the cluster, the same on every provider."""
        return machine_name(self.role, self.index)


def machine_name(role: Role, index: int) -> str:
    """The name of a machine from its role and index."""
    return "controller" if role == "controller" else f"engine-{index}"


@dataclass(frozen=True)
class Cluster:
    """Which cluster: the user's name for it, a random id, who made it (user@computer) and when (epoch seconds)."""

    name: str
    id: str
    owner: str
    created: float


@dataclass(frozen=True)
class Found:
    """What the provider has of a cluster; ``cluster`` is None when it has nothing at all."""

    cluster: Cluster | None = None
    machines: tuple[Machine, ...] = ()

    def by_name(self, name: str) -> Machine | None:
        """The machine of that name, or None."""
        return next((machine for machine in self.machines if machine.name == name), None)

    @property
    def controller(self) -> Machine | None:
        """The controller's machine, or None."""
        return next((machine for machine in self.machines if machine.role == "controller"), None)


@dataclass(frozen=True)
class Finding:
    """One result of a preflight: ``level`` error stops the command, warning is shown and passed."""

    level: Literal["error", "warning"]
    text: str
    fix: str = ""


@dataclass(frozen=True)
class Event:
    """One thing that happened, for the report: machine or "" for the whole cluster, what, and for how long (s)."""

    what: str
    machine: str = ""
    seconds: float | None = None


OnEvent = Callable[[Event], None]


def silent(event: Event) -> None:
    """The listener that does not listen."""


def wait_for_ssh(machine: Machine, credentials: Credentials, timeout: float, on_event: OnEvent = silent) -> Host:
    """Connect to the machine as soon as it answers, within ``timeout`` seconds; its open, verified connection.

    Raises HostKeyError at once when its host key is not the pinned one, RemoteError when the time is over.
    """
    from . import ssh  # fabric takes 0.2 s to import

    if machine.endpoint is None:
        raise RemoteError(
            f"its provider knows no address of it (state: {machine.state})",
            machine=machine.name,
            hint="`invoke status` shows what the provider says of it; a stopped machine comes back with `invoke start`",
        )
    begun = time.monotonic()
    host = ssh.open_when_ready(machine.endpoint, machine.name, credentials, timeout=timeout)
    on_event(Event("answers SSH", machine.name, time.monotonic() - begun))
    return host


class Provider(Protocol):
    """All verbs go by cluster, never by remembered machine ids alone, and may be repeated without harm."""

    name: str
    owns_machines: bool  # False where machines outlive the cluster: services are taken off, nothing is powered off

    def engines_per_machine(self, engines: int) -> int:
        """How many engines go on one machine when the settings leave it to the provider and so many are wanted."""

    def check(self, new_machines: int) -> list[Finding]:
        """Preflight before so many machines are made: everything that would stop it, all at once; changes nothing."""

    def prepare(self, on_event: OnEvent) -> None:
        """Make what new machines need and is not there yet, such as an image."""

    def find(self, cluster: str) -> Found:
        """What exists of the cluster of that name, from the provider itself and not from our record."""

    def create(self, cluster: Cluster, specs: Sequence[MachineSpec], on_event: OnEvent) -> tuple[Machine, ...]:
        """Make these machines, tagged in the same act; a machine that exists already is returned as it is.

        Raises ProviderRefused; machines that were made by then are found by ``find``.
        """

    def destroy(self, cluster: str, machines: Sequence[Machine]) -> None:
        """Remove these machines; silent about those gone already; an empty sequence means none."""

    def clean(self, cluster: str) -> None:
        """Remove what the cluster leaves beside machines: networks, groups, keys, volumes, tags."""

    def console(self, machine: Machine) -> str:
        """The machine's boot console, newest lines last; "" when the provider has none."""

    def clusters(self) -> list[Found]:
        """Every cluster of ours that this provider holds for this user."""


@runtime_checkable
class Stoppable(Protocol):
    """A provider that can stop machines keeping their disks, and start them again."""

    def stop(self, cluster: str, machines: Sequence[Machine]) -> None:
        """Power off in an orderly way; silent about those that are off."""

    def start(self, cluster: str, machines: Sequence[Machine]) -> tuple[Machine, ...]:
        """Power on; the machines as they are now, addresses included."""


@runtime_checkable
class Authorizing(Protocol):
    """A provider that can let a new SSH key in without an old one: record lost, or another computer."""

    def authorize(self, cluster: str, public_key: str) -> None:
        """Make every running machine of the cluster accept this public key."""


@runtime_checkable
class Connecting(Protocol):
    """A provider that connects to machines itself, so that nobody needs a second connection."""

    def connected(self, machine: Machine) -> Host | None:
        """Its open, verified connection to the machine, which it keeps; None when it has none."""


@runtime_checkable
class Specifying(Protocol):
    """A provider that knows which processors its machines have: they need not be this computer's."""

    def hardware(self) -> str:
        """What ``uname -m`` says on every machine of the cluster."""


@runtime_checkable
class Guarding(Protocol):
    """A provider that lets in who comes from certain networks, of which this computer may have changed its own."""

    def let_in(self, cluster: Cluster) -> bool:
        """Let in whom the settings name, this computer being where it is now; whether anything had to be changed."""


@runtime_checkable
class KeyPublishing(Protocol):
    """A provider whose machines come with a throw-away host key, and that keeps what replaces it for all to see."""

    def publish_host_keys(self, machine: Machine, keys: Sequence[str], throwaway: str) -> Machine:
        """Note which public keys the machine may show, ``throwaway`` ("" for none) being one; the machine as it is now.

        ``find`` says the same from then on, also on another computer.
        """


@runtime_checkable
class Booting(Protocol):
    """A provider whose machines run boot scripts of ours that end some time after SSH answers."""

    def wait_until_booted(self, machine: Machine, host: Host, timeout: float) -> None:
        """Wait for the end of the machine's first boot; raises ClusterError with the last lines that it wrote."""


@runtime_checkable
class Joining(Protocol):
    """A provider that can hand machines a kit, by which they join their cluster by themselves."""

    def awaits_kit(self, machine: Machine) -> bool:
        """Whether the machine waits for a kit; it does so once."""

    def join(self, machine: Machine, kit: bytes, timeout: float) -> None:
        """Hand the machine its kit, wait ``timeout`` seconds until it says that it has joined, take the kit back.

        Raises ServiceFailed with the last lines of what the machine could not do.
        """


@runtime_checkable
class Leasing(Protocol):
    """A provider that shows when a machine's lease ends: a copy of what the machine's own timer says."""

    def note_deadline(self, machines: Sequence[Machine], deadline: float | None) -> None:
        """Note the end of the lease (seconds since the epoch; None: no lease) with these machines."""


@dataclass(frozen=True)
class Rate:
    """What machines cost: US dollars an hour for all of them together, and what that leaves out, in words."""

    hourly: float
    without: str = ""


@runtime_checkable
class Priced(Protocol):
    """A provider whose machines cost money."""

    def rate(self, machines: Sequence[Machine]) -> Rate | None:
        """What machines like these cost while they run; None when the provider does not say."""

    def spent(self, machines: Sequence[Machine], now: float) -> float | None:
        """What these machines have cost by ``now`` (epoch seconds) since they were launched, in US dollars."""

    def estimate(self, specs: Sequence[MachineSpec]) -> Rate | None:
        """What machines that are not there yet will cost."""
