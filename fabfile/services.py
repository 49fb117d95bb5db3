"""Services, and what a service manager must be able to do.

A service manager (service_managers/systemd, smf) installs, configures and runs services on one host. It knows nothing
of clusters; whether an engine is of any use is asked of the hub, not here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from .errors import ServiceFailed
from .remote import File, Host


class ServiceState(StrEnum):
    """One vocabulary for systemd's states and SMF's."""

    ONLINE = "online"
    STARTING = "starting"
    OFFLINE = "offline"
    DISABLED = "disabled"
    MAINTENANCE = "maintenance"
    ABSENT = "absent"


@dataclass(frozen=True)
class Service:
    """A service by its plain name, with its instances: ``Service("ipengine", ("1", "2"))``; "" is the only instance."""

    name: str
    instances: tuple[str, ...] = ("",)


CONTROLLER = Service("ipcontroller")
REPAIR = Service("ipyfleet-repair")
LEASE = Service("ipyfleet-lease")


def engine_service(numbers: Iterable[int]) -> Service:
    """The engines of these numbers on one machine; without a number, whatever engines it has."""
    return Service("ipengine", tuple(str(number) for number in numbers))


@dataclass(frozen=True)
class Look:
    """One look at one instance: ``mark`` changes when it was restarted, ``words`` are the manager's own."""

    state: ServiceState
    mark: str = ""
    words: str = ""


@dataclass(frozen=True)
class Stretch:
    """How much of a log: its last ``lines`` (None: all), none older than ``since`` seconds (None: of any age)."""

    lines: int | None = None
    since: float | None = None


def alone(looks: Mapping[str, Look]) -> dict[str, Look]:
    """The looks at a service that is not of ours: the only instance has no name of its own, of several each has."""
    return {"": next(iter(looks.values()))} if len(looks) == 1 else dict(looks)


class ServiceManager(Protocol):
    """Every verb takes all instances of a service at once and may be repeated without harm.

    ``state`` and ``logs`` take any other service of the host as well, by its own full name and without instances.

    Each module says in its docstring which values ``configure`` takes.
    """

    name: str
    run_folder: str  # where engines note their idents

    def run_as(self, user: str, seconds: float, *words: str) -> tuple[str, ...]:
        """The command, as words for root, that runs another one as that user, for at most so many seconds."""

    def install(
        self,
        host: Host,
        service: Service,
        values: Mapping[str, Sequence[str]] | None = None,
        files: Sequence[File] = (),
    ) -> bool:
        """Put the service's unit or manifest and its scripts on the host; True when anything changed.

        Its values and further files, of whatever it reads, may come along: one round trip rather than three.
        """

    def configure(self, host: Host, service: Service, values: Mapping[str, Sequence[str]]) -> bool:
        """Hand the service its values (no secrets: they travel as files); True when anything changed."""

    def bring_up(
        self,
        host: Host,
        service: Service,
        values: Mapping[str, Sequence[str]],
        files: Sequence[File] = (),
        *,
        anew: Sequence[str] = (),
        mark: File | None = None,
    ) -> None:
        """Install, then restart if anything changed, else restart the instances ``anew`` and start the others.

        All in one round trip, not waiting until they run; ``mark`` is put in place when they were told to.
        """

    def start(self, host: Host, service: Service) -> None:
        """Enable and start, not waiting until it runs; running instances stay as they are."""

    def stop(self, host: Host, service: Service) -> None:
        """Stop and disable, letting a running task end within the service's own limit."""

    def restart(self, host: Host, service: Service) -> None:
        """Enable, stop and start, not waiting until it runs."""

    def clear(self, host: Host, service: Service) -> None:
        """Take instances out of maintenance."""

    def remove(self, host: Host, service: Service) -> None:
        """Stop all instances and take away unit or manifest, scripts and values."""

    def state(self, host: Host, service: Service) -> dict[str, Look]:
        """A look at every instance, by instance."""

    def names(self, service: Service) -> tuple[str, ...]:
        """What the host's own commands call the instances, in their order."""

    def read(self, shown: str, service: Service) -> dict[str, Look]:
        """A look at every instance, by instance, in what bootscripts/examine.sh showed of this and other services."""

    def logs(self, host: Host, service: Service, lines: int = 50) -> str:
        """The service's own last log lines."""

    def past(self, host: Host, service: Service, stretch: Stretch) -> str:
        """What the service's logs hold, whichever start it is of and whatever became of it."""

    def following(self, service: Service, stretch: Stretch) -> tuple[Path, tuple[str, ...]]:
        """The script, and its arguments, that as root writes that stretch of the logs and then what comes.

        It ends with its standard input, that is with the connection, and leaves nothing behind.
        """

    def lease_left(self, host: Host) -> float | None:
        """Seconds until the host's lease ends; None without a lease."""


HOPELESS = (ServiceState.MAINTENANCE, ServiceState.ABSENT)
LOOPING = 3  # restarts seen while waiting
SLOWER, SLOWEST = 1.3, 2.0  # each time between two looks to the one before; seconds

Pause = Callable[[float], None]


def wait_for_svc(
    manager: ServiceManager,
    host: Host,
    service: Service,
    *,
    timeout: float = 60.0,
    settle: float = 0.25,
    delay: float = 0.0,
    beat: Callable[[str], None] = lambda text: None,
    pause: Pause = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Look]:
    """Wait until every instance is ONLINE on two looks with no restart between them; the second look.

    Seconds are ``timeout``, ``delay`` (before the first look) and ``settle`` (between the first two; from then on it
    grows, since each look keeps the host from its work). ``beat`` hears what is waited for, once a look.
    A service without named instances stands for those that the host has.
    Raises ServiceFailed with the service's last log lines: at once for an instance in maintenance or absent, after
    three restarts for one that keeps ending (its manager starts it again and again, so no single look shows it), else
    when the time is over. ONLINE proves that a process runs, not that it is of use: engines are counted in the hub.
    """
    deadline = clock() + timeout
    pause(delay)
    before: Mapping[str, Look] = {}
    marks: dict[str, set[str]] = {}
    while True:
        now = manager.state(host, service)
        if not now:
            raise _failed(manager, host, service, now, f"no instance of {service.name} is there")
        hopeless = [instance_name(service, i) for i, look in now.items() if look.state in HOPELESS]
        if hopeless:
            raise _failed(manager, host, service, now, f"{', '.join(hopeless)} cannot come up by waiting")
        for instance, look in now.items():
            marks.setdefault(instance, set()).update({look.mark} - {""})
        looping = [instance_name(service, i) for i, seen in marks.items() if len(seen) > LOOPING]
        if looping:
            raise _failed(manager, host, service, now, f"{', '.join(looping)} ends each time soon after its start")
        if all(look.state is ServiceState.ONLINE and before.get(i) == look for i, look in now.items()):
            return now
        if clock() >= deadline:
            raise _failed(manager, host, service, now, f"{service.name} not online after {timeout:.0f} s")
        beat(_summary(service, now))
        before = now
        pause(settle)
        settle = max(settle, min(SLOWEST, settle * SLOWER))


def instance_name(service: Service, instance: str) -> str:
    """What an instance is called in what is told of it, under every service manager: ``ipengine@2``."""
    if instance.startswith(("svc:", f"{service.name.partition('@')[0]}@")):  # a whole name
        return instance
    return f"{service.name}@{instance}" if instance else service.name


def _summary(service: Service, looks: Mapping[str, Look]) -> str:
    return ", ".join(f"{instance_name(service, i)} {look.words or look.state}" for i, look in looks.items())


def _failed(
    manager: ServiceManager, host: Host, service: Service, looks: Mapping[str, Look], what: str
) -> ServiceFailed:
    return ServiceFailed(
        f"{what} ({_summary(service, looks)})",
        machine=host.name,
        seen=manager.logs(host, service, 12),  # SMF says some lines of its own before these
        hint=f"`fab -H {host.address} service-logs --service {service.name}` shows more; "
        "mend the cause and run the same command again",
    )
