"""Refusals: every answer of CloudAPI that is no success, as an error that says what to do about it. Pure.

The status is looked at before the code: a proxy, or an early refusal, has none, or one of its own.
"""

from __future__ import annotations

import re
import time
from calendar import timegm
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate
from typing import Any

from ...errors import ProviderRefused

NO_ROOM = ("NoAllocatableServersError", "InsufficientCapacity")
LONGEST_TEXT = 400  # characters of an answer, which may be a load balancer's page
OTHER = (
    "run it again; if CloudAPI says the same, its words above, with the request id, are for who runs the data center"
)
HINTS: tuple[tuple[str, str], ...] = (  # the first whose pattern is found in "STATUS CODE message [codes of errors]"
    (r"clock skew|RequestExpired", "set this computer's clock (`timedatectl set-ntp true`), then run it again"),
    (
        r"x-date was not a signed header",
        "a process of this CloudAPI was put out of order by somebody's x-date header: its operator must restart it",
    ),
    (r"^400 InvalidVersion", "this CloudAPI is older than version 8: name another data center"),
    (r"^400 (InvalidHeader|InvalidContent)|^40[56]", "this is a mistake in ipyfleet, please report it with the above"),
    (
        r"^401",
        "look at TRITON_ACCOUNT, TRITON_USER and TRITON_KEY_ID, or at the profile: the key must be one of that account "
        "(or sub-user), in that data center; a key that was just added works after a minute",
    ),
    (r"^403.*(disabled)", "the account or its sub-user is disabled: ask who runs the data center"),
    (
        r"[Qq]uota exceeded",
        "remove machines, choose a smaller package, or ask who runs the data center to raise the account's limit",
    ),
    (r"^403", "the account's owner must give this sub-user a role that allows it, or name a data center you may use"),
    (
        r"NoAllocatableServersError|InsufficientCapacity|^409 .*capacity",
        "try another package, another data center, or later",
    ),
    (r"UnallocatedVM", "the machine is still being made: wait until it runs, then try again"),
    (r"CannotDestroyMachineError", "it is protected: `triton instance disable-deletion-protection ID`, then try again"),
    (r"no server_uuid", "it was not placed yet: try again in a minute"),
    (r"KeyRequired", "add a public key to the account first: `triton key add ~/.ssh/id_ed25519.pub`"),
    (r"not currently approved", "the account may not make machines yet: ask who runs the data center"),
    (r"\[.*Duplicate.*\]", "the name is taken: `triton instance list` shows by which machine"),
    (r"image", "correct `image`: `triton image list` shows those of this data center"),
    (r"package|MiB of RAM", "correct `package`: `triton package list` shows those of this data center"),
    (
        r"[Nn]etwork|netUuid|ipv4_uuid|IP in use",
        "correct the networks: `triton network list` shows those of this data center",
    ),
    (r"^(409|422)", "a value is not as CloudAPI wants it: its words above say which"),
    (r"^413", "the boot script is too long: at most 100,000 bytes fit into the request, escapes included"),
    (r"^404", "`triton instance list` shows what there is"),
    (r"^410", "the machine is gone: nothing more can be done with it"),
    (r"^429", "CloudAPI slows this account down: wait a minute, then run it again"),
    (
        r"^503 .*upgraded|^503 ServiceUnavailableError",
        "the data center is being maintained: try again when that is over",
    ),
    (r"^30", "the address is not CloudAPI's own: correct TRITON_URL, or the profile's url"),
    (r"^5|^408", "look at the data center's status page, then run the same command again"),
)


@dataclass(frozen=True)
class Answer:
    """An answer of CloudAPI; ``body`` is its JSON, its text where that is none, "" where it is empty."""

    status: int
    body: Any = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def request_id(self) -> str:
        """CloudAPI's id of the request, by which its operator finds it in the logs; "" when it gave none."""
        return self.headers.get("Request-Id", "")

    @property
    def code(self) -> str:
        """CloudAPI's name of the error; "" when it gave none, as with a deleted machine, whose body is the machine."""
        return str(self.body.get("code") or "") if self.failed and isinstance(self.body, dict) else ""

    @property
    def field_codes(self) -> tuple[str, ...]:
        """The codes of the single fields that were refused: ``Duplicate``, ``Invalid``."""
        return tuple(str(one["code"]) for one in self._fields if one.get("code"))

    @property
    def said(self) -> str:
        """CloudAPI's own words, of each refused field too."""
        if self.status == 410:
            return "the machine is deleted"
        if not self.failed and self.body:  # nobody wants a whole machine in a message, with its scripts
            return f"{'text' if isinstance(self.body, str) else type(self.body).__name__} that it should not be"
        if isinstance(self.body, dict):
            words = str(self.body.get("message") or "; ".join(f"{key}: {value}" for key, value in self.body.items()))
            fields = [f"{one.get('field', '')}: {one.get('message', '')}" for one in self._fields]
            return _one_line("; ".join([words.strip(), *fields]))[:LONGEST_TEXT]
        if self.status in (301, 302, 307, 308):
            return f"it sends us to {self.headers.get('Location', 'nowhere')}"
        return _one_line(re.sub(r"<[^>]*>", " ", str(self.body)))[:LONGEST_TEXT] or "nothing"

    @property
    def failed(self) -> bool:
        """True for everything that is no success."""
        return not 200 <= self.status < 300

    @property
    def _fields(self) -> list[dict[str, Any]]:
        fields = self.body.get("errors") if isinstance(self.body, dict) else None
        return [one for one in fields if isinstance(one, dict)] if isinstance(fields, list) else []


class Refused(ProviderRefused):
    """CloudAPI answered, and not as was hoped; ``answer`` is what it said."""

    def __init__(self, message: str, answer: Answer, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.answer = answer


class NoRoom(Refused):
    """The data center has no room for such a machine now."""


class Doubtful(ProviderRefused):
    """Nobody knows whether it was done: no answer came, or one that does not tell. Look before asking again.

    ``answer`` is None where none came.
    """

    def __init__(self, message: str, answer: Answer | None = None, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.answer = answer


def refusal(doing: str, answer: Answer) -> Refused:
    """The error for an answer: what was done ("making lab-engine-1"), CloudAPI's words, code and request id."""
    kind = NoRoom if answer.code in NO_ROOM or set(answer.field_codes) & set(NO_ROOM) else Refused
    return kind(f"{doing} was refused: {told(answer)}{_skew(answer)}", answer, hint=come_back(answer) or hint(answer))


def told(answer: Answer) -> str:
    """What an answer says, in one line, with what its operator needs to find it again."""
    marks = " ".join(word for word in (str(answer.status), answer.code) if word)
    return f"{answer.said.rstrip('.')} ({marks}, {request_id(answer)})"


def request_id(answer: Answer) -> str:
    """The request id in words: refusals at CloudAPI's door, and those of a proxy before it, have none."""
    return f"request id {answer.request_id}" if answer.request_id else "without a request id"


def hint(answer: Answer) -> str:
    """What to do about an answer."""
    text = f"{answer.status} {answer.code} {answer.said} [{' '.join(answer.field_codes)}]"
    return next((advice for pattern, advice in HINTS if re.search(pattern, text)), OTHER)


def come_back(answer: Answer | None) -> str:
    """What to do when the answer says from when on it may be otherwise; "" when it does not."""
    when = answer.headers.get("Retry-After") if answer else ""
    return f"CloudAPI asks to come back at {when}: run the same command again then" if when else ""


def retry_after(answer: Answer, now: float | None = None) -> float | None:
    """How many seconds from now the answer asks to wait; None when it does not say.

    CloudAPI gives a date; a load balancer before it may give seconds.
    """
    value = answer.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", value, re.ASCII):
        return float(value)
    date = parsedate(value) if value else None
    try:
        return None if date is None else timegm(date) - (time.time() if now is None else now)
    except (ValueError, OverflowError):
        return None


def _skew(answer: Answer) -> str:
    """How far this computer's clock is off, where that is why, and the answer tells its own time."""
    date = parsedate(answer.headers.get("Date", "")) if "clock skew" in answer.said else None
    if date is None:
        return ""
    off = time.time() - timegm(date)
    return f"; this computer's clock is {abs(off):.0f} s {'ahead' if off > 0 else 'behind'}"


def _one_line(text: str) -> str:
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
