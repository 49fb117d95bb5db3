"""The way to root: the root program called by verb, through sudo where the user is not root.

One JSON object goes in, one comes out; an error of the root program becomes one of ours.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import ClusterError, Locked, ProviderRefused, UsageError

PROGRAM = Path(__file__).with_name("root")
# Compiled files are kept apart: in the checkout they would be root's, for the user to trip over.
INTERPRETER = ("-I", "-S", "-X", "pycache_prefix=/var/cache/ipyfleet")
KINDS: Mapping[str, type[ClusterError]] = {
    "usage": UsageError,
    "refused": ProviderRefused,
    "locked": Locked,
    "failed": ClusterError,
}
PASSWORD_PATIENCE = 120.0  # s


def refuse_sudo(environ: Mapping[str, str], euid: int) -> None:
    """Raise UsageError when this whole program was started by sudo."""
    user = environ.get("SUDO_USER", "root")
    if euid == 0 and environ.get("SUDO_UID") and user != "root":
        raise UsageError(
            "started with sudo: the virtual environment, the keys and the record of the cluster would be root's, "
            f"and {user} could not use the cluster",
            hint=f"run the same command as {user}, without sudo; it asks for sudo itself where it needs it",
        )


def words(verb: str, euid: int) -> tuple[str, ...]:
    """The command that calls a verb of the root program."""
    program = (sys.executable, *INTERPRETER, str(PROGRAM), verb)
    return program if euid == 0 else ("sudo", "-n", "--", *program)


def call(verb: str, request: Mapping[str, Any], *, timeout: float = 300.0) -> dict[str, Any]:
    """Ask the root program; ``timeout`` in seconds.

    Raises what its answer says, and UsageError when we may not become root.
    """
    done = _run(verb, request, timeout)
    if refused_by_sudo(done.stdout, done.stderr):
        ask_password()
        done = _run(verb, request, timeout)
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        raise ClusterError(f"`{verb}` as root on this computer broke", seen=done.stderr or done.stdout) from None
    return result(answer)


def result(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of the root program; raises the error that it is, if it is one."""
    error = answer.get("error")
    if error:
        kind = KINDS.get(error["kind"], ClusterError)
        raise kind(error["message"], hint=error["hint"], seen=error["seen"], machine=error["machine"])
    return dict(answer)


def refused_by_sudo(stdout: str, stderr: str) -> bool:
    """Whether the root program did not run because sudo wants a password, in whatever language it says so."""
    return not stdout and stderr.startswith("sudo:")


def ask_password() -> None:
    """Let sudo ask for the password on the terminal; raises UsageError when there is none, or it was not given."""
    if not sys.stdin.isatty():
        raise UsageError(
            "machines on this computer need root: sudo wants a password, and there is no terminal to ask for it",
            hint="run `sudo -v` first in the same terminal, or let an administrator allow sudo without password",
        )
    try:
        subprocess.run(("sudo", "-v"), timeout=PASSWORD_PATIENCE, check=True)
    except (subprocess.SubprocessError, OSError) as error:
        raise UsageError(
            f"machines on this computer need root, but sudo does not let you: {error}",
            hint="ask an administrator, or use hosts that you have: `--template static` with `hosts:` in your settings",
        ) from None


def _run(verb: str, request: Mapping[str, Any], timeout: float) -> subprocess.CompletedProcess[str]:
    command = words(verb, os.geteuid())
    pipe = subprocess.PIPE
    try:
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    except FileNotFoundError:
        raise UsageError(
            "machines on this computer need root, and there is no sudo here", hint="install sudo, or run this as root"
        ) from None
    try:
        stdout, stderr = process.communicate(json.dumps(request), timeout)
    except KeyboardInterrupt:
        # The root program has heard Ctrl-C too and comes to a safe point by itself; killed, it could not.
        process.communicate()
        raise
    except subprocess.TimeoutExpired:
        raise ClusterError(
            f"`{verb}` as root on this computer has not ended in {timeout:.0f} s",
            hint="it goes on; when it has ended, run the same command again",
        ) from None
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)
