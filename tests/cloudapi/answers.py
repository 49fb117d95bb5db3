"""What is answered, and refusals in CloudAPI's words."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Answer:
    """A whole answer; ``body`` None is an empty one. ``bare``: without the headers that most answers carry."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    bare: bool = False
    raw: bytes | None = None
    content_type: str = "application/json"

    def data(self) -> bytes:
        """The body as it goes over the wire."""
        if self.raw is not None:
            return self.raw
        return b"" if self.body is None else json.dumps(self.body).encode()


class Refusal(Exception):
    """An answer that is an error; ``bare`` for those that are made before the credentials are looked at."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        errors: list[dict[str, str]] | None = None,
        headers: dict[str, str] | None = None,
        bare: bool = False,
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        body: dict[str, Any] = {"code": code} if code else {}
        body["message"] = message
        if errors:
            body["errors"] = errors
        self.answer = Answer(status, body, headers or {}, bare)


def missing(message: str) -> Refusal:
    """A required value is absent."""
    return Refusal(409, "MissingParameter", message)


def invalid(message: str) -> Refusal:
    """A value is refused."""
    return Refusal(409, "InvalidArgument", message)


def unfit(message: str, field: str, code: str, why: str) -> Refusal:
    """A value is refused by what stands behind CloudAPI."""
    return Refusal(409, "ValidationFailed", message, errors=[{"field": field, "code": code, "message": why}])


def unknown(message: str) -> Refusal:
    """There is no such thing."""
    return Refusal(404, "ResourceNotFound", message)
