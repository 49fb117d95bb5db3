"""Errands: what is done on many machines at once, as the user that engines run as, or as root, by OpenSSH.

OpenSSH and not our own connections, since what is sent and said here may be large and take long. What is done there is
on_machine.py's; it ends as soon as nobody is left here to hear of it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import BinaryIO, cast

from . import access, on_machine
from .errors import ClusterError, RemoteError
from .machines import Machine
from .remote import quoted
from .run import Run

USER = "ipyparallel"
PYTHON = "/opt/ipyfleet/env/bin/python"
LOADER = "import sys; exec(sys.stdin.buffer.read(int(sys.argv.pop(1))))"
LOST = on_machine.LOST
NOT_THERE = 127  # what a shell says of a command that it does not know
LAST = 2000  # bytes of what a machine said that are kept for an error

Start = Callable[..., subprocess.Popen[bytes]]


def starter(run: Run, machines: Sequence[Machine], *, root: bool = False) -> Start:
    """What starts an errand on one of the machines: ``start(machine, verb, *rest, stdout=…, stderr=…)``.

    Its standard input is open, and what the errand is told first is written already. ``root`` does it as root.
    """
    words, text = access.logins(run, machines), Path(on_machine.__file__).read_bytes()

    def start(
        machine: Machine, verb: str, *rest: str, stdout: int | None = subprocess.PIPE, stderr: int | None = -1
    ) -> subprocess.Popen[bytes]:
        login = machine.endpoint.user if machine.endpoint else ""
        asked = () if login == "root" else ("sudo", "-n")
        command = (*asked, PYTHON, "-I", "-c", LOADER, str(len(text)), "root" if root else USER, verb, *rest)
        child = subprocess.Popen(words(machine, quoted(command)), stdin=subprocess.PIPE, stdout=stdout, stderr=stderr)
        tell(child, text)
        return child

    return start


def tell(child: subprocess.Popen[bytes], data: bytes) -> None:
    """Write to an errand; one that has ended hears nothing, and its exit code says why."""
    into = cast(BinaryIO, child.stdin)
    with suppress(BrokenPipeError):
        into.write(data)
        into.flush()


@contextmanager
def ended(child: subprocess.Popen[bytes]) -> Iterator[bytearray]:
    """See that an errand has ended afterwards; what it says on its standard error meanwhile, the last of it."""
    said = bytearray()

    def listen() -> None:
        while child.stderr and (piece := child.stderr.read(4096)):
            said.extend(piece)
            del said[:-LAST]

    listener = Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield said
    except BaseException:
        child.kill()
        raise
    finally:
        if child.stdin:
            with suppress(BrokenPipeError):
                child.stdin.close()
        child.wait()
        listener.join(5.0)


def failure(machine: Machine, code: int, said: str, doing: str) -> ClusterError:
    """The error of an errand that ended with that code, in the machine's own last words."""
    if code == LOST:
        return RemoteError(
            f"it was not reached, or the connection broke while {doing}",
            machine=machine.name,
            seen=said,
            hint="`invoke status` says how it is; then run the same command again",
        )
    if code in (NOT_THERE, 1) and PYTHON in said:
        hint = "`invoke provision` puts the software there"
        return ClusterError(f"it has none of our software, so nothing came of {doing}", machine=machine.name, hint=hint)
    hint = "what the engines' user may not touch, root may: --root" if "ermission denied" in said else ""
    return ClusterError(f"{doing} failed", machine=machine.name, seen=said, hint=hint)
