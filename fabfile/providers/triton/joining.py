"""Joining by metadata: a machine is handed a kit there, takes it, and says there how it went.

The kit holds a secret that every key of the account can read while it is there: it is taken away as soon as the machine
has answered, and whatever happens here.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable

from ... import boot
from ...errors import ServiceFailed
from ...machines import Machine
from . import labels, marks
from .api import Api

LOOK = 2.0  # s between two looks at what the machine says
LOG = "`svcs -L ipyfleet-join` there names its log"


def listener() -> dict[str, str]:
    """The metadata by which a machine waits for its kit."""
    smf = boot.ROOT / "smf"
    return {
        marks.JOIN_METHOD: (smf / "join-method.sh").read_text(encoding="utf-8"),
        marks.JOIN_MANIFEST: (smf / "ipyfleet-join.xml").read_text(encoding="utf-8"),
    }


def awaits(api: Api, machine: str) -> bool:
    """Whether a machine waits for a kit: it was told to, and has not said yet how it went."""
    told = labels.read(api, "metadata", machine)
    return marks.JOIN_METHOD in told and marks.JOINED not in told


def join(api: Api, machine: Machine, kit: bytes, timeout: float, pause: Callable[[float], None] = time.sleep) -> None:
    """Hand a machine its kit, wait until it has joined or failed, at most ``timeout`` seconds, and take the kit away.

    Raises ServiceFailed with the machine's own last lines.
    """
    deadline = time.monotonic() + timeout
    try:
        labels.add(api, "metadata", machine.id, {marks.JOIN: base64.b64encode(kit).decode()})
        while not (said := labels.read(api, "metadata", machine.id).get(marks.JOINED, "")):
            if time.monotonic() >= deadline:
                raise ServiceFailed(
                    f"it has not joined after {timeout:.0f} s",
                    machine=machine.name,
                    hint=f"{LOG}; `invoke provision` goes on over SSH once it has said how it went",
                )
            pause(LOOK)
    finally:
        labels.remove(api, "metadata", machine.id, marks.JOIN)
    verdict, _, lines = said.partition("\n")
    if verdict != "joined":
        raise ServiceFailed(
            "it could not join by itself",
            machine=machine.name,
            seen=lines,
            hint=f"mend that and run the same command again, which goes on over SSH; {LOG}",
        )
