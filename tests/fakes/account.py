"""A provider with everything that an account can have, in memory."""

from __future__ import annotations

from collections.abc import Sequence

from fabfile.accounts import (
    ImageInfo,
    KeyPair,
    Leftover,
    LeftoverKind,
    MachineType,
    Price,
    Range,
    Region,
    Zone,
)
from fabfile.errors import ProviderRefused
from fabfile.machines import Event, Machine, MachineSpec, OnEvent, Rate
from tests.fakes.provider import MemoryProvider, World


class AccountProvider(MemoryProvider):
    """Machines in memory, and an account around them."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.keys: dict[str, str] = {}
        self.baked: list[ImageInfo] = []
        self.left = [Leftover(LeftoverKind.VOLUME, "vol-1", cluster="old", owner="ada@desk", why="no machine uses it")]
        self.stubborn: set[str] = set()
        self.refusal: ProviderRefused | None = None
        self.deadlines: list[float | None] = []

    def key_pairs(self) -> tuple[KeyPair, ...]:
        return tuple(KeyPair(name, f"id-{name}", "ed25519", line.split()[1][-8:]) for name, line in self.keys.items())

    def import_key(self, name: str, public_key: str) -> KeyPair:
        self.keys[name] = public_key
        return self.key_pairs()[-1]

    def remove_key(self, name: str) -> None:
        if name not in self.keys:
            raise ProviderRefused(f"there is no key pair {name!r}", hint="`invoke keys.list`")
        del self.keys[name]

    def images(self) -> tuple[ImageInfo, ...]:
        return tuple(self.baked)

    def bake(self, on_event: OnEvent) -> ImageInfo:
        on_event(Event("baking"))
        self.baked.append(ImageInfo("image-1", "ours", "available", "x86_64", "3.11", "s0ftware"))
        return self.baked[-1]

    def remove_image(self, image: str) -> None:
        self.baked = [one for one in self.baked if one.id != image]

    def regions(self) -> tuple[Region, ...]:
        return (Region("here-1", current=True), Region("there-1", usable=False))

    def zones(self) -> tuple[Zone, ...]:
        return (Zone("here-1a", "h1", "available"),)

    def machine_types(self, wanted: Sequence[str] = ()) -> tuple[MachineType, ...]:
        every = MachineType("small", 1, 1024, ("arm64",)), MachineType("big", 8, 32768, ("x86_64",), ("here-1a",))
        return tuple(one for one in every if not wanted or one.name in wanted)

    def prices(self, types: Sequence[str], days: int) -> tuple[Price, ...]:
        return tuple(Price(name, "here-1a", 0.1, Range(0.01, 0.02, 0.03, 0.025)) for name in types or ("big",))

    def leftovers(self) -> tuple[Leftover, ...]:
        return tuple(self.left)

    def remove_leftovers(self, leftovers: Sequence[Leftover], on_event: OnEvent) -> None:
        """Those that are stubborn stay, with an error when there is one to raise."""
        gone = [one for one in leftovers if one.id not in self.stubborn]
        self.left = [one for one in self.left if one not in gone]
        on_event(Event(f"removed {len(gone)} of {len(leftovers)}"))
        if self.refusal:
            raise self.refusal

    def rate(self, machines: Sequence[Machine]) -> Rate | None:
        return Rate(0.1 * len(machines))

    def spent(self, machines: Sequence[Machine], now: float) -> float | None:
        return 0.5 * len(machines)

    def estimate(self, specs: Sequence[MachineSpec]) -> Rate | None:
        return Rate(0.1 * len(specs))

    def note_deadline(self, machines: Sequence[Machine], deadline: float | None) -> None:
        self.deadlines.append(deadline)
