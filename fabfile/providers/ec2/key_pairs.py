"""Key pairs of the account: one of each cluster's own, those that the user has there, and how they are told apart.

Private halves never leave this computer. EC2 knows a key by a fingerprint whose form depends on how it came to be:
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/verify-keys.html
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...errors import ProviderRefused
from ...host_keys import plain
from ...kinds import nearest
from ...machines import Cluster, Finding
from ...paths import expanded
from ...settings import Settings
from . import tags
from .api import Api, code_of, passing_over, told

IMPORTABLE = ("ssh-ed25519", "ssh-rsa")
OPEN_TO_OTHERS = 0o077


def name_of(cluster: Cluster) -> str:
    """What a cluster's own key pair is called."""
    return f"ipyfleet-{cluster.name}-{cluster.id}"


def ensure(api: Api, cluster: Cluster, public_key: str, settings: Settings) -> str:
    """The name of the pair that machines are launched with: ``key_pair``, else the cluster's own, imported if need be.

    "" for a kind of key that EC2 does not take (ECDSA): then only the boot script lets it in. Raises ProviderRefused
    for a pair that is not there, or whose name somebody else's key has.
    """
    with told("looking at the key pairs"):
        if settings.key_pair:
            return _existing(api, settings.key_pair)
        if public_key.split()[0] not in IMPORTABLE:
            return ""
        name = name_of(cluster)
        try:
            api.ec2.import_key_pair(
                KeyName=name,
                PublicKeyMaterial=plain(public_key).encode(),
                TagSpecifications=tags.specification(tags.of_cluster(cluster, settings.tags), "key-pair"),
            )
        except Exception as error:
            if code_of(error) != "InvalidKeyPair.Duplicate":
                raise
            (there,) = api.ec2.describe_key_pairs(KeyNames=[name])["KeyPairs"]
            if not same(there, public_key):
                raise ProviderRefused(
                    f"the account has a key pair {name} already, of another key",
                    hint=f"remove it if nobody needs it: `invoke keys.remove --name {name}`",
                ) from error
        return name


def delete(api: Api, cluster: str) -> None:
    """Remove the key pairs of the cluster of that name; silent when there is none."""
    with told(f"removing the key pair of {cluster}"):
        for pair in api.ec2.describe_key_pairs(Filters=tags.filters(cluster))["KeyPairs"]:
            with passing_over("InvalidKeyPair.NotFound"):
                api.ec2.delete_key_pair(KeyName=pair["KeyName"])


def fingerprints(public_key: str) -> tuple[str, ...]:
    """What EC2 may call an imported public key: SHA-256 in base64 for Ed25519, MD5 of the DER form for RSA."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_public_key

    text = plain(public_key)
    if text.startswith("ssh-ed25519"):
        digest = base64.b64encode(hashlib.sha256(base64.b64decode(text.split()[1])).digest()).decode()
        return digest, digest.rstrip("=")
    der = load_ssh_public_key(text.encode()).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return (_colons(hashlib.md5(der, usedforsecurity=False).hexdigest()),)


def private_fingerprints(pem: bytes) -> tuple[str, ...]:
    """What EC2 may call a pair that it made itself, by its private half without a passphrase.

    SHA-1 of the PKCS#8 form for RSA, else as for its public half. () for what is no such key.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    try:
        try:
            key: Any = form.load_ssh_private_key(pem, password=None)
        except ValueError:
            key = form.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return ()
    if not isinstance(key, Ed25519PrivateKey | RSAPrivateKey):
        return ()
    public = key.public_key().public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH).decode()
    if not public.startswith("ssh-rsa"):
        return fingerprints(public)
    der = key.private_bytes(form.Encoding.DER, form.PrivateFormat.PKCS8, form.NoEncryption())
    return (_colons(hashlib.sha1(der, usedforsecurity=False).hexdigest()), *fingerprints(public))


def same(pair: Mapping[str, Any], public_key: str) -> bool:
    """Whether a described pair is of this public key."""
    return pair.get("KeyFingerprint", "") in fingerprints(public_key)


def find_private(settings: Settings, pair: Mapping[str, Any], home: Path | None = None) -> Path | None:
    """The file of a pair's private half: ``key_file``, else the one in ~/.ssh whose fingerprint is the pair's.

    None when it is not found there; it may still be in the ssh-agent.
    """
    if settings.key_file:
        return expanded(settings.key_file)
    wanted = pair.get("KeyFingerprint", "")
    folder = (home or Path.home()) / ".ssh"
    for public in sorted(folder.glob("*.pub")):
        private = public.with_suffix("")
        if private.is_file() and wanted in _of_file(public):
            return private
    for private in sorted([*folder.glob("*.pem"), *folder.glob("id_*")]):
        if private.suffix != ".pub" and private.is_file() and wanted in _of_private_file(private):
            return private
    return None


def in_agent(pair: Mapping[str, Any]) -> bool:
    """Whether the ssh-agent holds the pair's private half."""
    try:
        listed = subprocess.run(("ssh-add", "-L"), capture_output=True, text=True, timeout=5, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return False
    keys = [line for line in listed.splitlines() if line.split()[:1] and line.split()[0] in IMPORTABLE]
    return any(same(pair, key) for key in keys)


def findings(api: Api, settings: Settings) -> Iterator[Finding]:
    """What is wrong with ``key_pair`` and ``key_file``: not there, not each other's, or open to others."""
    path = expanded(settings.key_file) if settings.key_file else None
    if path and not settings.key_pair:
        yield Finding("warning", "`key_file` has no effect without `key_pair`", "name the pair that it belongs to")
    if path and (wrong := _wrong_with(path)):
        yield wrong
        return
    if not settings.key_pair:
        return
    with told("looking at the key pairs"):
        name = _existing(api, settings.key_pair)
        (pair,) = api.ec2.describe_key_pairs(KeyNames=[name])["KeyPairs"]
    if path:
        known = private_fingerprints(path.read_bytes())
        if known and pair.get("KeyFingerprint") not in known:
            yield Finding("error", f"{path} is not the private half of the key pair {name}", "correct `key_file`")
    elif find_private(settings, pair) is None and not in_agent(pair):
        yield Finding(
            "error",
            f"the private half of the key pair {name} is neither in ~/.ssh nor in the ssh-agent",
            "name its file: `key_file: ~/.ssh/…`, or `ssh-add` it",
        )


def describe(api: Api) -> list[dict[str, Any]]:
    """All key pairs of the account in this region, by name."""
    with told("listing the key pairs"):
        return sorted(api.ec2.describe_key_pairs()["KeyPairs"], key=lambda pair: str(pair["KeyName"]))


def remove(api: Api, name: str) -> None:
    """Remove a pair of the account; raises ProviderRefused while instances use it, or when there is none."""
    with told(f"removing the key pair {name}"):
        _existing(api, name)
        states = ["pending", "running", "stopping", "stopped"]
        filters = [{"Name": "key-name", "Values": [name]}, {"Name": "instance-state-name", "Values": states}]
        users = [
            one["InstanceId"]
            for reservation in api.paged("describe_instances", "Reservations", Filters=filters)
            for one in reservation["Instances"]
        ]
        if users:
            raise ProviderRefused(
                f"{len(users)} instances were launched with the key pair {name}: {', '.join(users[:3])}",
                hint="remove them first; a pair that is gone can open no further machine",
            )
        api.ec2.delete_key_pair(KeyName=name)


def _existing(api: Api, name: str) -> str:
    names = [str(pair["KeyName"]) for pair in api.ec2.describe_key_pairs()["KeyPairs"]]
    if name not in names:
        raise ProviderRefused(
            f"there is no key pair {name!r} in {api.region}{nearest(name, names)}",
            hint="`invoke keys.list` shows those of the region; leave `key_pair` empty for one of the cluster's own",
        )
    return name


def _wrong_with(path: Path) -> Finding | None:
    try:
        mode = path.stat().st_mode
        path.read_bytes()
    except OSError as error:
        return Finding("error", f"{path} cannot be read: {error.strerror}", "correct `key_file`")
    if mode & OPEN_TO_OTHERS:
        return Finding("error", f"{path} may be read by others (mode {mode & 0o777:04o})", f"`chmod 600 {path}`")
    return None


def _of_file(public: Path) -> tuple[str, ...]:
    try:
        return fingerprints(public.read_text())
    except Exception:  # whatever lies in that folder: it is not the key that is looked for
        return ()


def _of_private_file(path: Path) -> tuple[str, ...]:
    try:
        return private_fingerprints(path.read_bytes())
    except OSError:  # somebody else's in our folder
        return ()


def _colons(digits: str) -> str:
    return ":".join(digits[start : start + 2] for start in range(0, len(digits), 2))
