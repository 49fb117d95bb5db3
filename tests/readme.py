"""README.md taken apart: its commands, its settings, its lines of Python."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def marked(name: str) -> str:
    """The one command under the mark of that name, as .ci/run takes it."""
    found = re.findall(rf"^<!-- {name} -->\n```sh\n(.+)\n```$", TEXT, re.MULTILINE)
    assert len(found) == 1, f"README.md has {len(found)} commands marked {name}"
    return str(found[0])


def commands() -> list[str]:
    """Every command of ours that the README shows: in blocks of shell, behind prompts, and in running text."""
    shown = "\n".join(blocks("sh")).splitlines()
    shown += re.findall(r"^\$ (.+)$", "\n".join(blocks("console")), re.MULTILINE)
    shown += re.findall(r"`((?:invoke|fab|ipyfleet) [^`]+)`", TEXT)
    parts = (part.strip() for line in shown for part in line.split("&&"))
    return sorted({part for part in parts if part.startswith(("invoke ", "fab ", "ipyfleet "))})
