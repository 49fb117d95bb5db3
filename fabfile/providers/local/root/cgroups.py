"""Control groups: one of its own for each machine, in every hierarchy that this computer has.

Two machines in one group would share the groups of their services too: stopping ``ipengine@1`` on one would reach the
other's. Where systemd runs the computer it is asked for a scope, which it then leaves to the machine; elsewhere the
groups are made here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .command import run
from .errors import Refused

PARENT = "ipyfleet"
JOIN = Path(__file__).with_name("join.sh")


@dataclass(frozen=True)
class Hierarchy:
    """A tree of control groups: where it is mounted, its controllers (``name=systemd`` included), version 1 or 2."""

    path: Path
    controllers: frozenset[str]
    version: int


@dataclass(frozen=True)
class Layout:
    """The trees that the computer has, and whether systemd runs it."""

    hierarchies: tuple[Hierarchy, ...]
    systemd: bool

    @property
    def tracking(self) -> Hierarchy | None:
        """The tree in which systemd puts its units: the one of version 2, if any, else its own of version 1."""
        by_version = sorted(self.hierarchies, key=lambda one: -one.version)
        return next((one for one in by_version if one.version == 2 or "name=systemd" in one.controllers), None)


def layout(mounts: str, systemd: bool) -> Layout:
    """The layout that the text of /proc/self/mounts shows; read-only trees, as in a container, do not count."""
    found: dict[Path, Hierarchy] = {}
    for line in mounts.splitlines():
        _, where, kind, options, *_ = line.split()
        words = frozenset(options.split(","))
        if kind in ("cgroup", "cgroup2") and "ro" not in words:
            controllers = words if kind == "cgroup" else frozenset[str]()
            found[Path(where)] = Hierarchy(Path(where), controllers, 2 if kind == "cgroup2" else 1)
    return Layout(tuple(found.values()), systemd)


def observe() -> Layout:
    """This computer's layout; raises Refused when it has no control groups at all."""
    seen = layout(Path("/proc/self/mounts").read_text(), Path("/run/systemd/system").is_dir())
    if not seen.hierarchies:
        raise Refused(
            "this computer has no control groups mounted, which systemd in a machine needs",
            hint="mount them (`mount -t cgroup2 none /sys/fs/cgroup`), or use the provider `static`",
        )
    return seen


def groups(layout: Layout, name: str) -> tuple[Path, ...]:
    """The folders of a machine's groups: the scope's where systemd makes it, else one in each tree."""
    if layout.systemd:
        tracking = layout.tracking
        return (tracking.path / f"{PARENT}.slice" / f"{name}.scope",) if tracking else ()
    return tuple(one.path / PARENT / name for one in layout.hierarchies)


def matching(layout: Layout, prefix: str) -> list[Path]:
    """The folders of all groups of machines whose name begins so, whether anything is known of the machine or not."""
    parents = {group.parent for group in groups(layout, "any")}
    return [path for parent in sorted(parents) for path in sorted(parent.glob(f"{prefix}*"))]


def joined(layout: Layout, name: str, words: tuple[str, ...]) -> tuple[str, ...]:
    """A command as it is run in a machine's own groups; its process stays the one that was started."""
    if layout.systemd:
        scope = ("systemd-run", "--scope", "--quiet", "--collect", f"--unit={name}", f"--slice={PARENT}.slice")
        return (*scope, "--property=Delegate=yes", "--", *words)
    return ("sh", str(JOIN), *map(str, groups(layout, name)), "--", *words)


def make(layout: Layout, name: str) -> None:
    """Make the groups that ``joined`` needs; nothing to do where systemd makes them."""
    if layout.systemd:
        return
    for hierarchy, group in zip(layout.hierarchies, groups(layout, name), strict=True):
        for folder in (group.parent, group):
            if folder.is_dir():
                continue
            folder.mkdir()
            if "cpuset" in hierarchy.controllers:  # a new group of version 1 has no processors, so none can join it
                for file in ("cpuset.cpus", "cpuset.mems"):
                    (folder / file).write_text((folder.parent / file).read_text())


def members(folders: Iterable[Path]) -> set[int]:
    """The processes in these groups and all below them."""
    found: set[int] = set()
    for folder in folders:
        for path, _, _ in os.walk(folder):
            try:
                found.update(map(int, Path(path, "cgroup.procs").read_text().split()))
            except OSError:  # the group went away meanwhile, or holds only threads
                continue
    return found


def remove(folders: Iterable[Path], patience: float = 5.0) -> None:
    """Remove these groups and all below them, then the parent if it is empty; ``patience`` in seconds.

    systemd is asked to let go of its scopes. When the group goes away under it, it now and then takes the scope for
    active for ever, and no other can have the name (tried with systemd 252; tests/e2e/test_readme_commands.py).
    Raises Refused when one is still in use after that.
    """
    deadline = time.monotonic() + patience
    folders = tuple(folders)
    scopes = [folder.name for folder in folders if folder.suffix == ".scope"]
    if scopes:
        run("systemctl", "stop", "--", *scopes, check=False)
    for folder in folders:
        while folder.exists():
            for path, _, _ in os.walk(folder, topdown=False):
                _rmdir(Path(path))
            if folder.exists():
                if time.monotonic() > deadline:
                    raise Refused(f"the control group {folder} is still in use", kind="failed")
                time.sleep(0.02)
        if folder.parent.name == PARENT:  # a slice is systemd's own
            _rmdir(folder.parent)


def _rmdir(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:  # in use, gone already, or not empty
        return
