"""The client file on this computer: where ipyparallel looks for it, written and removed only when it is ours.

``ipp.Client(cluster_id="NAME")`` reads ``profile_default/security/ipcontroller-NAME-client.json`` in IPython's folder.
Ours carries a mark with the cluster's id, which ipyparallel passes over; one without it is somebody else's.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .connection import Connection, differences, local_info
from .errors import ClusterError, UsageError
from .machines import Cluster
from .paths import expanded

MARK = "ipyfleet"


def client_file_path(name: str) -> Path:
    """Where ``ipp.Client(cluster_id=name)`` looks, here and now: IPYTHONDIR or ``~/.ipython``."""
    folder = os.environ.get("IPYTHONDIR") or "~/.ipython"
    return expanded(folder) / "profile_default" / "security" / f"ipcontroller-{name}-client.json"


def install_client_file(cluster: Cluster, connection: Connection, ports: Sequence[int]) -> Path:
    """Write the clients' document through a tunnel on these loopback ports (in the order of FORWARDED); its path.

    Mode 0600, replaced atomically, left alone when it is right already. Raises UsageError when the file there is not
    of this cluster, ClusterError when it cannot be written.
    """
    path = client_file_path(cluster.name)
    refuse_foreign(cluster.name, {cluster.id})
    data = json.dumps(local_info(connection, ports) | {MARK: cluster.id}, indent=2).encode() + b"\n"
    if path.exists() and path.read_bytes() == data and path.stat().st_mode & 0o777 == 0o600:
        return path
    with _changing(path):
        _make_private(path.parent)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600 from the first byte on
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    return path


@contextmanager
def _changing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ClusterError(
            f"the client file {path} cannot be written or removed: {error.strerror}",
            hint="mend that, or set IPYTHONDIR to a folder on a disk with room that you may write, here and where you "
            "use the cluster; then run the same command again",
        ) from error


@dataclass(frozen=True)
class ClientFile:
    """A client file as it lies there: its permission bits, the id of its cluster (None: it is not ours).

    ``differing`` are the fields, if any, in which it is not the document that it should be.
    """

    mode: int
    owner: str | None
    differing: tuple[str, ...]


def look(cluster: Cluster, connection: Connection, ports: Sequence[int]) -> ClientFile | None:
    """The client file as it is, compared with the one that ``install_client_file`` would write; None for no file."""
    path = client_file_path(cluster.name)
    try:
        mode, data = path.stat().st_mode & 0o777, path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}", hint="see that it and the folders above it are yours"
        ) from error
    try:
        seen = json.loads(data)
    except ValueError:
        seen = None
    wanted = local_info(connection, ports) | {MARK: cluster.id}
    return ClientFile(mode, _owner(path), differences(wanted, seen) if isinstance(seen, dict) else tuple(wanted))


def remove_client_file(cluster: Cluster, written: str = "") -> bool:
    """Remove the client file if it is of this cluster, also at the path it was ``written`` to; whether one was."""
    found = False
    for path in {client_file_path(cluster.name), *([Path(written)] if written else [])}:
        if _owner(path) == cluster.id:
            with _changing(path):
                path.unlink(missing_ok=True)
            found = True
    return found


def refuse_foreign(name: str, ours: Collection[str]) -> None:
    """Raise UsageError when the client file of that cluster name is there and of none of these cluster ids."""
    path = client_file_path(name)
    if not path.exists():
        return
    owner = _owner(path)
    if owner in ours:
        return
    whose = "another controller" if owner is None else f"the ipyfleet cluster with the id {owner}"
    raise UsageError(
        f"{path} is of {whose}, it is not overwritten",
        hint=f"`rm {path}` if that one is gone, or give this cluster another name with --cluster",
    )


def _owner(path: Path) -> str | None:
    """The id of the cluster that the file is of; None for no file and for one that is not ours."""
    try:
        mark = json.loads(path.read_bytes()).get(MARK)
    except (OSError, ValueError, AttributeError):
        return None
    return mark if isinstance(mark, str) else None


def _make_private(folder: Path) -> None:
    """Make a folder and the missing ones above it, each for its owner only; those that are there stay as they are."""
    for missing in reversed([folder, *folder.parents]):
        missing.mkdir(mode=0o700, exist_ok=True)
