"""A machine's file tree: the layers of its image below, its own files above; and files put into it.

Whoever is root on a machine can make any of its files a link to a file of the computer, so nothing here follows links.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from .command import run


def mount(folder: Path, layers: Sequence[Path]) -> Path:
    """Mount ``root`` in a machine's folder: its own ``upper`` over the layers (uppermost first); where it is."""
    root = folder / "root"
    for path in (root, folder / "upper", folder / "work"):
        path.mkdir(exist_ok=True)
        if path.name != "work" and not os.path.ismount(path):
            path.chmod(0o755)  # upper's mode is that of / on the machine
    if not os.path.ismount(root):
        lower = ":".join(map(str, layers))
        options = f"lowerdir={lower},upperdir={folder / 'upper'},workdir={folder / 'work'}"
        run("mount", "-t", "overlay", "ipyfleet", "-o", options, str(root))
    return root


def unmount(folder: Path) -> None:
    """Unmount a machine's ``root``; silent when it is not mounted."""
    root = folder / "root"
    if os.path.ismount(root) and run("umount", str(root), check=False).returncode:
        # Something of the computer still looks into it; what the machine wrote is in upper all the same.
        run("umount", "--lazy", str(root))


def place(root: Path, path: str, text: str, *, mode: int = 0o644, uid: int = 0, keep: bool = False) -> None:
    """Replace a file in a tree atomically; a missing folder is made for the same owner, ``keep`` leaves a file as is.

    Raises OSError when a folder on the way is a link.
    """
    *folders, name = Path(path).parts[1:]
    folder = _open(root, folders, uid)
    try:
        if keep and _exists(folder, name):
            return
        new = f".{name}.ipyfleet"
        _remove(folder, new)
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode, dir_fd=folder), "w") as file:
            os.fchown(file.fileno(), uid, uid)
            os.fchmod(file.fileno(), mode)
            file.write(text)
        os.replace(new, name, src_dir_fd=folder, dst_dir_fd=folder)
    finally:
        os.close(folder)


def content(root: Path, path: str, limit: int = 1 << 20) -> str:
    """The text of a file in a tree, "" when it is not there or not a file; at most ``limit`` bytes."""
    *folders, name = Path(path).parts[1:]
    try:
        folder = _open(root, folders, None)
    except FileNotFoundError:
        return ""
    try:
        # Not blocking: the file may have been made a pipe.
        with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder), "rb") as file:
            return file.read(limit).decode(errors="replace")
    except OSError:
        return ""
    finally:
        os.close(folder)


def _open(root: Path, folders: Sequence[str], uid: int | None) -> int:
    """A descriptor of the folder so many steps below root; missing ones are made for ``uid`` unless that is None."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    here = os.open(root, flags)
    try:
        for name in folders:
            try:
                below = os.open(name, flags, dir_fd=here)
            except FileNotFoundError:
                if uid is None:
                    raise
                os.mkdir(name, 0o700 if uid else 0o755, dir_fd=here)
                below = os.open(name, flags, dir_fd=here)
                os.fchown(below, uid, uid)
                os.fchmod(below, 0o700 if uid else 0o755)
            os.close(here)
            here = below
    except OSError:
        os.close(here)
        raise
    return here


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _remove(folder: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return
