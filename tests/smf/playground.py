"""SMF in a folder: for one test, without a machine and without being root."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import program, supervision
from .complaints import Complaint
from .installing import install_in
from .places import Place
from .states import SHORT, states

FAST = {"adoption": 0.05, "throttle": 0.2, "lifetime": 600.0}


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


class Playground:
    """Commands, state and logs of a zone in a folder; ``close`` ends everything that runs in it."""

    def __init__(
        self, folder: Path, *, metadata: Mapping[str, str] | None = None, smartos: bool = True, **settings: Any
    ) -> None:
        """``metadata`` None: mdata-get waits, as before the service is up. ``settings`` are places.SETTINGS."""
        self.folder = folder
        given = None if metadata is None else dict(metadata)
        python = os.path.realpath(sys.executable)
        self.bin = install_in(folder, python, metadata=given, settings={**FAST, **settings}, smartos=smartos)
        self.place = Place(folder / "state")

    @property
    def environment(self) -> dict[str, str]:
        """What leads to it; nothing else does."""
        return {"PATH": f"{self.bin}:{os.environ['PATH']}", "SMF_STANDIN_STATE": str(self.place.state)}

    def run(self, *words: str, stdin: str | None = None, timeout: float = 30.0) -> subprocess.CompletedProcess[str]:
        """Run one of its commands, or any other with its commands on PATH."""
        command = self.bin / words[0]
        return subprocess.run(
            [str(command) if command.exists() else words[0], *words[1:]],
            input=stdin,
            stdin=None if stdin is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, **self.environment},
        )

    def ok(self, *words: str, stdin: str | None = None) -> str:
        """Run a command that must succeed; what it printed."""
        done = self.run(*words, stdin=stdin)
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def call(self, *words: str, stdin: str = "") -> Done:
        """Be one of its commands, in this process: the same, only quicker. The restarter is not started for it."""
        out, err = io.StringIO(), io.StringIO()
        before, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(stdin.encode()))
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    code = program.run(self.place, words[0], words[1:])
                except Complaint as complaint:
                    err.write(f"{words[0]}: {complaint.text}\n")
                    code = complaint.code
        finally:
            sys.stdin = before
        return Done(code, out.getvalue(), err.getvalue())

    def begin(self) -> None:
        """Start the restarter before the first command does."""
        self.ok("smf-standin", "start")

    def state(self, fmri: str) -> str:
        """STA and NSTA of an instance, one blank between them; "" when it is not there."""
        found = states(self.place).get(fmri)
        if found is not None:
            return f"{SHORT[found.state]} {SHORT[found.next]}"
        return " ".join(self.call("svcs", "-H", "-o", "STA,NSTA", fmri).stdout.split())

    def wait(self, fmri: str, state: str, seconds: float = 10.0) -> None:
        """Wait for a state, such as "ON -"."""
        deadline = time.monotonic() + seconds
        while (now := self.state(fmri)) != state:
            assert time.monotonic() < deadline, f"{fmri} is {now!r}, not {state!r}; its log:\n{self.log(fmri)}"
            time.sleep(0.01)

    def log(self, fmri: str) -> str:
        """An instance's log."""
        path = self.place.logs / (fmri.removeprefix("svc:/").replace("/", "-") + ".log")
        return path.read_text() if path.exists() else ""

    def notes(self, fmri: str) -> list[str]:
        """What startd wrote into the log, without times."""
        lines = [line for line in self.log(fmri).splitlines() if line.startswith("[ ") and line.endswith(" ]")]
        return [line[18:-2] for line in lines]

    def close(self) -> None:
        """End the restarter and all services."""
        assert supervision.stop(self.place), "the restarter did not end"
