"""The firewall of a cluster: who may reach its machines, by rules that go by their tag.

From outside port 22 from ``ssh_from`` and what ``open_ports`` says; between the machines everything. CloudAPI keeps
rules for the whole account: ours are known by what they say of themselves.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...entrances import own_address
from ...errors import UsageError
from ...machines import Cluster
from ...remote import each, values
from ...settings import Settings
from . import firewall, marks
from .api import Api
from .firewall import MOST_TARGETS, Rule


def ensure(api: Api, cluster: Cluster, settings: Settings) -> bool:
    """Make the rules of the cluster what the settings, and this computer's address, say now; whether any changed.

    New rules are in force before stale ones go.
    """
    wanted = texts(cluster, settings)
    there = of_cluster(api, cluster.name, cluster.id)
    right = {one.text for one in there if one.enabled}
    missing = [text for text in wanted if text not in right]
    values(each(missing, lambda text: firewall.add(api, text, marks.description(cluster)), limit=4))
    stale = [one for one in there if one.text not in wanted]
    values(each(stale, lambda one: firewall.remove(api, one.id), limit=4))
    return bool(missing or stale)


def texts(cluster: Cluster, settings: Settings) -> list[str]:
    """The rules of the cluster as CloudAPI keeps them. Raises UsageError for networks that it does not take."""
    tag = marks.ID
    sources = sorted({own_address(settings) if one == "auto" else one for one in settings.ssh_from})
    found = [firewall.among(tag, cluster.id, protocol) for protocol in ("tcp", "udp")]
    for start in range(0, len(sources), MOST_TARGETS):
        found.append(firewall.from_networks(sources[start : start + MOST_TARGETS], tag, cluster.id, "tcp", [22]))
    for port in settings.open_ports:
        protocol, ports, network = port.split(":", 2)
        first, _, last = ports.partition("-")
        wide = int(first) if not last else (int(first), int(last))
        found.append(firewall.from_networks([network], tag, cluster.id, protocol, [wide]))
    return found


def of_cluster(api: Api, name: str, id: str = "") -> list[Rule]:
    """The rules that say they are of the cluster of that name (and id)."""
    return [one for one, its in ours(api) if its.name == name and id in ("", its.id)]


def ours(api: Api) -> list[tuple[Rule, Cluster]]:
    """All rules of ours in the account, with the cluster of each."""
    found = [(one, marks.cluster_of_rule(one.description)) for one in firewall.rules(api) if not one.everywhere]
    return [(one, its) for one, its in found if its]


def remove(api: Api, rules: Iterable[Rule]) -> None:
    """Remove these rules; silent about those gone already."""
    values(each(rules, lambda one: firewall.remove(api, one.id), limit=4))


def misfits(settings: Settings) -> list[str]:
    """What of the settings no rule can say."""
    try:
        texts(Cluster("preflight", "0", "", 0.0), settings)
    except UsageError as error:
        return [error.message]
    return []
