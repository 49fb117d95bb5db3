"""What commands ask of the restarter, which answers when it gets to it: nobody waits here."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

from .places import Place


@dataclass(frozen=True)
class Request:
    """One wish: ``what`` is refresh, restart, clear, degraded, maintenance or look (there may be something new)."""

    fmri: str
    what: str


def ask(place: Place, fmri: str, what: str) -> None:
    """Leave a request behind those that are there."""
    place.requests.mkdir(exist_ok=True)
    name = f"{time.time_ns():020d}-{os.getpid()}"
    draft = place.requests / f".{name}"
    draft.write_text(json.dumps([fmri, what]))
    draft.rename(place.requests / name)


def taken(place: Place) -> Iterator[Request]:
    """The requests in their order, each taken away."""
    if not place.requests.is_dir():
        return
    for name in sorted(os.listdir(place.requests)):
        if not name.startswith("."):
            path = place.requests / name
            yield Request(*json.loads(path.read_text()))
            path.unlink()
