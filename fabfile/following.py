"""Following the logs of many machines at once: one process of OpenSSH's a machine, whose lines come as one stream.

What runs on a machine lives by its standard input, which is held open here: it ends when this program closes it, when
this program ends in whatever way, and when the connection breaks. OpenSSH rather than our own connections, because it
notices by itself that a machine is gone.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO

from . import service_managers
from .access import Asked, configuration, name_of, on_each, reachable, service_on
from .host_keys import replace_file
from .machines import Machine
from .remote import Host, quoted
from .run import Run
from .services import Stretch
from .ssh_host import sent

CONFIG = "logs.ssh_config"
# Silence is taken for a broken connection after three of these, in seconds; tests/e2e/test_machine_logs.py: power.
BEAT = 5
PIECE = 1 << 16
LONGEST = 1 << 20  # bytes that one line may have before it is cut
GRACE = 5.0  # seconds that all connections together may take to end in order
TOLD = 6  # lines of a failed connection's own that are told


@dataclass(frozen=True)
class Source:
    """Where a machine's lines come from: the words of a process, and what it is to read first."""

    machine: str
    words: tuple[str, ...]
    stdin: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Said:
    """A line of a machine's; with ``ended`` the last one, which says why no more will come."""

    machine: str
    text: str
    ended: bool = False


def sources(run: Run, machines: Sequence[Machine], chosen: Sequence[Machine], stretch: Stretch) -> Asked[Source]:
    """How to follow each of the ``chosen`` machines of a cluster; an error for one that does not answer."""
    # Of all machines: others that follow some of them at the same time read the same file.
    path = run.store.folder / CONFIG
    replace_file(path, configuration(run, machines).encode())

    def ask(host: Host, machine: Machine) -> Source:
        script, arguments = service_managers.detect(host).following(service_on(run, machine), stretch)
        words, text = sent(script, arguments)
        rights = () if reachable(machine).user == "root" else ("sudo", "-n")
        command = quoted((*rights, *words))
        beats = ("-o", f"ServerAliveInterval={BEAT}")
        return Source(machine.name, ("ssh", "-F", str(path), "-T", *beats, name_of(run, machine), command), text)

    return on_each(run, chosen, ask)


def listen(sources: Sequence[Source]) -> Generator[Said, None, None]:
    """The lines of all sources as they come, until the last one has ended; closing the iterator ends them all."""
    voices: list[_Voice] = []
    try:
        with selectors.DefaultSelector() as ready:
            for source in sources:
                voice = _Voice(source)
                voices.append(voice)
                for stream in (voice.out, voice.err):
                    ready.register(stream, selectors.EVENT_READ, voice)
            while ready.get_map():
                for key, _ in ready.select():
                    voice = key.data
                    data = os.read(key.fd, PIECE)
                    yield from voice.hear(key.fileobj is voice.out, data)
                    if not data:
                        ready.unregister(key.fileobj)
                        if voice.silent:
                            yield voice.farewell()
    finally:
        _end(voices)


class _Voice:
    """The process that one machine's lines come from."""

    def __init__(self, source: Source) -> None:
        self.machine = source.machine
        # A session of its own: Ctrl-C is for this program, which then ends the process in order.
        self.process = subprocess.Popen(
            source.words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        self.stdin, self.out, self.err = map(_there, (self.process.stdin, self.process.stdout, self.process.stderr))
        self.open = 2
        self.rest = b""
        self.complaint = b""
        with suppress(BrokenPipeError):  # it has ended already, and its other streams say why
            self.stdin.write(source.stdin)

    @property
    def silent(self) -> bool:
        """Whether both streams have ended."""
        return not self.open

    def hear(self, is_log: bool, data: bytes) -> Iterator[Said]:
        """The lines that are complete with this data, none of it at the end of a stream."""
        self.open -= not data
        if not is_log:
            self.complaint = (self.complaint + data)[-PIECE:]
            return
        *lines, self.rest = (self.rest + data).split(b"\n")
        if self.rest and (not data or len(self.rest) > LONGEST):
            lines, self.rest = [*lines, self.rest], b""
        for line in lines:
            yield Said(self.machine, line.decode(errors="replace").rstrip("\r"))

    def farewell(self) -> Said:
        """Why no more will come."""
        code = self.process.wait()
        told = self.complaint.decode(errors="replace").strip().splitlines()[-TOLD:]
        why = "; ".join(line.strip() for line in told) or f"the connection ended (exit code {code})"
        return Said(self.machine, why, ended=True)


def _there(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise TypeError("the process was started without that stream")
    return stream


def _end(voices: Sequence[_Voice]) -> None:
    """End all at once: in order, so that nothing is left on the machines; by force what takes too long."""
    for voice in voices:
        for stream in (voice.stdin, voice.out, voice.err):
            with suppress(BrokenPipeError):
                stream.close()
    deadline = time.monotonic() + GRACE
    for voice in voices:
        try:
            voice.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            voice.process.kill()
            voice.process.wait()
