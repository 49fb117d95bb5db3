"""Places: hosts as the settings name them, each connected to once, looked at, claimed and let go.

Trusts the host keys that the user's own ssh trusts. Which place becomes which machine is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ... import host_keys, named_hosts
from ...boot import script
from ...errors import ClusterError, HostKeyError, ProviderRefused
from ...host_facts import HostFacts, ask
from ...machines import Machine, MachineState, Role
from ...paths import expanded
from ...remote import Credentials, Endpoint, Host, each
from ...settings import Settings
from ...state import Store, home
from .owner import Owner, owner_json, parse_owner, whose


@dataclass(frozen=True)
class Look:
    """One look at one place: how to reach it, what it shows, what it has, whose it is."""

    place: str
    endpoint: Endpoint
    host_keys: tuple[str, ...]
    facts: HostFacts
    owner: Owner | None

    @property
    def machines(self) -> tuple[Machine, ...]:
        """Every machine that this host is."""
        return tuple(
            Machine(
                name=name,
                id=self.place,
                role=role_of(name)[0],
                index=role_of(name)[1],
                state=MachineState.RUNNING,
                endpoint=self.endpoint,
                private_address=self.facts.address,
                host_keys=self.host_keys,
                created=since,
            )
            for name, since in (self.owner.names.items() if self.owner else ())
        )

    def is_of(self, cluster: str) -> bool:
        """Whether it is a host of the cluster of that name, whoever made it."""
        return self.owner is not None and self.owner.cluster.name == cluster


def role_of(name: str) -> tuple[Role, int]:
    """Role and index of a machine by its name."""
    return ("controller", 0) if name == "controller" else ("engine", int(name.removeprefix("engine-")))


class Places:
    """The hosts of one command, with the connections to them."""

    def __init__(self, settings: Settings) -> None:
        self._record = Store(settings.cluster).folder
        self._config = expanded(settings.ssh_config) if settings.ssh_config else None
        self._connections: dict[str, tuple[Endpoint, Host]] = {}

    def look(self, place: str) -> Look:
        """Look at one host; raises HostKeyError or RemoteError."""
        endpoint, host = self._connect(place)
        facts = ask(host)
        self._share_keys(endpoint)
        return Look(place, endpoint, host_keys.pinned(_known_hosts(), endpoint), facts, parse_owner(facts.owner))

    def look_around(
        self, places: Iterable[str], cluster: str, seen: Mapping[str, Look] | None = None
    ) -> tuple[dict[str, Look], dict[str, ClusterError]]:
        """Look at all these hosts at once, and at those that they say belong to the cluster as well, listed or not.

        The looks and the failures by place, in the order in which they were asked. Of hosts in ``seen`` that look does.
        """
        known = seen or {}
        looks: dict[str, Look] = {}
        failures: dict[str, ClusterError] = {}
        todo = list(dict.fromkeys(places))
        while todo:
            for outcome in each(todo, lambda place: known.get(place) or self.look(place)):
                if outcome.value:
                    looks[outcome.item] = outcome.value
                elif isinstance(outcome.error, ClusterError):
                    failures[outcome.item] = outcome.error
                elif outcome.error:
                    raise outcome.error
            told = (place for look in looks.values() if look.owner and look.is_of(cluster) for place in look.owner.told)
            todo = [place for place in dict.fromkeys(told) if place not in looks and place not in failures]
        return looks, failures

    def claim(self, place: str, owner: Owner) -> None:
        """Make the host say that it is the owner's; raises ProviderRefused when it is another cluster's."""
        _, host = self._connect(place)
        said = host.script(script("claim.sh"), owner.cluster.id, sudo=True, stdin=owner_json(owner)).stdout
        now = parse_owner(said)
        if now is None or now.cluster.id != owner.cluster.id:
            raise ProviderRefused(
                f"{place} {whose(now)}", hint="take it out of `hosts`, or have that cluster removed first"
            )

    def clear(self, place: str) -> None:
        """Take off the host everything that is ours but its services; whose it was goes last."""
        self._connect(place)[1].script(script("forget.sh"), sudo=True, timeout=120.0)

    def connected(self, place: str) -> Host | None:
        """The connection to a host, if there is one already."""
        return self._connections[place][1] if place in self._connections else None

    def close(self) -> None:
        """Close all connections."""
        while self._connections:
            self._connections.popitem()[1][1].close()

    def _connect(self, place: str) -> tuple[Endpoint, Host]:
        if place not in self._connections:
            known_hosts = _known_hosts()
            known_hosts.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            credentials = Credentials(known_hosts.with_name("no-key"), known_hosts)
            named = named_hosts.resolve(place, config=self._config)
            from ... import ssh  # fabric takes 0.2 s to import: meanwhile OpenSSH is asked for the other hosts
            from ...strict_connection import UnknownHostKey

            try:
                endpoint = named_hosts.admit(named, credentials)
            except UnknownHostKey as error:
                hint = f"log in once with `ssh {place}` and compare the fingerprint with the host's own"
                raise HostKeyError(error.message, hint=hint) from error
            self._connections[place] = endpoint, ssh.connect(endpoint, place, credentials)
        return self._connections[place]

    def _share_keys(self, endpoint: Endpoint) -> None:
        """Pin the keys of the whole way in the cluster's own record too, where all other connections look for them."""
        if self._record.is_dir():
            for hop in named_hosts.hops(endpoint):
                keys, ours = host_keys.pinned(_known_hosts(), hop), self._record / "known_hosts"
                if host_keys.pinned(ours, hop) != keys:
                    host_keys.pin(ours, hop, keys)


def _known_hosts() -> Path:
    """The pinned keys of all hosts that users name, whatever cluster they belong to."""
    return home() / ".hosts" / "known_hosts"
