"""CloudAPI: one call after the other, asked again where that can do no harm, and every refusal told.

Knows nothing of clusters, nor of what the paths mean beyond which of them are counted together.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from ...errors import ProviderRefused, UsageError
from . import keys
from .identity import Identity
from .pace import Pace
from .refusals import Answer, Doubtful, come_back, hint, refusal, retry_after, told
from .signing import Signer
from .transport import NoAnswer, Transport

LARGEST_BODY = 100_000  # bytes; CloudAPI takes no more
PAGE = 1000  # entries a call, the most that it gives
SHIFTS = 4  # how often a list that changed while it was read is read anew
TRIES = 4  # of a call that CloudAPI answers with 500: it may do so whenever it is asked this
UNANSWERED = (408, 500, 502, 503, 504)  # the server's fault, or that of what stands before it
GROUPS = ("", "images", "packages", "networks", "keys", "datacenters", "services")  # counted each by itself


@dataclass(frozen=True)
class Waits:
    """How long is waited for what, in seconds; ``overall`` for a call with all its repetitions."""

    overall: float = 60.0
    unreached: float = 15.0  # for one that finds nobody at all: networks come back, a wrong URL stays wrong
    connect: float = 10.0
    read: float = 60.0
    throttled: float = 1.0  # and twice as long each time, up to…
    throttled_most: float = 15.0
    failed: float = 0.5
    failed_most: float = 8.0
    look: float = 3.0  # between two looks for what may have been made all the same


class Api:
    """An account's CloudAPI; every method may be called from any thread."""

    def __init__(self, identity: Identity, signer: Signer | None = None, waits: Waits | None = None) -> None:
        """Raises ProviderRefused when there is no key to sign with; asks CloudAPI nothing yet."""
        self.identity = identity
        self.waits = waits or Waits()
        found = signer or keys.signer(identity.key_id, os.environ, Path.home())
        self.signing_key = found.fingerprint  # MD5, as CloudAPI shows it
        self._transport = Transport(identity, found, self.waits.connect)
        self._pacing = threading.Lock()
        self._paces: dict[str, Pace] = {}

    def get(self, path: str, doing: str, **query: Any) -> Answer:
        """The answer to a question, ``path`` being below the account: ``get("/networks", "looking for networks")``."""
        return self.call("GET", path, doing, query=query)

    def call(
        self,
        method: str,
        path: str,
        doing: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        repeat: bool = True,
        read: float | None = None,
        passing: Sequence[int] = (),
    ) -> Answer:
        """One call, repeated within ``waits.overall`` where that can do no harm; its answer if that is a success.

        ``repeat`` False says that doing it twice would be wrong: then Doubtful is raised where nobody knows whether it
        was done. A status in ``passing`` is returned like a success. Raises Refused for other answers, ProviderRefused
        when there was none. ``doing`` is what the user reads: "making lab-engine-1".
        """
        target = self.identity.root + path + (f"?{urlencode(query)}" if query else "")
        data = _serialised(body, doing)
        deadline = time.monotonic() + self.waits.overall
        pace, throttled, failed, tries = self._pace(path), self.waits.throttled, self.waits.failed, 0
        while True:
            pace.wait()
            answer = self._transport.send(method, target, data, read or self.waits.read)
            left = deadline - time.monotonic()
            if isinstance(answer, Answer) and (not answer.failed or answer.status in passing):
                return answer
            if isinstance(answer, Answer) and answer.status == 429:
                pause = _spread(throttled)
                if pause > left:
                    raise refusal(doing, answer)
                pace.hold(pause)  # all calls of its group; nothing happened yet, so that even a creation is repeated
                throttled = min(2 * throttled, self.waits.throttled_most)
                continue
            if isinstance(answer, Answer) and answer.status not in UNANSWERED:
                raise refusal(doing, answer)
            if not repeat and (isinstance(answer, Answer) or answer.sent):
                raise _doubtful(doing, answer)
            if isinstance(answer, NoAnswer) and not answer.sent:
                left -= self.waits.overall - min(self.waits.unreached, self.waits.overall)
            pause = _spread(failed)
            if isinstance(answer, Answer):
                pause, tries = max(pause, retry_after(answer) or 0.0), tries + (answer.status == 500)
            if pause > left or tries >= TRIES:
                raise refusal(doing, answer) if isinstance(answer, Answer) else self._silent(doing, answer)
            time.sleep(pause)
            failed = min(2 * failed, self.waits.failed_most)

    def paged(self, path: str, doing: str, **query: Any) -> list[dict[str, Any]]:
        """All entries of a list that comes in pages, each entry once.

        CloudAPI tells the length of a page, never that of the list, and counts pages from the list's beginning at that
        moment. So each begins with the last entry of the one before; where it does not, the list is read anew.
        """
        seen: dict[str, dict[str, Any]] = {}
        for _ in range(SHIFTS):
            whole, entries_read = self._pages(path, doing, query)
            seen.update(entries_read)
            if whole:
                return list(entries_read.values())
        return list(seen.values())  # rather one that is gone than one too few

    def _pages(self, path: str, doing: str, query: Mapping[str, Any]) -> tuple[bool, dict[str, dict[str, Any]]]:
        found: dict[str, dict[str, Any]] = {}
        offset, last = 0, ""
        while True:
            answer = self.call("GET", path, doing, query={**query, "limit": PAGE, "offset": offset})
            page = entries(answer, doing)
            if last and (not page or page[0].get("id") != last):
                return False, found
            found.update({str(one.get("id")): one for one in page})
            limit = answer.headers.get("x-query-limit", "")
            if len(page) < (min(PAGE, int(limit)) if limit.isascii() and limit.isdigit() else PAGE) or len(page) < 2:
                return True, found
            offset, last = offset + len(page) - 1, str(page[-1].get("id"))

    def _pace(self, path: str) -> Pace:
        first = path.lstrip("/").split("/")[0]
        with self._pacing:
            return self._paces.setdefault(first if first in GROUPS else "machines", Pace())

    def _silent(self, doing: str, answer: NoAnswer) -> ProviderRefused:
        return ProviderRefused(
            f"{doing}: {self.identity.url} gives no answer: {answer}",
            hint="look at the network, at HTTPS_PROXY and at TRITON_URL, then run the same command again",
        )


def entries(answer: Answer, doing: str) -> list[dict[str, Any]]:
    """The entries of an answer that must be a list of objects."""
    if isinstance(answer.body, list) and all(isinstance(one, dict) for one in answer.body):
        return answer.body
    raise unreadable(answer, doing)


def thing(answer: Answer, doing: str) -> dict[str, Any]:
    """The object that an answer must be."""
    if isinstance(answer.body, dict):
        return answer.body
    raise unreadable(answer, doing)


def unreadable(answer: Answer, doing: str) -> ProviderRefused:
    """The error for a success that is nothing that CloudAPI says."""
    return ProviderRefused(
        f"{doing} was answered by something that is not CloudAPI: {told(answer)}",
        hint="correct TRITON_URL, or the profile's url; a proxy in between may be at fault too",
    )


def step(text: str) -> str:
    """A name or id as a step of a path."""
    return quote(text, safe="")


def _serialised(body: Any, doing: str) -> bytes | None:
    if body is None:
        return None
    data = json.dumps(body, ensure_ascii=False).encode()
    if len(data) > LARGEST_BODY:
        raise UsageError(
            f"{doing} needs a request of {len(data)} bytes, and CloudAPI takes {LARGEST_BODY} at most",
            hint="make what goes into it shorter: the script of `userdata`, or tags",
        )
    return data


def _doubtful(doing: str, answer: Answer | NoAnswer) -> Doubtful:
    whole = answer if isinstance(answer, Answer) else None
    seen = told(whole) if whole else f"no answer came: {answer} (without a request id)"
    return Doubtful(
        f"{doing} may have been done or not: {seen}",
        whole,
        hint=come_back(whole)
        or (f"{hint(whole)}; " if whole else "")
        + "`triton instance list` shows what there is, and the same command again goes on from there",
    )


def _spread(seconds: float) -> float:
    """Somewhat more than that: many threads shall not come back at the same moment."""
    return seconds * random.uniform(1.0, 1.3)  # noqa: S311  # nothing secret
