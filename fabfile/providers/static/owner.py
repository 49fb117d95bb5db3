"""Whose a host is: the content of /etc/ipyfleet/owner.json, which every host of a cluster that was not made carries.

Pure: what is written there and read from there is a value; who may change it is the provider's matter.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from ...machines import Cluster

SCHEMA = 1
NAME = re.compile("controller|engine-[0-9]{1,9}")
LATEST = 1e11  # s since the epoch, some 3000 years: later times have no date
SOMEBODY = Cluster(name="", id="", owner="somebody unknown", created=0.0)


@dataclass(frozen=True)
class Owner:
    """The cluster that has a host; ``names`` are the machines that the host is, each with when it became that.

    ``places`` has every machine of the cluster by name, with its host as the settings named it, as far as was known
    when this was written: who cannot ask a host learns from the others that it is one of them.
    """

    cluster: Cluster
    names: Mapping[str, float] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)

    @property
    def told(self) -> Collection[str]:
        """Every host of the cluster that is known from here."""
        return self.places.values()


def owner_json(owner: Owner) -> bytes:
    """The file's content; claim.sh finds the id in it."""
    cluster = owner.cluster
    document = {
        "schema": SCHEMA,
        "name": cluster.name,
        "id": cluster.id,
        "owner": cluster.owner,
        "created": cluster.created,
        "machines": dict(owner.names),
        "places": dict(owner.places),
    }
    return json.dumps(document).encode() + b"\n"


def parse_owner(text: str) -> Owner | None:
    """The owner that a file tells, None for an empty one; a file that nobody understands is somebody's all the same."""
    if not text.strip():
        return None
    try:
        document: dict[str, Any] = json.loads(text)
        cluster = Cluster(
            str(document["name"]), str(document["id"]), str(document["owner"]), float(document["created"])
        )
        names = {str(name): float(since) for name, since in document["machines"].items()}
        places = {str(name): str(place) for name, place in document["places"].items()}
        if not all(NAME.fullmatch(name) for name in (*names, *places)):
            raise ValueError(names)
        # What is said of a host is shown on a terminal, and whoever is root there can write what he likes.
        if not all(text.isprintable() for text in (cluster.name, cluster.id, cluster.owner, *places.values())):
            raise ValueError(cluster)
        if not all(0 <= when < LATEST for when in (cluster.created, *names.values())):
            raise ValueError(cluster.created)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        return Owner(SOMEBODY)
    return Owner(cluster, names, places)


def whose(owner: Owner | None) -> str:
    """What to say of a host that is somebody's, after its name."""
    if owner is None:
        return "belongs to nobody"
    cluster = owner.cluster
    if cluster is SOMEBODY:
        return "has an /etc/ipyfleet/owner.json that cannot be understood"
    made = time.strftime("%Y-%m-%d %H:%M", time.localtime(cluster.created))
    return f"belongs to the cluster {cluster.name!r} that {cluster.owner} made on {made}"
