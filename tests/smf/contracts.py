"""Contracts: all processes of a service, those included that went into the background.

Each contract has a holder, a process that its orphans fall to, so that its descendants are the contract's members.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE)


class Contract:
    """The processes that come of one method; ``deaths`` are those that the holder has buried, pid and status."""

    def __init__(self, number: int, work: Callable[[], None]) -> None:
        """Run ``work`` in a process of its own, which it is to replace by another program."""
        self.number = number
        self.deaths: list[tuple[int, int]] = []
        self.empty = False
        self._pipe, end = os.pipe()
        self._rest = b""
        self.holder = os.fork()
        if self.holder == 0:
            os.close(self._pipe)
            _hold(end, work)
        os.close(end)
        self.first = int(self._line())  # the process that runs the method
        os.set_blocking(self._pipe, False)

    def _line(self) -> bytes:
        """The holder's first line; it is waited for."""
        while b"\n" not in self._rest:
            got = os.read(self._pipe, 4096)
            if not got:
                raise RuntimeError("the holder of a contract ended at once")
            self._rest += got
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def look(self) -> None:
        """Hear what the holder has to tell."""
        while not self.empty:
            try:
                got = os.read(self._pipe, 4096)
            except BlockingIOError:
                break
            self._rest += got
            if not got:
                self.empty = True
                os.close(self._pipe)
                os.waitpid(self.holder, 0)
        *lines, self._rest = self._rest.split(b"\n")
        for line in lines:
            pid, status = line.split()
            self.deaths.append((int(pid), int(status)))

    def status(self) -> int | None:
        """How the process that ran the method ended, as wait(2) gives it; None while it runs."""
        return next((status for pid, status in self.deaths if pid == self.first), None)

    def kill(self, number: int) -> None:
        """Send a signal to every member."""
        for pid in [] if self.empty else members(self.holder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def members(holder: int) -> list[int]:
    """The descendants of a holder, itself excluded."""
    found: list[int] = []
    todo = [holder] if holder else []
    while todo:
        children = _children(todo.pop())
        found += children
        todo += children
    return found


def _children(pid: int) -> list[int]:
    found = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(word) for word in (task / "children").read_text().split()]
    except OSError:
        pass  # it has ended meanwhile
    return found


def _hold(pipe: int, work: Callable[[], None]) -> None:
    """Be a holder: never returns."""
    try:
        os.setsid()
        import ctypes  # svcs, which asks for members only, does without it

        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        for number in HANDLED:
            signal.signal(number, signal.SIG_IGN)
        worker = os.fork()
        if worker == 0:
            os.close(pipe)
            for number in HANDLED:
                signal.signal(number, signal.SIG_DFL)
            work()
            os._exit(127)
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        for other in range(3, 256):  # what the restarter has open: its lock, the pipes of other contracts
            if other != pipe:
                with contextlib.suppress(OSError):
                    os.close(other)
        os.write(pipe, f"{worker}\n".encode())
        while True:
            pid, status = os.waitpid(-1, 0)
            os.write(pipe, f"{pid} {status}\n".encode())
    except ChildProcessError:
        os._exit(0)  # nobody is left
    except BaseException:
        os._exit(1)
