"""The shell scripts that run on machines: where they are."""

from __future__ import annotations

from pathlib import Path

BOOTSCRIPTS = Path(__file__).resolve().parent.parent / "bootscripts"


def script(name: str) -> Path:
    """The boot script of that name, a local file: ``script("host.sh")``."""
    return BOOTSCRIPTS / name
