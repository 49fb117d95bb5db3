"""The computer's limits that all machines have in common: raised for many machines, put back with the last cluster."""

from __future__ import annotations

from pathlib import Path

from .processes import boot
from .store import read, write

MANY = 8  # machines that the usual limits suffice for
WANTED = {"fs/inotify/max_user_instances": 8192, "fs/inotify/max_user_watches": 1 << 20}


def suffice(folder: Path, machines: int, kernel: Path = Path("/proc/sys")) -> None:
    """Raise the limits when there are more than so many machines on the computer, remembering what they were."""
    if machines <= MANY:
        return
    note = folder / "limits.json"
    known = read(note)
    before = known["before"] if known.get("boot") == boot() else {}
    now = {name: int((kernel / name).read_text()) for name in WANTED}
    low = {name: value for name, value in now.items() if value < WANTED[name]}
    if low:
        write(note, {"boot": boot(), "before": {**low, **before}})
        for name in low:
            (kernel / name).write_text(f"{WANTED[name]}\n")


def restore(folder: Path, kernel: Path = Path("/proc/sys")) -> None:
    """Put back what was raised, unless somebody changed it since or the computer was restarted."""
    note = folder / "limits.json"
    known = read(note)
    if known.get("boot") == boot():
        for name, value in known["before"].items():
            path = kernel / name
            if name in WANTED and int(path.read_text()) == WANTED[name]:
                path.write_text(f"{value}\n")
    note.unlink(missing_ok=True)
