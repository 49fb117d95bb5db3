"""The ssh-agent: which keys it holds, and signatures by them. Private keys never leave it.

Spoken to over its socket, one connection a question, so that any thread may ask.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ...errors import ProviderRefused

PATIENCE = 60.0  # s: the agent may ask its user to confirm, or to touch a token
LONGEST_ANSWER = 1 << 20
LIST, LISTED = 11, 12
SIGN, SIGNED = 13, 14
RSA_SHA256 = 2  # flag of a signature by an RSA key, which would be SHA-1 without


@dataclass(frozen=True)
class AgentKey:
    """A public key that the agent can sign with: ``blob`` is it in SSH's wire form."""

    blob: bytes
    comment: str = ""


class Agent:
    """The agent behind a socket, whose path is what SSH_AUTH_SOCK says."""

    def __init__(self, path: str, patience: float = PATIENCE) -> None:
        self.path = path
        self._patience = patience

    def keys(self) -> list[AgentKey]:
        """The keys that it holds; raises ProviderRefused when nothing answers."""
        with self._answering():
            answer = Wire(self._ask(bytes([LIST]), LISTED))
            return [AgentKey(answer.text(), answer.text().decode(errors="replace")) for _ in range(answer.number())]

    def sign(self, blob: bytes, data: bytes) -> tuple[str, bytes]:
        """A signature by the key of that blob: its kind in SSH's words (``rsa-sha2-256``) and its bytes."""
        with self._answering():
            flags = RSA_SHA256 if Wire(blob).text() == b"ssh-rsa" else 0
            asked = bytes([SIGN]) + packed(blob) + packed(data) + struct.pack(">I", flags)
            signature = Wire(Wire(self._ask(asked, SIGNED)).text())
            return signature.text().decode("ascii", "replace"), signature.text()

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ProviderRefused(
                f"the ssh-agent at {self.path} did not answer: {error}",
                hint="start one and add the key (`eval $(ssh-agent); ssh-add`), or unset SSH_AUTH_SOCK",
            ) from error

    def _ask(self, question: bytes, wanted: int) -> bytes:
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(self._patience)
            link.connect(self.path)
            link.sendall(packed(question))
            (length,) = struct.unpack(">I", _exactly(link, 4))
            if not 0 < length <= LONGEST_ANSWER:
                raise OSError(f"an answer of {length} bytes")
            answer = _exactly(link, length)
        if answer[0] != wanted:
            raise ProviderRefused(
                f"the ssh-agent at {self.path} did not do what it was asked for",
                hint="`ssh-add -l` shows its keys; it may be locked (`ssh-add -X`), or its user said no",
            )
        return answer[1:]


class Wire:
    """Bytes in SSH's wire form, read from the left; raises OSError where they end too early."""

    def __init__(self, data: bytes) -> None:
        self._left = data

    def number(self) -> int:
        """An unsigned number of 32 bits."""
        return int(struct.unpack(">I", self._take(4))[0])

    def text(self) -> bytes:
        """Bytes of a length that stands before them."""
        return self._take(self.number())

    def _take(self, length: int) -> bytes:
        if length > len(self._left):
            raise OSError("broken off in the middle")
        taken, self._left = self._left[:length], self._left[length:]
        return taken


def packed(data: bytes) -> bytes:
    """The bytes with their length before them."""
    return struct.pack(">I", len(data)) + data


def _exactly(link: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        more = link.recv(length - len(data))
        if not more:
            raise OSError("it closed the connection")
        data += more
    return data
