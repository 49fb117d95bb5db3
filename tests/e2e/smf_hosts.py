"""Hosts with SMF for end-to-end tests: bare machines that carry the stand-in and say that they run SmartOS."""

from __future__ import annotations

import functools
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fabfile.remote import Endpoint
from fabfile.settings import Settings
from fabfile.software import PYTHON, software, wheelhouse
from tests.e2e.machines import BareHost, bare_hosts, wait_for_ssh_banner

STANDIN = Path(__file__).parents[1] / "smf"
TORNADO = "6.4.2"  # ipykernel 7 wants a newer one
WHEELS = "/var/lib/pkgsrc-wheels"
INDEX = "/var/lib/python-index"
SHORT = PYTHON.replace(".", "")
OFFERED = [f"python{SHORT}", *(f"py{SHORT}-{name}" for name in ("zmq", "psutil", "tornado", "numpy", "pip"))]
OURS = "/opt/ipyfleet /etc/ipyfleet /var/lib/ipyparallel /etc/profile.d/ipyfleet.sh /var/svc/manifest/site/ip*"


@contextmanager
def smf_hosts(count: int, name: str, folder: Path) -> Iterator[list[BareHost]]:
    """So many hosts with SMF and pkgsrc, reached as root, in a cluster of that name; they vanish at the end."""
    with bare_hosts(count, name, folder) as hosts:
        yield [become_smartos(host) for host in hosts]


def become_smartos(
    host: BareHost,
    metadata: dict[str, str] | None = None,
    settings: dict[str, Any] | None = None,
    index: bytes = b"",
) -> BareHost:
    """Put the stand-in on a host, let root log in, and take away what SmartOS does not have; the host as root.

    ``settings`` are the stand-in's, without those pkgin has packages; ``metadata`` is what the machine is told;
    ``index`` an archive of what its own pip finds in the folder INDEX.
    """
    settings = {"packages": OFFERED, "package_wheels": WHEELS} if settings is None else settings
    host.ssh("sudo mkdir -p /root/.ssh && sudo cp .ssh/authorized_keys /root/.ssh/")
    host.ssh("sudo sed -i 's/^PermitRootLogin no/PermitRootLogin yes/' /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*")
    host.ssh("sudo systemctl restart ssh")
    wait_for_ssh_banner(host.endpoint)
    root = replace(host, endpoint=Endpoint(host.endpoint.host, "root"))
    send(root, "/usr/lib", standin())
    if "package_wheels" in settings:
        send(root, WHEELS, wheels())
    if index:
        send(root, INDEX, index)
    given = {"metadata": metadata or {}, "settings": settings, "sunos": True}
    program = "import json, sys; from smf.installing import install; install('/', **json.load(sys.stdin))"
    root.ssh(f'cd /usr/lib && python3 -c "{program}"', stdin=json.dumps(given))
    root.ssh("systemctl.linux daemon-reload && systemctl.linux start smf-standin")
    return root


def send(host: BareHost, folder: str, archive: bytes) -> None:
    """Unpack an archive in a folder of the host."""
    words = ["ssh", "-F", "none", "-i", str(host.credentials.key_file), "-o", "BatchMode=yes"]
    words += ["-o", f"UserKnownHostsFile={host.credentials.known_hosts}", f"root@{host.endpoint.host}"]
    command = f"mkdir -p {folder} && tar -C {folder} --no-same-owner -xf -"
    subprocess.run([*words, command], input=archive, check=True, timeout=120)


def standin() -> bytes:
    """The stand-in's own package, as ``smf``."""
    into = io.BytesIO()
    with tarfile.open(fileobj=into, mode="w") as archive:
        for path in STANDIN.glob("*.py"):
            archive.add(path, f"smf/{path.name}")
    return into.getvalue()


@functools.cache
def wheels() -> bytes:
    """What stands for packages that pkgsrc has compiled: this computer's own software, and an older tornado."""
    with TemporaryDirectory() as folder:
        with tarfile.open(wheelhouse(software(Settings()))) as archive:
            archive.extractall(folder)
        for wheel in Path(folder).glob("tornado-*.whl"):
            wheel.unlink()
        words = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--only-binary=:all:", "--dest", folder]
        subprocess.run([*words, f"tornado=={TORNADO}"], check=True, timeout=120)
        into = io.BytesIO()
        with tarfile.open(fileobj=into, mode="w") as archive:
            for path in Path(folder).glob("*.whl"):
                archive.add(path, path.name)
        return into.getvalue()


def left_on(host: BareHost) -> str:
    """What of ours is still on a host."""
    found = host.ssh(f"ls -d {OURS} 2>/dev/null; getent passwd ipyparallel; getent group ipyparallel", check=False)
    return found + host.ssh("svcs -aH -o FMRI 2>/dev/null | grep site/", check=False)
