"""Signatures: whether a request is signed as CloudAPI wants it, with a key that the account has."""

from __future__ import annotations

import base64
import re
import time
from calendar import timegm
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from .answers import Refusal

SKEW = 300
ALGORITHMS = ("rsa-sha1", "rsa-sha256", "rsa-sha512", "ecdsa-sha256", "ecdsa-sha512", "ed25519-sha512")
HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha1": hashes.SHA1(),
    "sha256": hashes.SHA256(),
    "sha512": hashes.SHA512(),
}
PARAMETER = re.compile(r'([A-Za-z]+)="([^"]*)"')
LEGACY = re.compile(r'keyId="([^"]*)",algorithm="([^"]*)" ([A-Za-z0-9+/=]+)')


@dataclass(frozen=True)
class Claim:
    """What a signed request says: who, how, over which text."""

    key_id: str
    algorithm: str
    text: bytes
    signature: bytes


def claim(method: str, target: str, headers: Mapping[str, str], poisoned: bool = False) -> Claim | None:
    """The claim of a request; None for one that is not signed. Raises Refusal for one that is not signed properly.

    ``poisoned``: this server's parser once refused a request with x-date, and wants it of everybody since.
    """
    scheme, _, rest = headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "signature":
        _fresh(headers)
        return None
    if scheme != "Signature":
        raise _bad('scheme was not "Signature"')
    key_id, algorithm, names, signature = _parameters(rest)
    if algorithm not in ALGORITHMS:
        raise _bad(f"{algorithm} is not supported")
    if names is None:
        text, names = headers.get("Date", ""), ["date"]
    else:
        text = "\n".join(_line(name, method, target, headers) for name in names)
    wanted = "x-date" if poisoned or headers.get("x-date") else "date"
    if wanted not in names:
        raise _bad(f"{wanted} was not a signed header")
    if "Date" not in headers:
        raise _bad("date was not in the request")
    off = abs(time.time() - _seconds(headers["Date"]))
    if off > SKEW:
        raise _bad(f"clock skew of {off:.1f}s was greater than {SKEW}s")
    return Claim(key_id, algorithm, text.encode(), signature)


def holds(claim: Claim, public_key: str) -> bool:
    """Whether the claim was signed with the private half of that key (a line of OpenSSH)."""
    kind, _, digest = claim.algorithm.partition("-")
    key = load_ssh_public_key(public_key.encode())
    try:
        if kind == "rsa" and isinstance(key, rsa.RSAPublicKey):
            key.verify(claim.signature, claim.text, padding.PKCS1v15(), HASHES[digest])
        elif kind == "ecdsa" and isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(claim.signature, claim.text, ec.ECDSA(HASHES[digest]))
        elif kind == "ed25519" and isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(claim.signature, claim.text)
        else:
            return False
    except InvalidSignature:
        return False
    return True


def _parameters(rest: str) -> tuple[str, str, list[str] | None, bytes]:
    if legacy := LEGACY.fullmatch(rest):
        key_id, algorithm, signature = legacy.groups()
        if not algorithm.lower().startswith("rsa-"):
            raise _bad("bad param format")
        return key_id, algorithm.lower(), None, base64.b64decode(signature)
    found: dict[str, str] = {}
    for part in rest.split('",'):
        match = PARAMETER.fullmatch(part if part.endswith('"') else f'{part}"')
        if not match:
            raise _bad("bad param format")
        found[match[1]] = match[2]
    for name in ("keyId", "algorithm", "signature"):
        if not found.get(name):
            raise _bad(f"{name} was not specified")
    try:
        signature = base64.b64decode(found["signature"], validate=True)
    except ValueError as error:
        raise _bad("bad param format") from error
    names = found.get("headers", "date").lower().split()
    return found["keyId"], found["algorithm"].lower(), names, signature


def _line(name: str, method: str, target: str, headers: Mapping[str, str]) -> str:
    if name == "(request-target)":
        return f"(request-target): {method.lower()} {target}"
    if name not in (key.lower() for key in headers):
        raise _bad(f"{name} was not in the request")
    return f"{name}: {headers[name]}"


def _fresh(headers: Mapping[str, str]) -> None:
    date = headers.get("Date")
    if date and time.time() - _seconds(date) > SKEW:
        raise Refusal(400, "RequestExpired", f"Date header {date} is too old", bare=True)


def _seconds(date: str) -> float:
    parsed = parsedate(date)
    return timegm(parsed) if parsed else 0.0


def _bad(why: str) -> Refusal:
    return Refusal(400, "InvalidHeader", f"Authorization header invalid: {why}", bare=True)
