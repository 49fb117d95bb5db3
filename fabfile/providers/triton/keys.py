"""The key that signs: found by its fingerprint among the files in ~/.ssh, or else in the ssh-agent.

A file comes first: it is asked without another process, and a P-384 key signs from a file only. Nobody is ever asked
for a passphrase: that is the agent's business.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
)

from ...errors import ClusterError, ProviderRefused, UsageError
from .agent import Agent, Wire
from .signing import AgentSigner, FileSigner, PrivateKey, Signer

MD5 = re.compile(r"(?:MD5:)?((?:[0-9a-f]{2}:){15}[0-9a-f]{2})", re.IGNORECASE)
SHA256 = re.compile(r"SHA256:[A-Za-z0-9+/]{43}=?")
LARGEST = 64 * 1024  # bytes of a file that may be a key
MAGIC = b"openssh-key-v1\0"


def signer(key_id: str, environ: Mapping[str, str], home: Path) -> Signer:
    """What signs with the key of that fingerprint, MD5 (with or without ``MD5:``) or SHA256.

    Raises UsageError for what is no fingerprint, ProviderRefused when no usable key has it.
    """
    wanted = _wanted(key_id)
    notes: list[str] = []
    for candidate in _candidates(home / ".ssh"):
        if not wanted & fingerprints(candidate.blob):
            continue
        try:
            return FileSigner(md5(candidate.blob), _private(candidate.path))
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
            notes.append(f"{candidate.path}: {_why_not(error)}")
    socket = environ.get("SSH_AUTH_SOCK", "")
    if not socket:
        notes.append("no ssh-agent (SSH_AUTH_SOCK is not set)")
    else:
        agent = Agent(socket)
        try:
            held = agent.keys()
        except ClusterError as error:
            notes.append(error.message)
        else:
            for key in held:
                if wanted & fingerprints(key.blob):
                    return AgentSigner(md5(key.blob), key.blob, agent)
            notes.append(f"the ssh-agent holds {len(held) or 'no'} key{'s' * (len(held) != 1)}, and not this one")
    raise ProviderRefused(
        f"no key to sign with was found for the fingerprint {key_id}, neither in {home / '.ssh'} nor in the ssh-agent",
        seen="\n".join(notes),
        hint="`ssh-add FILE` adds a key that has a passphrase to the agent; `ssh-keygen -E md5 -lf FILE` shows the "
        "fingerprint of a key, for TRITON_KEY_ID or the profile's keyId",
    )


def fingerprints(blob: bytes) -> set[str]:
    """The fingerprints of a public key in SSH's wire form, MD5 without prefix and SHA256 with it."""
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    return {md5(blob), f"SHA256:{digest}"}


def md5(blob: bytes) -> str:
    """The fingerprint that CloudAPI goes by: lower-case pairs with colons between them."""
    digest = hashlib.md5(blob, usedforsecurity=False).hexdigest()
    return ":".join(digest[place : place + 2] for place in range(0, 32, 2))


@dataclass(frozen=True)
class _Candidate:
    blob: bytes
    path: Path


def _wanted(key_id: str) -> set[str]:
    if found := MD5.fullmatch(key_id.strip()):
        return {found[1].lower()}
    if SHA256.fullmatch(key_id.strip()):
        return {key_id.strip().rstrip("=")}
    raise UsageError(
        f"{key_id!r} is no fingerprint of an SSH key",
        hint="TRITON_KEY_ID, or the profile's keyId, is what `ssh-keygen -E md5 -lf ~/.ssh/id_ed25519.pub` shows",
    )


def _candidates(folder: Path) -> Iterator[_Candidate]:
    """The keys of a folder: what its .pub files say first, then private keys that tell their public half themselves."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.is_file() and path.stat().st_size <= LARGEST)
    except OSError:
        return
    for path in paths:
        if path.suffix == ".pub":
            with suppress(OSError, ValueError, IndexError):
                blob = base64.b64decode(path.read_text(encoding="utf-8").split()[1], validate=True)
                yield _Candidate(blob, path.with_suffix(""))
    for path in paths:
        if path.suffix != ".pub" and not path.with_name(f"{path.name}.pub").exists():
            with suppress(OSError, ValueError, TypeError, UnsupportedAlgorithm):
                yield _Candidate(_public(path), path)


def _public(path: Path) -> bytes:
    """The public half that a private key's file tells: SSH's own form has it before what a passphrase hides."""
    text = path.read_bytes()
    if not text.startswith(b"-----BEGIN "):
        raise ValueError("no private key")
    if b"OPENSSH PRIVATE KEY" in text.split(b"\n", 1)[0]:
        body = base64.b64decode(b"".join(line for line in text.splitlines() if not line.startswith(b"-----")))
        if not body.startswith(MAGIC):
            raise ValueError("no private key of OpenSSH")
        fields = Wire(body[len(MAGIC) :])
        fields.text(), fields.text(), fields.text(), fields.number()  # cipher, its parameters, how many keys
        return fields.text()
    line = _private(path).public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return base64.b64decode(line.split()[1])


def _private(path: Path) -> PrivateKey:
    text = path.read_bytes()
    load = load_ssh_private_key if b"OPENSSH PRIVATE KEY" in text else load_pem_private_key
    key = load(text, password=None)
    if not isinstance(key, (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey)):
        raise ValueError("CloudAPI takes RSA, ECDSA and Ed25519 keys only")
    return key


def _why_not(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "the private key is not there"
    if isinstance(error, OSError):
        return f"cannot be read ({error.strerror or error})"
    if isinstance(error, TypeError) or "encrypted" in str(error) or "password" in str(error):
        return "it has a passphrase, so only the ssh-agent can use it"
    return str(error)
