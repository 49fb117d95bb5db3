"""The disk of a machine: what it has of its own above this computer's files, and what it must not see of them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

# Folders of this computer that a machine has none of: its users' files, keys, and what this project put there.
EMPTY = ("root", "home", "opt", "srv", "etc/ssh", "var/log", "var/tmp", "var/lib/cloud")
ABSENT = ("etc/ipyfleet", "var/lib/ipyfleet", "var/lib/ipyparallel", "var/cache/ipyfleet")
STAND_INS = {"systemctl": "usr/bin/systemctl", "cloud-init": "usr/bin/cloud-init"}
PROGRAM = "run/cloud-init/first-boot.sh"

SSHD_CONFIG = """\
Include /etc/ssh/sshd_config.d/*.conf
AuthorizedKeysFile .ssh/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
MaxStartups 200
LogLevel VERBOSE
PidFile none
Subsystem sftp internal-sftp
"""


def make(disk: Path, image: Path | None = None) -> None:
    """Make a disk that nothing was written to yet, or that begins as a copy of another one's."""
    if image:
        copy(image, disk)
        for path in (disk / "upper/etc/ssh").glob("ssh_host_*"):  # as cloud-init does on a new instance
            path.unlink()
        shutil.rmtree(disk / "upper/var/lib/cloud/instance")
    for name in ("work", "root", "run/cloud-init"):
        (disk / name).mkdir(parents=True)
    upper = disk / "upper"
    for name in EMPTY:
        folder = upper / name
        folder.mkdir(parents=True, exist_ok=True)
        os.setxattr(folder, "trusted.overlay.opaque", b"y")
    (upper / "root").chmod(0o700)
    (upper / "var/tmp").chmod(0o1777)
    for name in ABSENT:
        if Path("/", name).exists() and not image:
            (upper / name).parent.mkdir(parents=True, exist_ok=True)
            os.mknod(upper / name, 0o020000, os.makedev(0, 0))  # how an overlay notes that something is gone
    for source, name in STAND_INS.items():
        place(upper, name, (Path(__file__).parent / f"{source}.sh").read_text(), 0o755)
    for name in ("poweroff", "reboot"):
        place(upper, f"usr/sbin/{name}", f"#!/bin/sh\nexec systemctl {name}\n", 0o755)
    place(upper, "etc/ssh/sshd_config", SSHD_CONFIG)
    (upper / "etc/ssh/sshd_config.d").mkdir(exist_ok=True)


def copy(disk: Path, target: Path) -> None:
    """Copy what a machine has of its own, with what an overlay notes beside files."""
    target.mkdir()
    subprocess.run(["cp", "-a", str(disk / "upper"), str(target / "upper")], check=True)


def place(upper: Path, name: str, text: str, mode: int = 0o644) -> None:
    """Write a file of the machine's; what lies there of the computer is not followed, but covered."""
    path = upper / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def set_host_keys(disk: Path, given: Mapping[str, tuple[str, str]]) -> str:
    """Give the machine these host keys, or one of its own; what cloud-init says of them on the console."""
    keys = dict(given) or {"ed25519": _new_key()}
    public = []
    for kind, (private, line) in keys.items():
        place(disk / "upper", f"etc/ssh/ssh_host_{kind}_key", private.rstrip("\n") + "\n", 0o600)
        place(disk / "upper", f"etc/ssh/ssh_host_{kind}_key.pub", f"{line.strip()}\n")
        public.append(line.strip())
    return "\n".join(["-----BEGIN SSH HOST KEY KEYS-----", *public, "-----END SSH HOST KEY KEYS-----", ""])


def set_addresses(disk: Path, addresses: Iterable[str]) -> None:
    """Say where the machine's sshd listens; elsewhere than on the machine, as an address is not its own knowledge."""
    listen = "".join(f"ListenAddress {address}\n" for address in addresses)
    place(disk / "upper", "etc/ssh/sshd_config.d/00-addresses.conf", listen)


def authorize(disk: Path, keys: Iterable[str]) -> None:
    """Let these public keys in as root."""
    place(disk / "upper", "root/.ssh/authorized_keys", "".join(f"{key.strip()}\n" for key in keys), 0o600)
    (disk / "upper/root/.ssh").chmod(0o700)


def begin_boot(disk: Path, program: str) -> None:
    """Have the machine carry this out when it boots, and no more afterwards."""
    (disk / PROGRAM).write_text(program)


def finish_boot(disk: Path, errors: list[str]) -> None:
    """Leave what cloud-init leaves when it is done."""
    (disk / PROGRAM).unlink(missing_ok=True)
    name = "DataSourceEc2Local"
    result = {"v1": {"datasource": name, "errors": errors}}
    stage = {"errors": errors, "start": 1.0, "finished": 2.0}
    status = {"v1": {"datasource": name, "stage": None, "init": stage, "modules-final": stage}}
    place(disk / "upper", "var/lib/cloud/data/result.json", json.dumps(result))
    place(disk / "upper", "var/lib/cloud/data/status.json", json.dumps(status))
    place(disk / "upper", "var/lib/cloud/instance/boot-finished", "finished\n")
    place(disk / "upper", "var/log/cloud-init-output.log", "".join(f"{error}\n" for error in errors))
    for kind, content in (("result", result), ("status", status)):
        (disk / "run/cloud-init" / f"{kind}.json").write_text(json.dumps(content))


def _new_key() -> tuple[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "key")
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)], check=True)
        return path.read_text(), path.with_suffix(".pub").read_text()
