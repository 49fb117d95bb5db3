"""The provider ec2 on the test cloud, whose instances are real SSH servers: the contract of all providers."""

from __future__ import annotations

from pathlib import Path

import pytest

from fabfile import host_keys, ssh
from fabfile.errors import RemoteError
from fabfile.machines import Machine, Provider
from fabfile.providers.ec2 import provider
from fabfile.remote import Credentials
from tests.cloud.fixtures import cloud_settings
from tests.cloud.leftovers import leftovers
from tests.cloud.server import Cloud
from tests.contract.ec2 import Ec2Contract

pytestmark = pytest.mark.e2e
FILE = "/root/contract"
PATIENCE = 20.0  # s until a machine must answer


class TestEc2(Ec2Contract):
    """The contract, on the sshd variant of the test cloud."""

    @pytest.fixture(autouse=True)
    def _cloud(self, cloud: Cloud, tmp_path: Path) -> None:
        self.cloud = cloud
        self.folder = tmp_path
        self.public = host_keys.make_key_pair(tmp_path / "key", "contract")
        self.other = host_keys.make_key_pair(tmp_path / "other", "other")

    def new_provider(self) -> Provider:
        return provider(cloud_settings(self.cloud, cluster="contract"))

    def login_key(self) -> str:
        return self.public

    def other_key(self) -> str:
        return self.other

    def on(self, machine: Machine, command: str, key: str = "key") -> str:
        """What a command prints on a machine that shows one of its host keys."""
        assert machine.endpoint is not None
        credentials = Credentials(self.folder / key, self.folder / f"known-{machine.id}")
        host_keys.pin(credentials.known_hosts, machine.endpoint, machine.host_keys)
        host = ssh.open_when_ready(machine.endpoint, machine.name, credentials, timeout=PATIENCE)
        try:
            return host.run("sh", "-c", command).stdout
        finally:
            host.close()

    def write(self, machine: Machine, text: str) -> None:
        self.on(machine, f"printf %s {text} >{FILE}")

    def read(self, machine: Machine) -> str:
        return self.on(machine, f"cat {FILE}")

    def lets_in(self, machine: Machine) -> bool:
        self.on(machine, "true")
        try:
            return self.on(machine, "true", "other") == ""
        except RemoteError:
            return False

    def leftovers(self) -> list[str]:
        return leftovers(self.cloud)
