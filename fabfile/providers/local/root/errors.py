"""The one error of the root program; it crosses to the client as JSON."""

from __future__ import annotations

from typing import Literal

Kind = Literal["usage", "refused", "locked", "failed"]


class Refused(Exception):
    """Something that was asked cannot be done: what, on which machine, what was seen and what to do next.

    ``kind`` chooses the client's error: usage (the request makes no sense), refused (this computer cannot give it),
    locked (another command is at work), failed (a program or a machine went wrong).
    """

    def __init__(
        self, message: str, *, kind: Kind = "refused", hint: str = "", seen: str = "", machine: str = ""
    ) -> None:
        super().__init__(message)
        self.message = message
        self.kind: Kind = kind
        self.hint = hint
        self.seen = seen
        self.machine = machine

    def as_json(self) -> dict[str, str]:
        """The error as the client reads it."""
        return {
            "message": self.message,
            "kind": self.kind,
            "hint": self.hint,
            "seen": self.seen[-4000:],
            "machine": self.machine,
        }
