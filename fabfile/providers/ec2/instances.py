"""Instances of ours: what EC2 says of them as frozen values, which machine each of them is, and waiting for a change.

One paged question by tag for all machines of a cluster, whatever their number; an instance that was just launched may
be missing from the answer for some seconds. Launching is in launching.py, switching off and on in power.py.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...machines import Cluster, Endpoint, Found, Machine, MachineState, machine_name
from ...settings import Settings
from . import tags
from .api import Api, told

GONE = ("shutting-down", "terminated")  # no way leads back from there, and nothing is charged any more
STATES = {
    "pending": MachineState.PENDING,
    "running": MachineState.RUNNING,
    "stopping": MachineState.STOPPED,
    "stopped": MachineState.STOPPED,
}
INTERRUPTED = "Server.Spot"  # how AWS's reasons begin that only spot machines end for
FIRST_LOOK, LONGEST_PAUSE = 0.3, 1.5  # s between two looks: the first ones quickly, since machines in tests boot so
BATCH = 500  # ids a call


@dataclass(frozen=True)
class Instance:
    """An instance as EC2 describes it; ``launched`` is when it was switched on last (s since the epoch).

    ``offset`` is its place among those of its call. ``reason`` is AWS's code for the last change of its state, ``said``
    the same in words.
    """

    id: str
    state: str
    cluster: Cluster
    tags: tags.MachineTags
    offset: int = 0
    private_address: str = ""
    public_address: str = ""
    launched: float = 0.0
    kind: str = ""
    zone: str = ""
    subnet: str = ""
    image: str = ""
    spot: bool = False
    reason: str = ""
    said: str = ""

    @property
    def index(self) -> int:
        """Which machine of its role it is; -1 when its tags do not say."""
        return self.tags.first + self.offset if self.tags.first >= 0 else -1

    @property
    def name(self) -> str:
        """The name of the machine that it is, or was; "" when its tags do not say."""
        return machine_name(self.tags.role, self.index) if self.index >= 0 else ""

    @property
    def gone(self) -> bool:
        """True when it is terminated, or about to be."""
        return self.state in GONE

    @property
    def interrupted(self) -> bool:
        """True when AWS took the spot capacity back and nobody was content with that yet."""
        return self.gone and self.reason.startswith(INTERRUPTED) and not self.tags.dismissed


def described(api: Api, cluster: str = "") -> list[Instance]:
    """Every instance of the cluster of that name (of any cluster of ours for ""), also those that are gone but seen."""
    with told("looking for machines"):
        return _instances(api.paged("describe_instances", "Reservations", Filters=tags.filters(cluster)))


def named(api: Api, ids: Sequence[str]) -> list[Instance]:
    """The instances of these ids, as far as they exist and are ours; an id that does not exist is no error."""
    found: list[Instance] = []
    with told("looking for machines"):
        for batch in batches(ids, 200):  # values of a filter
            filters = [{"Name": "instance-id", "Values": batch}]
            found += _instances(api.paged("describe_instances", "Reservations", Filters=filters))
    return found


def batches(ids: Sequence[str], size: int = BATCH) -> list[list[str]]:
    """The ids in as many lists as their number needs."""
    return [list(ids[start : start + size]) for start in range(0, len(ids), size)]


def look_until(
    look: Callable[[], Sequence[Instance]], done: Callable[[Sequence[Instance]], bool], timeout: float
) -> Sequence[Instance]:
    """Look again and again until the instances are as they shall be, or ``timeout`` seconds are over; the last look."""
    deadline, pause = time.monotonic() + timeout, FIRST_LOOK
    while True:
        seen = look()
        left = deadline - time.monotonic()
        if done(seen) or left <= 0:
            return seen
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, LONGEST_PAUSE)


def found(instances: Iterable[Instance], settings: Settings, gateway: Endpoint | None = None) -> Found:
    """What instances of one cluster's name mean as machines; of two clusters with that name the older one counts.

    A machine that was interrupted, and that no other has taken the place of, is lost. An instance too many under a
    name, or one whose tags say nothing, has failed as well, under a name of its own.
    """
    there = list(instances)
    alive = [one for one in there if not one.gone]
    if not alive:
        return Found()
    cluster = min((one.cluster for one in alive), key=lambda one: (one.created, one.id))
    mine = sorted((one for one in alive if one.cluster.id == cluster.id), key=lambda one: (one.launched, one.id))
    by_name: dict[str, Instance] = {}
    others = [one for one in mine if not one.name or by_name.setdefault(one.name, one) is not one]
    lost = _lost([one for one in there if one.cluster.id == cluster.id], by_name)
    machines = [_machine(one, settings, gateway) for one in by_name.values()]
    machines += [
        _useless(MachineState.LOST, one, one.index, f"interrupted: {one.said or 'AWS took the capacity back'}")
        for one in lost
    ]
    free = 1 + max((machine.index for machine in machines if machine.role == "engine"), default=-1)
    for index, one in enumerate(others, free):
        why = f"{one.name} a second time" if one.name else "its tags do not say which machine it is"
        machines.append(_useless(MachineState.FAILED, one, index, f"{one.id}: {why}"))
    return Found(cluster, tuple(sorted(machines, key=lambda one: (one.role, one.index))))


def of_each_cluster(instances: Iterable[Instance]) -> list[list[Instance]]:
    """The instances of each cluster: two of the same name but other ids are two."""
    clusters: dict[tuple[str, str], list[Instance]] = defaultdict(list)
    for instance in instances:
        clusters[instance.cluster.name, instance.cluster.id].append(instance)
    return list(clusters.values())


def _lost(instances: Sequence[Instance], there: Mapping[str, Instance]) -> list[Instance]:
    """Of each engine machine that is not there any more, the last instance, if AWS interrupted that."""
    last: dict[str, Instance] = {}
    for one in sorted(instances, key=lambda one: (one.tags.generation, one.launched, one.id)):
        if one.gone and one.name and one.name not in there and one.tags.role == "engine":
            last[one.name] = one
    return [one for one in last.values() if one.interrupted]


def _deadline(one: Instance) -> float | None:
    """When the lease ends: as was noted since it was switched on, else so long after its boot as its launch said."""
    its = one.tags
    if its.lease is None or one.state not in ("pending", "running") or (its.deadline or 0.0) > one.launched:
        return its.deadline
    return one.launched + its.lease


def _machine(one: Instance, settings: Settings, gateway: Endpoint | None) -> Machine:
    keys = one.tags.host_keys or ((one.tags.boot_key,) if one.tags.boot_key else ())
    detail = {"stopping": "still stopping", "stopped": one.said}.get(one.state, "")
    return Machine(
        name=one.name,
        id=one.id,
        role=one.tags.role,
        index=one.index,
        state=STATES.get(one.state, MachineState.PENDING),
        endpoint=_endpoint(one, settings, gateway),
        private_address=one.private_address,
        host_keys=keys,
        deadline=_deadline(one),
        created=one.launched,
        detail=detail,
        throwaway_key=one.tags.boot_key if one.tags.boot_key in keys else "",
        kind=one.kind,
        interruptible=one.spot,
    )


def _useless(state: MachineState, one: Instance, index: int, detail: str) -> Machine:
    return Machine(
        name=machine_name("engine", index),
        id=one.id,
        role="engine",
        index=index,
        state=state,
        created=one.launched,
        detail=detail,
        kind=one.kind,
        interruptible=one.spot,
    )


def _endpoint(one: Instance, settings: Settings, gateway: Endpoint | None) -> Endpoint | None:
    """The way in; None as long as the machine has no address of the kind that the settings want.

    Its keys are pinned under the instance's id: addresses are given to other machines later, ids never.
    """
    user = settings.login_user or one.tags.user or "admin"
    if settings.public_address and one.public_address:
        return Endpoint(one.public_address, user, key_alias=one.id)
    if not one.private_address or (settings.public_address and one.state != "running"):
        return None
    return Endpoint(one.private_address, user, gateway=gateway, key_alias=one.id)


def is_up(one: Instance, settings: Settings) -> bool:
    """Whether the machine runs and has the addresses that it shall have.

    One that EC2 cannot bring up after all is ended while it is pending: who waits for less never hears why.
    """
    addressed = one.private_address and (one.public_address or not settings.public_address)
    return one.state == "running" and bool(addressed)


def _instances(reservations: Iterable[Mapping[str, Any]]) -> list[Instance]:
    answers = (answer for reservation in reservations for answer in reservation["Instances"])
    return [one for answer in answers if (one := parse(answer)) is not None]


def parse(answer: Mapping[str, Any]) -> Instance | None:
    """An instance in the form that EC2's calls answer with; None for one that is not ours."""
    its = tags.read(answer)
    cluster = tags.cluster_of(its)
    if cluster is None:
        return None
    reason = answer.get("StateReason") or {}
    launched = answer.get("LaunchTime")
    return Instance(
        id=str(answer["InstanceId"]),
        state=str(answer["State"]["Name"]),
        cluster=cluster,
        tags=tags.machine_tags(its),
        offset=int(answer.get("AmiLaunchIndex") or 0),
        private_address=str(answer.get("PrivateIpAddress") or ""),
        public_address=str(answer.get("PublicIpAddress") or ""),
        launched=launched.timestamp() if launched else 0.0,
        kind=str(answer.get("InstanceType") or ""),
        zone=str((answer.get("Placement") or {}).get("AvailabilityZone") or ""),
        subnet=str(answer.get("SubnetId") or ""),
        image=str(answer.get("ImageId") or ""),
        spot=answer.get("InstanceLifecycle") == "spot",
        reason=str(reason.get("Code") or ""),
        said=str(reason.get("Message") or answer.get("StateTransitionReason") or ""),
    )
