"""Files and folders to machines and from them, many machines at once, without sending again what is there already.

One connection a machine and one stream for everything, so that ten thousand small files take no longer than one large
one. What is there is compared by size and time, as rsync does; nothing is ever deleted.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from subprocess import Popen
from typing import BinaryIO, cast

from . import errands, on_machine
from .errors import ClusterError, UsageError
from .machines import Machine
from .paths import expanded
from .remote import Outcome, each
from .run import Run

AT_ONCE = 8
OFTEN = 0.2  # s between two words of progress
PATIENCE, LOOK = 5.0, 0.02  # s that others have to end after Ctrl-C, and between two looks whether they have
PACKAGES = "/opt/ipyfleet/packages"  # a folder of every engine's path
Progress = Callable[[int, int], object]  # bytes that are done, of how many; of 0 when nobody knows


def source(path: str) -> Path:
    """What is to be sent, of this computer; raises UsageError when it is not there or cannot be read."""
    found = expanded(path)
    if not found.exists():
        raise UsageError(f"there is no {path} here", hint="name a file or folder of this computer with --path")
    if not os.access(found, os.R_OK):
        raise UsageError(f"{path} may not be read", hint="mend its mode, or name another one")
    named = Path(os.path.abspath(found))
    if not named.name:
        raise UsageError(f"{path} has no name that it could have there", hint="name folders in it, one by one")
    return named


def package(path: str) -> Path:
    """A Python package of this computer: a folder with ``__init__.py``, or one file; raises UsageError for others."""
    found = source(path)
    if found.is_dir() and not (found / "__init__.py").exists():
        inner = sorted(file.parent for pattern in ("*", "src/*") for file in found.glob(f"{pattern}/__init__.py"))
        hint = f"did you mean {inner[0]}?" if inner else "name the folder that has __init__.py"
        raise UsageError(f"{path} is no Python package: it has no __init__.py", hint=hint)
    if found.is_file() and found.suffix != ".py":
        raise UsageError(f"{path} is no Python package", hint="name a folder with __init__.py, or a file like tools.py")
    if not found.stem.isidentifier():
        raise UsageError(f"{found.name} cannot be imported by that name", hint="rename it: letters, digits and _")
    return found


def destination(to: str, name: str) -> str:
    """Where something of that name goes: into a folder whose path ends with /, else to just that path."""
    return name if not to else str(PurePosixPath(to) / name) if to.endswith("/") else to


def send(
    run: Run,
    machines: Sequence[Machine],
    what: Path,
    to: str,
    progress: Progress,
    *,
    root: bool = False,
    everybody: bool = False,
) -> tuple[Outcome[Machine, int], ...]:
    """Send a file or folder to the path ``to`` of each machine; how many files each has got, or its error.

    With ``everybody`` all users of the machine may read it.
    """
    start = errands.starter(run, machines, root=root)
    total = sum(size for size, _ in on_machine.contents(what).values()) * len(machines)
    count = _counter(total, progress)

    def put(machine: Machine) -> int:
        child = start(machine, "take", to)
        with errands.ended(child) as said:
            answers = cast(BinaryIO, child.stdout)
            there = answers.readline()
            written = b""
            if there:
                try:
                    on_machine.pack(what, cast(BinaryIO, child.stdin), json.loads(there), count, everybody=everybody)
                    cast(BinaryIO, child.stdin).close()
                except BrokenPipeError:
                    pass  # the other end says why
                except OSError as error:
                    raise ClusterError(
                        f"{error.filename or what} could not be sent: {error.strerror or error}",
                        machine=machine.name,
                        hint="it may have changed meanwhile; run the same command again",
                    ) from error
                written = answers.readline()
            code = child.wait()
        if code or not written:
            raise errands.failure(machine, code, said.decode(errors="replace"), f"taking {what.name}")
        return int(written)

    return each(machines, put, AT_ONCE)


def fetch(
    run: Run, wanted: Sequence[tuple[Machine, Path]], path: str, progress: Progress, *, root: bool = False
) -> tuple[Outcome[tuple[Machine, Path], int], ...]:
    """Fetch the file or folder ``path`` of each machine to the place given with it; how many files, or its error."""
    start = errands.starter(run, [machine for machine, _ in wanted], root=root)
    count = _counter(0, progress)
    at_work: list[Popen[bytes]] = []

    def get(item: tuple[Machine, Path]) -> int:
        machine, target = item
        child = start(machine, "give", path)
        with errands.ended(child) as said, _among(at_work, child):
            errands.tell(child, json.dumps(on_machine.contents(target)).encode() + b"\n")
            answers, problem, written = cast(io.BufferedReader, child.stdout), "", 0
            try:
                if answers.peek(1):
                    written = on_machine.unpack(answers, target, count)
            except OSError as error:  # of this computer, and all that may still come is not waited for
                raise ClusterError(
                    f"{path} could not be put here: {error.filename or target}: {error.strerror or error}",
                    machine=machine.name,
                    hint="mend that, or name another --to; what has arrived already is not fetched again",
                ) from error
            except tarfile.TarError as error:
                problem = f"{target}: {error}"
            while answers.read(1 << 20):  # what pads the archive
                pass
            code = child.wait()
        if code:
            raise errands.failure(machine, code, said.decode(errors="replace"), f"giving {path}")
        if problem:
            raise ClusterError(f"{path} could not be put here: {problem}", machine=machine.name)
        return written

    try:
        return each(wanted, get, AT_ONCE)
    except BaseException:  # Ctrl-C: what has come in part is removed by those at work, who end with this program
        for child in list(at_work):
            child.kill()
        deadline = time.monotonic() + PATIENCE
        while at_work and time.monotonic() < deadline:
            time.sleep(LOOK)
        raise


@contextmanager
def _among(some: list[Popen[bytes]], one: Popen[bytes]) -> Iterator[None]:
    some.append(one)
    try:
        yield
    finally:
        some.remove(one)


def _counter(total: int, progress: Progress) -> Callable[[int], None]:
    """What adds the bytes of many threads up, and says so now and then."""
    lock, done, last = threading.Lock(), 0, 0.0

    def count(size: int) -> None:
        nonlocal done, last
        with lock:
            done += size
            if time.monotonic() - last > OFTEN:
                last = time.monotonic()
                progress(done, total)

    return count
