"""Paths as people write them."""

from __future__ import annotations

import os
from pathlib import Path


def expanded(path: str | Path) -> Path:
    """The path with ``~`` and ``~ada`` put into words; one of a user who is not there is a path that is not there."""
    return Path(os.path.expanduser(path))
