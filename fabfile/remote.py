"""Verified SSH to many hosts: one connection a host, few round trips, bounded fan-out; quoting happens here only.

A host key is known before the first connection or there is no connection. Knows machines and services not at all: a
host is a name, an endpoint and a file of pinned keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class File:
    """A file as it shall be on a host: absolute ``path``, ``mode`` and ``owner`` (``user:group``)."""

    path: str
    data: bytes
    mode: int = 0o644
    owner: str = "root:root"


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

    def place(self, files: Sequence[File]) -> frozenset[str]:
        """Make these files be there as root, each replaced atomically, in one round trip; the paths that changed.

        Mode and owner hold before the first byte is in place; missing directories are made (0755, root).
        """

    def read(self, path: str) -> bytes | None:
        """A file's bytes, read as root; None when there is no such file."""

    def close(self) -> None:
        """Close the connection; twice is fine."""
