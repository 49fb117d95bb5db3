"""Commands and scripts of the user's, run on one machine or on many at once.

What they write is handed on line by line, as it comes; who shows it is no concern of this module.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from subprocess import PIPE, Popen
from typing import IO

from . import errands, on_machine
from .errors import ClusterError, UsageError
from .machines import Machine
from .paths import expanded
from .remote import each
from .run import Run

AT_ONCE = 64
SHELL = ("sh", "-c")
OnLine = Callable[[Machine, str, bool], object]  # machine, line, whether it is of standard error


@dataclass(frozen=True)
class Work:
    """What is to be run: the words of a command, after the name and text of a script if it is one."""

    words: tuple[str, ...]
    name: str = ""
    text: bytes = b""


@dataclass(frozen=True)
class Ended:
    """How it ended on one machine: an exit code, or the error that kept it from having one."""

    machine: Machine
    code: int = 0
    error: ClusterError | None = None

    def __str__(self) -> str:
        if self.error is not None:
            return str(self.error)
        return f"{self.machine.name}: exited with {self.code}"

    @property
    def well(self) -> bool:
        """Whether all went well."""
        return self.error is None and self.code == 0


def script(path: str, words: Sequence[str]) -> Work:
    """A script of this computer: Python if it is called .py, else what its first line says, else sh.

    Raises UsageError when it cannot be read.
    """
    file = expanded(path)
    try:
        return Work(tuple(words), file.name, file.read_bytes())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint="name a script of this computer") from error


def alone(run: Run, machine: Machine, work: Work, *, root: bool = False) -> int:
    """Run it on one machine, its output being ours; its exit code. Raises RemoteError when it was not reached."""
    start = errands.starter(run, [machine], root=root)
    child = start(machine, "run", str(len(work.text)), work.name, *work.words, stdout=None, stderr=None)
    with errands.ended(child):
        errands.tell(child, work.text)
        code = child.wait()
    return _own(machine, code)


def everywhere(
    run: Run, machines: Sequence[Machine], work: Work, on_line: OnLine, *, root: bool = False
) -> tuple[Ended, ...]:
    """Run it on all of these machines at once; ``on_line`` hears of each line as it comes, from any thread.

    What it raises ends them all, and is raised here.
    """
    start = errands.starter(run, machines, root=root)
    telling = threading.Lock()
    children: list[Popen[bytes]] = []
    unheard: list[Exception] = []

    def labour(machine: Machine) -> int:
        def hand_on(stream: IO[bytes], wrong: bool) -> None:
            try:
                with stream:
                    for line in stream:
                        with telling:
                            on_line(machine, line.decode(errors="replace").rstrip("\r\n"), wrong)
            except Exception as error:  # as of `| head`: what nobody reads would be waited for, for ever
                with telling:
                    unheard.append(error)
                    for one in children:
                        one.kill()

        child = start(machine, "run", str(len(work.text)), work.name, *work.words, stderr=PIPE)
        with telling:
            children.append(child)
            if unheard:
                child.kill()
        errors, child.stderr = child.stderr, None  # these are for the user to see
        readers = [
            threading.Thread(target=hand_on, args=(stream, wrong), daemon=True)
            for stream, wrong in ((child.stdout, False), (errors, True))
        ]
        with errands.ended(child):
            errands.tell(child, work.text)
            for reader in readers:
                reader.start()
            for reader in readers:
                reader.join()
            code = child.wait()
        return _own(machine, code)

    outcomes = each(machines, labour, AT_ONCE)
    if unheard:
        raise unheard[0]
    for one in outcomes:
        if one.error is not None and not isinstance(one.error, ClusterError):
            raise one.error
    return tuple(
        Ended(one.item, one.value or 0, one.error if isinstance(one.error, ClusterError) else None) for one in outcomes
    )


def _own(machine: Machine, code: int) -> int:
    """The exit code of the command itself; raises RemoteError when it is that of a lost connection."""
    if code == on_machine.LOST:
        raise errands.failure(machine, code, "", "it ran")
    return on_machine.LOST if code == on_machine.ITS_OWN else code
