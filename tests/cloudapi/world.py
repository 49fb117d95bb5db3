"""The account: who may ask, what there is to make machines of, and the machines."""

from __future__ import annotations

import hashlib
import itertools
import re
import threading
import time
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .faults import Faults, Pace, Stale
from .jobs import Jobs
from .machines import Machine, PaperMachine
from .vms import Vm, iso

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
LOGIN, ACCOUNT = "jill", "930896af-bf8c-48d4-885c-6573a94b1853"
IMAGE = "1d05e788-5409-11eb-b12f-037bd7fee4ee"
PACKAGE = "73a1ca34-1e30-48c7-8681-70314a9c67d3"
EXTERNAL, INTERNAL = "9dd4e63b-0000-4000-8000-000000000001", "9dd4e63b-0000-4000-8000-000000000002"
SINCE = "2012-12-31T23:00:00.000Z"


@dataclass
class Key:
    """A public key of the account or of a sub-user."""

    name: str
    line: str
    since: float = 0.0

    @property
    def fingerprint(self) -> str:
        """MD5, as CloudAPI keeps it."""
        return fingerprint(self.line)

    def body(self) -> dict[str, Any]:
        """The key in CloudAPI's JSON."""
        return {"name": self.name, "fingerprint": self.fingerprint, "key": f"{self.line}\n"}


@dataclass
class SubUser:
    """A sub-user of the account, and whether its roles allow it anything."""

    keys: list[Key] = field(default_factory=list)
    allowed: bool = True


@dataclass
class World:
    """Everything of one account in one data center; all of it may be changed by a test."""

    jobs: Jobs
    login: str = LOGIN
    id: str = ACCOUNT
    disabled: bool = False
    names_in_dns: bool = False
    approved: bool = True
    others: tuple[str, ...] = ("other",)  # further accounts that exist, and are not ours to use
    url: str = "https://test-1.example.com"
    keys: list[Key] = field(default_factory=list)
    users: dict[str, SubUser] = field(default_factory=dict)
    images: dict[str, dict[str, Any]] = field(default_factory=dict)
    packages: dict[str, dict[str, Any]] = field(default_factory=dict)
    networks: dict[str, dict[str, Any]] = field(default_factory=dict)
    pooled: dict[str, dict[str, Any]] = field(default_factory=dict)  # networks that only asking by id shows
    machines: dict[str, Vm] = field(default_factory=dict)
    rules: dict[str, dict[str, Any]] = field(default_factory=dict)
    faults: Faults = field(default_factory=Faults)
    pace: Pace = field(default_factory=Pace)
    stale: Stale = field(default_factory=Stale)
    machine: Callable[[Vm], Machine] = PaperMachine
    complaints: list[str] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)
    placing: threading.Lock = field(default_factory=threading.Lock)
    address: Callable[[dict[str, Any]], str] | None = None  # in a network; made up unless real machines need real ones
    hosts: Any = field(default_factory=lambda: itertools.count(10))

    def __post_init__(self) -> None:
        """Begin with what the recorded data center had."""
        self.images[IMAGE] = image(IMAGE, "base-64-lts", "24.4.1")
        self.packages[PACKAGE] = package(PACKAGE, "sample-1G", 1024)
        self.networks[EXTERNAL] = {"id": EXTERNAL, "name": "external", "public": True, "description": "public"}
        self.networks[INTERNAL] = {"id": INTERNAL, "name": "internal", "public": False, "description": "private"}

    def complain(self, text: str) -> None:
        """Note what the real server would take, to nobody's good: the test fails in the end."""
        self.complaints.append(text)

    def named(self, name: str) -> Vm | None:
        """The active machine of that name."""
        return next((one for one in self.machines.values() if one.name == name and one.active), None)

    def find_package(self, wanted: str) -> dict[str, Any] | None:
        """The package of that id or name, of several versions the highest."""
        named = [one for one in self.packages.values() if wanted in (one["id"], one["name"])]
        return max(named, key=lambda one: [int(part) for part in one["version"].split(".")], default=None)

    def nics(self, networks: list[str]) -> list[dict[str, Any]]:
        """Interfaces in these networks, with fresh addresses."""
        return [self._nic(id, first=place == 0) for place, id in enumerate(networks)]

    def _nic(self, id: str, first: bool) -> dict[str, Any]:
        network = self.networks.get(id) or self.pooled[id]
        host = next(self.hosts)
        high, low = divmod(host, 250)
        prefix = f"192.0.{2 + high}" if network["public"] else f"10.88.{88 + high}"
        ip = self.address(network) if self.address else f"{prefix}.{low + 1}"
        nic = {"mac": f"90:b8:d0:00:{host >> 8:02x}:{host & 255:02x}", "ip": ip, "primary": first}
        if network["public"]:
            nic["gateway"] = f"{prefix}.1"
        return nic | {"netmask": "255.255.255.0", "network": id}

    def place(self, name: str, **details: Any) -> Vm:
        """Put a machine into the account without anybody asking for it; old enough to be seen by all."""
        nics = self.nics(details.pop("networks", [EXTERNAL, INTERNAL]))
        given = {"image": IMAGE, "package": "sample-1G", "memory": 1024, "disk": 25600, "state": "running"}
        vm = Vm(name, **{**given, "nics": nics, "born": time.monotonic() - 3600, **details})
        vm.metadata.setdefault("root_authorized_keys", self.authorized())
        vm.machine = self.machine(vm)
        self.machines[vm.id] = vm
        return vm

    def authorized(self) -> str:
        """What goes into root_authorized_keys."""
        return "".join(f"{key.line}\n" for key in self.keys)

    def job(self, vm: Vm, action: str, work: Callable[[], None], seconds: float | None = None) -> None:
        """Have something done with a machine later, and write it into its audit."""
        fails = action != "provision" and self.faults.ailing("job", vm.tags)

        def run() -> None:
            succeeded = False
            try:
                if not fails:
                    work()
                    succeeded = True
            finally:
                caller = {"type": "signature", "ip": "127.0.0.1", "keyId": f"/{self.login}/keys/x"}
                entry = {"success": "yes" if succeeded else "no", "time": iso(time.time()), "action": action}
                vm.audit.insert(0, entry | {"caller": caller})

        self.jobs.later(vm.id, self.pace.job if seconds is None else seconds, run)


def image(id: str, name: str, version: str, **details: Any) -> dict[str, Any]:
    """An image in CloudAPI's JSON."""
    body: dict[str, Any] = {"id": id, "name": name, "version": version, "os": "smartos", "requirements": {}}
    body |= {"type": "zone-dataset", "description": "x"}
    body["files"] = [{"compression": "gzip", "sha1": "da39a3ee5e6b4b0d3255bfef95601890afd80709", "size": 1234}]
    body |= {"tags": {"role": "os"}, "homepage": "https://docs.example.com/", "published_at": "2025-01-20T10:00:00Z"}
    body |= {"owner": "00000000-0000-0000-0000-000000000000", "public": True, "state": "active"}
    return body | details


def package(id: str, name: str, memory: int, **details: Any) -> dict[str, Any]:
    """A package in CloudAPI's JSON."""
    body: dict[str, Any] = {"default": False, "disk": 25600, "group": "sample", "id": id, "lwps": 4000}
    body |= {"memory": memory, "name": name, "swap": 4 * memory, "vcpus": 0, "version": "1.0.0"}
    return body | details


def fingerprint(line: str) -> str:
    """The MD5 fingerprint of a public key."""
    digest = hashlib.md5(b64decode(line.split()[1]), usedforsecurity=False).hexdigest()
    return ":".join(digest[place : place + 2] for place in range(0, 32, 2))
