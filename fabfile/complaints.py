"""What one machine has to complain of: its facts held against what it should be, each complaint with its cure.

Pure. Findings about the cluster as a whole are diagnosis.py's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from . import pkgsrc
from .examination import Disk, Facts, Watched
from .machines import Role
from .services import LEASE, ServiceState
from .software import Software

GB = 10**9
LEAST_DISK, FULLEST = GB, 0.95  # bytes; share that is used
LEAST_MEMORY = 200 * 10**6  # bytes
LEAST_FILES = 4096
CLOCK = 2.0  # seconds of difference
WORKING = ("ipcontroller", "ipengine")
SOFTWARE_ID = "/opt/ipyfleet/env/ipyfleet-software-id"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: on which machine, what was found, and the cure with a command to type."""

    level: Literal["error", "warning", "ok"]
    machine: str
    found: str
    cure: str = ""


@dataclass(frozen=True)
class Examined:
    """A machine that was looked at: its facts and the software that it should have, or why there are none.

    ``outdated`` says that `invoke provision` would deploy to it anew, being other settings or software by now.
    ``unreached`` is what failed, ``hint`` the next step then.
    """

    name: str
    role: Role
    facts: Facts | None
    software: Software | None = None
    outdated: bool = False
    unreached: str = ""
    hint: str = ""


def versions(software: Software) -> dict[str, str]:
    """The version of each package that is pinned, by name."""
    return dict(pin.split("==", 1) for pin in software.requirements)


def works(one: Examined) -> bool:
    """Whether its controller or engines all run, says its service manager; its lease is another matter."""
    if one.facts is None:
        return False
    working = [seen for seen in one.facts.services if seen.name.startswith(WORKING)]
    return all(seen.look.state is ServiceState.ONLINE for seen in working)


def of(one: Examined, *, serving: bool) -> Iterator[Finding]:
    """All findings about a machine; ``serving`` says whether the controller runs, so that its ports must be open."""
    if one.facts is None or one.software is None:
        cure = one.hint or f"`invoke console --machine {one.name}` shows its boot"
        yield Finding("error", one.name, f"it cannot be examined: {one.unreached}", cure)
        return
    yield from _environment(one, one.facts, one.software)
    yield from _services(one, one.facts)
    for looked in (_clock, _disks, _memory, _files):
        yield from looked(one, one.facts)
    if one.role == "engine" and serving:
        yield from _ports(one, one.facts)


def size(number: float) -> str:
    """So many bytes as a person says it."""
    return f"{number / GB:.1f} GB" if number >= GB else f"{number / 10**6:.1f} MB"


def _facts(one: Examined) -> Facts:
    if one.facts is None:
        raise ValueError(f"{one.name} was not examined")
    return one.facts


def _shell(one: Examined, *commands: str) -> str:
    """The command that runs these as root on the machine."""
    sudo = "" if _facts(one).manager == "smf" else "sudo "  # illumos has none, and is logged in to as root
    line = "; ".join(sudo + command for command in commands)
    return f"`invoke ssh --machine {one.name} --command '{line}'`"


def _renewal(one: Examined) -> str:
    """How the environment of a machine is made anew."""
    if one.outdated:
        return "`invoke provision` installs what it should have"
    working = " ".join(seen.own for seen in _facts(one).services if seen.name.startswith(WORKING))
    stop = {"systemd": "systemctl stop", "smf": "svcadm disable -s"}.get(_facts(one).manager, "")
    commands = [f"rm -f {SOFTWARE_ID}", *([f"{stop} {working}"] if stop and working else [])]
    return f"{_shell(one, *commands)}, then `invoke provision` makes its environment anew"


def _environment(one: Examined, facts: Facts, wanted: Software) -> Iterator[Finding]:
    if not facts.python:
        what = "the Python of its environment does not run" + (f": {facts.broken}" if facts.broken else "")
        yield Finding("error", one.name, what, _renewal(one))
        return
    minor = ".".join(facts.python.split(".")[:2])
    if minor != wanted.python:
        what = f"it has Python {facts.python}, this computer's ipyfleet runs under {wanted.python}: functions that are "
        cure = f"run ipyfleet here under Python {minor}, or `invoke teardown` and `invoke provision` with this one"
        yield Finding("error", one.name, f"{what}sent crash its engines", cure)
    else:
        yield Finding("ok", one.name, f"Python {facts.python}")
    if facts.software != wanted.id:
        has = f"software {facts.software}" if facts.software else "software without an id"
        what = f"it has {has}, this computer would deploy {wanted.id} now"
        yield Finding("warning", one.name, what, _renewal(one))
    yield from _packages(one, facts, wanted)


def _packages(one: Examined, facts: Facts, wanted: Software) -> Iterator[Finding]:
    here = versions(wanted)
    lacking = [name for name in here if name not in facts.packages]
    asked = [pin.partition("==")[0] for pin in wanted.wanted]
    vital = [name for name in lacking if name in (*asked, "pyzmq") and name != "pip"]
    own = facts.machine == pkgsrc.MACHINE  # versions of its own there, and with them needs of its own
    spare = [name for name in lacking if name not in vital and not own]
    other = {name: has for name, has in facts.packages.items() if name in here and has != here[name]}
    told = [f"{name} {has} (here {here[name]})" for name, has in sorted(other.items())]
    if vital:
        yield Finding("error", one.name, f"its environment lacks {', '.join(vital)}", _renewal(one))
    if spare:
        yield Finding("warning", one.name, f"its environment lacks {', '.join(spare)}", _renewal(one))
    if told:
        level: Literal["error", "warning"] = "error" if "ipyparallel" in other else "warning"
        cure = _renewal(one)
        if own and not one.outdated:
            pins = " ".join(f"{name}=={has}" for name, has in sorted(other.items()))
            cure = f"its pkgsrc decides; for the same here: `pip install {pins}`"
        yield Finding(level, one.name, f"it has other versions: {', '.join(told)}", cure)
    if not (vital or spare or told):
        yield Finding("ok", one.name, f"all {len(here)} packages are those of this computer")


def _services(one: Examined, facts: Facts) -> Iterator[Finding]:
    if not facts.manager:
        what = "it runs no service manager that we know (neither systemd nor SMF)"
        yield Finding("error", one.name, what, "use a machine that was booted with systemd, or SmartOS")
        return
    for seen in facts.services:
        if seen.look.state is ServiceState.ONLINE:
            yield Finding("ok", one.name, f"{seen.name} is online")
        else:
            words = f" ({seen.look.words})" if seen.look.words else ""
            yield Finding("error", one.name, f"{seen.name} is {seen.look.state}{words}", _revival(one, facts, seen))


def _revival(one: Examined, facts: Facts, seen: Watched) -> str:
    """How a service comes online again."""
    if seen.look.state is ServiceState.STARTING:
        return f"`invoke doctor` again in a moment; `invoke logs --on {one.name}` shows what it does"
    if not seen.name.startswith(WORKING):  # the hub does not miss them, and nor does provision
        if seen.look.state is ServiceState.MAINTENANCE and facts.manager == "smf":
            return _shell(one, f"svcadm clear {seen.own}")
        if facts.manager == "smf":
            return _shell(one, f"svcadm enable {seen.own}")
        # The engines' unit wants the repair timer, which is never enabled; the lease must outlive a boot.
        verb = "enable --now" if seen.name == LEASE.name else "start"
        return _shell(one, f"systemctl {verb} {seen.own}")
    if seen.look.state is ServiceState.MAINTENANCE:
        return f"`invoke logs --on {one.name}` shows why; then `invoke provision` starts it"
    return "`invoke provision` starts it"


def _clock(one: Examined, facts: Facts) -> Iterator[Finding]:
    if facts.ahead is None:
        return
    least, most = facts.ahead
    middle = (least + most) / 2
    if least > CLOCK or most < -CLOCK:
        what = f"its clock is {abs(middle):.1f} s {'ahead of' if middle > 0 else 'behind'} this computer's"
        turn = "svcadm enable ntp" if facts.manager == "smf" else "timedatectl set-ntp true"
        yield Finding("warning", one.name, what, f"{_shell(one, turn)}, if this computer's is right")
    else:
        yield Finding("ok", one.name, "its clock is this computer's")


def _disks(one: Examined, facts: Facts) -> Iterator[Finding]:
    full = [disk for disk in facts.disks if _is_full(disk)]
    for disk in full:
        what = f"{', '.join(disk.paths)}: {size(disk.free)} free of {size(disk.free + disk.used)}"
        yield Finding("warning", one.name, what, _shell(one, f"du -akx {disk.mount} | sort -n | tail"))
    if facts.disks and not full:
        yield Finding("ok", one.name, f"{size(min(disk.free for disk in facts.disks))} of disk free")


def _is_full(disk: Disk) -> bool:
    size = disk.used + disk.free
    least = min(LEAST_DISK, size / 2)  # a small one that is empty, like a /tmp in memory, is not full
    return disk.free < least or disk.used > FULLEST * size


def _memory(one: Examined, facts: Facts) -> Iterator[Finding]:
    if facts.memory is None:
        return
    what = f"{size(facts.memory)} of memory available"
    if facts.memory < LEAST_MEMORY:
        sort = "prstat -s rss 1 1" if facts.manager == "smf" else "ps -eo rss,user,args --sort=-rss"
        yield Finding("warning", one.name, f"only {what}", _shell(one, sort))
    else:
        yield Finding("ok", one.name, what)


def _files(one: Examined, facts: Facts) -> Iterator[Finding]:
    if facts.files is None:
        return
    # A controller stays at its soft limit, and runs out of it silently; a task of the user's may raise an engine's.
    limit = facts.files[0 if one.role == "controller" else 1]
    if limit < LEAST_FILES:
        own = " ".join(seen.own for seen in facts.services if seen.name.startswith(WORKING))
        cure = f"{_shell(one, f'systemctl show --property=LimitNOFILE {own}')} shows who set it"
        if facts.manager == "smf":
            cure = _shell(one, "prctl -n process.max-file-descriptor $$")
        yield Finding("warning", one.name, f"its {one.role} may open {limit} files only", cure)
    else:
        yield Finding("ok", one.name, f"its {one.role} may open {limit} files")


def _ports(one: Examined, facts: Facts) -> Iterator[Finding]:
    if facts.closed:
        ports = ", ".join(f"{port} ({why})" for port, why in sorted(facts.closed.items()))
        cure = "let them in between the machines of the cluster; `invoke logs --on controller` shows whether it listens"
        yield Finding("error", one.name, f"it does not reach the controller's ports {ports}", cure)
    elif facts.python:
        yield Finding("ok", one.name, "it reaches the controller's ports")
