"""What a machine reads of its user-data at the first boot, as cloud-init would: keys, files, commands, scripts.

Commands of ``bootcmd`` are left out: they come before there is anything that a machine without systemd could do.
"""

from __future__ import annotations

import email
import gzip
import shlex
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

GZIP = b"\x1f\x8b"
FOLDER = "/var/lib/cloud/instance/scripts"
END = """\
errors=
[ -z "$failed" ] || errors="\\"$failed failed\\""
printf '{"v1": {"datasource": "DataSourceEc2Local", "errors": [%s]}}\\n' "$errors" >/run/cloud-init/new
mv /run/cloud-init/new /run/cloud-init/result.json
"""


@dataclass
class FirstBoot:
    """The parts that matter to an SSH server; ``host_keys`` by kind (``ed25519``), private half first."""

    host_keys: dict[str, tuple[str, str]] = field(default_factory=dict)
    authorized_keys: list[str] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)
    configs: list[dict[str, Any]] = field(default_factory=list)

    def take(self, config: dict[str, Any]) -> None:
        """Add what a cloud-config says."""
        self.configs.append(config)
        keys = config.get("ssh_keys") or {}
        for kind in ("ed25519", "ecdsa", "rsa"):
            if f"{kind}_private" in keys:
                self.host_keys[kind] = (keys[f"{kind}_private"], keys.get(f"{kind}_public", ""))
        self.authorized_keys += config.get("ssh_authorized_keys") or []
        for user in config.get("users") or []:
            if isinstance(user, dict):
                self.authorized_keys += user.get("ssh_authorized_keys") or []

    def program(self) -> str:
        """A shell program that carries out files, commands and scripts in cloud-init's order, and notes what failed."""
        lines = ["#!/bin/sh", "exec >>/var/log/cloud-init-output.log 2>&1", "failed="]
        for config in self.configs:
            for file in config.get("write_files") or []:
                lines += _writing(file["path"], _content(file), file.get("permissions", "0644"))
        for config in self.configs:
            for command in config.get("runcmd") or []:
                words = command if isinstance(command, str) else shlex.join(map(str, command))
                lines.append(f"( {words}\n) || failed=runcmd")
        for number, text in enumerate(self.scripts):
            path = f"{FOLDER}/part-{number:03d}"
            lines += [*_writing(path, text.encode(), "0700"), f"{path} || failed=scripts_user"]
        return "\n".join([*lines, END])


def _writing(path: str, content: bytes, mode: str) -> list[str]:
    folder, name = shlex.quote(path.rpartition("/")[0]), shlex.quote(path)
    packed = b64encode(content).decode()
    return [f"mkdir -p {folder}", f"echo {packed} | base64 -d >{name}", f"chmod {mode} {name}"]


def _content(file: dict[str, Any]) -> bytes:
    content = file.get("content", "")
    data: bytes = content if isinstance(content, bytes) else content.encode()
    encoding = str(file.get("encoding", ""))
    if "b64" in encoding or "base64" in encoding:
        data = b64decode(data)
    return gzip.decompress(data) if encoding.startswith("gz") else data


def read(user_data: bytes) -> FirstBoot:
    """What user-data says; it may be compressed, a MIME archive, a cloud-config or a script. ValueError on nonsense."""
    found = FirstBoot()
    for text in parts(user_data):
        if text.startswith("#cloud-config"):
            try:
                config = yaml.safe_load(text)
            except yaml.YAMLError as error:
                raise ValueError(f"this cloud-config is no YAML: {error}") from None
            found.take(config or {})
        elif text.startswith("#!"):
            found.scripts.append(text)
        elif text.strip():
            raise ValueError(f"cloud-init does not know what to do with user-data that begins {text[:30]!r}")
    return found


def parts(user_data: bytes) -> Iterator[str]:
    """Its parts as text, each unpacked."""
    if user_data.startswith(GZIP):
        user_data = gzip.decompress(user_data)
    if not user_data.lower().startswith((b"content-type:", b"mime-version:", b"from ")):
        yield user_data.decode()
        return
    for part in email.message_from_bytes(user_data).walk():
        if not part.is_multipart():
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            yield (gzip.decompress(content) if content.startswith(GZIP) else content).decode()
