"""Private OpenSSH servers on the loopback address, for tests that want a real one: own host key, own login key."""

from __future__ import annotations

import getpass
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from fabfile import host_keys, ssh
from fabfile.remote import Credentials, Endpoint
from fabfile.ssh_host import SshHost

over_ssh = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@dataclass
class Sshd:
    """One server: where it is, what it shows, and the credentials that open it (its host key pinned already)."""

    folder: Path
    endpoint: Endpoint
    host_key: str
    credentials: Credentials
    options: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start it and wait until it listens."""
        Path("/run/sshd").mkdir(exist_ok=True)
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        lines = [
            f"Port {self.endpoint.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {self.folder / 'host_key'}",
            f"AuthorizedKeysFile {self.folder / 'authorized_keys'}",
            "SetEnv " + " ".join(f"{name}={value}" for name, value in {"HOME": home, **self.environment}.items()),
            *("UsePAM no", "StrictModes no", "PasswordAuthentication no", "KbdInteractiveAuthentication no"),
            *("PidFile none", "MaxStartups 200", "PermitRootLogin yes", "LogLevel VERBOSE"),
            *self.options,
        ]
        (self.folder / "sshd_config").write_text("\n".join(lines) + "\n")
        sshd = shutil.which("sshd") or "/usr/sbin/sshd"
        command = [sshd, "-D", "-f", str(self.folder / "sshd_config"), "-E", str(self.log)]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        for _ in range(500):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.endpoint.port)) == 0:
                    return
            time.sleep(0.01)
        raise RuntimeError(self.log.read_text())

    @property
    def log(self) -> Path:
        """Where the server writes what it does."""
        return self.folder / "log"

    def sessions(self) -> list[int]:
        """The process ids of the server's open connections."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def stop(self) -> None:
        """Stop it, and the connections that it has; twice is fine."""
        if self.process is not None:
            for session in self.sessions():
                subprocess.run(["kill", "-9", str(session)], check=False)
            self.process.kill()
            self.process.wait()
            self.process = None


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(
    folder: Path,
    *options: str,
    running: bool = True,
    kind: str = "ed25519",
    environment: Mapping[str, str] | None = None,
) -> Iterator[Sshd]:
    """A server in this folder; with further lines of sshd_config, a kind of host key, an environment of commands."""
    folder.mkdir(parents=True, exist_ok=True)
    endpoint = Endpoint("127.0.0.1", getpass.getuser(), free_port())
    host_key = make_host_key(folder / "host_key", kind)
    credentials = Credentials(folder / "login_key", folder / "known_hosts")
    (folder / "authorized_keys").write_text(host_keys.make_key_pair(credentials.key_file, "test") + "\n")
    host_keys.pin(credentials.known_hosts, endpoint, [host_key])
    server = Sshd(folder, endpoint, host_key, credentials, options, environment or {})
    try:
        if running:
            server.start()
        yield server
    finally:
        server.stop()


def make_host_key(path: Path, kind: str = "ed25519") -> str:
    """A new host key at this path, in the place of any older one; its public half, ``type base64``."""
    path.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", str(path)], check=True)
    return host_keys.plain(path.with_name(path.name + ".pub").read_text())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """One server for all tests of a module."""
    with serving(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def host(server: Sshd) -> Iterator[SshHost]:
    """One connection to it for all tests of a module."""
    opened = ssh.connect(server.endpoint, "engine-0", server.credentials)
    yield opened
    opened.close()
