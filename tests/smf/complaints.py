"""What a command says when it cannot do what it was told, and its exit code."""

from __future__ import annotations


class Complaint(Exception):
    """Ends a command: ``text`` is what it says, without its name."""

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.text = text
        self.code = code
