"""A run: one command at work on one cluster, with what it knows and who listens.

Holds the record and writes it down; decides nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from . import host_key_rotation, host_keys, named_hosts, pkgsrc, record, tunnel
from .connection import Connection
from .errors import Locked, ProviderRefused, at_machine, raise_together
from .machines import Connecting, Event, Machine, OnEvent, Provider, Specifying, machine_name, silent, wait_for_ssh
from .plan import Slot
from .record import PastRun, Record, Timing
from .remote import Credentials, Host, each
from .settings import Settings
from .software import Software, software
from .state import Store

NOTING = 2.0  # s that another command may take to note its tunnel


@dataclass
class Run:
    """One command at work on one cluster: settings, provider, store, and who listens.

    The record is what this run knows, saved by ``save`` before each side effect.
    """

    settings: Settings
    provider: Provider
    store: Store
    record: Record
    listener: OnEvent = silent
    doing: str = ""
    begun: float = field(default_factory=time.time)
    started: float = field(default_factory=time.monotonic)
    timings: list[Timing] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    tunnelling: threading.Lock = field(default_factory=threading.Lock)

    @property
    def credentials(self) -> Credentials:
        """The cluster's own key and pinned host keys."""
        return Credentials(self.store.path("id_ed25519"), self.store.path("known_hosts"))

    @property
    def software(self) -> Software:
        """What hosts must have."""
        return software(self.settings, self.provider.hardware() if isinstance(self.provider, Specifying) else "")

    def software_for(self, machine: str) -> Software:
        """What a host must have that says ``machine`` to ``uname -m``: one with pkgsrc gets its own kind of it."""
        return software(self.settings, machine) if machine == pkgsrc.MACHINE else self.software

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.started

    def save(self, **changes: Any) -> None:
        """Change the record and write it down."""
        with self.lock:
            self._write(**changes)

    def deployed(self, name: str, digest: str, dropped: frozenset[Slot]) -> None:
        """Note what a machine has now, and that it has the dropped engines no more."""
        with self.lock:
            mine = {slot for slot in dropped if machine_name("engine", slot.index) == name}
            self._write(
                digests={**self.record.digests, name: digest},
                assigned=tuple(slot for slot in self.record.assigned if slot not in mine),
            )

    def _write(self, **changes: Any) -> None:
        changed = replace(self.record, **changes)
        if changed != self.record:
            self.record = changed
            changed.save(self.store)

    def close(self) -> None:
        """Keep the times of this run, if there is a cluster to keep them for."""
        if self.record.cluster and self.timings:
            with self.lock:
                self.record = self.record.after(PastRun(self.doing, self.begun, tuple(self.timings)))
                self.record.save(self.store)

    def tell(self, what: str, machine: str = "", seconds: float | None = None) -> None:
        """Say that something happened, and keep the time for ``status --timings``."""
        self(Event(what, machine, seconds))

    def open(self, machine: Machine, timeout: float | None = None) -> AbstractContextManager[Host]:
        """A verified connection to the machine, waited for as long as it may boot, or ``timeout`` seconds."""
        kept = self.provider.connected(machine) if isinstance(self.provider, Connecting) else None
        if kept:
            return nullcontext(kept)
        return closing(wait_for_ssh(machine, self.credentials, timeout or self.settings.boot_timeout))

    def on_each(self, machines: Iterable[Machine], work: Callable[[Host, Machine], None], timeout: float) -> None:
        """Do the work on every machine at once, over a connection of its own; all failures are raised together."""

        def connected(machine: Machine) -> None:
            with self.open(machine, timeout) as host:
                work(host, machine)

        outcomes = each(machines, connected)
        raise_together([at_machine(outcome.error, outcome.item.name) for outcome in outcomes if outcome.error])

    def authorized_keys(self) -> tuple[str, ...]:
        """The public keys that may log in to the machines: the cluster's own, made now if need be, and ``ssh_keys``."""
        path = self.credentials.key_file
        public = path.with_name(path.name + ".pub")
        own = public.read_text().strip() if path.exists() and public.exists() else ""
        own = own or host_keys.make_key_pair(path, f"ipyfleet-{self.settings.cluster}")
        return (own, *self.settings.ssh_keys)

    def pin(self, machines: Iterable[Machine]) -> None:
        """Write the host keys that the provider vouches for into the cluster's own file.

        Those of ``gateway`` are taken over from the user's own known_hosts; raises HostKeyError when it has none.
        """
        machines = tuple(machines)
        gateway = named_hosts.gateway(self.settings)
        if gateway and any(one.endpoint and one.endpoint.gateway for one in machines):
            named_hosts.admit(gateway, self.credentials)
        for machine in machines:
            if machine.endpoint and machine.host_keys:
                pinned = host_keys.pinned(self.credentials.known_hosts, machine.endpoint)
                keys = host_key_rotation.to_pin(machine, pinned)
                if keys != pinned:
                    host_keys.pin(self.credentials.known_hosts, machine.endpoint, keys)

    def tunnel_to(self, controller: Machine, connection: Connection) -> dict[str, Any]:
        """The client document through the one tunnel, opened or reopened on the same local ports if need be."""
        if controller.endpoint is None:
            raise ProviderRefused("the controller's machine has no address yet", machine=controller.name)
        with self.tunnelling:
            before = self.record.tunnel
            now = tunnel.ensure_tunnel(
                before, controller.endpoint, self.credentials, connection, self.store.folder, begun=self._begun
            )
            if now != self.record.tunnel:
                now = self._remember(before, now)
        return tunnel.local_info(connection, now)

    def _begun(self, now: tunnel.Tunnel) -> None:
        """Note a tunnel before it is up, so that it is closed with the cluster if this program ends meanwhile."""
        if self.store.locked:
            self.save(tunnel=now)

    def _remember(self, before: tunnel.Tunnel | None, now: tunnel.Tunnel) -> tunnel.Tunnel:
        """Note the tunnel that a run without the lock opened, unless another has noted one meanwhile; the one noted.

        Raises Locked, closing it, when that is not possible.
        """
        cluster = self.record.cluster
        try:
            with self.store.lock(f"{self.doing or 'status'}: noting the tunnel", NOTING):
                self.record = record.load(self.store)
                if self.record.cluster != cluster:
                    raise Locked(f"{self.store.cluster} was changed meanwhile", hint="run the same command again")
                noted = self.record.tunnel
                if noted is None or noted == before or not tunnel.alive(noted):
                    self.save(tunnel=now)
                    return now
        except Locked:
            tunnel.close_tunnel(now)
            raise
        tunnel.close_tunnel(now)
        return noted

    def __call__(self, event: Event) -> None:
        """Keep the time of an event and pass it on."""
        with self.lock:
            self.timings.append(Timing(self.elapsed, event.machine, event.what))
        self.listener(event)
