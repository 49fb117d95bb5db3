"""Processes known by pid, start time and boot, so that a number used again is never taken for the one meant."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path

from .store import Process


def boot() -> str:
    """The id of this boot of the computer."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def identify(pid: int) -> Process | None:
    """The process that has this pid now; None when there is none, or it has ended and only waits to be collected."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *rest = text.rpartition(")")[2].split()  # the name before it may hold anything
    return None if state in "ZX" else Process(pid, int(rest[18]), boot())


def alive(process: Process | None) -> bool:
    """Whether it still runs."""
    return process is not None and identify(process.pid) == process


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to these pids; silent about those that are gone."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def wait(processes: Iterable[Process], timeout: float) -> bool:
    """Wait for all of these to end, at most ``timeout`` seconds; whether they have."""
    deadline = time.monotonic() + timeout
    with ExitStack() as stack:
        poll = select.poll()
        waiting = set()
        for process in processes:
            with suppress(ProcessLookupError):
                descriptor = os.pidfd_open(process.pid)
                stack.callback(os.close, descriptor)
                if alive(process):
                    poll.register(descriptor, select.POLLIN)
                    waiting.add(descriptor)
        while waiting and (left := deadline - time.monotonic()) > 0:
            for descriptor, _ in poll.poll(left * 1000):
                poll.unregister(descriptor)
                waiting.discard(descriptor)
        return not waiting
