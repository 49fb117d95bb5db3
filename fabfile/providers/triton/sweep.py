"""What clusters of ours left behind in the account, and its removal.

A lease on Triton ends with machines that are switched off and still there: CloudAPI alone can delete them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from ...accounts import Leftover, LeftoverKind
from ...errors import ClusterError, raise_together
from ...machines import Cluster, Event, OnEvent
from . import entry, marks, power, sightings
from .api import Api
from .instances import Instance, InstanceState

GRACE = 3600.0  # s in which a cluster may be half made


def leftovers(api: Api, now: float | None = None) -> tuple[Leftover, ...]:
    """Everything of ours that no live cluster covers, machines first; changes nothing."""
    now = time.time() if now is None else now
    clusters = sightings.by_cluster(sightings.of_everybody(api))
    found = [
        Leftover(LeftoverKind.MACHINE, one.id, one.name, cluster.name, cluster.owner, one.created, why)
        for cluster, machines in clusters.items()
        for one in machines
        if (why := _why(one, machines, now))
    ]
    living = {cluster.id for cluster in clusters}
    rules = [
        Leftover(
            LeftoverKind.NETWORK, rule.id, rule.text, its.name, its.owner, its.created, "its cluster has no machines"
        )
        for rule, its in entry.ours(api)
        if its.id not in living and now - its.created > GRACE
    ]
    return (*found, *rules)


def _why(one: Instance, of_its_cluster: Sequence[Instance], now: float) -> str:
    """Why nobody needs a machine; "" for one that somebody may."""
    deadline = marks.number(one.tags.get(marks.DEADLINE, ""))
    if one.failed:
        return "it could not be made"
    over = deadline is not None and deadline < now and marks.STOPPED not in one.tags
    if one.state is InstanceState.STOPPED and over:
        return "its lease is over"
    controlled = any(other.tags.get(marks.ROLE) == "controller" and not other.failed for other in of_its_cluster)
    if not controlled and now - one.created > GRACE:
        return "its cluster has no controller"
    return ""


def remove(api: Api, wanted: Sequence[Leftover], timeout: float, on_event: OnEvent) -> None:
    """Remove those that are still left over; silent about the others. All failures are raised together."""
    still = {(one.kind, one.id) for one in leftovers(api)}
    going = [one for one in wanted if (one.kind, one.id) in still]
    failures: list[ClusterError] = []
    for name in sorted({one.cluster for one in going if one.kind is LeftoverKind.MACHINE}):
        ids = [one.id for one in going if one.cluster == name and one.kind is LeftoverKind.MACHINE]
        on_event(Event(f"deleting {len(ids)} machine{'s'[: len(ids) != 1]}", name))
        try:
            power.delete(api, name, ids, timeout)
        except ClusterError as error:
            failures.append(error)
    rules = {one.id for one in going if one.kind is LeftoverKind.NETWORK}
    try:
        entry.remove(api, [rule for rule, _ in entry.ours(api) if rule.id in rules])
    except ClusterError as error:
        failures.append(error)
    raise_together(failures)


def cluster_of_remains(api: Api, name: str) -> Cluster | None:
    """A cluster of that name of which nothing but firewall rules is left."""
    return min((its for _, its in entry.ours(api) if its.name == name), key=lambda its: its.created, default=None)
