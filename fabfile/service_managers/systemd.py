"""systemd: our units put on a host, given their values, started, looked at; one round trip a verb for all instances.

Knows nothing of clusters, machines or the hub, and no secret passes through it. The values ``configure`` takes, each a
list of lines (single ones hold one line):

* ``ipcontroller``: ``spacing``, single, whole seconds from a controller's end to its next start; ``options``, each one
  word of ipcontroller's command line.
* ``ipengine``: ``machine``, single, the first part of its engines' idents; ``heartbeat_misses``, single;
  ``stop_timeout``, single, seconds a running task may take at a stop; ``options``, each one word of ipengine's command
  line; ``environment``, each ``NAME=value``.
* ``ipyfleet-lease``: ``seconds``, single, from each boot to the end; ``action``, single, ``poweroff`` or ``stop``
  (our services only).
* ``ipyfleet-repair``: none. It comes and goes with ``ipengine``: installed, started and removed with it.

A service without instances means all instances that the host has, for every verb but ``start`` and ``restart``.
Values take effect at the next ``start`` or ``restart`` of the service. ``state`` of a service with a timer is the
timer's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError
from ..remote import File, Host, Then
from ..services import LEASE, Look, Service, ServiceState, Stretch, alone

ROOT = Path(__file__).resolve().parents[2]
UNITS_SH = ROOT / "systemd" / "units.sh"
FOLLOW_SH = ROOT / "bootscripts" / "follow-journal.sh"
UNIT_FOLDER = "/etc/systemd/system"
SCRIPT_FOLDER = "/opt/ipyfleet/libexec"
VALUE_FOLDER = "/etc/ipyfleet"
MARGIN = 60.0  # s that a stop may take beside the units' own limit
DAY = 86400.0


@dataclass(frozen=True)
class Kind:
    """What belongs to a service: ``unit`` is what is started and looked at, ``{}`` its instance.

    ``files`` are all its units, ``scripts`` what they run. ``dropin`` gives, for the value that systemd itself must
    know, the unit that it goes into and the text. ``traces`` is what its scripts write.
    """

    unit: str
    files: tuple[str, ...]
    scripts: tuple[str, ...]
    keys: tuple[str, ...] = ()
    dropin: tuple[str, str, str] | None = None
    traces: tuple[str, ...] = ()


REPAIR_FILES = ("ipyfleet-repair.service", "ipyfleet-repair.timer")
REPAIR_SCRIPTS = ("engine-repair.sh", "unknown-engines.py", "registered-engines.py")
KINDS = {
    "ipcontroller": Kind(
        "ipcontroller.service",
        ("ipcontroller.service",),
        ("controller-start.sh", "controller-spacing.sh"),
        ("spacing", "options"),
        traces=("/var/lib/ipyparallel/controller-spacing",),
    ),
    "ipengine": Kind(
        "ipengine@{}.service",
        ("ipengine@.service", *REPAIR_FILES),
        ("engine-start.sh", "engine-program.py", "engine-stopped.sh", *REPAIR_SCRIPTS),
        ("machine", "heartbeat_misses", "options", "environment"),
        ("stop_timeout", "ipengine@.service", "[Service]\nTimeoutStopSec={}\n"),
        ("/run/ipyfleet",),
    ),
    "ipyfleet-repair": Kind("ipyfleet-repair.timer", REPAIR_FILES, REPAIR_SCRIPTS),
    "ipyfleet-lease": Kind(
        "ipyfleet-lease.timer",
        ("ipyfleet-lease.service", "ipyfleet-lease.timer"),
        ("lease-end.sh",),
        ("action",),
        ("seconds", "ipyfleet-lease.timer", "[Timer]\nOnActiveSec=\nOnActiveSec={}\n"),
    ),
}
PROPERTIES = ("Id", "LoadState", "ActiveState", "SubState", "UnitFileState", "NRestarts", "InvocationID")
SPAN_UNITS = {"y": 365.25 * DAY, "month": 30.44 * DAY, "w": 7 * DAY, "d": DAY, "h": 3600.0, "min": 60.0, "s": 1.0}
SPAN_UNITS |= {"ms": 1e-3, "us": 1e-6}


class Systemd:
    """The ServiceManager of hosts whose first process is systemd (249 or newer)."""

    name = "systemd"
    run_folder = "/run/ipyfleet"

    def run_as(self, user: str, seconds: float, *words: str) -> tuple[str, ...]:
        """By runuser, which every host with systemd has; it says nothing of time, and who runs it has a limit."""
        return ("runuser", "-u", user, "--", *words)

    def install(
        self,
        host: Host,
        service: Service,
        values: Mapping[str, Sequence[str]] | None = None,
        files: Sequence[File] = (),
    ) -> bool:
        """Put units and scripts on the host, values and further files with them; True when anything changed."""
        return bool(host.place(_files(service, values, files)))

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
        """Install, then restart if anything changed, else restart the instances ``anew`` and start the others."""
        kind = KINDS[service.name]
        again = " ".join(units(Service(service.name, tuple(anew)))) if anew else ""
        words = ("up", again, " ".join(kind.files[1:]), *units(service))
        host.place(_files(service, values, files), Then(UNITS_SH, words, (mark,) if mark else ()))

    def configure(self, host: Host, service: Service, values: Mapping[str, Sequence[str]]) -> bool:
        """Hand the service its values; True when anything changed. Raises UsageError for what no line can hold."""
        return bool(host.place(value_files(service, values)))

    def start(self, host: Host, service: Service) -> None:
        """Enable and start, not waiting; running instances stay as they are."""
        host.script(UNITS_SH, "start", " ".join(KINDS[service.name].files[1:]), *units(service), sudo=True)

    def stop(self, host: Host, service: Service) -> None:
        """Stop and disable, waiting as long as the units' own limit lets a running task go on."""
        names = units(service)
        enabled = names if service.instances else KINDS[service.name].files[:1]
        host.script(UNITS_SH, "stop", " ".join(enabled), *names, sudo=True, timeout=self._stop_limit(host, names))

    @staticmethod
    def _stop_limit(host: Host, names: Sequence[str]) -> float:
        shown = host.run("systemctl", "show", "--property=TimeoutStopUSec", *names).stdout
        limits = [seconds(line.partition("=")[2]) for line in shown.splitlines() if line]
        return max((DAY if limit is None else limit for limit in limits), default=0.0) + MARGIN

    def restart(self, host: Host, service: Service) -> None:
        """Enable, stop and start, not waiting."""
        host.script(UNITS_SH, "restart", " ".join(KINDS[service.name].files[1:]), *units(service), sudo=True)

    def clear(self, host: Host, service: Service) -> None:
        """Take instances out of the failed state."""
        host.run("systemctl", "reset-failed", *units(service), sudo=True)

    def remove(self, host: Host, service: Service) -> None:
        """Stop every instance there is, not only those named, and take away all its files."""
        kind = KINDS[service.name]
        paths = [f"{UNIT_FOLDER}/{name}" for name in kind.files] + [_script_path(name) for name in kind.scripts]
        paths += [f"{UNIT_FOLDER}/{kind.dropin[1]}.d"] if kind.dropin else []
        paths += [f"{VALUE_FOLDER}/{service.name}.values", *kind.traces]
        # Disabling a template disables its instances; stopping goes by pattern.
        globs = [name.replace("@", "@*") for name in kind.files]
        host.script(
            UNITS_SH,
            "remove",
            " ".join(kind.files),
            " ".join(globs),
            *paths,
            sudo=True,
            timeout=self._stop_limit(host, globs),
        )

    def state(self, host: Host, service: Service) -> dict[str, Look]:
        """A look at every instance, by instance; the mark is systemd's id of this one start."""
        shown = host.run("systemctl", "show", f"--property={','.join(PROPERTIES)}", *units(service)).stdout
        if service.name not in KINDS:
            return alone(parse_show(shown))
        if not service.instances:
            return {re.sub(r".*@(.*)\..*", r"\1", name): look for name, look in parse_show(shown).items()}
        return self.read(shown, service)

    def names(self, service: Service) -> tuple[str, ...]:
        """The names of its units."""
        return units(service)

    def read(self, shown: str, service: Service) -> dict[str, Look]:
        """The looks in what ``systemctl show`` printed of its units and perhaps of others."""
        looks = parse_show(shown)
        absent = Look(ServiceState.ABSENT, words="not shown")
        names = zip(service.instances, units(service), strict=True)
        return {instance: looks.get(unit, absent) for instance, unit in names}

    def logs(self, host: Host, service: Service, lines: int = 50) -> str:
        """The last lines that the units' processes wrote, and systemd about them."""
        return self.past(host, service, Stretch(lines))

    def past(self, host: Host, service: Service, stretch: Stretch) -> str:
        """What the journal holds of the units."""
        return host.run("journalctl", *_journal(service, stretch), sudo=True).stdout

    def following(self, service: Service, stretch: Stretch) -> tuple[Path, tuple[str, ...]]:
        """The script that follows the journal, with its arguments."""
        return FOLLOW_SH, _journal(service, stretch)

    def lease_left(self, host: Host) -> float | None:
        """Seconds until the lease of this host ends; None without a lease."""
        uptime = float(host.run("cat", "/proc/uptime").stdout.split()[0])
        shown = host.run("systemctl", "show", "--property=NextElapseUSecMonotonic", *units(LEASE)).stdout
        end = seconds(shown.strip().partition("=")[2])
        return None if end is None else end - uptime


def units(service: Service) -> tuple[str, ...]:
    """The names of a service's units, one an instance, in their order; without instances the pattern of them all.

    A service that is not of ours is named as systemctl takes it.
    """
    if service.name not in KINDS:
        return (service.name,)
    return tuple(KINDS[service.name].unit.format(instance) for instance in service.instances or ("*",))


def _files(service: Service, values: Mapping[str, Sequence[str]] | None, files: Sequence[File]) -> list[File]:
    """Everything that is put on a host for a service: what is given, its units, their scripts, its values."""
    kind = KINDS[service.name]
    units = [File(f"{UNIT_FOLDER}/{name}", (ROOT / "systemd" / name).read_bytes()) for name in kind.files]
    scripts = [File(_script_path(n), (ROOT / "bootscripts" / n).read_bytes(), 0o755) for n in kind.scripts]
    return [*files, *units, *scripts, *(value_files(service, values) if values is not None else ())]


def value_files(service: Service, values: Mapping[str, Sequence[str]]) -> tuple[File, ...]:
    """The files that hold a service's values, one ``key value`` a line, and what systemd itself must know in a drop-in.

    Raises UsageError for a value that is no single line, ValueError for a key that the service does not have.
    """
    kind = KINDS[service.name]
    lines = [f"{key} {value}" for key in kind.keys for value in values.get(key, ())]
    broken = [line for line in lines if "\n" in line or "\r" in line or "\0" in line]
    if broken:
        raise UsageError(
            f"{service.name} cannot be given {broken[0]!r}", hint="options and variables are of one line each"
        )
    files = [File(f"{VALUE_FOLDER}/{service.name}.values", "".join(f"{line}\n" for line in lines).encode())]
    known = set(kind.keys)
    if kind.dropin:
        key, unit, text = kind.dropin
        known.add(key)
        files += [
            File(f"{UNIT_FOLDER}/{unit}.d/ipyfleet.conf", text.format(f"{float(value):.3f}").encode())
            for value in values.get(key, ())
        ]
    if values.keys() - known:
        raise ValueError(f"{service.name} takes {sorted(known)}, not {sorted(values.keys() - known)}")
    return tuple(files)


def parse_show(text: str) -> dict[str, Look]:
    """The looks in what ``systemctl show`` printed of several units, by unit name."""
    blocks = [dict(line.split("=", 1) for line in block.splitlines()) for block in text.split("\n\n") if block.strip()]
    return {block["Id"]: _look(block) for block in blocks}


def _look(shown: Mapping[str, str]) -> Look:
    load, active, sub = shown["LoadState"], shown["ActiveState"], shown["SubState"]
    restarts = int(shown.get("NRestarts") or 0)
    words = f"{active}/{sub}" if load == "loaded" else load
    if restarts:
        words += f", restarted {restarts} times"
    return Look(_state(load, active, shown["UnitFileState"]), shown.get("InvocationID", ""), words)


def _state(load: str, active: str, unit_file: str) -> ServiceState:
    if load in ("not-found", "masked"):
        return ServiceState.ABSENT
    if load != "loaded" or active == "failed":  # a unit that systemd cannot read comes up by no waiting either
        return ServiceState.MAINTENANCE
    if active == "active":
        return ServiceState.ONLINE
    if active == "inactive":
        return ServiceState.OFFLINE if unit_file.startswith("enabled") else ServiceState.DISABLED
    return ServiceState.STARTING


def seconds(span: str) -> float | None:
    """A time span as systemd prints it, such as ``1h 2min 3.500s``, in seconds; None for infinity and nothing."""
    parts = re.findall(r"([\d.]+) ?([a-z]+)", span)
    return sum(float(number) * SPAN_UNITS[unit] for number, unit in parts) if parts else None


def _script_path(name: str) -> str:
    return f"{SCRIPT_FOLDER}/{name.removesuffix('.sh')}"


def _journal(service: Service, stretch: Stretch) -> tuple[str, ...]:
    """The words for journalctl."""
    lines = "all" if stretch.lines is None else str(stretch.lines)
    since = () if stretch.since is None else (f"--since=-{math.ceil(stretch.since)}s",)
    chosen = [f"--unit={name}" for name in _logged(service)]
    return ("--quiet", "--no-pager", "--output=short-iso", f"--lines={lines}", *since, *chosen)


def _logged(service: Service) -> tuple[str, ...]:
    """The units that write: for a timer, the service that it starts."""
    return tuple(name.replace(".timer", ".service") for name in units(service))


service_manager = Systemd()
