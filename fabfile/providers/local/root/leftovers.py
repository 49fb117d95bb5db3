"""What is left on the computer without a cluster that it belongs to: after a crash, or a folder removed by hand."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from . import cgroups, network, nspawn, tree
from .command import run
from .store import PREFIX, places, tag


def sweep(folder: Path, remove: bool) -> list[str]:
    """Name what belongs to no cluster in the folder: folders, groups, namespaces, routes; remove it if asked."""
    ours = PREFIX + tag(folder)
    groups = cgroups.matching(cgroups.observe(), ours)
    found = [*groups, *network.NAMESPACES.glob(f"{ours}*"), *Path("/sys/class/net").glob(f"{ours}*")]
    found += nspawn.PROPAGATE.glob(f"{ours}*")
    # Only now, since a record is written before all else: what a cluster made meanwhile must not pass for nobody's.
    known = {PREFIX + place.key for place in places(folder) if place.cluster()}
    left = [*(path for path in found if path.name[: len(PREFIX) + 10] not in known), *_folders(folder)]
    if remove:
        for path in left:
            _remove(path)
    routes = network.lonely_routes()
    if remove:
        for subnet in routes:
            network.let_out(subnet)
    return [*map(str, left), *(f"route {subnet}" for subnet in routes)]


def _folders(folder: Path) -> list[Path]:
    return [place.folder for place in places(folder) if not place.cluster() and not place.busy()]


def _remove(path: Path) -> None:
    if path.is_relative_to("/sys/class/net"):
        run("ip", "link", "delete", path.name, check=False)
    elif path.is_relative_to(network.NAMESPACES):
        run("ip", "netns", "delete", path.name, check=False)
    elif path.is_relative_to(nspawn.PROPAGATE):
        with suppress(OSError):  # in use, after all
            path.rmdir()
    elif path.is_relative_to("/sys/fs/cgroup"):
        nspawn.kill_group_members([path])
    else:
        for machine in (path / "machines").glob("*"):
            tree.unmount(machine)
            if os.path.ismount(machine / "root"):
                return
        shutil.rmtree(path, ignore_errors=True)
