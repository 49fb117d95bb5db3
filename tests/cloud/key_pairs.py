"""Fingerprints of key pairs as EC2 makes them, by the kind of key and by who made it; moto's are of its own form.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/verify-keys.html
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from cryptography.hazmat.primitives import serialization as form


def fingerprint(pair: Any) -> str:
    """Ed25519: SHA-256 in base64. RSA: MD5 of an imported public half, SHA-1 of the private half that EC2 made."""
    if pair.key_type == "ed25519":
        line = form.load_ssh_public_key(_bytes(pair.material_public)).public_bytes(
            form.Encoding.OpenSSH, form.PublicFormat.OpenSSH
        )
        return base64.b64encode(hashlib.sha256(base64.b64decode(line.split()[1])).digest()).decode()
    if pair.material:
        key = form.load_pem_private_key(_bytes(pair.material), None)
        private = key.private_bytes(form.Encoding.DER, form.PrivateFormat.PKCS8, form.NoEncryption())
        return _colons(hashlib.sha1(private))
    public = form.load_ssh_public_key(_bytes(pair.material_public))
    return _colons(hashlib.md5(public.public_bytes(form.Encoding.DER, form.PublicFormat.SubjectPublicKeyInfo)))


def _bytes(text: bytes | str) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


def _colons(digest: Any) -> str:
    return str(digest.digest().hex(":"))
