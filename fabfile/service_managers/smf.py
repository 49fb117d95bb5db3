"""SMF, illumos' service manager: our manifests put on a host, given their values, started, looked at.

One round trip a verb for all instances (smf/services.sh), and no secret passes through it. The values are those that
systemd.py describes; ``stop_timeout`` and ``seconds`` are rounded up to whole seconds, as SMF counts. They become
properties of the group ``config``, each line one value of its property, written by a command file of svccfg, in which a
value stands in double quotes, with a backslash before each backslash and double quote. What the host's SMF holds then
is compared with what was given: a value arrives as it is, or that it does not is an error.

Services are ``svc:/site/NAME:default``, engine K is ``svc:/site/ipengine:engine-K``: names of instances begin with a
letter, SMF takes no others. ``ipyfleet-repair`` comes and goes with ``ipengine``. A service without instances means all
instances that the host has, for every verb but ``start`` and ``restart``. Values take effect at the next ``start`` or
``restart`` of the service.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError
from ..remote import File, Host, Then
from ..services import LEASE, Look, Service, ServiceState, Stretch, alone

ROOT = Path(__file__).resolve().parents[2]
SERVICES_SH = ROOT / "smf" / "services.sh"
LOG_LINES_SH = ROOT / "smf" / "log-lines.sh"
MANIFEST_FOLDER = "/var/svc/manifest/site"
SCRIPT_FOLDER = "/opt/ipyfleet/libexec"
VALUE_FOLDER = "/etc/ipyfleet"
HOME = "/var/lib/ipyparallel"
PYTHON = "/opt/ipyfleet/env/bin/python"
WAITING = f"{HOME}/ipcontroller/waiting"
ENGINE_PREFIX = "engine-"
LEASE_NOTE = "/var/run/ipyfleet-lease"
BOOT_LEASE = "/var/run/ipyfleet/lease.pid"  # the timer that a SmartOS machine booted with runs while it is there
STOP_MARGIN = 30  # s that the method of an engine's stop has beside what a task may take
MARGIN = 60.0  # s that a stop may take beside the methods' own limits
DAY = 86400.0


@dataclass(frozen=True)
class Kind:
    """What belongs to a service: ``manifests`` by name, its own first; ``scripts`` are what they run.

    ``keys`` are its values, ``whole`` those of them that are whole seconds. ``traces`` is what its scripts write.
    """

    manifests: tuple[str, ...]
    scripts: tuple[str, ...]
    keys: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()
    traces: tuple[str, ...] = ()


# They stay when a service goes: another one may run them.
SHARED = ("smf/smf-values.sh", "smf/smf-contract.sh", "bootscripts/run-as.py")
REPAIR_SCRIPTS = (
    *("smf/repair-method.sh", "bootscripts/engine-repair.sh"),
    *("bootscripts/unknown-engines.py", "bootscripts/registered-engines.py"),
)
KINDS = {
    "ipcontroller": Kind(
        ("ipcontroller",),
        ("smf/controller-method.sh", "bootscripts/controller-start.sh", "bootscripts/controller-spacing.sh"),
        ("spacing", "options"),
        traces=(f"{HOME}/ipcontroller", f"{HOME}/controller-spacing"),
    ),
    "ipengine": Kind(
        ("ipengine", "ipyfleet-repair"),
        ("smf/engine-method.sh", "bootscripts/engine-start.sh", "bootscripts/engine-program.py", *REPAIR_SCRIPTS),
        ("machine", "heartbeat_misses", "stop_timeout", "options", "environment"),
        ("stop_timeout",),
        (f"{HOME}/ipengine",),
    ),
    "ipyfleet-repair": Kind(("ipyfleet-repair",), REPAIR_SCRIPTS),
    "ipyfleet-lease": Kind(
        ("ipyfleet-lease",),
        ("smf/lease-method.sh", "bootscripts/lease-end.sh"),
        ("seconds", "action"),
        ("seconds",),
        (LEASE_NOTE, f"{LEASE_NOTE}.values", BOOT_LEASE),
    ),
}
STATES = {
    "ON": ServiceState.ONLINE,
    "DGD": ServiceState.ONLINE,
    "OFF": ServiceState.OFFLINE,
    "MNT": ServiceState.MAINTENANCE,
    "DIS": ServiceState.DISABLED,
    "ON DIS": ServiceState.DISABLED,
}


class Smf:
    """The ServiceManager of hosts that run illumos, SmartOS above all."""

    name = "smf"
    run_folder = f"{HOME}/ipengine"

    def run_as(self, user: str, seconds: float, *words: str) -> tuple[str, ...]:
        """By a script of ours: illumos has no runuser, and its `su` needs a user who may log in."""
        return (PYTHON, "-I", f"{SCRIPT_FOLDER}/run-as.py", user, str(math.ceil(seconds)), *words)

    def install(
        self,
        host: Host,
        service: Service,
        values: Mapping[str, Sequence[str]] | None = None,
        files: Sequence[File] = (),
    ) -> bool:
        """Put manifests and scripts on the host, values and further files with them; True when anything changed."""
        then = Then(SERVICES_SH, ("install", _names(service)), _configured(service, values))
        return bool(host.place(_files(service, values, files), then))

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
        words = ("up", " ".join(_spelt(anew)), _names(service), *_spelt(service.instances))
        last = (*_configured(service, values), *((mark,) if mark else ()))
        host.place(_files(service, values, files), Then(SERVICES_SH, words, last))

    def configure(self, host: Host, service: Service, values: Mapping[str, Sequence[str]]) -> bool:
        """Hand an installed service its values; True when anything changed. Raises UsageError for what is no line."""
        then = Then(SERVICES_SH, ("configure", service.name), _configured(service, values))
        return bool(host.place((command_file(service, values),), then))

    def start(self, host: Host, service: Service) -> None:
        """Enable and start, not waiting; running instances stay as they are."""
        host.script(SERVICES_SH, "start", _names(service), *_spelt(service.instances), sudo=True)

    def stop(self, host: Host, service: Service) -> None:
        """Stop and disable, waiting as long as the service's own limit lets a running task go on."""
        limit = self._stop_limit(host, service)
        host.script(SERVICES_SH, "stop", *fmris(service), sudo=True, timeout=limit)

    @staticmethod
    def _stop_limit(host: Host, service: Service) -> float:
        shown = host.run("svcprop", "-c", "-p", "stop/timeout_seconds", f"svc:/site/{service.name}", check=False).stdout
        seconds = float(shown.strip() or 0.0)
        return (seconds if seconds > 0 or not shown.strip() else DAY) + MARGIN  # 0 and -1 are no limit

    def restart(self, host: Host, service: Service) -> None:
        """Enable, stop and start, not waiting."""
        host.script(SERVICES_SH, "restart", _names(service), *_spelt(service.instances), sudo=True)

    def clear(self, host: Host, service: Service) -> None:
        """Take instances out of maintenance."""
        host.script(SERVICES_SH, "clear", *fmris(service), sudo=True)

    def remove(self, host: Host, service: Service) -> None:
        """Stop every instance there is, not only those named, and take away all its files."""
        kind = KINDS[service.name]
        paths = [f"{MANIFEST_FOLDER}/{name}.xml" for name in kind.manifests]
        paths += [_script_path(name) for name in kind.scripts]
        paths += [f"{VALUE_FOLDER}/{service.name}.{end}" for end in ("svccfg", "configured")] if kind.keys else []
        limit = self._stop_limit(host, service)
        host.script(SERVICES_SH, "remove", _names(service), *paths, *kind.traces, sudo=True, timeout=limit)

    def state(self, host: Host, service: Service) -> dict[str, Look]:
        """A look at every instance, by instance; the mark is the number of its contract, new at each start."""
        waiting = WAITING if service.name == "ipcontroller" else ""
        shown = host.script(SERVICES_SH, "look", waiting, *fmris(service), sudo=True).stdout
        if service.name not in KINDS:
            return alone(parse_look(shown))
        if not service.instances:  # engines that were taken out of use stay known to SMF
            used = {name: look for name, look in parse_look(shown).items() if look.state is not ServiceState.DISABLED}
            return {name.rpartition(f":{ENGINE_PREFIX}")[2]: look for name, look in used.items()}
        return self.read(shown, service)

    def names(self, service: Service) -> tuple[str, ...]:
        """The full names of its instances."""
        return fmris(service)

    def read(self, shown: str, service: Service) -> dict[str, Look]:
        """The looks in what ``services.sh look`` printed, or would have, of its instances and perhaps of others."""
        looks = parse_look(shown)
        absent = Look(ServiceState.ABSENT, words="matches no instance")
        names = zip(service.instances, fmris(service), strict=True)
        return {instance: looks.get(name, absent) for instance, name in names}

    def logs(self, host: Host, service: Service, lines: int = 50) -> str:
        """What SMF says of instances that are not online, then the last lines of their last start; else of all."""
        return host.script(SERVICES_SH, "logs", str(lines), *fmris(service), sudo=True).stdout

    def past(self, host: Host, service: Service, stretch: Stretch) -> str:
        """What the log of each instance holds, one after the other; smf/log-lines.sh says how ages are known."""
        return host.script(LOG_LINES_SH, "past", *_limits(stretch), *fmris(service), sudo=True).stdout

    def following(self, service: Service, stretch: Stretch) -> tuple[Path, tuple[str, ...]]:
        """The script that follows the logs of the instances that there are by then, with its arguments."""
        return LOG_LINES_SH, ("follow", *_limits(stretch), *fmris(service))

    def lease_left(self, host: Host) -> float | None:
        """Seconds until the lease of this host ends; None without a lease."""
        shown = host.script(SERVICES_SH, "lease", LEASE_NOTE, *fmris(LEASE), sudo=True).stdout.split()
        if not shown:
            return None
        left, written, now = map(float, shown)
        return left - min(max(0.0, now - written), left)  # the clock may have been set since


def _limits(stretch: Stretch) -> tuple[str, str]:
    lines = "all" if stretch.lines is None else str(stretch.lines)
    return lines, "" if stretch.since is None else str(math.ceil(stretch.since))


def fmris(service: Service) -> tuple[str, ...]:
    """The full names of a service's instances, in their order; without instances the pattern of them all.

    A service that is not of ours is named as svcs takes it.
    """
    if service.name not in KINDS:
        return (service.name,)
    return tuple(f"svc:/site/{service.name}:{name}" for name in _spelt(service.instances) or ("*",))


def _spelt(instances: Iterable[str]) -> tuple[str, ...]:
    """The instances as SMF calls them: only engines have numbers."""
    return tuple(f"{ENGINE_PREFIX}{name}" if name else "default" for name in instances)


def _names(service: Service) -> str:
    """The service and those that come and go with it."""
    return " ".join(KINDS[service.name].manifests)


def _script_path(source: str) -> str:
    return f"{SCRIPT_FOLDER}/{source.rpartition('/')[2].removesuffix('.sh')}"


def _files(service: Service, values: Mapping[str, Sequence[str]] | None, files: Sequence[File]) -> list[File]:
    """Everything that is put on a host for a service: what is given, its manifests, their scripts, its values."""
    kind = KINDS[service.name]
    manifests = [
        File(f"{MANIFEST_FOLDER}/{name}.xml", (ROOT / "smf" / f"{name}.xml").read_bytes()) for name in kind.manifests
    ]
    scripts = [File(_script_path(name), (ROOT / name).read_bytes(), 0o755) for name in (*kind.scripts, *SHARED)]
    return [*files, *manifests, *scripts, *((command_file(service, values),) if values is not None else ())]


def _configured(service: Service, values: Mapping[str, Sequence[str]] | None) -> tuple[File, ...]:
    """The note that the values have been handed over; the script takes it away while they are not."""
    return () if values is None else (File(f"{VALUE_FOLDER}/{service.name}.configured", b""),)


def command_file(service: Service, values: Mapping[str, Sequence[str]]) -> File:
    """The file that gives a service its values: svccfg's commands, and as comments what is there afterwards.

    Raises UsageError for a value that SMF cannot hold, ValueError for a key that the service does not have.
    """
    kind = KINDS[service.name]
    if values.keys() - set(kind.keys):
        raise ValueError(f"{service.name} takes {sorted(kind.keys)}, not {sorted(values.keys() - set(kind.keys))}")
    given = {key: tuple(values[key]) for key in sorted(values) if values[key]}
    given |= {key: tuple(str(math.ceil(float(value))) for value in given[key]) for key in kind.whole if key in given}
    lines = [f"# {key} {_checked(service, value)}" for key, several in given.items() for value in several]
    lines.append("addpg config application")
    for key, several in given.items():
        kept = "astring" if all(value.isascii() for value in several) else "ustring"
        lines.append(f"setprop config/{key} = {kept}: ({' '.join(map(quoted, several))})")
    lines += [
        f"setprop stop/timeout_seconds = count: {int(value) + STOP_MARGIN}" for value in given.get("stop_timeout", ())
    ]
    return File(f"{VALUE_FOLDER}/{service.name}.svccfg", "".join(f"{line}\n" for line in lines).encode())


def quoted(value: str) -> str:
    """A value as svccfg reads it back unchanged."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _checked(service: Service, value: str) -> str:
    """The value; UsageError when it is no single line of text, which neither SMF's tools nor our scripts would keep."""
    try:
        value.encode()
        broken = any(sign in value for sign in "\n\r\0")
    except UnicodeEncodeError:
        broken = True
    if broken:
        raise UsageError(
            f"{service.name} cannot be given {value!r}", hint="options and variables are of one line of text each"
        )
    return value


def parse_look(text: str) -> dict[str, Look]:
    """The looks in what ``services.sh look`` printed, by full name."""
    looks = {}
    lines = [line.split() for line in text.splitlines()]
    waits = ["waiting"] in lines
    for state, next_state, contract, name in (line for line in lines if len(line) == 4):
        seen = _state(state, next_state)
        words = f"{state} {next_state}"
        if waits and seen is ServiceState.ONLINE:
            seen, words = ServiceState.STARTING, f"{words}, keeping its distance to the last one"
        looks[name] = Look(seen, contract.removeprefix("-"), words)
    return looks


def _state(state: str, next_state: str) -> ServiceState:
    pair = state if next_state == "-" else f"{state} {next_state}"
    return STATES.get(pair, ServiceState.STARTING)


service_manager = Smf()
