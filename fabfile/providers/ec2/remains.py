"""What may be left of a cluster beside its machines: groups, keys and volumes, found by their tags."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...machines import Cluster
from . import tags
from .api import Api, passing_over, told


def cluster_of_remains(api: Api, name: str) -> Cluster | None:
    """The cluster of that name as a group or key of it says; None when neither is left."""
    with told(f"looking for what is left of {name}"):
        clusters = (tags.cluster_of(tags.read(one)) for one in _remains(api, name))
        return next((cluster for cluster in clusters if cluster), None)


def remove_volumes(api: Api, name: str) -> None:
    """Delete the cluster's volumes that no machine has; those of its machines went with them."""
    filters = [*tags.filters(name), {"Name": "status", "Values": ["available"]}]
    with told(f"removing volumes of {name}"):
        for volume in api.paged("describe_volumes", "Volumes", Filters=filters):
            with passing_over("InvalidVolume.NotFound"):
                api.ec2.delete_volume(VolumeId=volume["VolumeId"])


def _remains(api: Api, name: str) -> Iterator[Mapping[str, Any]]:
    filters = tags.filters(name)
    yield from api.paged("describe_security_groups", "SecurityGroups", Filters=filters)
    yield from api.ec2.describe_key_pairs(Filters=filters)["KeyPairs"]
