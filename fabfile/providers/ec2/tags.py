"""Tags: what everything of ours in an account says of itself, written in the call that makes it. Pure.

The account's owner, and whoever may tag there, can change them: what is read back is checked before it is believed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import ClusterError
from ...host_keys import plain
from ...machines import Cluster, Role

SCHEMA = "1"
PREFIX = "ipyfleet:"
CLUSTER = f"{PREFIX}cluster"
ID = f"{PREFIX}id"
OWNER = f"{PREFIX}owner"
CREATED = f"{PREFIX}created"
ROLE = f"{PREFIX}role"
FIRST = f"{PREFIX}first"  # the first index of a call of RunInstances, which gives all its machines the same tags
LAST = f"{PREFIX}last"  # the last index that the call asked for, of which it may have got fewer
GENERATION = f"{PREFIX}generation"  # how often machines of these names were launched before
SCHEMA_TAG = f"{PREFIX}schema"
BOOT_KEY = f"{PREFIX}boot-key"  # the public half of the host key that all machines of a call boot with
HOST_KEYS = f"{PREFIX}host-keys"
DEADLINE = f"{PREFIX}deadline"
LEASE = f"{PREFIX}lease"  # how long after each boot it ends by itself (s), until DEADLINE says otherwise
USER = f"{PREFIX}login-user"  # of the image, so that no later question needs to look at it
DISMISSED = f"{PREFIX}dismissed"  # an interrupted machine that nobody needs to hear of any more

LONGEST_VALUE = 256
LATEST = 1e11  # s since the epoch, some 3000 years: later times have no date
Pairs = list[dict[str, str]]


@dataclass(frozen=True)
class MachineTags:
    """What the tags of an instance say; ``first`` is -1 when they do not say which machine it is.

    ``first`` and ``last`` are the indexes that its call was for.
    Host keys are ``type base64`` each; ``deadline`` is None, and ``lease`` as well, for what they do not say. ``lease``
    is in seconds from the boot; a deadline that was taken away takes it away too.
    """

    role: Role = "engine"
    first: int = -1
    last: int = -1
    generation: int = 0
    user: str = ""
    boot_key: str = ""
    host_keys: tuple[str, ...] = ()
    deadline: float | None = None
    lease: float | None = None
    dismissed: bool = False


def of_cluster(cluster: Cluster, users: Sequence[tuple[str, str]] = ()) -> dict[str, str]:
    """The tags of everything that belongs to a cluster; ``users`` are those of the setting ``tags``."""
    return {
        **dict(users),
        CLUSTER: cluster.name,
        ID: cluster.id,
        OWNER: cluster.owner[:LONGEST_VALUE],
        CREATED: repr(cluster.created),
        SCHEMA_TAG: SCHEMA,
    }


def of_launch(
    cluster: Cluster,
    users: Sequence[tuple[str, str]],
    role: Role,
    indexes: Sequence[int],
    generation: int,
    user: str,
    boot_key: str,
    lease: float = 0.0,
) -> dict[str, str]:
    """The tags of all machines of one call of RunInstances, which makes them for consecutive indexes."""
    number = f"-{indexes[0]}" if role == "engine" and len(indexes) == 1 else ""
    return {
        **of_cluster(cluster, users),
        "Name": f"{cluster.name} {role}{number}",  # for people who look into Amazon's console
        ROLE: role,
        FIRST: str(indexes[0]),
        LAST: str(indexes[-1]),
        GENERATION: str(generation),
        USER: user,
        BOOT_KEY: " ".join(boot_key.split()[:2]),
        **({LEASE: f"{lease:g}"} if lease else {}),
    }


def host_keys(keys: Iterable[str]) -> dict[str, str]:
    """The tag that holds the public host keys that a machine may show; ValueError when they do not fit into one."""
    packed = " ".join(" ".join(key.split()[:2]) for key in keys)
    if len(packed) > LONGEST_VALUE:
        raise ValueError(f"host keys of {len(packed)} characters do not fit into a tag of {LONGEST_VALUE}")
    return {HOST_KEYS: packed}


def deadline(when: float | None) -> dict[str, str]:
    """The tag that holds the end of a lease (s since the epoch)."""
    return {DEADLINE: "" if when is None else str(round(when))}


def pairs(tags: Mapping[str, str]) -> Pairs:
    """Tags in the form that EC2's calls take them in."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def specification(tags: Mapping[str, str], *resource_types: str) -> list[dict[str, Any]]:
    """``TagSpecifications`` for calls that tag what they make: ``specification(tags, "instance", "volume")``.

    Nothing without tags: EC2 refuses an empty specification.
    """
    return [{"ResourceType": kind, "Tags": pairs(tags)} for kind in resource_types if tags]


def filters(cluster: str = "") -> list[dict[str, Any]]:
    """``Filters`` for what belongs to the cluster of that name; for "" to any cluster of ours."""
    if not cluster:
        return [{"Name": "tag-key", "Values": [CLUSTER]}]
    return [{"Name": f"tag:{CLUSTER}", "Values": [cluster]}]


def read(resource: Mapping[str, Any]) -> dict[str, str]:
    """The tags of a described resource."""
    return {str(tag["Key"]): str(tag.get("Value", "")) for tag in resource.get("Tags") or ()}


def cluster_of(tags: Mapping[str, str]) -> Cluster | None:
    """The cluster that a resource belongs to; None for one that is not ours.

    A cluster of which only the name can be read is somebody unknown's, and none that anybody has in a record.
    """
    name = _text(tags.get(CLUSTER, ""))
    if not name:
        return None
    created = _number(tags.get(CREATED, ""))
    owner = _text(tags.get(OWNER, "")) or "somebody unknown"
    return Cluster(name, _text(tags.get(ID, "")), owner, created or 0.0)


def machine_tags(tags: Mapping[str, str]) -> MachineTags:
    """What the tags of an instance of ours say, as far as it can be understood."""
    boot_key = _keys(tags.get(BOOT_KEY, ""))
    return MachineTags(
        role="controller" if tags.get(ROLE) == "controller" else "engine",
        first=_whole(tags.get(FIRST, "")) if tags.get(ROLE) in ("controller", "engine") else -1,
        last=_whole(tags.get(LAST, "")),
        generation=max(0, _whole(tags.get(GENERATION, ""))),
        user=tags.get(USER, "") if re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", tags.get(USER, "")) else "",
        boot_key=boot_key[0] if boot_key else "",
        host_keys=_keys(tags.get(HOST_KEYS, "")),
        deadline=_number(tags.get(DEADLINE, "")),
        lease=None if tags.get(DEADLINE) == "" else _number(tags.get(LEASE, "")),
        dismissed=bool(tags.get(DISMISSED)),
    )


def _keys(packed: str) -> tuple[str, ...]:
    words = packed.split()
    try:
        return tuple(plain(" ".join(pair)) for pair in zip(words[::2], words[1::2], strict=True))
    except (ClusterError, ValueError):
        return ()


def _text(value: str) -> str:
    return value if value.isprintable() else ""


def _whole(value: str) -> int:
    return int(value) if re.fullmatch(r"[0-9]{1,9}", value, re.ASCII) else -1


def _number(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) and 0 <= number < LATEST else None
