"""The provider triton on our CloudAPI, whose instances are whole machines: the contract of all providers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from fabfile import host_keys, ssh
from fabfile.machines import Cluster, Leasing, Machine, Provider
from fabfile.providers.triton import Triton
from fabfile.providers.triton.api import Api
from fabfile.remote import Credentials
from fabfile.settings import Settings
from tests.cloudapi import fixtures
from tests.cloudapi.server import CloudApi
from tests.contract.provider import CONTROLLER, TRIO, ProviderContract
from tests.e2e.triton_machines import Site, whole_machines

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
FILE = "/root/contract"
PATIENCE = 30.0  # s until a machine must answer


@pytest.fixture(scope="module")
def site(cloudapi_server: CloudApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with whole_machines(cloudapi_server, tmp_path_factory.mktemp("site"), software=False) as site:
        yield site


@pytest.fixture(scope="module")
def api(cloudapi_server: CloudApi, site: Site) -> Api:
    """One client for all providers of these tests, as a command has one: it knows how many calls are allowed."""
    return fixtures.client(cloudapi_server, overall=20.0)


class TestTriton(ProviderContract):
    """The contract."""

    test_the_console_is_text_also_of_a_machine_that_is_gone = None  # type: ignore[assignment]  # CloudAPI has none

    @pytest.fixture(autouse=True)
    def _account(self, cloudapi_server: CloudApi, site: Site, api: Api, tmp_path: Path) -> Iterator[None]:
        self.server, self.site, self.folder = cloudapi_server, site, tmp_path
        self.api = api
        self.public = host_keys.make_key_pair(tmp_path / "key", "contract")
        yield
        assert self.server.complaints == []

    def new_provider(self) -> Provider:
        provider = Triton(
            Settings(
                cluster="contract",
                provider="triton",
                boot_timeout=90.0,
                machine_type=(),
                controller_type=(),
                ssh_from=("10.203.0.0/16",),
                lease=3600.0,
            )
        )
        provider.__dict__["api"] = self.api
        return provider

    def login_key(self) -> str:
        return self.public

    def on(self, machine: Machine, command: str) -> str:
        """What a command prints on a machine that shows the host key that it has published."""
        assert machine.endpoint is not None
        credentials = Credentials(self.folder / "key", self.folder / f"known-{machine.id}")
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

    def leftovers(self) -> list[str]:
        world = self.server.world
        return [vm.name for vm in world.machines.values() if not vm.gone] + [
            one["rule"] for one in world.rules.values()
        ]

    def test_the_end_of_a_lease_is_in_a_tag_and_what_the_next_boot_counts_in_metadata(self, cluster: Cluster) -> None:
        (machine,) = self.create(cluster, CONTROLLER)
        assert machine.deadline is not None
        provider = self.new_provider()
        assert isinstance(provider, Leasing)
        provider.note_deadline([machine], 1_900_000_000.0)
        self.server.jobs.settle()
        found = self.new_provider().find(cluster.name).machines[0]
        assert found.deadline == 1_900_000_000.0
        provider.note_deadline([machine], None)
        self.server.jobs.settle()
        assert self.new_provider().find(cluster.name).machines[0].deadline is None
        assert "ipyfleet.lease" not in self.server.world.machines[machine.id].metadata

    def test_the_firewall_lets_in_only_who_may_and_follows_the_settings(self, cluster: Cluster) -> None:
        self.create(cluster, *TRIO[:1])
        tag = f'tag "ipyfleet.id" = "{cluster.id}"'
        texts = {one["rule"] for one in self.server.world.rules.values()}
        assert texts == {
            f"FROM {tag} TO {tag} ALLOW tcp PORT all",
            f"FROM {tag} TO {tag} ALLOW udp PORT all",
            f"FROM subnet 10.203.0.0/16 TO {tag} ALLOW tcp PORT 22",
        }
        assert all(one["enabled"] for one in self.server.world.rules.values())
        provider = self.new_provider()
        assert isinstance(provider, Triton)
        assert not provider.let_in(cluster)
        provider.settings = dataclasses.replace(provider.settings, ssh_from=("192.0.2.0/24",))
        assert provider.let_in(cluster)
        assert f"FROM subnet 192.0.2.0/24 TO {tag} ALLOW tcp PORT 22" in {
            one["rule"] for one in self.server.world.rules.values()
        }
        assert len(self.server.world.rules) == 3
