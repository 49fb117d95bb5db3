"""Signed requests of a test's own, independent of the client's code: any form, right or wrong."""

from __future__ import annotations

import base64
import json
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import cache
from typing import Any
from urllib.parse import urlencode

import requests
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from .world import LOGIN, Key

DIGESTS = {"sha1": hashes.SHA1(), "sha256": hashes.SHA256(), "sha384": hashes.SHA384(), "sha512": hashes.SHA512()}
KINDS = ("id_rsa", "id_ecdsa", "id_ed25519")


@cache
def private_key(name: str) -> Any:
    """The private key of that name, made once a test run: id_rsa, id_ecdsa, id_p384, id_p521 or id_ed25519."""
    if name.startswith("id_rsa"):
        return rsa.generate_private_key(65537, 2048)
    curves = {"id_ecdsa": ec.SECP256R1(), "id_p384": ec.SECP384R1(), "id_p521": ec.SECP521R1()}
    if name in curves:
        return ec.generate_private_key(curves[name])
    return ed25519.Ed25519PrivateKey.generate()


@cache
def public_key(name: str) -> Key:
    """The public half of it, as the account keeps it."""
    line = private_key(name).public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return Key(name, f"{line} test@{name}")


def private_file(name: str, form: PrivateFormat = PrivateFormat.OpenSSH, secret: Any = None) -> bytes:
    """The private key as a file holds it."""
    return private_key(name).private_bytes(Encoding.PEM, form, secret or NoEncryption())


@dataclass
class Call:
    """A request to be sent, and how it is signed; everything may be made wrong."""

    method: str
    path: str
    body: Any = None
    encoding: str = "json"
    headers: dict[str, str] = field(default_factory=dict)
    key: str = "id_rsa"
    key_id: str = ""
    algorithm: str = ""
    signed: str = "(request-target) date"
    age: float = 0.0  # s that its date is back
    form: str = "usual"  # or legacy, spaced, none, basic
    signed_path: str = ""

    def send(self, url: str, session: requests.Session | None = None) -> requests.Response:
        """Send it, exactly as it is."""
        headers = {"Accept": "application/json", "Accept-Version": "~9||~8"} | self.headers
        headers = {name: value for name, value in headers.items() if value is not None}
        data: Any = None
        if self.body is not None:
            data, kind = self._data()
            headers.setdefault("Content-Type", kind)
        request = requests.Request(self.method, url + self.path, headers=headers, data=data)
        prepared = (session or requests.Session()).prepare_request(request)
        prepared.headers.setdefault("Date", formatdate(time.time() - self.age, usegmt=True))
        prepared.headers["Host"] = url.partition("://")[2]
        if self.form == "basic":
            prepared.headers["Authorization"] = "Basic amlsbDpzZWNyZXQ="
        elif self.form != "none":
            prepared.headers["Authorization"] = self._authorization(prepared)
        with session or requests.Session() as used:
            return used.send(prepared, allow_redirects=False, timeout=30)

    def _data(self) -> tuple[bytes, str]:
        if self.encoding == "json":
            return json.dumps(self.body).encode(), "application/json"
        if self.encoding == "form":
            return urlencode(self.body, doseq=True).encode(), "application/x-www-form-urlencoded"
        return str(self.body).encode(), "application/octet-stream"

    def _authorization(self, request: requests.PreparedRequest) -> str:
        fingerprint = public_key(self.key).fingerprint
        key_id = (self.key_id or f"/{LOGIN}/keys/FP").replace("FP", fingerprint)
        path = self.signed_path or request.path_url
        lines = {"(request-target)": f"(request-target): {self.method.lower()} {path}"}
        lines["host"] = f"host: {request.headers['Host']}"
        lines["date"] = f"date: {request.headers['Date']}"
        text = "\n".join(lines[name] for name in self.signed.split())
        if self.form == "legacy":
            text = str(request.headers["Date"])
        algorithm, signature = self._sign(text.encode())
        encoded = base64.b64encode(signature).decode()
        if self.form == "legacy":
            return f'Signature keyId="{key_id}",algorithm="{algorithm}" {encoded}'
        comma = ", " if self.form == "spaced" else ","
        parts = [f'keyId="{key_id}"', f'algorithm="{algorithm}"', f'headers="{self.signed}"', f'signature="{encoded}"']
        return f"{'signature' if self.form == 'lower' else 'Signature'} {comma.join(parts)}"

    def _sign(self, text: bytes) -> tuple[str, bytes]:
        key = private_key(self.key)
        if isinstance(key, ed25519.Ed25519PrivateKey):
            return self.algorithm or "ed25519-sha512", key.sign(text)
        kind = "rsa" if isinstance(key, rsa.RSAPrivateKey) else "ecdsa"
        algorithm = self.algorithm or f"{kind}-sha256"
        digest = DIGESTS.get(algorithm.lower().rpartition("-")[2], hashes.SHA256())
        if kind == "rsa":
            return algorithm, key.sign(text, padding.PKCS1v15(), digest)
        return algorithm, key.sign(text, ec.ECDSA(digest))
