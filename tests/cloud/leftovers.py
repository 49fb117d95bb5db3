"""Everything that users of the cloud have left in the account, as the cloud itself knows it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from moto.core.models import DEFAULT_ACCOUNT_ID

if TYPE_CHECKING:
    from .server import Cloud


def leftovers(cloud: Cloud) -> list[str]:
    """A line each for what costs money or is in the way; the account's own network and images do not count."""
    return list(_found(cloud))


def _found(cloud: Cloud) -> Iterator[str]:
    backend = cloud.backend
    for instance in backend.all_instances():
        if instance.state != "terminated":
            yield f"instance {instance.id} ({instance.state})"
    for groups in backend.groups.values():
        yield from (f"group {group.id} {group.name}" for group in groups.values() if group.name != "default")
    yield from (f"key pair {name}" for name in backend.key_pairs)
    yield from (f"volume {name}" for name in backend.volumes)
    yield from (f"interface {name}" for name in backend.enis)
    yield from (f"address {address.public_ip}" for address in backend.addresses)
    for image in backend.amis.values():
        if image.owner_id == DEFAULT_ACCOUNT_ID:
            yield f"image {image.id} {image.name}"
    yield from (f"snapshot {name}" for name in backend.snapshots)
    yield from (f"placement group {name}" for name in cloud.answers.placement_groups)
    yield from (f"launch template {name}" for name in backend.launch_templates)
