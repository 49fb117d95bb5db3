"""YAML files read strictly: a duplicate key and broken YAML are errors with file and line, never a traceback.

Knows nothing of settings; what the keys mean is the caller's matter.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from .errors import UsageError

KeyPath = tuple[str, ...]
NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


@dataclass(frozen=True)
class Document:
    """What a file says (nested keys, {} for an empty file) and the line of each key path, counted from 1."""

    path: Path
    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[KeyPath, int] = field(default_factory=dict)

    def where(self, *key_path: str) -> str:
        """Where a key stands, for a person: ``/path/config.yaml line 3 (templates.big.engines)``."""
        line = self.lines.get(key_path)
        return f"{self.path}{f' line {line}' if line else ''} ({'.'.join(key_path)})"


def read(path: Path) -> Document:
    """The file as keys and values, all keys as text.

    Raises UsageError when it is missing, unreadable, not YAML, not a mapping at the top, or names a key twice.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"the settings file {path} cannot be read: {error.strerror}", hint="name a file that is there"
        ) from error
    return _parsed(path, data)


@functools.lru_cache(maxsize=4)  # a command resolves its settings twice, and reading YAML takes 40 ms
def _parsed(path: Path, data: bytes) -> Document:
    yaml: Any = import_module("invoke.vendor.yaml")  # without types, hence not by an import statement
    try:
        loader = yaml.SafeLoader(data)
        root = loader.get_single_node()
        lines: dict[KeyPath, int] = {}
        _spare_colons(root)
        if root is not None:
            for key_path, line in _keys(root, ()):
                if key_path in lines:
                    raise _broken(path, f"line {line}: {key_path[-1]} is there twice, first in line {lines[key_path]}")
                lines[key_path] = line
        values = loader.construct_document(root) if root is not None else {}
    except UsageError:
        raise
    except Exception as error:  # the loader raises KeyError, AttributeError, RecursionError… for some broken values
        raise _broken(path, _said(error)) from error
    if not isinstance(values, dict):
        raise _broken(path, "it must hold keys and values, as in `engines: 8`")
    return Document(path, _text_keys(values), lines)


def _spare_colons(node: Any) -> None:
    """Leave texts like ``8:30`` as they are: YAML 1.1 would make the number 510 of it, which nobody means."""
    if node is None:
        return
    if node.id == "scalar":
        if node.tag in NUMBERS and ":" in node.value:
            node.tag = "tag:yaml.org,2002:str"
        return
    for part in node.value:
        for inner in part if isinstance(part, tuple) else (part,):
            _spare_colons(inner)


def _keys(node: Any, above: KeyPath) -> Iterator[tuple[KeyPath, int]]:
    if node.id != "mapping":
        return
    for key, value in node.value:
        if key.id != "scalar":
            continue
        key_path = (*above, str(key.value))
        if key.tag != "tag:yaml.org,2002:merge":
            yield key_path, key.start_mark.line + 1
        yield from _keys(value, key_path)


def _text_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _text_keys(item) for key, item in value.items()}
    return value


def _said(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or type(error).__name__
    return f"line {mark.line + 1}: {problem}" if mark is not None else f"not readable as YAML ({problem})"


def _broken(path: Path, what: str) -> UsageError:
    return UsageError(f"the settings file {path} is broken: {what}", hint="mend that line; quotes help with : # { [ *")
