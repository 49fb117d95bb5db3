"""What an account with a provider offers beside machines: keys, images, places, sizes, prices, and what was left over.

Each ability is a small protocol that a provider has or has not; what they pass is frozen. Knows no provider, and
nothing of services, engines or the hub.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from .machines import OnEvent


@dataclass(frozen=True)
class KeyPair:
    """A public SSH key that the account keeps under a name; the private half is never there.

    ``kind`` is its algorithm (``ed25519``, ``rsa``); ``fingerprint`` the provider's, in the provider's own form;
    ``created`` seconds since the epoch, 0 when unknown; ``cluster`` the cluster of ours it was made for, "" for none.
    """

    name: str
    id: str
    kind: str = ""
    fingerprint: str = ""
    created: float = 0.0
    cluster: str = ""


@runtime_checkable
class KeyKeeping(Protocol):
    """A provider whose account keeps public keys; private keys are made on the user's computer and stay there."""

    def key_pairs(self) -> tuple[KeyPair, ...]:
        """All keys of the account, in the order of their names."""

    def import_key(self, name: str, public_key: str) -> KeyPair:
        """Keep this public key (one line of OpenSSH) under that name; the same key under it already is no error.

        Raises UsageError for what is no public key of a kind that the provider takes, ProviderRefused when another key
        has the name.
        """

    def remove_key(self, name: str) -> None:
        """Forget the key of that name; raises ProviderRefused when there is none, or machines were made with it."""


@dataclass(frozen=True)
class ImageInfo:
    """An image that machines can be made from.

    ``state`` is the provider's word (``available``, ``pending``). Of those that were baked here, ``software`` is the id
    of the software in it, ``python`` its minor version, ``base`` the image it was made from and ``owner`` who made it;
    all "" for others. ``created`` is seconds since the epoch, ``size_gb`` what its disk needs at least.
    """

    id: str
    name: str
    state: str = ""
    architecture: str = ""
    python: str = ""
    software: str = ""
    base: str = ""
    owner: str = ""
    created: float = 0.0
    size_gb: int = 0


@runtime_checkable
class ImageKeeping(Protocol):
    """A provider that can make images with the software of the cluster in them, and keeps them."""

    def images(self) -> tuple[ImageInfo, ...]:
        """The images that were baked by us in this account, the newest first."""

    def bake(self, on_event: OnEvent) -> ImageInfo:
        """Make an image from the settings' base image, as new machines would become from it; takes minutes.

        One that holds the same software already is returned as it is. Raises ClusterError; what was made by then is
        gone, or found by ``leftovers``.
        """

    def remove_image(self, image: str) -> None:
        """Remove an image of ours, by id or name, with the storage it takes; silent about one that is gone already.

        Raises UsageError for an image that is none of ours.
        """


@dataclass(frozen=True)
class Region:
    """A place with an endpoint of its own; ``usable`` says that this account may make machines there.

    ``current`` marks the one that the settings mean.
    """

    name: str
    usable: bool = True
    current: bool = False
    detail: str = ""


@dataclass(frozen=True)
class Zone:
    """A part of the region that fails on its own; ``id`` is its name for all accounts."""

    name: str
    id: str = ""
    state: str = ""
    detail: str = ""


@dataclass(frozen=True)
class MachineType:
    """A size of machines; ``cpus`` counts those that its system sees, ``memory_mb`` is in MiB.

    ``zones`` are those of the region that offer it, empty when nobody asked; ``hourly`` is the price of one that stays,
    in US dollars an hour, None when nobody asked or says; ``detail`` is what else matters.
    """

    name: str
    cpus: int
    memory_mb: int
    architectures: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    hourly: float | None = None
    detail: str = ""


@runtime_checkable
class Placing(Protocol):
    """A provider with several places to make machines in."""

    def regions(self) -> tuple[Region, ...]:
        """All places, also those that this account cannot use."""

    def zones(self) -> tuple[Zone, ...]:
        """The parts of the current region; empty where there are none."""


@runtime_checkable
class Sizing(Protocol):
    """A provider with machines of several sizes."""

    def machine_types(self, wanted: Sequence[str] = ()) -> tuple[MachineType, ...]:
        """The sizes offered in the current region, the smallest first; only those ``wanted`` (names, ``c7i.*``)."""


@dataclass(frozen=True)
class Range:
    """What something cost over some time, in US dollars an hour; ``now`` is the last that is known."""

    least: float
    mean: float
    most: float
    now: float


@dataclass(frozen=True)
class Price:
    """What a machine of a type costs an hour, in US dollars.

    ``fixed`` is the price of one that stays, None when it cannot be read; ``interruptible`` what one cost that the
    provider may take away, in that ``zone``; None where there is none. ``zone`` is "" for the whole region.
    """

    type: str
    zone: str = ""
    fixed: float | None = None
    interruptible: Range | None = None


@runtime_checkable
class Pricing(Protocol):
    """A provider that says what its sizes cost."""

    def prices(self, types: Sequence[str], days: int) -> tuple[Price, ...]:
        """What machines of these types cost (those of the settings for none), with the last so many days' history.

        What cannot be read is missing; raises ProviderRefused when nothing of it can be.
        """


class LeftoverKind(StrEnum):
    """What can be left of a cluster in an account, in the order in which it can be removed."""

    MACHINE = "machine"
    VOLUME = "volume"
    NETWORK = "network"  # a group of rules, or whatever else machines were connected by
    KEY = "key"
    IMAGE = "image"
    SNAPSHOT = "snapshot"


@dataclass(frozen=True)
class Leftover:
    """A thing of ours in the account that no live cluster covers.

    ``cluster``, ``owner`` and ``created`` (seconds since the epoch, 0 when unknown) are as its tags say; ``why`` says
    why nobody needs it.
    """

    kind: LeftoverKind
    id: str
    name: str = ""
    cluster: str = ""
    owner: str = ""
    created: float = 0.0
    why: str = ""


@runtime_checkable
class Sweeping(Protocol):
    """A provider that finds, and removes, what clusters of ours left behind."""

    def leftovers(self) -> tuple[Leftover, ...]:
        """Everything of ours that no live cluster covers, in the order of removal; changes nothing."""

    def remove_leftovers(self, leftovers: Sequence[Leftover], on_event: OnEvent) -> None:
        """Remove these; silent about those gone already, and about one that a live cluster covers by now.

        Raises one error for all that could not be removed; the others are gone by then.
        """
