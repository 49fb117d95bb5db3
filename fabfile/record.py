"""The record of one cluster as a value: what this computer remembers, and its way to the disk and back without loss.

Knows nothing of how it is used; the store decides where and how safely it is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from .connection import Connection
from .machines import Cluster, machine_name
from .plan import Slot
from .state import Store, broken
from .tunnel import Tunnel

DOCUMENT = "record"
RUNS = 20  # how many finished runs are remembered
UNSURE = -1.0  # a lease: a run that changes it on all machines has begun, and not ended


@dataclass(frozen=True)
class Timing:
    """Something that happened ``at`` so many seconds after the run began; machine "" for the whole cluster."""

    at: float
    machine: str
    what: str


@dataclass(frozen=True)
class PastRun:
    """A command that was done with the cluster: what (``provision``), when it began (epoch seconds), and its times."""

    doing: str
    begun: float
    timings: tuple[Timing, ...] = ()


@dataclass(frozen=True)
class Record:
    """What is remembered of a cluster: the secrets that open it, and what was put where.

    ``assigned`` are the engines that were put on machines, ``digests`` stand for what was deployed, by machine name;
    ``client_file`` is the path that ipyparallel's clients read; ``lease`` (s, 0: none, UNSURE: not all have the same)
    is what machines were last armed with; ``packages`` are those that it was given beside those of the settings;
    ``runs`` oldest first.
    """

    cluster: Cluster | None = None
    provider: str = ""
    template: str = ""
    connection: Connection | None = None
    tunnel: Tunnel | None = None
    assigned: tuple[Slot, ...] = ()
    digests: Mapping[str, str] = field(default_factory=dict)
    client_file: str = ""
    lease: float = 0.0
    runs: tuple[PastRun, ...] = ()
    packages: tuple[str, ...] = ()

    @property
    def machines(self) -> tuple[str, ...]:
        """The names of the machines that something was put on, the controller first."""
        names = {*self.digests, *(machine_name("engine", slot.index) for slot in self.assigned)}
        return tuple(sorted(names, key=lambda name: (name != "controller", len(name), name)))

    def save(self, store: Store) -> None:
        """Write it down; the store must be locked."""
        import msgspec

        store.write(DOCUMENT, msgspec.to_builtins(self))

    def after(self, run: PastRun) -> Record:
        """This record with one more finished run; the oldest ones are forgotten."""
        return replace(self, runs=(*self.runs, run)[-RUNS:])


def load(store: Store) -> Record:
    """The record of the store's cluster, an empty one when there is none.

    Raises ClusterError, with the cure, when it is broken or comes from a newer ipyfleet.
    """
    import msgspec

    document = store.read(DOCUMENT)
    if document is None:
        return Record()
    try:
        return msgspec.convert(document, Record)
    except msgspec.ValidationError as error:
        raise broken(store.path(f"{DOCUMENT}.json"), str(error)) from error
