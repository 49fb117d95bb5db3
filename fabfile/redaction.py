"""Taking secrets out of texts: those that are known, those whose digest is known, and what has the looks of one.

Pure: is given bytes and gives bytes, knows neither files nor clusters.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from urllib.parse import quote

REMOVED = b"[secret removed]"
SHORTEST = 8  # characters: shorter texts stand for something else as well
PIECE = 24  # characters of a private key that give it away, however its lines were broken
CURVE = 40  # characters of one half of a CURVE pair, in Z85

_BASE64 = re.compile(rb"[A-Za-z0-9+/=]{%d,}" % PIECE)
_Z85 = re.compile(rb"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%%$#]{%d,}" % CURVE)
_NAMED = rb"(?:secret|passw(?:or)?d|token|session[._]key|private_?key|api_?key|access_?key|credential|curve_\w*key)"
# The first group, if there is one, stays; the last one, if there are two, as well.
LOOKS = tuple(
    re.compile(pattern, re.IGNORECASE | re.DOTALL)
    for pattern in (
        rb"()-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----(?:.{0,16000}?-----END [A-Z0-9 ]*PRIVATE KEY-----|.{0,8000})",
        rb"()\b(?-i:(?:AKIA|ASIA)[A-Z0-9]{16})\b",
        rb"(" + _NAMED + rb"\w*\\?['\"]?\s*[=:]\s*b?\\?['\"]?)(?!\[secret removed\])[^\s'\",;]{8,}",
        rb"(\bkey\\?['\"]?\s*[=:]\s*b?\\?['\"]?)[0-9a-f]{32,}",
        rb"(authorization['\"]?\s*[=:]\s*)(?!\[secret removed\])[^\n]+",
        rb"(://[^/\s:@]*:)(?!\[secret removed\])[^/\s'\"]+(@)",
    )
)


@dataclass(frozen=True)
class Secrets:
    """What must not be in a text: ``texts``, any piece of ``keys`` (private keys in PEM or OpenSSH's form).

    ``digests`` are the SHA-256, in hex, of halves of CURVE pairs which are not known themselves.
    """

    texts: frozenset[str] = field(default=frozenset(), repr=False)
    keys: frozenset[bytes] = field(default=frozenset(), repr=False)
    digests: frozenset[str] = frozenset()

    def __or__(self, other: Secrets) -> Secrets:
        return Secrets(self.texts | other.texts, self.keys | other.keys, self.digests | other.digests)


class Redaction:
    """Takes these secrets out of whatever it is given."""

    def __init__(self, secrets: Secrets) -> None:
        spelt = {way for text in secrets.texts if len(text) >= SHORTEST for way in _spellings(text)}
        known = b"|".join(re.escape(way) for way in sorted(spelt, key=lambda way: (-len(way), way)))
        self._known = re.compile(known) if known else None
        self._pieces = frozenset(piece for key in secrets.keys for piece in _pieces(key))
        self._digests = secrets.digests

    def __call__(self, data: bytes) -> tuple[bytes, int]:
        """The data without secrets, and how many were taken out."""
        count = 0
        if self._known:
            data, count = self._known.subn(REMOVED, data)
        if self._pieces:
            data, found = _without(data, _BASE64, PIECE, lambda piece: piece in self._pieces)
            count += found
        if self._digests:
            data, found = _without(data, _Z85, CURVE, lambda piece: hashlib.sha256(piece).hexdigest() in self._digests)
            count += found
        for look in LOOKS:
            data, found = look.subn(_removed, data)
            count += found
        return data, count


def _removed(found: re.Match[bytes]) -> bytes:
    groups = found.groups()
    return groups[0] + REMOVED + (groups[1] if len(groups) > 1 else b"")


def _spellings(text: str) -> Iterable[bytes]:
    """The ways in which programs write a text down."""
    data = text.encode(errors="surrogateescape")
    yield data
    yield json.dumps(text)[1:-1].encode()
    yield repr(text)[1:-1].encode(errors="surrogateescape")
    yield quote(data, safe="").encode()
    yield quote(data).encode()
    yield base64.b64encode(data).rstrip(b"=")
    yield binascii.hexlify(data)


def _pieces(key: bytes) -> Iterable[bytes]:
    """Every piece of a private key's secret lines, as if they were one."""
    for block in re.findall(rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----(.*?)-----END", key, re.DOTALL):
        lines = [line.strip() for line in block.splitlines()]
        body = b"".join(line for line in lines if b":" not in line)  # older forms have headers
        yield from (body[start : start + PIECE] for start in range(len(body) - PIECE + 1))


def _without(data: bytes, run: re.Pattern[bytes], length: int, secret: Callable[[bytes], bool]) -> tuple[bytes, int]:
    """The data without the pieces of that length, within a run of their alphabet, that are secret; how many there were.

    Pieces that touch are one.
    """
    count = 0

    def cut(found: re.Match[bytes]) -> bytes:
        nonlocal count
        text = found[0]
        hidden = bytearray(len(text))
        for start in range(len(text) - length + 1):
            if secret(text[start : start + length]):
                hidden[start : start + length] = b"\1" * length
        parts = []
        for is_hidden, places in itertools.groupby(range(len(text)), hidden.__getitem__):
            count += is_hidden
            parts.append(REMOVED if is_hidden else bytes(text[place] for place in places))
        return b"".join(parts)

    return run.sub(cut, data), count
