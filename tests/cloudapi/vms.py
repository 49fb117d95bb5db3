"""Instances as the account keeps them, and as CloudAPI shows them."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from .faults import Stale
from .machines import Machine

SERVER = "44454c4c-5400-1034-8053-b5c04f383432"
SHOWN = {
    "configured": "provisioning",
    "incomplete": "provisioning",
    "unavailable": "provisioning",
    "provisioning": "provisioning",
    "ready": "ready",
    "running": "running",
    "halting": "stopping",
    "stopping": "stopping",
    "shutting_down": "stopping",
    "off": "stopped",
    "down": "stopped",
    "installed": "stopped",
    "stopped": "stopped",
    "unreachable": "offline",
    "destroyed": "deleted",
    "failed": "failed",
}


@dataclass
class Vm:
    """One instance; ``state`` is the internal one, of which SHOWN says what CloudAPI makes of it."""

    name: str
    image: str
    package: str
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    state: str = "provisioning"
    type: str = "smartmachine"
    brand: str = "joyent"
    memory: int = 0
    disk: int = 0
    tags: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    nics: list[dict[str, Any]] = field(default_factory=list)
    firewall_enabled: bool = False
    deletion_protection: bool = False
    created: float = field(default_factory=time.time)
    updated: float = field(default_factory=time.time)
    destroying: float = 0.0  # when the job that destroyed it ended
    born: float = field(default_factory=time.monotonic)
    audit: list[dict[str, Any]] = field(default_factory=list)
    machine: Machine = field(init=False)  # set by who makes both

    @property
    def shown(self) -> str:
        """The state as CloudAPI calls it."""
        return SHOWN.get(self.state, "unknown")

    @property
    def gone(self) -> bool:
        """Whether it is destroyed, for all to see."""
        return self.state == "destroyed"

    @property
    def active(self) -> bool:
        """Whether lists show it that ask for no state."""
        return self.state not in ("destroyed", "failed")

    def age(self) -> float:
        """Seconds since it was made."""
        return time.monotonic() - self.born

    def placed(self, stale: Stale) -> bool:
        """Whether it is known which computer it is on."""
        return self.state != "provisioning" or self.age() >= stale.unplaced

    def touch(self) -> None:
        """Note that it changed."""
        self.updated = time.time()

    def body(self, stale: Stale, version: tuple[int, int, int] = (9, 0, 0), just_made: bool = False) -> dict[str, Any]:
        """The instance in CloudAPI's JSON."""
        late = self.state == "provisioning" and self.age() < stale.addresses
        nics = [] if late else self.nics
        body: dict[str, Any] = {
            "id": self.id,
            "name": self.name,
            "type": self.type,
            "brand": self.brand,
            "state": self.shown,
            "image": self.image,
            "ips": [nic["ip"] for nic in nics],
            "memory": self.memory,
            "disk": self.disk,
            "deletion_protection": self.deletion_protection,
            "metadata": dict(self.metadata),
            "tags": dict(self.tags),
            "created": iso(self.created),
            "updated": iso(self.updated),
        }
        if version >= (7, 1, 0):
            body["networks"] = [nic["network"] for nic in nics]
        if nics:
            body["nics"] = [dict(nic) for nic in nics]
            body["primaryIp"] = next((nic["ip"] for nic in nics if nic["primary"]), nics[0]["ip"])
        body["firewall_enabled"] = self.firewall_enabled
        body["compute_node"] = SERVER if self.placed(stale) and not just_made else None
        body["package"] = "" if just_made else self.package
        return body


def iso(seconds: float) -> str:
    """A time as CloudAPI writes it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
