"""What an errand does on a machine: run a command, take files in, give files out. The other end of it is here as well.

It needs nothing but Python: its own text is handed to the machine's interpreter, so it must import nothing of ours.

    python -I -c TEXT USER run SIZE NAME WORD...    NAME is a script of SIZE bytes on standard input, "" for none
    python -I -c TEXT USER take PATH < ARCHIVE      answers first with what is there, then with what it wrote
    python -I -c TEXT USER give PATH > ARCHIVE      is told first what is there already

It begins as root, or as USER himself, and goes on as USER in his home, which relative paths are of.
"""

from __future__ import annotations

import json
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, BinaryIO

BIN = "/opt/ipyfleet/env/bin"
ROOT = "it"  # what the archive calls what is sent, a folder or a file
PASSED_OVER = ("__pycache__", ".git", ".ipynb_checkpoints")
SAME = 0.002  # s that times of one file may differ by: archives round them
GRACE = 5.0  # s from asking a command to end to killing it
LOST, ITS_OWN = 255, 213  # what ssh says when it lost us; what stands for a command's own 255, and nobody else says
LOOK = 0.02  # s between two looks whether it has ended
Told = Callable[[int], object]
Contents = Mapping[str, tuple[int, float]]  # by path below what is sent: size and time of change


def contents(path: Path) -> dict[str, tuple[int, float]]:
    """The files that are there: what need not be sent again. Nothing for what is not there or may not be read."""
    found = {}
    for below, _, shown in _walk(path, patient=True):
        if stat.S_ISREG(shown.st_mode):
            found[below] = (shown.st_size, shown.st_mtime)
    return found


def pack(
    source: Path,
    into: BinaryIO,
    there: Contents,
    told: Told = lambda size: None,
    *,
    everybody: bool = False,
) -> None:
    """Write a file or folder as an archive, without those files that are ``there`` in the same size, of the same time.

    ``told`` hears of bytes as they go, those that are there included. With ``everybody`` all may read what they become.
    Sockets, devices and what Python makes by itself are passed over. Raises OSError for what cannot be read, or
    changes meanwhile.
    """
    with tarfile.open(fileobj=into, mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 20) as archive:
        for below, path, shown in _walk(source):
            member = tarfile.TarInfo(f"{ROOT}/{below}".rstrip("/"))
            member.mtime, member.mode = shown.st_mtime, stat.S_IMODE(shown.st_mode) & 0o777
            if everybody:
                member.mode |= 0o555 if stat.S_ISDIR(shown.st_mode) else 0o444
            if stat.S_ISDIR(shown.st_mode):
                member.type = tarfile.DIRTYPE
                archive.addfile(member)
            elif stat.S_ISLNK(shown.st_mode):
                member.type, member.linkname = tarfile.SYMTYPE, os.readlink(path)
                archive.addfile(member)
            elif stat.S_ISREG(shown.st_mode):
                if _same(there.get(below), (shown.st_size, shown.st_mtime)):
                    told(shown.st_size)
                    continue
                member.size = shown.st_size
                with path.open("rb") as file:
                    archive.addfile(member, Counted(file, told))


def unpack(archive: BinaryIO, target: Path, told: Told = lambda size: None) -> int:
    """Put what an archive holds at ``target``, each file whole or not at all; how many files were written.

    Nothing outside of the target is touched, whatever the archive says. Raises OSError, tarfile.TarError.
    """
    written = 0
    with tarfile.open(fileobj=archive, mode="r|", bufsize=1 << 20) as members:
        for member in members:
            first, *parts = member.name.split("/")
            if first != ROOT or ".." in parts or "" in parts:
                raise tarfile.TarError(f"the archive has {member.name!r}, which leads elsewhere")
            path = target.joinpath(*parts)
            if parts and not Path(os.path.realpath(path.parent)).is_relative_to(os.path.realpath(target)):
                raise tarfile.TarError(f"{path.parent} leads out of {target}")
            path.parent.mkdir(parents=True, exist_ok=True)
            if member.isdir():
                if not parts and path.is_dir():
                    continue  # the mode of a folder that somebody names, like /tmp, is not ours to change
                path.mkdir(exist_ok=not path.is_symlink())
                path.chmod(member.mode | 0o700)
            elif member.isreg() or member.issym():
                _settle(members, member, path, told)
                written += 1
    return written


class Counted:
    """A file whose reader's progress somebody hears of."""

    def __init__(self, file: IO[bytes], told: Told) -> None:
        self.file, self.told = file, told

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        data = self.file.read(size)
        self.told(len(data))
        return data


def _settle(members: tarfile.TarFile, member: tarfile.TarInfo, path: Path, told: Told) -> None:
    """One file, or symbolic link, complete before it has its name."""
    if path.is_dir() and not path.is_symlink():
        raise IsADirectoryError(21, "there is a folder of that name", str(path))
    beside = path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}")
    try:
        if member.issym():
            beside.symlink_to(member.linkname)
        else:
            content = members.extractfile(member)
            if content is None:
                raise tarfile.TarError(f"the archive has {member.name!r} without its content")
            with beside.open("xb") as file:
                shutil.copyfileobj(Counted(content, told), file, 1 << 20)
            beside.chmod(member.mode)
            os.utime(beside, (member.mtime, member.mtime))
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _walk(path: Path, below: str = "", patient: bool = False) -> Iterator[tuple[str, Path, os.stat_result]]:
    """What there is, itself first (as ""), folders before what is in them; ``patient`` passes over what it may not see.

    A symbolic link is one, but the path itself is what it leads to: data may lie on another disk. Raises OSError.
    """
    try:
        shown = path.lstat() if below else path.stat()
        names = sorted(os.listdir(path)) if stat.S_ISDIR(shown.st_mode) else []
    except OSError as error:
        if patient or isinstance(error, FileNotFoundError):
            return
        raise
    yield below, path, shown
    for name in names:
        if name not in PASSED_OVER:
            yield from _walk(path / name, f"{below}/{name}".lstrip("/"), patient)


def _same(one: tuple[int, float] | None, other: tuple[int, float]) -> bool:
    return one is not None and one[0] == other[0] and abs(one[1] - other[1]) < SAME


def become(user: str) -> None:
    """Go on as that user, in his home."""
    entry = pwd.getpwnam(user)
    if os.geteuid() != entry.pw_uid:
        os.initgroups(user, entry.pw_gid)
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
    os.environ |= {"HOME": entry.pw_dir, "USER": user, "LOGNAME": user, "PYTHONUNBUFFERED": "1"}
    os.environ["PATH"] = f"{BIN}:{os.environ.get('PATH', '/usr/bin:/bin')}"
    os.chdir(entry.pw_dir)
    os.umask(0o022)


def run(size: int, name: str, words: list[str]) -> int:
    """Run a command, or the script that standard input begins with; its exit code, ITS_OWN for LOST.

    It is ended when standard input ends: then nobody is there to hear from it.
    """
    folder = Path(tempfile.mkdtemp(prefix="ipyfleet-")) if name else None
    try:
        if folder:
            script = folder / name
            text = sys.stdin.buffer.read(size)
            if len(text) < size:  # a part of it might do harm
                raise ConnectionError(f"{name} did not arrive whole, and was not begun")
            script.write_bytes(text)
            script.chmod(0o700)
            words = [*_interpreter(script), str(script), *words]
        child = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True)
        unheard = threading.Event()
        ending = threading.Thread(target=_end_with_input, args=(child, unheard), daemon=True)
        ending.start()
        code = child.wait()
        if unheard.is_set():  # what it has begun may take longer to end than itself
            ending.join()
        return 128 - code if code < 0 else ITS_OWN if code == LOST else code
    finally:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)


def _interpreter(script: Path) -> list[str]:
    if script.suffix == ".py":
        return [f"{BIN}/python"]
    return [] if script.read_bytes().startswith(b"#!") else ["sh"]


def _end_with_input(child: subprocess.Popen[bytes], unheard: threading.Event) -> None:
    while os.read(0, 4096):
        pass
    unheard.set()
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + GRACE
        try:
            os.killpg(child.pid, number)
            while time.monotonic() < deadline:
                time.sleep(LOOK)
                os.killpg(child.pid, 0)
        except ProcessLookupError:
            return


def main(user: str, verb: str, *rest: str) -> int:
    """The errand; its exit code."""
    become(user)
    if verb == "run":
        return run(int(rest[0]), rest[1], list(rest[2:]))
    path, out = Path(os.path.expanduser(rest[0])), sys.stdout.buffer
    if verb == "take":
        out.write(json.dumps(contents(path)).encode() + b"\n")
        out.flush()
        out.write(f"{unpack(sys.stdin.buffer, path)}\n".encode())
        return 0
    there = {name: (size, changed) for name, (size, changed) in json.loads(sys.stdin.buffer.readline()).items()}
    if not path.exists():
        raise FileNotFoundError(2, "there is no such file or folder", str(path.absolute()))
    pack(path, out, there)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except (OSError, tarfile.TarError, KeyError) as error:
        where = getattr(error, "filename", None)
        sys.exit(f"{where}: {error.strerror}" if where and isinstance(error, OSError) else str(error))
