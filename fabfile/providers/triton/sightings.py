"""Sightings: the machines of a cluster as CloudAPI shows them, in the words that all providers share.

Failed machines are in no list but that of what is over; they are looked for there, since they must be removed as well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from ... import host_keys
from ...errors import ClusterError
from ...machines import Cluster, Endpoint, Found, Machine, MachineState, machine_name
from . import marks
from .api import Api
from .catalog import Networks
from .instances import Instance, InstanceState, private_address, reachable_address, tagged

ROOT = "root"
STATES = {
    InstanceState.PROVISIONING: MachineState.PENDING,
    InstanceState.READY: MachineState.PENDING,
    InstanceState.RUNNING: MachineState.RUNNING,
    InstanceState.STOPPING: MachineState.STOPPED,
    InstanceState.STOPPED: MachineState.STOPPED,
    InstanceState.OFFLINE: MachineState.RUNNING,  # it is, or will be again: nothing to be replaced
    InstanceState.FAILED: MachineState.FAILED,
}
DETAILS = {
    InstanceState.STOPPING: "still stopping",
    InstanceState.OFFLINE: "the server that it is on does not answer",
    InstanceState.FAILED: "it could not be made",
}


def of_name(api: Api, cluster: str) -> list[Instance]:
    """The machines whose tags name that cluster, failed ones too, those that are gone left out."""
    tags = {marks.SCHEMA: marks.VERSION, marks.CLUSTER: cluster}
    return [one for one in tagged(api, tags, gone_too=True) if not one.gone]


def of_everybody(api: Api) -> list[Instance]:
    """The machines of all clusters of ours in the account, failed ones too."""
    return [one for one in tagged(api, {marks.SCHEMA: marks.VERSION}, gone_too=True) if not one.gone]


def by_cluster(instances: Iterable[Instance]) -> dict[Cluster, list[Instance]]:
    """The machines of each cluster, the oldest cluster first."""
    groups: dict[str, list[Instance]] = defaultdict(list)
    clusters: dict[str, Cluster] = {}
    for one in instances:
        cluster = marks.cluster_of(one.tags)
        if cluster and marks.place_of(one.tags):
            groups[cluster.id].append(one)
            clusters.setdefault(cluster.id, cluster)
    return {its: groups[its.id] for its in sorted(clusters.values(), key=lambda one: (one.created, one.id))}


def found(cluster: Cluster, instances: Sequence[Instance], networks: Networks) -> Found:
    """The cluster with its machines; of several that have one place, the one that is of most use."""
    best: dict[str, Machine] = {}
    for one in sorted(instances, key=lambda one: (one.failed, one.created)):
        seen = machine(one, networks)
        best.setdefault(seen.name, seen)
    return Found(cluster, tuple(sorted(best.values(), key=lambda one: (one.role, one.index))))


def machine(one: Instance, networks: Networks) -> Machine:
    """An instance as a machine of a cluster; its tags say which."""
    role, index = marks.place_of(one.tags) or ("engine", 0)
    state = STATES.get(one.state, MachineState.PENDING)
    outside, inside = reachable_address(one, networks), private_address(one, networks)
    if state is MachineState.RUNNING and not outside:
        state = MachineState.PENDING  # its addresses come later
    return Machine(
        name=machine_name(role, index),
        id=one.id,
        role=role,
        index=index,
        state=state,
        endpoint=Endpoint(outside, ROOT) if outside else None,
        private_address=inside or outside,
        host_keys=published_keys(one),
        deadline=marks.number(one.tags.get(marks.DEADLINE, "")),
        created=one.created,
        detail=DETAILS.get(one.state, ""),
        kind=one.package,
    )


def published_keys(one: Instance) -> tuple[str, ...]:
    """The host key that the machine has written into its own metadata; nothing when there is none that can be one."""
    try:
        return (host_keys.plain(one.metadata[marks.HOST_KEY]),)
    except (KeyError, ClusterError):
        return ()
