"""The lines that startd itself writes into a service's log."""

from __future__ import annotations

import time
from pathlib import Path


def stamp(text: str, when: float) -> str:
    """A line of startd's, such as ``[ Nov 21 19:00:00 Enabled. ]``."""
    local = time.localtime(when)
    return time.strftime("[ %b ", local) + f"{local.tm_mday:2} " + time.strftime("%H:%M:%S ", local) + f"{text} ]\n"


def note(log: Path, text: str, *, missing: bool = False) -> None:
    """Write a line; ``missing``: the log is not there, and is not made."""
    if missing:
        log.unlink(missing_ok=True)
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8", errors="surrogateescape") as stream:
        stream.write(stamp(text, time.time()))
    log.chmod(0o644)
