"""What machines run and find at their first boot: our shell scripts, the user's own, and the files that arm a lease.

Knows neither how a cloud is handed them nor what its machines are. No secret passes through here.
"""

from __future__ import annotations

from pathlib import Path

from .errors import UsageError
from .paths import expanded
from .remote import File

ROOT = Path(__file__).resolve().parent.parent
BOOTSCRIPTS = ROOT / "bootscripts"


def script(name: str) -> Path:
    """The boot script of that name, a local file: ``script("host.sh")``."""
    return BOOTSCRIPTS / name


def lease_files(seconds: float) -> tuple[File, ...]:
    """The files that power a machine off so many seconds after each of its boots (bootscripts/arm-lease.sh).

    They are those of the service ipyfleet-lease as a deployment leaves them under systemd, or it would arm it anew.
    """
    units = Path("/etc/systemd/system")
    return (
        *(_copy(units / name, ROOT / "systemd" / name) for name in ("ipyfleet-lease.service", "ipyfleet-lease.timer")),
        _copy(Path("/opt/ipyfleet/libexec/lease-end"), script("lease-end.sh"), 0o755),
        File("/etc/ipyfleet/ipyfleet-lease.values", b"action poweroff\n"),
        File(
            str(units / "ipyfleet-lease.timer.d" / "ipyfleet.conf"),
            f"[Timer]\nOnActiveSec=\nOnActiveSec={seconds:.3f}\n".encode(),
        ),
    )


def _copy(path: Path, source: Path, mode: int = 0o644) -> File:
    return File(str(path), source.read_bytes(), mode)


def users_script(path: str) -> bytes:
    """The user's own script for the first boot, the setting ``userdata``; b"" for "".

    Raises UsageError when it cannot be read, or could not be run on a machine.
    """
    if not path:
        return b""
    try:
        text = expanded(path).read_bytes()
    except OSError as error:
        raise UsageError(f"userdata: {path} cannot be read: {error.strerror}", hint="correct `userdata`") from None
    first = text.partition(b"\n")[0]
    if not first.startswith(b"#!"):
        raise UsageError(
            f"userdata: {path} does not say in its first line what runs it",
            hint="begin it with `#!/bin/sh`, or another program that machines have",
        )
    if first.endswith(b"\r"):
        raise UsageError(
            f"userdata: {path} has the line ends of Windows, which machines take for part of each command",
            hint=f"`sed -i 's/\\r$//' {path}`",
        )
    return text
