"""What is asked: a request as it came, and its parameters put together as CloudAPI puts them together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

from .answers import Refusal

LARGEST = 100_000


@dataclass
class Asked:
    """One request. ``target`` is its path and query as they came over the wire; ``params`` come from path, query and
    body, the later ones overriding the earlier; ``route`` is its path with names for ids (``/my/machines/{machine}``).

    ``status`` and ``code`` are the outcome, ``caller`` who signed.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    data: bytes = b""
    steps: dict[str, str] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    given: dict[str, Any] = field(default_factory=dict)  # the body alone
    query: dict[str, Any] = field(default_factory=dict)
    route: str = ""
    caller: str = ""
    status: int = 0
    code: str = ""

    @property
    def path(self) -> str:
        """The path, as it came."""
        return self.target.partition("?")[0]

    @property
    def name(self) -> str:
        """Method and route: ``POST /my/machines``."""
        return f"{self.method} {self.route}"

    def read(self) -> None:
        """Take the body and all parameters; raises Refusal for a body that cannot be read."""
        if len(self.data) > LARGEST:
            raise Refusal(413, "PayloadTooLargeError", f"Request body size exceeds {LARGEST}", bare=True)
        self.query = _several(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))
        body = self._body()
        if isinstance(body, list):
            self.params = {"account": "undefined"}
            return
        self.given = body
        self.params = {**{name: unquote(value) for name, value in self.steps.items()}, **self.query, **body}

    def _body(self) -> Any:
        if not self.data or self.method not in ("POST", "PUT"):
            return {}
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind == "application/x-www-form-urlencoded":
            form = _several(parse_qsl(self.data.decode(), keep_blank_values=True))
            named = {name: value for name, value in form.items() if not name.endswith("[]")}
            lists = {name[:-2]: value for name, value in form.items() if name.endswith("[]")}
            return named | {name: value if isinstance(value, list) else [value] for name, value in lists.items()}
        if kind != "application/json":
            return {}
        try:
            body = json.loads(self.data)
        except ValueError as error:
            raise Refusal(400, "InvalidContent", f"Invalid JSON: {error}", bare=True) from error
        return body if isinstance(body, (dict, list)) else {}


def _several(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            found[name] = [*(found[name] if isinstance(found[name], list) else [found[name]]), value]
        else:
            found[name] = value
    return found
