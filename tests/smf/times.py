"""Times as the commands print them."""

from __future__ import annotations

import time

DAY = 24 * 3600.0


def short(when: float, now: float | None = None) -> str:
    """A column's text: the time within a day, the date within a year, else the year; 8 wide."""
    age = (time.time() if now is None else now) - when
    local = time.localtime(when)
    if age < DAY:
        return f"{local.tm_hour:2}{time.strftime(':%M:%S', local)}"
    return time.strftime("%b_%d  " if age < 365 * DAY else "%Y    ", local)


def long(when: float) -> str:
    """Such as ``Sat Nov 21 19:00:00 2026``."""
    local = time.localtime(when)
    return time.strftime("%a %b ", local) + f"{local.tm_mday:2}" + time.strftime(" %H:%M:%S %Y", local)
