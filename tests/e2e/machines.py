"""Real machines for end-to-end tests, and an audit that finds whatever of them is left.

Nothing here uses the code under test to look at the computer: the audit reads the kernel's own lists.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fabfile.machines import Cluster, Machine, MachineSpec, silent
from fabfile.providers.local import LocalProvider
from fabfile.remote import Credentials, Endpoint
from fabfile.settings import Settings

METRIC = 1768978790  # of the routes that the provider adds


@dataclass(frozen=True)
class BareHost:
    """A Debian host that answers SSH and has nothing of the project on it; its host key is pinned."""

    machine: Machine
    endpoint: Endpoint
    private_address: str
    host_key: str
    credentials: Credentials

    def ssh(self, command: str, *, check: bool = True, stdin: str = "") -> str:
        """What a command line prints on the host, run by OpenSSH."""
        return ssh(self.endpoint, self.credentials, command, check=check, stdin=stdin)


def ssh(endpoint: Endpoint, credentials: Credentials, command: str, *, check: bool = True, stdin: str = "") -> str:
    """What a command line prints on a host, run by OpenSSH with the pinned host key and no configuration."""
    options = ("BatchMode=yes", "StrictHostKeyChecking=yes", f"UserKnownHostsFile={credentials.known_hosts}")
    words = ["ssh", "-F", "none", "-i", str(credentials.key_file), "-p", str(endpoint.port), "-o", "ConnectTimeout=10"]
    for option in (*options, *([f"HostKeyAlias={endpoint.key_alias}"] if endpoint.key_alias else [])):
        words += ["-o", option]
    done = subprocess.run(
        [*words, f"{endpoint.user}@{endpoint.host}", command], input=stdin, capture_output=True, text=True, timeout=120
    )
    if check and done.returncode:
        raise AssertionError(f"{endpoint}: `{command}` ended with {done.returncode}: {done.stderr or done.stdout}")
    return done.stdout


@contextmanager
def bare_hosts(count: int, name: str, folder: Path) -> Iterator[list[BareHost]]:
    """So many hosts that the project did not set up, in a cluster of that name; they answer SSH, and vanish at the end.

    ``folder`` takes the key pair and the known_hosts file. The login user may sudo without a password.
    """
    provider = LocalProvider(Settings(cluster=name), bare=True)
    key = new_key(folder / "bare_key")
    specs = [MachineSpec("engine", index, (key,)) for index in range(count)]
    provider.prepare(silent)
    try:
        machines = provider.create(Cluster(name, "bare", "tests@here", time.time()), specs, silent)
        credentials = Credentials(folder / "bare_key", pin(machines, folder / "bare_known_hosts"))
        hosts = [_bare_host(machine, credentials) for machine in machines]
        for host in hosts:
            wait_for_ssh_banner(host.endpoint)
        yield hosts
    finally:
        remove(provider, name)


def _bare_host(machine: Machine, credentials: Credentials) -> BareHost:
    assert machine.endpoint is not None
    return BareHost(machine, machine.endpoint, machine.private_address, machine.host_keys[0], credentials)


def remove(provider: LocalProvider, name: str) -> None:
    """Remove a cluster with all that belongs to it."""
    provider.destroy(name, provider.find(name).machines)
    provider.clean(name)


def new_key(path: Path) -> str:
    """Make an SSH key pair once; the public key."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "tests", "-f", str(path)], check=True)
    return path.with_suffix(".pub").read_text().strip()


def pin(machines: tuple[Machine, ...], known_hosts: Path) -> Path:
    """Write the machines' host keys into a known_hosts file; the file."""
    lines = [f"{machine.private_address} {key}\n" for machine in machines for key in machine.host_keys]
    known_hosts.write_text("".join(lines))
    return known_hosts


def wait_for_ssh_banner(endpoint: Endpoint, timeout: float = 60.0) -> None:
    """Wait until a host's sshd speaks; raises TimeoutError after so many seconds."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            with socket.create_connection((endpoint.host, endpoint.port), timeout=1) as connection:
                if connection.recv(4) == b"SSH-":
                    return
        except OSError:
            pass
        time.sleep(0.05)
    raise TimeoutError(f"{endpoint} does not answer SSH after {timeout:.0f} s")


def root_folder() -> Path:
    """Where the root program keeps machines and images in this test run."""
    return Path(os.environ.get("IPYFLEET_ROOT", "/var/lib/ipyfleet"))


def audit() -> list[str]:
    """Everything that clusters of this run's root folder have left on the computer, a line each; images may stay."""
    root = root_folder()
    ours = "ipyf-" + hashlib.sha256(str(root).encode()).hexdigest()[:3]
    left = [f"folder {path}" for path in (root / "clusters").glob("*")]
    left += [f"half-built image {path}" for path in (root / "images").glob(".*")]
    left += [f"mount {line.split()[1]}" for line in _lines("/proc/mounts") if f"{root}/" in line]
    left += [f"network namespace {path}" for path in Path("/run/netns").glob(f"{ours}*")]
    left += [f"interface {path.name}" for path in Path("/sys/class/net").glob(f"{ours}*")]
    for name in (ours, "ipyf-build-"):
        left += [f"control group {path}" for path in Path("/sys/fs/cgroup").glob(f"**/ipyfleet*/{name}*")]
    left += [f"nspawn folder {path}" for path in Path("/run/systemd/nspawn/propagate").glob(f"{ours}*")]
    return left + [f"route {route}" for route in _routes()] + list(_processes(root))


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _routes() -> Iterator[str]:
    """Routes of ours that keep in the traffic of a network that is gone."""
    words = ("ip", "-json", "-4", "route", "show")
    routes = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout or "[]")
    alive = {route["dst"] for route in routes if route.get("dev", "").startswith("ipyf-")}
    for route in routes:
        if route.get("metric") == METRIC and route["dst"] not in alive:
            yield route["dst"]


def _processes(root: Path) -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_text(errors="replace").split("\0")
        except OSError:
            continue
        if any(f"{root}/clusters" in word or f"{root}/images/." in word for word in words):
            yield f"process {path.parent.name}: {' '.join(words)}"
