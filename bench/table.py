"""The table of a run of launch.py: medians, as ratios to the floor, with the least and the most."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

FLOOR = "floor"


def markdown(path: Path) -> str:
    """The results in a file as a markdown table, and how they were made."""
    where, *entries = [json.loads(line) for line in path.read_text().splitlines()]
    entries = [entry for entry in entries if not entry["warm_up"]]
    sizes = sorted({entry["engines"] for entry in entries})
    names = list(dict.fromkeys(entry["contender"] for entry in sorted(entries, key=lambda one: _order(entries, one))))
    repetitions = max(entry["repetition"] for entry in entries)
    lines = [
        "| | " + " | ".join(f"{size} engines" for size in sizes) + " |",
        "| --- |" + " ---: |" * len(sizes),
        *(f"| {name} | " + " | ".join(_cell(entries, name, size) for size in sizes) + " |" for name in names),
        "",
        f"How many times the floor, and seconds: median (least to most) of {repetitions} repetitions. {where['when']}, "
        f"{where['processors']} processors, Linux {where['kernel']}, Python {where['python']}, {where['openssh']}, "
        + ", ".join(f"{name} {version}" for name, version in where["versions"].items())
        + ".",
    ]
    return "\n".join(lines)


def _order(entries: list[dict[str, Any]], entry: dict[str, Any]) -> float:
    """The floor first, the quicker ones before the slower ones."""
    name = entry["contender"]
    times = [one["seconds"] for one in entries if one["contender"] == name and one["ok"]]
    return -1.0 if name == FLOOR else median(times) if times else float("inf")


def _times(entries: list[dict[str, Any]], name: str, size: int) -> tuple[list[float], int]:
    here = [entry for entry in entries if (entry["contender"], entry["engines"]) == (name, size)]
    return [entry["seconds"] for entry in here if entry["ok"]], sum(not entry["ok"] for entry in here)


def _cell(entries: list[dict[str, Any]], name: str, size: int) -> str:
    times, failed = _times(entries, name, size)
    note = f"; {failed} failed" if failed else ""
    if not times:
        return f"failed ({failed} of {failed})" if failed else ""
    floor, _ = _times(entries, FLOOR, size)
    ratio = f"{median(times) / median(floor):.2f} &times; · " if floor else ""
    return f"{ratio}{median(times):.1f} s ({min(times):.1f} to {max(times):.1f}{note})"
