"""This CloudAPI with whole machines behind its instances: systemd-nspawn hosts that carry the SMF stand-in.

Each is an engine machine of one cluster of provider local, the site; its address there is both its public and its
private one. What an instance has as metadata its own ``mdata-get`` finds, and what it puts there CloudAPI shows.
"""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from fabfile.machines import Cluster, Machine, MachineSpec, MachineState, silent
from fabfile.providers.local import LocalProvider
from fabfile.remote import Credentials, Endpoint
from fabfile.settings import Settings
from tests.cloudapi.server import CloudApi
from tests.cloudapi.vms import Vm
from tests.e2e.machines import BareHost, audit, new_key, remove, wait_for_ssh_banner
from tests.e2e.smf_hosts import OFFERED, WHEELS, become_smartos

BOOT = 60.0  # s that the boot script may take here
METADATA = "/var/lib/smf-standin/metadata.json"


@dataclass
class Site:
    """Where the machines stand."""

    name: str
    folder: Path
    software: bool = True  # whether their pkgin has packages
    index: bytes = b""  # an archive of what their pip can have
    taken: Iterator[int] = field(default_factory=itertools.count)
    lock: threading.Lock = field(default_factory=threading.Lock)  # one command at a time may change a cluster
    last: int = -1

    def __post_init__(self) -> None:
        self.provider = LocalProvider(Settings(cluster=self.name), bare=True)
        self.cluster = Cluster(self.name, "site", "tests@here", time.time())
        self.key = new_key(self.folder / "site_key")
        remove(self.provider, self.name)
        (first,) = self.make(next(self.taken))
        self.first = IPv4Address(first.private_address)

    def make(self, index: int) -> tuple[Machine, ...]:
        """A machine of the site; the same one when it is there."""
        return self.provider.create(self.cluster, [MachineSpec("engine", index, (self.key,))], silent)

    def address(self, network: dict[str, Any]) -> str:
        """The address of the next machine; a machine's second interface has that of its first."""
        if network["public"]:
            self.last = next(self.taken)
        return str(self.first + self.last)

    def at(self, address: str) -> int:
        """Which machine of the site has the address."""
        return int(IPv4Address(address)) - int(self.first)


class SmartMachine:
    """One machine behind an instance."""

    def __init__(self, vm: Vm, site: Site) -> None:
        self.vm, self.site = vm, site
        self.index = site.at(vm.nics[0]["ip"])
        self.host: BareHost | None = None
        self.up = False

    def start(self) -> None:
        """Boot it, for the first time or again, and wait until its boot script has ended, well or not."""
        if self.host is None:
            self._make()
        else:
            with self.site.lock:
                self.site.provider.start(self.site.name, [self._machine()])
            wait_for_ssh_banner(self.host.endpoint)
            self._tell()
            self.host.ssh("systemctl.linux restart smf-standin")
        self._until_booted()
        self.vm.metadata.update(json.loads(self.host.ssh(f"cat {METADATA}")) if self.host else {})
        self.up = True

    def _make(self) -> None:
        with self.site.lock:
            (machine,) = self.site.make(self.index)
        assert machine.endpoint is not None
        known = self.site.folder / f"known-{self.index}"
        known.write_text(f"{machine.private_address} {machine.host_keys[0]}\n")
        credentials = Credentials(self.site.folder / "site_key", known)
        bare = BareHost(machine, machine.endpoint, machine.private_address, machine.host_keys[0], credentials)
        wait_for_ssh_banner(bare.endpoint)
        settings = {"packages": OFFERED, "package_wheels": WHEELS} if self.site.software else {}
        self.host = become_smartos(bare, metadata=dict(self.vm.metadata), settings=settings, index=self.site.index)

    def _tell(self) -> None:
        assert self.host is not None
        self.host.ssh(f"cat >{METADATA}", stdin=json.dumps(self.vm.metadata))

    def said(self) -> dict[str, Any] | None:
        """What its own commands find, while it runs."""
        with suppress(AssertionError):
            if self.host is not None and self.up:
                return dict(json.loads(self.host.ssh(f"cat {METADATA}")))
        return None

    def hear(self, metadata: dict[str, Any]) -> None:
        """Let its own commands find it."""
        if self.up:
            self._tell()

    def _until_booted(self) -> None:
        assert self.host is not None
        deadline = time.monotonic() + BOOT
        while time.monotonic() < deadline:
            with suppress(AssertionError):
                if self.host.ssh("svcs -Ho STA,NSTA mdata:execute").split() in (["ON", "-"], ["MNT", "-"]):
                    return
            time.sleep(0.2)
        raise RuntimeError("mdata:execute has not ended")

    def _machine(self) -> Machine:
        found = self.site.provider.find(self.site.name).by_name(f"engine-{self.index}")
        assert found is not None
        return found

    @property
    def off(self) -> bool:
        """Whether it has switched itself off."""
        return self._machine().state is not MachineState.RUNNING

    def stop(self) -> None:
        """Power it off, in an orderly way."""
        self.up = False
        with self.site.lock:
            self.site.provider.stop(self.site.name, [self._machine()])

    def destroy(self) -> None:
        """Throw it away."""
        self.up = False
        if self.host is not None:
            with self.site.lock:
                self.site.provider.destroy(self.site.name, [self._machine()])
            self.host = None

    def root(self) -> BareHost:
        """The machine, reached as root by the site's key."""
        assert self.host is not None
        return replace(self.host, endpoint=Endpoint(self.host.endpoint.host, "root"))


@contextmanager
def whole_machines(cloudapi: CloudApi, folder: Path, *, software: bool = True, index: bytes = b"") -> Iterator[Site]:
    """Have whole machines behind the instances of this CloudAPI; nothing of them is left in the end."""
    before = set(audit())
    site = Site(f"tri{os.getpid()}", folder, software, index)
    cloudapi.reset()
    cloudapi.world.address = site.address
    cloudapi.machine = lambda vm: SmartMachine(vm, site)
    try:
        yield site
    finally:
        cloudapi.reset()
        remove(site.provider, site.name)
        assert set(audit()) - before == set()
