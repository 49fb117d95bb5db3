"""Keys on the client's disk: the cluster's own SSH key pair, and a file of pinned host keys that OpenSSH reads as well.

Knows nothing of connections: it says which keys a host may show, ssh.py holds hosts to it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import tempfile
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from .errors import RemoteError
from .remote import Endpoint

_writing = threading.Lock()


def make_key_pair(path: Path, comment: str) -> str:
    """Make an Ed25519 key pair at ``path`` (0600) and ``path``.pub in OpenSSH's format; the public line."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    key = Ed25519PrivateKey.generate()
    public = f"{key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()} {comment}".strip()
    replace_file(path, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    replace_file(path.with_name(path.name + ".pub"), f"{public}\n".encode())
    return public


def label(endpoint: Endpoint) -> str:
    """The name that known_hosts has an endpoint under: the plain host for port 22, ``[host]:port`` for any other."""
    return endpoint.key_alias or (endpoint.host if endpoint.port == 22 else f"[{endpoint.host}]:{endpoint.port}")


def pin(path: Path, endpoint: Endpoint, keys: Iterable[str]) -> None:
    """Make the file say that this endpoint shows one of these public keys (``type base64`` each) and no other.

    Without keys the endpoint is forgotten. Safe from many threads; one process at a time.
    """
    name = label(endpoint)
    lines = dict.fromkeys(f"{name} {plain(key)}" for key in keys)
    with _writing:
        others = [line for line in _lines(path) if line.split(" ", 1)[0] != name]
        replace_file(path, "".join(f"{line}\n" for line in (*others, *lines)).encode())


def pinned(path: Path, endpoint: Endpoint) -> tuple[str, ...]:
    """The keys that the file has for this endpoint, ``type base64`` each; () when it has none or does not exist."""
    name = label(endpoint)
    return tuple(line.split(" ", 1)[1] for line in _lines(path) if line.split(" ", 1)[0] == name)


def plain(key: str) -> str:
    """A public key line as ``type base64`` alone; raises RemoteError when it is not a public key."""
    try:
        kind, blob = key.split()[:2]
        if not base64.b64decode(blob, validate=True).startswith(len(kind).to_bytes(4, "big") + kind.encode()):
            raise ValueError(kind)
    except (ValueError, binascii.Error) as error:
        raise RemoteError(f"not an SSH public key: {key[:100]!r}", hint="it is a line `type base64`") from error
    return f"{kind} {blob}"


def fingerprint(key: str) -> str:
    """The fingerprint of a public key line as OpenSSH prints it: ``SHA256:…``."""
    digest = hashlib.sha256(base64.b64decode(plain(key).split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def fingerprints(keys: Sequence[str]) -> str:
    """Keys for a person to compare: type and fingerprint each."""
    return ", ".join(f"{key.split()[0]} {fingerprint(key)}" for key in keys)


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text().splitlines() if " " in line]
    except FileNotFoundError:
        return []


def replace_file(path: Path, data: bytes) -> None:
    """Put a file in place at once and complete, readable by its owner alone from its first byte."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
