"""What is left on the computer without a cluster that it belongs to: after a crash, or a folder removed by hand.

Names are made from root's folder too, so with two such folders (tests) each takes the other's clusters for leftovers:
this is for the computer's one real folder.
"""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

from . import cgroups, network, processes, tree
from .command import run
from .store import PREFIX, places


def sweep(folder: Path, remove: bool) -> list[str]:
    """Name what belongs to no cluster in the folder: folders, control groups, namespaces; remove it if asked."""
    known = {PREFIX + place.key for place in places(folder) if place.cluster()}
    left = [*_groups(known), *_folders(folder), *_networks(known)]
    if remove:
        for path in left:
            _remove(path)
    return [str(path) for path in left]


def _groups(known: set[str]) -> list[Path]:
    """Groups of machines, bottom up; the longest a cluster's own name can be is 13 characters."""
    parents = {group.parent for group in cgroups.groups(cgroups.observe(), "any")}
    return [path for parent in parents for path in sorted(parent.glob(f"{PREFIX}*")) if path.name[:13] not in known]


def _folders(folder: Path) -> list[Path]:
    lost = [place for place in places(folder) if not place.cluster() and not place.busy()]
    return [place.folder for place in lost]


def _networks(known: set[str]) -> list[Path]:
    found = [*network.NAMESPACES.glob(f"{PREFIX}*"), *Path("/sys/class/net").glob(f"{PREFIX}*")]
    return [path for path in found if path.name not in known]


def _remove(path: Path) -> None:
    if path.is_relative_to("/sys/class/net"):
        run("ip", "link", "delete", path.name, check=False)
    elif path.is_relative_to(network.NAMESPACES):
        run("ip", "netns", "delete", path.name, check=False)
    elif path.is_relative_to("/sys/fs/cgroup"):
        processes.send(cgroups.members([path]), signal.SIGKILL)
        cgroups.remove([path])
    else:
        for machine in (path / "machines").glob("*"):
            tree.unmount(machine)
            if os.path.ismount(machine / "root"):
                return
        shutil.rmtree(path, ignore_errors=True)
