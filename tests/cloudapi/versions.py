"""Accept-Version: which ranges of versions the API has something for."""

from __future__ import annotations

import re

ROUTES = ((9, 0, 0), (8, 0, 0), (7, 3, 0), (7, 2, 0), (7, 1, 0), (7, 0, 0))
NEWEST = "9.0.0"
PART = re.compile(r"(\^|~|>=|<=|>|<|=|)\s*(\*|x|[0-9]+(?:\.(?:[0-9]+|x|\*)){0,2})")


def chosen(wanted: str) -> tuple[int, int, int] | None:
    """The newest version within a range such as ``~9||~8``; None for none."""
    return next((version for version in ROUTES if any(_fits(part, version) for part in wanted.split("||"))), None)


def _fits(part: str, version: tuple[int, int, int]) -> bool:
    comparisons = PART.findall(part.strip())
    if not comparisons or PART.sub("", part).strip():
        return False
    return all(_compared(sign, text, version) for sign, text in comparisons)


def _compared(sign: str, text: str, version: tuple[int, int, int]) -> bool:
    if text in ("*", "x"):
        return True
    numbers = tuple(int(one) for one in text.split(".") if one.isdecimal())
    least = (*numbers, 0, 0)[:3]
    if sign == ">=":
        return version >= least
    if sign == ">":
        return version > least
    if sign == "<=":
        return version <= least
    if sign == "<":
        return version < least
    if sign == "^":
        return version >= least and version[0] == least[0]
    kept = min(len(numbers), 2) if sign == "~" else len(numbers)
    return version >= least and version[:kept] == numbers[:kept]
