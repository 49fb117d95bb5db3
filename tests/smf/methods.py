"""Methods: the command of a service's method, and the surroundings that it runs in."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .repository import Groups, Property, first
from .tokens import expanded

RESTARTER = "svc:/system/svc/restarter:default"
KSH = ("/sbin/sh", "/bin/sh")
CONTEXT = ("user", "group", "supp_groups", "working_directory", "environment")
FOREVER = float("inf")


@dataclass(frozen=True)
class Method:
    """A method, ready to run: ``command`` is expanded; ``:kill`` and ``:true`` stand for themselves."""

    name: str
    command: str
    timeout: float = FOREVER
    context: Mapping[str, Property] = field(default_factory=dict)


def method(name: str, running: Groups, editing: Groups, fmri: str) -> Method | None:
    """A service's method of that name; None when it has none. Raises tokens.Unexpandable."""
    if name not in running or "exec" not in running[name].properties:
        return None
    command = first(running, f"{name}/exec").strip()
    if not command.startswith(":"):
        command = expanded(command, running, editing, fmri, name)
    seconds = int(first(running, f"{name}/timeout_seconds", "0"))
    timeout = FOREVER if seconds in (0, 2**64 - 1) else float(seconds)
    own = running[name].properties
    if "use_profile" not in own and "method_context" in running:
        shared = running["method_context"].properties
        own = {**shared, **{key: value for key, value in own.items() if key in CONTEXT}}
    return Method(name, command, timeout, own)


def kill_signal(command: str) -> int | None:
    """The signal that ``:kill [-SIG]`` sends, 0 for a name that is none; None for another command."""
    words = command.split()
    if not words or words[0] != ":kill":
        return None
    name = words[1].removeprefix("-") if len(words) > 1 else "TERM"
    return int(name) if name.isdigit() else int(getattr(signal, f"SIG{name.removeprefix('SIG')}", 0))


def zone_name() -> str:
    """The name of the zone that the machine plays."""
    return os.uname().nodename.partition(".")[0]


def environment(chosen: Method, fmri: str, default_init: str) -> dict[str, str]:
    """All that a method finds in its environment: nothing is inherited, so no HOME and no USER either."""
    found = {"PATH": "/usr/sbin:/usr/bin"}
    init = Path(default_init)
    lines = init.read_text().splitlines() if init.is_file() else []
    found.update(_pairs([line for line in lines if "=" in line and not line.lstrip().startswith("#")]))
    found |= {"SMF_FMRI": fmri, "SMF_METHOD": chosen.name, "SMF_RESTARTER": RESTARTER, "SMF_ZONENAME": zone_name()}
    given = chosen.context.get("environment")
    return {**found, **_pairs(given.values if given else [])}


def _pairs(lines: list[str]) -> dict[str, str]:
    pairs = (line.strip().partition("=") for line in lines)
    return {name: value.strip("\"'") if value[:1] in ("'", '"') else value for name, _, value in pairs}


def shell() -> str:
    """The shell that runs methods: where there is one a Korn shell, as on illumos."""
    return shutil.which("ksh93", path="/usr/bin:/bin") or next(path for path in KSH if os.path.exists(path))


def become(chosen: Method, variables: Mapping[str, str], log: str) -> None:
    """Turn this process into the method: its log, user, folder and environment; 96 when that fails.

    A log that cannot be written is none of the method's affair: its output is lost.
    """
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.umask(0o022)
    try:
        out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    except OSError:
        out = null
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.closerange(3, 256)
    wrong = _set_context(chosen.context)
    if wrong:
        os.write(2, f"svc.startd could not set context for method: {wrong}\n".encode())
        os._exit(96)
    os.execve(shell(), ["sh", "-c", f"exec {chosen.command}"], dict(variables))


def _set_context(context: Mapping[str, Property]) -> str:
    """Take on user and folder; what went wrong."""

    def text(name: str) -> str:
        found = context.get(name)
        return found.values[0] if found and found.values and found.values[0] != ":default" else ""

    folder = text("working_directory")
    home = ""
    if text("user"):
        try:
            user = pwd.getpwuid(int(text("user"))) if text("user").isdigit() else pwd.getpwnam(text("user"))
        except KeyError:
            return "Missing passwd entry for user."
        home = user.pw_dir
        try:
            group = _group(text("group")) if text("group") else user.pw_gid
            more = [_group(name) for name in text("supp_groups").replace(",", " ").split()]
        except KeyError:
            return "Missing group entry."
        if os.geteuid() == 0:
            os.setgroups(more or os.getgrouplist(user.pw_name, group))
            os.setgid(group)
            os.setuid(user.pw_uid)
        elif user.pw_uid != os.geteuid():
            return "setppriv: Not owner"
    target = home or "/" if folder in ("", ":home") else folder
    try:
        os.chdir(target)
    except OSError as error:
        return f'chdir: {os.strerror(error.errno or 0)} ("{target}")'
    return ""


def _group(name: str) -> int:
    return int(name) if name.isdigit() else grp.getgrnam(name).gr_gid
