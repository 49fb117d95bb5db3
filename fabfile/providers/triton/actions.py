"""Actions: machines switched on and off, renamed, protected and deleted. CloudAPI says that it will, never that it did.

Each returns once the action is accepted: whoever needs to know looks at the state until a deadline. An action that
fails later leaves no trace but in the audit.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

from ...errors import UsageError
from .api import Api, entries, step
from .instances import Instance
from .refusals import Refused

Action = Literal[
    "start",
    "stop",
    "reboot",
    "enable_firewall",
    "disable_firewall",
    "enable_deletion_protection",
    "disable_deletion_protection",
]
LOOK = 1.0  # s between two tries to delete what is not placed yet


@dataclass(frozen=True)
class Done:
    """An action that has ended: which, whether it succeeded, and when as CloudAPI writes it."""

    action: str
    succeeded: bool
    time: str


def act(api: Api, instance: Instance, action: Action) -> None:
    """Have the machine do that; it begins some time later, and may fail without a word.

    Raises UsageError for a machine that is deleted or failed, Refused for one that is still being made (UnallocatedVM).
    """
    if instance.gone or instance.failed:
        # An action on a deleted machine can take CloudAPI's process down.
        raise UsageError(
            f"{instance.name or instance.id} cannot {action.replace('_', ' ')}: it is {instance.state}",
            hint="`invoke status` shows what there is",
        )
    # A second reboot would be one more; everything else ends in the same state however often it is asked for.
    _post(api, instance, action, {"action": action}, repeat=action != "reboot")


def rename(api: Api, instance: Instance, name: str) -> None:
    """Give the machine another name, some time later; raises Refused when another one has it."""
    _post(api, instance, f"rename to {name}", {"action": "rename", "name": name}, repeat=True)


def delete(api: Api, id: str) -> bool:
    """Have the machine deleted, running or not; False when it is gone already or never was.

    It is there for some time yet. One that is not placed is asked for again within ``waits.overall``. Raises Refused
    when it is protected (CannotDestroyMachineError): then ``disable_deletion_protection`` comes first.
    """
    deadline = time.monotonic() + api.waits.overall
    while True:
        try:
            answer = api.call("DELETE", f"/machines/{step(id)}", f"deleting the machine {id}", passing=(404, 410))
            return answer.status == 204
        except Refused as error:
            pause = min(LOOK, api.waits.look)
            if "no server_uuid" not in error.answer.said or time.monotonic() + pause > deadline:
                raise
        time.sleep(pause)


def audit(api: Api, id: str) -> list[Done]:
    """What was done with the machine, as far as it has ended, in CloudAPI's order; [] when it is not known."""
    doing = f"reading the audit of {id}"
    answer = api.call("GET", f"/machines/{step(id)}/audit", doing, passing=(404, 410))
    if answer.failed:
        return []
    return [
        Done(str(one.get("action")), one.get("success") in ("yes", True), str(one.get("time")))
        for one in entries(answer, doing)
    ]


def _post(api: Api, instance: Instance, what: str, body: dict[str, str], *, repeat: bool) -> None:
    doing = f"having {instance.name or instance.id} {what.replace('_', ' ')}"
    api.call("POST", f"/machines/{step(instance.id)}", doing, body=body, repeat=repeat)
