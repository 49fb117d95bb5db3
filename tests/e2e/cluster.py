"""One cluster as a user has it: the commands in a shell, the client file, SSH to its machines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ipyparallel as ipp

from fabfile.clients import listen
from fabfile.remote import Credentials, Endpoint
from tests.e2e.machines import ssh

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


@dataclass
class UserCluster:
    """A user's cluster of that name, whose record and client files lie in a folder of the test's own.

    ``alias`` says under which name the host key of an address is pinned, "" for the address itself.
    """

    name: str
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    alias: Callable[[str], str] = lambda host: ""

    def __post_init__(self) -> None:
        self.environment = os.environ | {
            "IPYFLEET_HOME": str(self.folder / "state"),
            "IPYTHONDIR": str(self.folder / "ipython"),
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "IPYFLEET_CLUSTER": self.name,
        }

    def run(self, program: str, *words: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """What a program of the checkout's environment does, without a terminal."""
        return subprocess.run(
            [str(BIN / program), *words],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def invoke(self, *words: str, code: int = 0, timeout: float = 300) -> str:
        """Standard output of an invoke command that ends with this exit code."""
        done = self.run("invoke", *words, timeout=timeout)
        assert done.returncode == code, f"invoke {' '.join(words)} → {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def status(self) -> dict[str, Any]:
        """What `invoke status --json` says, whatever its exit code."""
        return json.loads(self.run("invoke", "status", "--json").stdout)

    def ssh(self, machine: str, command: str, *, check: bool = True) -> str:
        """A command line on one of the machines."""
        address = next(one["address"] for one in self.status()["machines"] if one["name"] == machine)
        user, _, host = address.partition("@")
        folder = self.folder / "state" / self.name
        endpoint = Endpoint(host, user, key_alias=self.alias(host))
        return ssh(endpoint, Credentials(folder / "id_ed25519", folder / "known_hosts"), command, check=check)

    @property
    def client_file(self) -> Path:
        """The file that ``ipp.Client(cluster_id=…)`` finds."""
        folder = self.folder / "ipython" / "profile_default" / "security"
        return folder / f"ipcontroller-{self.name}-client.json"

    @contextmanager
    def client(self) -> Iterator[ipp.Client]:
        """A client through the tunnel."""
        client = ipp.Client(str(self.client_file))
        try:
            yield listen(client)
        finally:
            client.close()

    def teardown(self) -> None:
        """Remove it, whatever state it is in."""
        self.run("invoke", "teardown", "--yes", "--adopt")


def until(what: str, condition: Callable[[], Any], timeout: float) -> float:
    """Wait until a condition holds; how long that took. An error of the condition means that it does not hold yet."""
    begun = time.monotonic()
    last: object = None
    while time.monotonic() - begun < timeout:
        try:
            last = condition()
            if last:
                return time.monotonic() - begun
        except Exception as error:
            last = error
        time.sleep(0.2)
    raise AssertionError(f"{what}: not within {timeout:.0f} s; last: {last!r}")
