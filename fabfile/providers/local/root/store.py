"""Root's folder: which clusters and machines exist, written before each side effect, atomically.

    images/LAYER/{layer.json, tree/}
    clusters/UID-CLUSTER/cluster.json
    clusters/UID-CLUSTER/machines/NAME/{machine.json, upper/, work/, root/, host_key, console.log}

A cluster is known by the user it belongs to and its name, so that two users' clusters of one name do not meet.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from .errors import Refused

FOLDER = Path("/var/lib/ipyfleet")
PREFIX = "ipyf-"  # of every network namespace, interface and control group of ours
LOCK_PATIENCE = 10.0  # s


@dataclass(frozen=True)
class Process:
    """A process that cannot be mistaken for another: pid, its start in ticks since boot, and which boot."""

    pid: int
    start: int
    boot: str


@dataclass(frozen=True)
class ClusterRecord:
    """A cluster of one user: ``subnet`` is its /24, "" before one was picked."""

    uid: int
    name: str
    id: str
    owner: str
    created: float
    subnet: str = ""


@dataclass(frozen=True)
class MachineRecord:
    """A machine: ``layers`` are what lies below its own files, uppermost first; ``off`` says it was stopped on request.

    ``process`` is None until its first launch is complete.
    """

    name: str
    id: str
    role: str
    index: int
    created: float
    layers: tuple[str, ...]
    authorized_keys: tuple[str, ...] = ()
    host_key: str = ""
    process: Process | None = None
    off: bool = False


class Place:
    """The folder of one cluster of one user, there or not."""

    def __init__(self, folder: Path, uid: int, name: str) -> None:
        self.root = folder
        self.uid = uid
        self.name = name
        self.folder = folder / "clusters" / f"{uid}-{name}"
        self.machines = self.folder / "machines"
        self.key = tag(folder) + _digest(f"{uid}-{name}")[:7]
        self.lock = folder / "locks" / f"{self.key}.lock"

    def cluster(self) -> ClusterRecord | None:
        """The cluster's record, None when there is no cluster."""
        known = read(self.folder / "cluster.json")
        return ClusterRecord(**known) if known else None

    def save_cluster(self, record: ClusterRecord) -> None:
        """Write the cluster's record."""
        write(self.folder / "cluster.json", asdict(record))

    def machine(self, name: str) -> MachineRecord | None:
        """A machine's record, None when there is no such machine."""
        known = read(self.machines / name / "machine.json")
        if not known:
            return None
        process = known.pop("process")
        known["layers"] = tuple(known["layers"])
        known["authorized_keys"] = tuple(known["authorized_keys"])
        return MachineRecord(**known, process=Process(**process) if process else None)

    def save_machine(self, record: MachineRecord, **changes: Any) -> MachineRecord:
        """Write a machine's record with these changes; the record as it is now."""
        record = replace(record, **changes)
        write(self.machines / record.name / "machine.json", asdict(record))
        return record

    def records(self) -> list[MachineRecord]:
        """Every machine of the cluster, by role and index."""
        names = [path.name for path in self.machines.glob("[!.]*")]
        records = [record for record in map(self.machine, names) if record]
        return sorted(records, key=lambda record: (record.role, record.index))

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other commands from changing this cluster meanwhile; raises Refused when another one does not end."""
        with locked(self.lock, f"cluster {self.name}", LOCK_PATIENCE):
            yield
            if not self.folder.exists():
                self.lock.unlink()

    def busy(self) -> bool:
        """Whether another command is changing this cluster right now."""
        try:
            with self.lock.open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False


def tag(folder: Path) -> str:
    """What the names of all things of this folder have in common: with another folder (tests) nothing is mixed up."""
    return _digest(str(folder))[:3]


def places(folder: Path) -> list[Place]:
    """Every cluster of every user, also one whose folder is not complete."""
    found = [path.name.partition("-") for path in sorted((folder / "clusters").glob("[0-9]*-*"))]
    return [Place(folder, int(uid), name) for uid, _, name in found if uid.isdecimal()]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def make_folder(path: Path) -> None:
    """Make root's folder, for root's eyes only, and a folder in it."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def read(path: Path) -> dict[str, Any]:
    """The JSON object in a file of ours, empty when there is no such file."""
    try:
        known = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except ValueError as error:
        raise Refused(f"{path} is damaged: {error}", hint="remove that file's folder as root") from None
    return dict(known)


def write(path: Path, value: Mapping[str, Any]) -> None:
    """Replace a file of ours atomically, for root's eyes only; it is on the disk when this returns."""
    make_folder(path.parent)
    new = path.with_name(f".{path.name}.new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


@contextmanager
def locked(path: Path, what: str, patience: float) -> Iterator[None]:
    """Hold a lock file; ``patience`` in seconds. Raises Refused (locked) when another holds it for longer."""
    make_folder(path.parent)
    deadline = time.monotonic() + patience
    while True:
        with path.open("a") as file:
            if _lock(file.fileno(), path):
                yield
                return
        if time.monotonic() > deadline:
            raise Refused(
                f"{what} is being changed by another command",
                kind="locked",
                hint="wait for it to end, then run the same command again",
            )
        time.sleep(0.05)


def _lock(descriptor: int, path: Path) -> bool:
    """Try to lock an open file that may have been removed from its path meanwhile."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False
