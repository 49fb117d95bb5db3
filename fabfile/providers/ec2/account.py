"""What the account offers beside machines, in the words of accounts.py: keys, images, places, types, prices, sweep.

Each ability is one call of the module that knows how; this one only says which.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from ...accounts import ImageInfo, KeyPair, Leftover, MachineType, Price, Region, Zone
from ...errors import ClusterError, ProviderRefused, UsageError
from ...host_keys import plain
from ...machines import OnEvent
from ...settings import Settings
from . import baking, instance_types, key_pairs, places, prices, sweep, tags
from .api import Api, code_of, told


class AccountAbilities:
    """The abilities of a provider with these settings in this account; a base of the provider's class."""

    settings: Settings
    api: Api
    named_gateway: Any  # the host to go through to machines, None when they are reached directly

    def key_pairs(self) -> tuple[KeyPair, ...]:
        """All keys of the account in the region, by name."""
        found = []
        for one in key_pairs.describe(self.api):
            cluster = tags.cluster_of(tags.read(one))
            found.append(
                KeyPair(
                    name=str(one["KeyName"]),
                    id=str(one["KeyPairId"]),
                    kind=str(one.get("KeyType", "")),
                    fingerprint=str(one.get("KeyFingerprint", "")),
                    created=sweep.epoch(one.get("CreateTime", "")),
                    cluster=cluster.name if cluster else "",
                )
            )
        return tuple(found)

    def import_key(self, name: str, public_key: str) -> KeyPair:
        """Keep a public key under that name, with the user's own tags; Ed25519 and RSA."""
        if public_key.split()[:1] == [] or public_key.split()[0] not in key_pairs.IMPORTABLE:
            raise UsageError("this is no public key that EC2 takes", hint="it takes Ed25519 and RSA keys")
        try:
            material = plain(public_key).encode()
        except ClusterError as error:
            raise UsageError(error.message, hint=error.hint) from error
        with told(f"importing the key {name}"):
            try:
                self.api.ec2.import_key_pair(
                    KeyName=name,
                    PublicKeyMaterial=material,
                    TagSpecifications=tags.specification(dict(self.settings.tags), "key-pair"),
                )
            except Exception as error:
                if code_of(error) != "InvalidKeyPair.Duplicate":
                    raise
                (there,) = self.api.ec2.describe_key_pairs(KeyNames=[name])["KeyPairs"]
                if not key_pairs.same(there, public_key):
                    raise ProviderRefused(
                        f"the account has another key of the name {name} already",
                        hint=f"choose another name, or remove that one: `invoke keys.remove --name {name}`",
                    ) from error
        return next(one for one in self.key_pairs() if one.name == name)

    def remove_key(self, name: str) -> None:
        """Forget a key."""
        key_pairs.remove(self.api, name)

    def images(self) -> tuple[ImageInfo, ...]:
        """The images that were baked by us, the newest first."""
        return baking.list_images(self.api)

    def bake(self, on_event: OnEvent) -> ImageInfo:
        """Make an image with the software of the settings."""
        return baking.bake(self.api, self.settings, on_event, self.named_gateway)

    def remove_image(self, image: str) -> None:
        """Remove an image of ours and its snapshots."""
        baking.remove_image(self.api, image)

    def regions(self) -> tuple[Region, ...]:
        """All regions of AWS."""
        return places.regions(self.api)

    def zones(self) -> tuple[Zone, ...]:
        """The availability zones of the region."""
        return places.zones(self.api)

    def machine_types(self, wanted: Sequence[str] = ()) -> tuple[MachineType, ...]:
        """The types of the region, the smallest first; those ``wanted`` with the zones that have them."""
        every = instance_types.every(self.api)
        names = [name for name in every if not wanted or any(fnmatchcase(name, pattern) for pattern in wanted)]
        zones: dict[str, list[str]] = defaultdict(list)
        if wanted:
            with told("looking which zones have which types"):
                offers = self.api.paged(
                    "describe_instance_type_offerings", "InstanceTypeOfferings", LocationType="availability-zone"
                )
            for one in offers:
                zones[one["InstanceType"]].append(str(one["Location"]))
        found = (
            MachineType(one.name, one.cpus, one.memory_mb, one.architectures, tuple(sorted(zones.get(one.name, ()))))
            for one in (every[name] for name in names)
        )
        return tuple(sorted(found, key=lambda one: (one.cpus, one.memory_mb, one.name)))

    def prices(self, types: Sequence[str], days: int) -> tuple[Price, ...]:
        """What these types cost, or those of the settings."""
        mine = (*self.settings.controller_type, *self.settings.machine_type)
        return prices.history(self.api, tuple(dict.fromkeys(types or mine)), days)

    def leftovers(self) -> tuple[Leftover, ...]:
        """Everything of ours in the region that no live cluster covers."""
        return sweep.leftovers(self.api)

    def remove_leftovers(self, leftovers: Sequence[Leftover], on_event: OnEvent) -> None:
        """Remove those of them that are left over still."""
        sweep.remove(self.api, leftovers, on_event)
