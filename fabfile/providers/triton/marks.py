"""Marks: what the tags of a machine say, and the description of a firewall rule: whose it is, and what it is there.

The tags are set by the call that makes a machine, so that nothing of ours is ever without them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ...machines import Cluster, Role

SCHEMA = "ipyfleet.schema"
VERSION = "1"
CLUSTER = "ipyfleet.cluster"
ID = "ipyfleet.id"
OWNER = "ipyfleet.owner"
CREATED = "ipyfleet.created"
ROLE = "ipyfleet.role"
INDEX = "ipyfleet.index"
DEADLINE = "ipyfleet.deadline"
STOPPED = "ipyfleet.stopped"  # somebody had it switched off, and will want it again
LASTING = (SCHEMA, CLUSTER, ID, ROLE, INDEX)  # those that stay what they are
HOST_KEY = "ipyfleet.host_key"  # metadata that the machine itself writes
KEYS = "ipyfleet.authorized_keys"
LEASE = "ipyfleet.lease"
USERDATA = "ipyfleet.userdata"
JOIN_METHOD = "ipyfleet.join_method"
JOIN_MANIFEST = "ipyfleet.join_manifest"
JOIN = "ipyfleet.join"  # secret, for as long as a machine needs to read it
JOINED = "ipyfleet.joined"  # what the machine says of it
RULE = re.compile(r"ipyfleet (?P<name>\S+) (?P<id>\S+) (?P<created>[0-9.]+) (?P<owner>.*)")


def of_cluster(cluster: Cluster) -> dict[str, str]:
    """The tags that every machine of the cluster has."""
    return {
        SCHEMA: VERSION,
        CLUSTER: cluster.name,
        ID: cluster.id,
        OWNER: cluster.owner,
        CREATED: f"{cluster.created:.3f}",
    }


def of_machine(cluster: Cluster, role: Role, index: int) -> dict[str, str]:
    """The tags of one machine."""
    return {**of_cluster(cluster), ROLE: role, INDEX: str(index)}


def cluster_of(tags: Mapping[str, str]) -> Cluster | None:
    """The cluster that the tags name; None when they are not ours."""
    name, id = tags.get(CLUSTER, ""), tags.get(ID, "")
    if not name or not id or tags.get(SCHEMA) != VERSION:
        return None
    return Cluster(name, id, tags.get(OWNER, ""), number(tags.get(CREATED, "")) or 0.0)


def place_of(tags: Mapping[str, str]) -> tuple[Role, int] | None:
    """Role and index that the tags name; None when they do not."""
    index = tags.get(INDEX, "")
    if not (index.isascii() and index.isdigit()):
        return None
    role = tags.get(ROLE)
    return ("controller", 0) if role == "controller" else ("engine", int(index)) if role == "engine" else None


def number(text: str) -> float | None:
    """Seconds since the epoch as a tag has them; None for none."""
    try:
        return float(text)
    except ValueError:
        return None


def machine_name(cluster: Cluster, name: str) -> str:
    """The name of a machine in the account, where no two may have the same: ``lab-c0ffee12-engine-3``."""
    return f"{cluster.name}-{cluster.id}-{name}"


def description(cluster: Cluster) -> str:
    """What a firewall rule of the cluster says of itself: rules have no tags."""
    return f"ipyfleet {cluster.name} {cluster.id} {cluster.created:.3f} {cluster.owner}"


def cluster_of_rule(text: str) -> Cluster | None:
    """The cluster whose rule describes itself so; None when it is not one of ours."""
    match = RULE.fullmatch(text)
    return Cluster(match["name"], match["id"], match["owner"], float(match["created"])) if match else None
