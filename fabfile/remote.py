"""What every way of reaching hosts shares: endpoints, files, results, the Host protocol, quoting, bounded fan-out.

Knows machines and services not at all: a host is a name, an endpoint and a file of pinned keys. Light on purpose, since
every task listing imports it; the connections themselves are made in ssh.py.
"""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from .errors import ClusterError, raise_together

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Endpoint:
    """Where SSH reaches a machine, and as whom; as text what a person types to reach it.

    ``gateway`` is the host to go through. A host that the user ``named`` brings the user's own ``key_files`` (and the
    ssh-agent may be asked); None means the cluster's key. ``key_alias`` is the name its host key is pinned under, when
    that is not its address.
    """

    host: str
    user: str
    port: int = 22
    gateway: Endpoint | None = None
    key_files: tuple[str, ...] | None = None
    key_alias: str = ""
    named: str = ""

    def __str__(self) -> str:
        return self.named or self.address

    @property
    def address(self) -> str:
        """``user@host`` or ``user@host:port``, whatever it is named."""
        host = f"[{self.host}]" if ":" in self.host and self.port != 22 else self.host
        return f"{self.user}@{host}" + (f":{self.port}" if self.port != 22 else "")


@dataclass(frozen=True)
class File:
    """A file as it shall be on a host: absolute ``path``, ``mode`` and ``owner`` (``user:group``)."""

    path: str
    data: bytes
    mode: int = 0o644
    owner: str = "root:root"


@dataclass(frozen=True)
class Then:
    """What is done on a host once files are in place there: a script of this project with its arguments.

    It finds CHANGED=yes in its environment when any of the files changed, and nothing otherwise. The files of ``last``
    are put in place when it ended well.
    """

    script: Path
    arguments: tuple[str, ...] = ()
    last: tuple[File, ...] = ()


@dataclass(frozen=True)
class Result:
    """What a command on a host answered."""

    words: tuple[str, ...]
    exit_code: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Credentials:
    """What opens a cluster's machines: a private key file and the file of pinned host keys, nothing of the user's."""

    key_file: Path
    known_hosts: Path


class Host(Protocol):
    """One open, verified connection to one host; every method may be called from any thread."""

    name: str
    address: str  # user@host or user@host:port, as a person types it

    def run(
        self, *words: str, sudo: bool = False, check: bool = True, timeout: float = 60.0, stdin: bytes = b""
    ) -> Result:
        """Run one command given as words (quoted here); ``timeout`` in seconds.

        Raises RemoteError when it cannot be run, takes too long or, with ``check``, exits non-zero; the error holds
        the last lines of both streams.
        """

    def script(
        self, path: Path, *args: str, sudo: bool = False, check: bool = True, timeout: float = 60.0, stdin: bytes = b""
    ) -> Result:
        """Run a POSIX shell script of this project (a local file) on the host with these arguments."""

    def place(self, files: Sequence[File], then: Then | None = None) -> frozenset[str]:
        """Make these files be there as root, each replaced atomically, in one round trip; the paths that changed.

        Mode and owner hold before the first byte is in place; missing directories are made (0755, root). What is to be
        done ``then`` is part of the same round trip. Raises RemoteError.
        """

    def read(self, path: str) -> bytes | None:
        """A file's bytes, read as root; None when there is no such file."""

    def fabric(self) -> Any:
        """The same connection as a ``fabric.Connection`` for the user's own tasks, with a configuration of its own."""

    def close(self) -> None:
        """Close the connection; twice is fine."""


def quoted(words: Sequence[str]) -> str:
    """The words as one line for a POSIX shell; raises ValueError for no words or a NUL, which no command can hold."""
    if not words or any("\0" in word for word in words):
        raise ValueError(f"not a command: {words!r}")
    return shlex.join(words)


@dataclass(frozen=True)
class Outcome(Generic[T, R]):
    """What became of one item of a fan-out: a value, or the error that it ended with."""

    item: T
    value: R | None = None
    error: Exception | None = None


def each(items: Iterable[T], work: Callable[[T], R], limit: int = 32) -> tuple[Outcome[T, R], ...]:
    """Do the work for every item, at most ``limit`` at a time; the outcomes in the order of the items.

    One failure stops no other item. Ctrl-C raises KeyboardInterrupt at once: what has not begun never begins, and what
    is under way ends within its own time limit without being waited for.
    """
    todo = list(enumerate(items))
    todo.reverse()
    outcomes: dict[int, Outcome[T, R]] = {}

    def worker() -> None:
        while True:
            try:
                index, item = todo.pop()
            except IndexError:
                return
            try:
                outcomes[index] = Outcome(item, value=work(item))
            except Exception as error:
                outcomes[index] = Outcome(item, error=error)

    # Daemons: the threads of a standard pool would be waited for when the program ends after Ctrl-C.
    workers = [threading.Thread(target=worker, daemon=True) for _ in range(min(limit, len(todo)))]
    try:
        for thread in workers:
            thread.start()
        for thread in workers:
            thread.join()
    except BaseException:
        todo.clear()
        raise
    return tuple(outcomes[index] for index in sorted(outcomes))


def values(outcomes: Sequence[Outcome[T, R]]) -> list[R]:
    """The values of a fan-out in order; raises all its failures as one error, and a bug in the work as it is."""
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    for error in errors:
        if not isinstance(error, ClusterError):
            raise error
    raise_together([error for error in errors if isinstance(error, ClusterError)])
    return [outcome.value for outcome in outcomes]  # type: ignore[misc]  # without an error there is a value
