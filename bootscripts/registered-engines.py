"""Wait until the hub knows every engine that runs on this machine, and print their idents.

    registered-engines.py ENGINE_FILE IDENT_FOLDER COUNT TIMEOUT

COUNT engines shall run here; fewer, or one that the hub does not know, after TIMEOUT seconds: exit code 1, and on
standard error what is missing.
"""

from __future__ import annotations

import json
import runpy
import sys
import time
from pathlib import Path

beside = runpy.run_path(str(Path(__file__).with_name("unknown-engines.py")))
running, known = beside["running"], beside["known"]


def wait(engine_file: Path, folder: Path, count: int, timeout: float) -> int:
    """Ask until all are known or the time is over; the exit code."""
    deadline = time.monotonic() + timeout
    while True:
        idents = known(json.loads(engine_file.read_text()))
        here = set(running(folder, 0.0, time.time()).values())
        if idents is not None and len(here) >= count and here <= idents:
            print("\n".join(sorted(here)))
            return 0
        if time.monotonic() >= deadline:
            break
        time.sleep(0.2)
    missing = "the hub does not answer" if idents is None else f"unknown to the hub: {sorted(here - idents) or 'none'}"
    print(f"{missing}; {len(here)} of {count} engines run here", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(wait(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
