"""User-data: what all machines of one launch are told at their first boot, as a cloud-config for cloud-init.

Everybody who may describe an instance, and every process on it, can read it: no secret is in it but the private half of
a host key that is good until the first login only (host_key_rotation). EC2 takes 16 KB, compressed or not.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ... import boot, host_keys
from ...errors import UsageError
from ...machines import Cluster, Role
from ...settings import Settings
from ...software import Software

LIMIT = 16_384  # bytes that EC2 takes
FOLDER = "/var/lib/cloud/instance/ipyfleet"
"""Where the machine has what it runs at its first boot, and notes how that goes.

cloud-init's own folder of this very instance: one that is made of an image of another has an empty one.
"""
SHARE = 0.75  # of the time that is waited for a boot: in it the software is fetched, or not at all


@dataclass(frozen=True)
class BootPlan:
    """``user_data`` as EC2 takes it, ``boot_key`` the public half, ``type base64``, of the host key that is in it."""

    user_data: bytes
    boot_key: str


def boot_plan(
    settings: Settings, cluster: Cluster, role: Role, authorized_keys: Sequence[str], software: Software | None
) -> BootPlan:
    """What the machines of one launch are told; with a new host key each time. ``software`` None: the image has it.

    Raises UsageError when the user's own script cannot be used, or all of it is more than EC2 takes.
    """
    private, public = _throwaway_key()
    document = _cloud_config(settings, authorized_keys, software, (private, public))
    about = f"# {role} of cluster {cluster.name} ({cluster.id})"
    data = _compressed(f"#cloud-config\n{about}\n{json.dumps(document)}\n".encode())
    if len(data) > LIMIT:
        raise _too_large(len(data), settings, authorized_keys, software)
    return BootPlan(data, public)


def _cloud_config(
    settings: Settings, authorized_keys: Sequence[str], software: Software | None, host_key: tuple[str, str]
) -> dict[str, Any]:
    """The document, which is JSON and so YAML; what it leaves open is as the image has it, such as the login user."""
    private, public = host_key
    document: dict[str, Any] = {
        "ssh_deletekeys": True,
        "ssh_genkeytypes": ["ed25519"],
        "ssh_keys": {"ed25519_private": private, "ed25519_public": f"{public}\n"},
        # A key's comment may hold what JSON can say and cloud-init's YAML cannot read.
        "ssh_authorized_keys": [key.encode("ascii", "replace").decode() for key in authorized_keys],
        "ssh_pwauth": False,
        "disable_root": True,
        "write_files": list(_files(settings, software)),
        "runcmd": [_first_boot(settings, software)],
    }
    if settings.lease:
        document["bootcmd"] = [_arming(settings.lease)]
    return document


def _arming(lease: float) -> list[str]:
    """The command that arms the lease, at the first boot only: later ones must not undo what was set since."""
    files = boot.lease_files(lease)
    words = [word for file in files for word in (f"{file.mode:04o}", file.path, file.data.decode())]
    return ["cloud-init-per", "instance", "ipyfleet-lease", "sh", "-c", _text("arm-lease.sh"), "arm-lease.sh", *words]


def _first_boot(settings: Settings, software: Software | None) -> list[str]:
    """The command that does everything else, once."""
    limit = str(int(settings.boot_timeout * SHARE))
    wanted = software.id if software else ""
    return ["sh", f"{FOLDER}/first-boot.sh", FOLDER, wanted, limit, *settings.system_packages]


def _files(settings: Settings, software: Software | None) -> Iterator[dict[str, Any]]:
    """What bootscripts/first-boot.sh finds in its folder."""
    yield _file("first-boot.sh", _text("first-boot.sh"))
    yield _file("host.sh", _text("host.sh"))
    if software:
        yield _file("software.sh", _text("software.sh"))
        yield _file("python", f"{software.python}\n")
        yield _file("requirements.txt", _lines(software.requirements))
    if script := boot.users_script(settings.userdata):
        # It may hold what YAML does not; compressed twice it stays as small as once.
        packed = base64.b64encode(_compressed(script)).decode()
        yield {"path": f"{FOLDER}/userdata", "content": packed, "encoding": "gz+b64", "permissions": "0700"}


def _file(name: str, content: str) -> dict[str, Any]:
    return {"path": f"{FOLDER}/{name}", "content": content}


def _text(name: str) -> str:
    return boot.script(name).read_text(encoding="utf-8")


def _lines(words: Sequence[str]) -> str:
    return "".join(f"{word}\n" for word in words)


def _throwaway_key() -> tuple[str, str]:
    """Both halves of a new host key, the public one as ``type base64``."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "key"
        public = host_keys.make_key_pair(path, "")
        return path.read_text(), host_keys.plain(public)


def _compressed(data: bytes) -> bytes:
    return gzip.compress(data, 9, mtime=0)


def _too_large(size: int, settings: Settings, authorized_keys: Sequence[str], software: Software | None) -> UsageError:
    """Says which of the user's own parts of it take how much, the largest first."""
    parts = {
        f"the script {settings.userdata} (`userdata`)": boot.users_script(settings.userdata),
        "the keys that may log in (`ssh_keys`)": _lines(authorized_keys).encode(),
        "the versions of Python packages (`packages`)": _lines(software.requirements if software else ()).encode(),
        "the names of Debian packages (`system_packages`)": _lines(settings.system_packages).encode(),
    }
    sizes = sorted(((len(_compressed(part)), what) for what, part in parts.items() if part), reverse=True)
    return UsageError(
        f"what machines are told at their first boot has {size} bytes, and EC2 takes {LIMIT}; of these are "
        + ", ".join(f"{what} {taken}" for taken, what in sizes),
        hint="make the largest of these smaller: a script can fetch the rest of itself from where it lies, and "
        "`invoke images.bake` puts packages into an image",
    )
