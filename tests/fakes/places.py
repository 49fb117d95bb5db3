"""Hosts of the user's in memory: a provider of them claims, finds and clears places that are entries of a dict."""

from __future__ import annotations

from dataclasses import replace

from fabfile.errors import ProviderRefused, RemoteError
from fabfile.host_facts import HostFacts
from fabfile.machines import Cluster, MachineSpec
from fabfile.providers.static import Static
from fabfile.providers.static.owner import Owner, owner_json, parse_owner
from fabfile.providers.static.places import Look, Places
from fabfile.remote import Endpoint
from fabfile.settings import Settings
from fabfile.software import software

OURS = Cluster("lab", "11aa", "me@here", 1000.0)
CONTROLLER = MachineSpec("controller", 0)


def engines(*indexes: int) -> list[MachineSpec]:
    return [MachineSpec("engine", index) for index in indexes]


class Hosts(Places):
    """Places in memory: what each host's owner.json says, which hosts do not answer, what was done to whom."""

    def __init__(self, *names: str, owners: dict[str, Owner | None] | None = None) -> None:
        self.owners: dict[str, Owner | None] = dict.fromkeys(names) | (owners or {})
        self.silent: set[str] = set()
        self.cleared: list[str] = []
        self.asked: list[str] = []

    def look(self, place: str) -> Look:
        self.asked.append(place)
        if place in self.silent:
            raise RemoteError(f"no SSH connection to {place}: no answer", hint="see that it is up")
        wanted = software(Settings())
        facts = HostFacts("Linux", wanted.platform, wanted.python, "systemd", True, f"192.0.2.{len(place)}", "")
        return Look(place, Endpoint(place, "me"), (f"ssh-ed25519 {place}",), facts, self.owners[place])

    def claim(self, place: str, owner: Owner) -> None:
        there = self.owners[place]
        if there and there.cluster.id != owner.cluster.id:
            raise ProviderRefused(f"{place} is taken")
        told = parse_owner(owner_json(owner).decode())
        assert told == owner
        self.owners[place] = told

    def clear(self, place: str) -> None:
        self.owners[place] = None
        self.cleared.append(place)


def lab(hosts: Hosts, *listed: str, **settings: object) -> Static:
    return Static(replace(Settings(provider="static", cluster="lab", hosts=listed), **settings), hosts)  # type: ignore[arg-type]  # any setting


def names(provider: Static, cluster: str = "lab") -> dict[str, str]:
    return {machine.name: machine.id for machine in provider.find(cluster).machines}
