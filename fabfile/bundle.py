"""One file of many texts, for somebody else to read: a tar file with gzip from which all secrets have been taken out.

Every byte that gets into it goes through one place, ``packed``. Knows nothing of clusters.
"""

from __future__ import annotations

import errno
import io
import os
import tarfile
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from .errors import UsageError
from .paths import expanded
from .redaction import Redaction, Secrets

ENDINGS = (".tar.gz", ".tgz")
UNLINKABLE = (errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS)  # of file systems without a second name


def wanted(named: str) -> Path:
    """The path of a bundle that is to be written; raises UsageError for one that cannot be, with what to do."""
    path = expanded(named)
    if path.is_dir():
        raise UsageError(f"--bundle {path} is a folder", hint=f"name a file, as in --bundle {path / 'report.tar.gz'}")
    if not path.name.endswith(ENDINGS):
        raise UsageError(f"--bundle {path}: that is no name of a tar file", hint=f"let it end with {ENDINGS[0]}")
    if not path.parent.is_dir():
        raise UsageError(f"--bundle {path}: there is no folder {path.parent}", hint="make it, or name another file")
    if os.path.lexists(path):
        raise _taken(path)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UsageError(f"--bundle {path}: you may not write into {path.parent}", hint="name another file")
    return path


def packed(files: Mapping[str, str], secrets: Secrets, folder: str) -> bytes:
    """The texts by path, below a ``folder`` of their own, without secrets; and how many were taken out of which."""
    redaction = Redaction(secrets)
    into, now = io.BytesIO(), int(time.time())
    told = []
    with tarfile.open(fileobj=into, mode="w:gz", format=tarfile.PAX_FORMAT) as made:

        def add(name: str, text: str) -> int:
            data, count = redaction(text.encode(errors="surrogateescape"))
            member = tarfile.TarInfo(redaction(f"{folder}/{name}".encode())[0].decode())
            member.size, member.mode, member.mtime = len(data), 0o600, now
            made.addfile(member, io.BytesIO(data))
            return count

        for name, text in sorted(files.items()):
            if count := add(name, text):
                told.append(f"{count} in {name}")
        add("removed.txt", "Secrets that were taken out: " + (", ".join(told) or "none were found") + "\n")
    return into.getvalue()


def put(path: Path, data: bytes) -> None:
    """Put a new file in place at once and complete, for its owner alone; raises UsageError, also when one is there."""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            _name(temporary, path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
    except FileExistsError:
        raise _taken(path) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}", hint="name another --bundle") from error


def _name(temporary: str, path: Path) -> None:
    """Unlike a rename this never replaces what somebody has put there meanwhile."""
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in UNLINKABLE or os.path.lexists(path):
            raise
        os.rename(temporary, path)


def _taken(path: Path) -> UsageError:
    return UsageError(f"{path} is there already, and is not overwritten", hint="name another --bundle, or remove it")
