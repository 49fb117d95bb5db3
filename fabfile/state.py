"""The record on disk: named JSON documents and secret files of one cluster, private, atomic, under one lock.

A cache plus secrets, never the truth about machines: whoever loses it can still see and remove the cluster. What the
documents say is the caller's matter (record.py).
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .errors import ClusterError, Locked

SCHEMA = 1
LOCK = "lock"
AGAIN = 0.05  # s between two tries to take the lock
DEBRIS = ".new"  # ends the name of a file that is being written
HINT = "mend that, or set IPYFLEET_HOME to a folder on a disk with room that you may write"

OnWrite = Callable[[str], None]


def home() -> Path:
    """Where the records of all clusters lie: IPYFLEET_HOME, else ``ipyfleet`` in the XDG state folder."""
    named = os.environ.get("IPYFLEET_HOME")
    if named:
        return Path(os.path.abspath(os.path.expanduser(named)))
    from platformdirs import user_state_path

    return user_state_path("ipyfleet")


def records(root: Path | None = None) -> list[str]:
    """The names of the clusters that have a record here."""
    folder = root or home()
    try:
        return sorted(entry.name for entry in folder.iterdir() if _in_use(entry))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _refused("looked through", folder, error) from error


def _in_use(folder: Path) -> bool:
    """Whether it is a cluster's folder that holds more than a lock."""
    return not folder.name.startswith(".") and folder.is_dir() and any(entry.name != LOCK for entry in folder.iterdir())


class Store:
    """What this computer keeps of one cluster, in ``folder`` (0700); files are 0600 and replaced atomically.

    Reading needs no lock, writing does. ``on_write`` hears the name of each file that was written and ``""`` when all
    was removed, after the fact: one place where a test can number and interrupt what reaches the disk.
    """

    def __init__(self, cluster: str, root: Path | None = None, on_write: OnWrite = lambda name: None) -> None:
        if not cluster or cluster.startswith(".") or "/" in cluster:
            raise ValueError(f"{cluster!r} cannot be the name of a folder")
        self.cluster = cluster
        self.folder = (root or home()) / cluster
        self._on_write = on_write
        self._locked = False

    @property
    def locked(self) -> bool:
        """Whether this command may write now."""
        return self._locked

    def path(self, name: str) -> Path:
        """The path of a file of this cluster, for programs that take one; it need not be there."""
        return self.folder / name

    def read(self, name: str) -> dict[str, Any] | None:
        """A document, None when it was never written.

        Raises ClusterError when it cannot be read, is broken, or comes from a newer ipyfleet.
        """
        path = self.path(f"{name}.json")
        data = self.read_file(path.name)
        if data is None:
            return None
        try:
            document = json.loads(data)
            schema = document.pop("schema")
        except (ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
            raise broken(path) from error
        if not isinstance(document, dict) or isinstance(schema, bool) or not isinstance(schema, int) or schema < 1:
            raise broken(path)
        if schema > SCHEMA:
            raise ClusterError(
                f"{path} was written by a newer ipyfleet (schema {schema}, this one knows {SCHEMA})",
                hint="use that version for this cluster",
            )
        return document

    def write(self, name: str, document: dict[str, Any]) -> None:
        """Replace a document; raises ClusterError when the disk is full or the folder cannot be written."""
        text = json.dumps({"schema": SCHEMA, **document}, indent=1, sort_keys=True)
        self.write_file(f"{name}.json", text.encode() + b"\n")

    def read_file(self, name: str) -> bytes | None:
        """A file's bytes, None when there is no such file."""
        try:
            return self.path(name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _refused("read", self.path(name), error) from error

    def write_file(self, name: str, data: bytes) -> None:
        """Replace a file, 0600 before the first byte and on the disk before it counts."""
        if not self.locked:
            raise RuntimeError(f"{name} would be written without the lock: a change of another command could get lost")
        try:
            self._replace(self.path(name), data)
        except OSError as error:
            raise _refused("written", self.path(name), error) from error
        self._on_write(name)

    def remove(self) -> None:
        """Remove everything of this cluster; nothing there is fine."""
        if not self.locked:
            raise RuntimeError(f"{self.folder} would be removed without the lock")
        try:
            for entry in sorted(self.folder.iterdir(), key=lambda entry: entry.name == LOCK):  # the lock last
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()
            self.folder.rmdir()
        except FileNotFoundError:
            pass
        except OSError as error:
            raise _refused("removed", self.folder, error) from error
        self._on_write("")

    @contextmanager
    def lock(self, doing: str, patience: float = 0.0) -> Iterator[None]:
        """Be the only command that changes this cluster; ``doing`` tells others what, like ``provision``.

        Raises Locked when another one is at it for longer than ``patience`` seconds. The lock goes with the process,
        however it ends.
        """
        if self.locked:
            raise RuntimeError(f"the lock of {self.cluster} is held already")
        handle = self._acquire(doing, time.monotonic() + patience)
        self._locked = True
        try:
            for debris in self.folder.glob(f".*{DEBRIS}"):  # of a command that was killed while writing
                debris.unlink(missing_ok=True)
            yield
        finally:
            self._locked = False
            with suppress(OSError):
                if not _in_use(self.folder):  # nothing was written: leave no empty folder behind
                    self.path(LOCK).unlink()
                    self.folder.rmdir()
            os.close(handle)

    def _acquire(self, doing: str, deadline: float) -> int:
        path = self.path(LOCK)
        while True:
            try:
                self._make_folder()
                handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            except OSError as error:
                raise _refused("written", path, error) from error
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.exists(path) and os.path.samestat(os.fstat(handle), os.stat(path)):
                    _sign(handle, doing)
                    return handle
            except BlockingIOError:
                holder = os.pread(handle, 4096, 0)
                os.close(handle)
                if time.monotonic() >= deadline:
                    raise self._taken(holder) from None
                time.sleep(AGAIN)
                continue
            except OSError as error:
                os.close(handle)
                raise _refused("locked", path, error) from error
            os.close(handle)  # the one who had it removed the record meanwhile: take a new lock file

    def _taken(self, holder: bytes) -> Locked:
        who, hint = "another command", "wait until it is done"
        with suppress(ValueError, KeyError, TypeError):
            told = json.loads(holder)
            where = "" if told["host"] == platform.node() else f" on {told['host']}"
            since = time.strftime("%H:%M:%S", time.localtime(told["since"]))
            who = f"process {told['pid']}{where} (`{told['command']}`: {told['doing']}, since {since})"
            hint = f"wait until it is done, or end it with `kill -INT {told['pid']}`{where}"
        return Locked(f"{who} is changing the cluster {self.cluster!r} right now", hint=hint)

    def _make_folder(self) -> None:
        self.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            self.folder.mkdir(mode=0o700)
        if self.folder.stat().st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "it belongs to another user")
        self.folder.chmod(0o700)

    def _replace(self, path: Path, data: bytes) -> None:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=DEBRIS, dir=self.folder)  # 0600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def broken(path: Path, what: str = "") -> ClusterError:
    """The error for a document that says nothing sensible."""
    return ClusterError(
        f"{path} is broken{f' ({what})' if what else ''}: it holds no record that ipyfleet wrote",
        hint=f"`mv {path} {path}.broken`; machines are then still found, and `invoke teardown` still removes them",
    )


def _sign(handle: int, doing: str) -> None:
    """Say in the lock file who holds it."""
    command = " ".join([os.path.basename(sys.argv[0]), *sys.argv[1:]])
    told = {"pid": os.getpid(), "host": platform.node(), "doing": doing, "command": command, "since": time.time()}
    os.ftruncate(handle, 0)
    os.pwrite(handle, json.dumps(told).encode(), 0)


def _refused(what: str, path: Path, error: OSError) -> ClusterError:
    return ClusterError(f"{path} cannot be {what}: {error.strerror}", hint=HINT)
