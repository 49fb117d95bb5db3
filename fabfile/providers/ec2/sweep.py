"""Sweep: what is in the account under our tags that no live cluster covers, found by one look at each kind of thing.

A cluster is live while it has a controller, running or off. Engines without a controller serve nobody, but one may be
on its way, so they, and all else, are left over only when they are older than GRACE; that covers machines that images
are made on as well (baking.py). An image was made on purpose: it is left over only when it failed, or when it has been
there for SHELF_LIFE and no machine that exists was made from it. What does not carry our tags is never looked at.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ...accounts import Leftover, LeftoverKind
from ...errors import ClusterError, raise_together
from ...machines import Event, OnEvent, silent
from ...remote import each
from . import power, tags
from .api import Api, at_once, code_of, passing_over, told
from .instances import Instance, described

GRACE = 3600.0  # s that things may be there without a controller, since it may be on its way
SHELF_LIFE = 30 * 24 * 3600.0  # s that an image is kept which no machine uses
PAUSE = 2.0  # s between two tries to remove what something uses still
TIMEOUT = 300.0  # s for all that wait for machines to be gone
IN_USE = ("DependencyViolation", "InvalidSnapshot.InUse", "VolumeInUse")
ASKED = {  # how each kind is listed: the operation, its key, what else it is told
    LeftoverKind.VOLUME: ("describe_volumes", "Volumes", {}),
    LeftoverKind.NETWORK: ("describe_security_groups", "SecurityGroups", {}),
    LeftoverKind.IMAGE: ("describe_images", "Images", {"Owners": ["self"]}),
    LeftoverKind.SNAPSHOT: ("describe_snapshots", "Snapshots", {"OwnerIds": ["self"]}),
}
IDS = {
    LeftoverKind.VOLUME: "VolumeId",
    LeftoverKind.NETWORK: "GroupId",
    LeftoverKind.KEY: "KeyPairId",
    LeftoverKind.IMAGE: "ImageId",
    LeftoverKind.SNAPSHOT: "SnapshotId",
}
NAMES = {LeftoverKind.NETWORK: "GroupName", LeftoverKind.KEY: "KeyName", LeftoverKind.IMAGE: "Name"}
BORN = {
    LeftoverKind.VOLUME: "CreateTime",
    LeftoverKind.KEY: "CreateTime",
    LeftoverKind.IMAGE: "CreationDate",
    LeftoverKind.SNAPSHOT: "StartTime",
}
Described = Mapping[str, Any]


@dataclass(frozen=True)
class Inventory:
    """Everything of ours in the account: instances, and the answers about all other kinds."""

    instances: Sequence[Instance]
    others: Mapping[LeftoverKind, Sequence[Described]]


def leftovers(api: Api, now: float | None = None) -> tuple[Leftover, ...]:
    """Everything of ours that no live cluster covers at ``now`` (epoch seconds), in the order of removal.

    Raises ProviderRefused for what may not be looked at.
    """
    return tuple(left_over(inventory(api), time.time() if now is None else now))


def inventory(api: Api) -> Inventory:
    """Everything of ours in the account and region, whoever made it."""

    def look(kind: LeftoverKind) -> Any:
        if kind is LeftoverKind.MACHINE:
            return described(api)
        with told(f"looking for {kind}s of ours"):
            if kind is LeftoverKind.KEY:
                return api.ec2.describe_key_pairs(Filters=tags.filters())["KeyPairs"]
            operation, key, more = ASKED[kind]
            return api.paged(operation, key, Filters=tags.filters(), **more)

    answers = dict(zip(LeftoverKind, at_once(LeftoverKind, look), strict=True))
    return Inventory(answers.pop(LeftoverKind.MACHINE), answers)


def left_over(there: Inventory, now: float) -> Iterator[Leftover]:
    """What of it no live cluster covers: pure, in the order of ``LeftoverKind``."""
    alive = [one for one in there.instances if not one.gone]
    live = {_identity(one) for one in alive if one.tags.role == "controller"}
    live |= {_identity(one) for one in alive if now - one.launched < GRACE}
    for one in alive:
        if _identity(one) not in live:
            yield _machine(one)
    for kind in (LeftoverKind.VOLUME, LeftoverKind.NETWORK, LeftoverKind.KEY):
        for thing in there.others[kind]:
            if kind is LeftoverKind.VOLUME and thing["State"] not in ("available", "error"):
                continue  # it goes with its machine
            left = _thing(kind, thing, "its cluster is gone")
            if left and (left.cluster, tags.read(thing).get(tags.ID, "")) not in live and now - left.created >= GRACE:
                yield left
    used = {one.image for one in alive}
    kept: set[str] = set()
    for thing in there.others[LeftoverKind.IMAGE]:
        why = _why_image(thing, used, now)
        left = _thing(LeftoverKind.IMAGE, thing, why)
        if left and why:
            yield left
        else:
            kept |= set(snapshots_of(thing))
    for thing in there.others[LeftoverKind.SNAPSHOT]:
        left = _thing(LeftoverKind.SNAPSHOT, thing, "no image that is kept needs it")
        if left and left.id not in kept and now - left.created >= GRACE:
            yield left


def remove(
    api: Api, leftover: Sequence[Leftover], on_event: OnEvent = silent, timeout: float = TIMEOUT
) -> tuple[Leftover, ...]:
    """Remove those that are left over still; those that were removed. At the most ``timeout`` seconds.

    Silent about those that are gone already. Raises one error for all that could not be removed.
    """
    wanted = {(one.kind, one.id) for one in leftover}
    now_left = [one for one in leftovers(api) if (one.kind, one.id) in wanted]
    deadline = time.monotonic() + timeout
    failures: list[ClusterError] = []
    removed: list[Leftover] = []
    for kind in LeftoverKind:
        batch = [one for one in now_left if one.kind is kind]
        if not batch:
            continue
        outcomes = each(_groups(kind, batch), lambda some: _remove(api, some, deadline), limit=8)
        for outcome in outcomes:
            if outcome.error is None:
                removed += outcome.item
            elif isinstance(outcome.error, ClusterError):
                failures.append(outcome.error)
            else:
                raise outcome.error
        gone = sum(len(outcome.item) for outcome in outcomes if outcome.error is None)
        on_event(Event(f"removed {gone} of {len(batch)}: {kind}"))
    raise_together(failures)
    return tuple(removed)


def snapshots_of(image: Described) -> Iterator[str]:
    """The ids of the snapshots that a described image consists of."""
    for mapping in image.get("BlockDeviceMappings") or ():
        snapshot = (mapping.get("Ebs") or {}).get("SnapshotId")
        if snapshot:
            yield str(snapshot)


def epoch(when: Any) -> float:
    """A time in an answer, which is a datetime or text in the form of ISO 8601, as seconds since the epoch; or 0."""
    try:
        return (when if isinstance(when, datetime) else datetime.fromisoformat(str(when))).timestamp()
    except ValueError:
        return 0.0


def _identity(one: Instance) -> tuple[str, str]:
    return one.cluster.name, one.cluster.id


def _machine(one: Instance) -> Leftover:
    its = one.cluster
    why = f"{one.state} without a controller"
    return Leftover(LeftoverKind.MACHINE, one.id, one.name, its.name, its.owner, one.launched, why)


def _thing(kind: LeftoverKind, thing: Described, why: str) -> Leftover | None:
    """A described thing as something left over; None for one that is not ours."""
    cluster = tags.cluster_of(tags.read(thing))
    if cluster is None:
        return None
    born = epoch(thing.get(BORN.get(kind, ""))) or cluster.created
    name = str(thing.get(NAMES.get(kind, ""), ""))
    return Leftover(kind, str(thing[IDS[kind]]), name, cluster.name, cluster.owner, born, why)


def _why_image(image: Described, used: set[str], now: float) -> str:
    """Why nobody needs an image; "" when somebody may."""
    age = now - epoch(image.get("CreationDate"))
    state = str(image.get("State", ""))
    if state == "pending":
        return "it was never finished" if age >= GRACE else ""
    if state in ("failed", "error", "invalid"):
        return f"it is {state}"
    if image["ImageId"] in used or age < SHELF_LIFE:
        return ""
    return f"no machine was made from it that exists, and it is {age / 86400:.0f} days old"


def _groups(kind: LeftoverKind, batch: Sequence[Leftover]) -> list[list[Leftover]]:
    """What one call can remove: the machines of a cluster together, everything else by itself."""
    if kind is not LeftoverKind.MACHINE:
        return [[one] for one in batch]
    clusters: dict[str, list[Leftover]] = defaultdict(list)
    for one in batch:
        clusters[one.cluster].append(one)
    return list(clusters.values())


def _remove(api: Api, some: Sequence[Leftover], deadline: float) -> None:
    kind, id_ = some[0].kind, some[0].id
    if kind is LeftoverKind.MACHINE:
        power.terminate(api, some[0].cluster, [one.id for one in some], max(1.0, deadline - time.monotonic()))
        return
    ec2 = api.ec2
    removals: dict[LeftoverKind, tuple[Callable[[], Any], tuple[str, ...]]] = {
        LeftoverKind.VOLUME: (lambda: ec2.delete_volume(VolumeId=id_), ("InvalidVolume.NotFound",)),
        LeftoverKind.NETWORK: (lambda: ec2.delete_security_group(GroupId=id_), ("InvalidGroup.NotFound",)),
        LeftoverKind.KEY: (lambda: ec2.delete_key_pair(KeyName=some[0].name), ("InvalidKeyPair.NotFound",)),
        LeftoverKind.IMAGE: (
            lambda: ec2.deregister_image(ImageId=id_),
            ("InvalidAMIID.NotFound", "InvalidAMIID.Unavailable"),
        ),
        LeftoverKind.SNAPSHOT: (lambda: ec2.delete_snapshot(SnapshotId=id_), ("InvalidSnapshot.NotFound",)),
    }
    act, gone = removals[kind]
    with told(f"removing the {kind} {some[0].name or id_}"), passing_over(*gone):
        once_unused(act, deadline)


def once_unused(act: Callable[[], Any], deadline: float) -> None:
    """Do it again while something still uses what it removes, until ``deadline`` (time.monotonic)."""
    while True:
        try:
            act()
            return
        except Exception as error:
            if code_of(error) not in IN_USE or time.monotonic() + PAUSE > deadline:
                raise
        time.sleep(PAUSE)
