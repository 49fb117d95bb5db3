"""Signatures: what CloudAPI wants of every request instead of a password, made by a private key or the ssh-agent.

The algorithms have CloudAPI's own names, of which there are fewer than SSH has kinds of keys.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from email.utils import formatdate
from typing import Protocol

import requests
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA512
from requests.auth import AuthBase

from ...errors import ProviderRefused
from .agent import Agent, Wire

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
SIGNED = "(request-target) date"
# What an agent's signatures are called by CloudAPI. P-384 is missing: agents hash with SHA-384 there, which it refuses.
OF_AGENT = {
    "rsa-sha2-256": "rsa-sha256",
    "rsa-sha2-512": "rsa-sha512",
    "ssh-rsa": "rsa-sha1",
    "ecdsa-sha2-nistp256": "ecdsa-sha256",
    "ecdsa-sha2-nistp521": "ecdsa-sha512",
    "ssh-ed25519": "ed25519-sha512",
}


class Signer(Protocol):
    """A key that signs; ``fingerprint`` is the one that CloudAPI knows it by: MD5, without any prefix."""

    @property
    def fingerprint(self) -> str:
        """The MD5 fingerprint, ``d3:99:…``."""

    def sign(self, text: bytes) -> tuple[str, bytes]:
        """CloudAPI's name of the algorithm, and the signature."""


@dataclass(frozen=True)
class FileSigner:
    """A private key that was read from a file."""

    fingerprint: str
    key: PrivateKey

    def sign(self, text: bytes) -> tuple[str, bytes]:
        """Sign with SHA-256 where the algorithm leaves a choice, with SHA-512 on curves larger than P-256."""
        if isinstance(self.key, rsa.RSAPrivateKey):
            return "rsa-sha256", self.key.sign(text, padding.PKCS1v15(), SHA256())
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            return "ed25519-sha512", self.key.sign(text)
        if self.key.key_size > 256:
            return "ecdsa-sha512", self.key.sign(text, ec.ECDSA(SHA512()))
        return "ecdsa-sha256", self.key.sign(text, ec.ECDSA(SHA256()))


@dataclass(frozen=True)
class AgentSigner:
    """A key that the ssh-agent holds."""

    fingerprint: str
    blob: bytes
    agent: Agent

    def sign(self, text: bytes) -> tuple[str, bytes]:
        """Have the agent sign, and bring its answer into the form that CloudAPI reads."""
        kind, signature = self.agent.sign(self.blob, text)
        algorithm = OF_AGENT.get(kind)
        if algorithm is None:
            raise ProviderRefused(
                f"the key {self.fingerprint} in the ssh-agent signs as {kind}, which CloudAPI does not take",
                hint="use a key of another kind (`ssh-keygen -t ed25519`, then add it to the account), or, for P-384, "
                "keep the private key in ~/.ssh without a passphrase",
            )
        return algorithm, _as_cloudapi_reads_it(kind, signature, self.blob)


def _as_cloudapi_reads_it(kind: str, signature: bytes, blob: bytes) -> bytes:
    if kind.startswith("ecdsa-"):
        pair = Wire(signature)
        r, s = (int.from_bytes(pair.text(), "big") for _ in range(2))
        return encode_dss_signature(r, s)
    if kind.startswith(("rsa-", "ssh-rsa")):
        public = Wire(blob)
        public.text(), public.text()  # its kind and exponent
        return signature.rjust((int.from_bytes(public.text(), "big").bit_length() + 7) // 8, b"\0")
    return signature


class Signature(AuthBase):
    """What signs a request as requests sends it; being ``auth``, it also keeps a netrc from being looked at."""

    def __init__(self, key_path: str, signer: Signer) -> None:
        """``key_path`` names account (and sub-user) of the key: ``/jill/keys``."""
        self._key_id = f"{key_path}/{signer.fingerprint}"
        self._signer = signer

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Sign method, path and time; each attempt anew, since a signature is good for 300 s."""
        date = formatdate(usegmt=True)
        text = f"(request-target): {str(request.method).lower()} {request.path_url}\ndate: {date}"
        algorithm, signature = self._signer.sign(text.encode())
        request.headers["Date"] = date
        # CloudAPI's parser takes no space after the commas.
        request.headers["Authorization"] = (
            f'Signature keyId="{self._key_id}",algorithm="{algorithm}",headers="{SIGNED}",'
            f'signature="{base64.b64encode(signature).decode()}"'
        )
        return request
