"""Launching: one call of RunInstances for all machines of a role, where there is room for them.

First one place is looked for that takes them all, then each place is asked for what it has. A call that is repeated,
because its answer was lost or this program died, makes no second machine: its token is the same. Only what RunInstances
is told and what it answers is decided here; groups, keys and images are there already.
"""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...errors import ProviderRefused
from ...machines import Cluster, Event, OnEvent, Role
from ...settings import Settings
from . import tags
from .api import NO_ROOM, QUOTA, THROTTLED, UNANSWERED, Api, code_of, told
from .images import Image
from .instances import GONE, Instance, described, look_until, named, parse
from .network import Subnet

TRIES = 8
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 8.0  # s between two tries of the same call
SPOT_PAUSE = 10.0  # s between two rounds through all places
UNSEEN = 10.0  # s that machines may be missing from the answers after their launch
REPLAYED = 600.0  # s of age that no machine has which was just launched, whatever this computer's clock says
GENERATIONS = 50
MOST = 1000  # machines a call, of which EC2 takes no more within some minutes
NOT_YET = ("InvalidGroup.NotFound", "InvalidKeyPair.NotFound")  # of what was made a second ago
PASSING = "InsufficientInstanceCapacity"  # what may be otherwise in a minute, unlike a price or a quota


@dataclass(frozen=True)
class Launch:
    """What all calls for one role have in common, decided before anything is made.

    ``types`` are tried in their order, and for each of them the ``subnets`` in theirs. ``user_data`` goes as it is;
    ``boot_key`` is the public half of the host key in it.
    """

    cluster: Cluster
    role: Role
    indexes: tuple[int, ...]
    image: Image
    types: tuple[str, ...]
    subnets: tuple[Subnet, ...]
    group_id: str
    key_name: str
    user_data: bytes
    boot_key: str
    spot: bool = False


@dataclass(frozen=True)
class Place:
    """Where machines can be asked for, and on which market."""

    kind: str
    subnet: Subnet
    spot: bool = False

    def __str__(self) -> str:
        return f"{self.kind}{' on spot' if self.spot else ''} in {self.subnet.zone}"


@dataclass(frozen=True)
class Launched:
    """What came of a launch: the machines, the indexes that nobody had room for, and each place's last refusal."""

    role: Role
    made: tuple[Instance, ...] = ()
    missing: tuple[int, ...] = ()
    refusals: Mapping[Place, str] = field(default_factory=dict)  # AWS's codes


def launch(
    api: Api,
    settings: Settings,
    wanted: Launch,
    before: Sequence[Instance],
    on_event: OnEvent,
    given_up: threading.Event | None = None,
) -> Launched:
    """Make the machines of a role; fewer than wanted where the cloud has no room, which is no error here.

    ``before`` are the cluster's instances as they were, those that are gone included. Once ``given_up`` is set nothing
    more is asked for. Raises ProviderRefused for anything but a lack of room; what was made until then has its tags.
    """
    launching = _Launching(api, settings, wanted, before, on_event, given_up or threading.Event())
    with told(f"launching {_counted(wanted.role, len(wanted.indexes))}"):
        left = launching.on_spot(wanted.indexes) if wanted.spot else wanted.indexes
        if left and (settings.spot_fallback or not wanted.spot):
            left = launching.on_demand(left)
    return Launched(wanted.role, tuple(launching.made), left, launching.refusals)


def ranges(indexes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Consecutive indexes together: one call can make these, since its machines count up from its first index."""
    block: list[int] = []
    for index in sorted(indexes):
        if block and (index != block[-1] + 1 or len(block) == MOST):
            yield tuple(block)
            block = []
        block.append(index)
    if block:
        yield tuple(block)


def token(wanted: Launch, indexes: Sequence[int], place: Place, least: int, generation: int) -> str:
    """The ClientToken of a call: the same for the same machines in the same place, another one for any others."""
    what = (wanted.cluster.id, wanted.role, indexes[0], indexes[-1], generation)
    where = (place.kind, place.subnet.id, "spot" if place.spot else "on-demand", least)
    return "ipyfleet-" + hashlib.sha256(repr((*what, *where)).encode()).hexdigest()[:48]


def request(
    settings: Settings, wanted: Launch, indexes: Sequence[int], place: Place, least: int, generation: int
) -> dict[str, Any]:
    """What RunInstances is told, to make at least ``least`` of the machines with these consecutive indexes there."""
    its_tags = tags.of_launch(
        wanted.cluster,
        settings.tags,
        wanted.role,
        indexes,
        generation,
        settings.login_user or wanted.image.login_user,
        wanted.boot_key,
        settings.lease,
    )
    tagged = ("instance", "volume", "network-interface", *(("spot-instances-request",) if place.spot else ()))
    asked: dict[str, Any] = {
        "ClientToken": token(wanted, indexes, place, least, generation),
        "MinCount": least,
        "MaxCount": len(indexes),
        "ImageId": wanted.image.id,
        "InstanceType": place.kind,
        "UserData": wanted.user_data,
        "NetworkInterfaces": [
            {
                "DeviceIndex": 0,
                "SubnetId": place.subnet.id,
                "Groups": [wanted.group_id],
                "AssociatePublicIpAddress": settings.public_address,
                "DeleteOnTermination": True,
            }
        ],
        "BlockDeviceMappings": [{"DeviceName": wanted.image.root_device, "Ebs": _volume(settings, wanted.image)}],
        "MetadataOptions": {"HttpEndpoint": "enabled", "HttpTokens": "required", "HttpPutResponseHopLimit": 1},
        "InstanceInitiatedShutdownBehavior": "terminate",  # the lease's power-off needs no credentials there
        "TagSpecifications": tags.specification(its_tags, *tagged),
    }
    if wanted.key_name:
        asked["KeyName"] = wanted.key_name
    if settings.instance_profile:
        asked["IamInstanceProfile"] = {"Name": settings.instance_profile}
    if settings.placement_group and wanted.role == "engine":
        asked["Placement"] = {"GroupName": settings.placement_group}
    if place.spot:
        options = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
        if settings.spot_price:
            options["MaxPrice"] = f"{settings.spot_price:.6f}".rstrip("0").rstrip(".")
        asked["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": options}
    return asked


def _volume(settings: Settings, image: Image) -> dict[str, Any]:
    size = settings.volume_size or image.size_gb
    volume: dict[str, Any] = {"VolumeType": settings.volume_type, "DeleteOnTermination": True}
    if size:
        volume["VolumeSize"] = size
    if settings.volume_encrypted:  # false would be refused for an image that is encrypted itself
        volume["Encrypted"] = True
    if settings.volume_type in ("io1", "io2"):
        volume["Iops"] = max(100, min(3000, 50 * size))  # as fast as gp3, as far as io1 allows it for the size
    return volume


class _Launching:
    """A launch under way: what was made, and which place refused what."""

    def __init__(
        self,
        api: Api,
        settings: Settings,
        wanted: Launch,
        before: Sequence[Instance],
        on_event: OnEvent,
        given_up: threading.Event,
    ) -> None:
        self._api = api
        self._given_up = given_up
        self._settings = settings
        self._wanted = wanted
        self._before = [one for one in before if one.cluster.id == wanted.cluster.id and one.tags.role == wanted.role]
        self._on_event = on_event
        self._unseen_until = time.monotonic() + UNSEEN  # what was launched before this is shown by then
        self.made: list[Instance] = []
        self.refusals: dict[Place, str] = {}

    def on_demand(self, indexes: tuple[int, ...]) -> tuple[int, ...]:
        """One round through all places; the indexes that are left."""
        return self._round(indexes, spot=False)

    def on_spot(self, indexes: tuple[int, ...]) -> tuple[int, ...]:
        """Rounds through all places until ``spot_deadline``; the indexes that are left."""
        until = time.monotonic() + self._settings.spot_deadline
        while left := self._round(indexes, spot=True):
            indexes, patience = left, until - time.monotonic()
            if patience <= 0 or PASSING not in self.refusals.values():
                break
            self._say(f"no spot capacity for {_counted('engine', len(left))}, asking for {patience:.0f} s more")
            time.sleep(min(SPOT_PAUSE, patience))
        return left

    def _round(self, indexes: tuple[int, ...], *, spot: bool) -> tuple[int, ...]:
        places = [Place(kind, subnet, spot) for kind in self._wanted.types for subnet in self._wanted.subnets]
        todo, left = list(ranges(indexes)), []
        while todo:
            block = todo.pop(0)
            made = self._somewhere(block, places)
            self.made += made
            there = {one.index for one in made}
            rest = [index for index in block if index not in there]
            if made:
                todo[:0] = ranges(rest)
            else:
                left += rest
        return tuple(left)

    def _somewhere(self, indexes: tuple[int, ...], places: list[Place]) -> list[Instance]:
        """All of the machines in one place, else as many as the first has that has any; a place is struck when full."""
        for least in dict.fromkeys((len(indexes), 1)):
            for place in list(places):
                if self._barred(place):
                    continue
                made = self._run(indexes, place, least)
                if len(made) < len(indexes) and least == 1:
                    places.remove(place)
                if made:
                    self._stay_near(made[0], places)
                    return made
        return []

    def _stay_near(self, one: Instance, places: list[Place]) -> None:
        """A placement group lies in one zone: once it has a machine, no other zone can be asked."""
        if self._settings.placement_group and self._wanted.role == "engine":
            places[:] = [place for place in places if place.subnet.zone == one.zone]

    def _barred(self, place: Place) -> bool:
        """Whether a quota stands against this type on this market, of which no zone knows another."""
        return any(
            QUOTA.fullmatch(code) and (other.kind, other.spot) == (place.kind, place.spot) and other != place
            for other, code in self.refusals.items()
        )

    def _run(self, indexes: tuple[int, ...], place: Place, least: int) -> list[Instance]:
        """The machines that the place has for these indexes; none, with the reason noted, when it has not enough."""
        first = self._generation(indexes)
        for generation in range(first, first + GENERATIONS):
            asked = request(self._settings, self._wanted, indexes, place, least, generation)
            begun = time.monotonic()
            try:
                answer = self._call(asked)
            except Exception as error:
                code = code_of(error)
                if code == "IdempotentParameterMismatch":  # an earlier call of this name, its host key another one
                    if earlier := self._earlier(indexes):
                        return earlier
                    continue
                if code == "IdempotentInstanceTerminated":  # all that an earlier call with this token made
                    continue
                if not NO_ROOM.fullmatch(code) and not QUOTA.fullmatch(code):
                    raise
                self.refusals[place] = code
                self._say(f"{place}: {code}")
                return []
            its_tags = {"Tags": asked["TagSpecifications"][0]["Tags"]}
            made = [one for one in (parse({**its, **its_tags}) for its in answer["Instances"]) if one]
            if not self._replayed(made):
                self._say(f"launched {_counted(self._wanted.role, len(made))}: {place}", time.monotonic() - begun)
                return made
        raise ProviderRefused(
            f"AWS answers every launch of {self._wanted.role} {indexes[0]} with machines that are gone",
            hint="`invoke teardown`, then `invoke provision`: a new cluster has no such past",
        )

    def _call(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """RunInstances, repeated with the same token while it is not answered or not let through."""
        pause = FIRST_PAUSE
        for left in range(TRIES - 1, -1, -1):
            if self._given_up.is_set():
                raise ProviderRefused("launching was given up", hint="run the same command again")
            try:
                answer: dict[str, Any] = self._api.ec2_once.run_instances(**asked)
                return answer
            except Exception as error:
                code = code_of(error)
                again = THROTTLED.search(code) or UNANSWERED.fullmatch(code) or code in NOT_YET
                if not again or not left:
                    raise
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # spreads calls, guards nothing
            pause = min(2 * pause, LONGEST_PAUSE)
        raise AssertionError("the last try returns or raises")

    def _generation(self, indexes: Sequence[int]) -> int:
        """How often the machines were launched before, as far as AWS still shows it: a token serves but once."""
        gone = (one for one in self._before if one.gone and indexes[0] <= one.index <= indexes[-1])
        return max((one.tags.generation + 1 for one in gone), default=0)

    def _earlier(self, indexes: Sequence[int]) -> list[Instance]:
        """The machines of an earlier call with our token, which nobody saw yet when this launch began.

        They need not come to sight together: what is not shown when the time is over was never made, or is gone.
        """

        def look() -> list[Instance]:
            return [one for one in described(self._api, self._wanted.cluster.name) if self._fits(one, indexes)]

        patience = max(0.0, self._unseen_until - time.monotonic())
        return list(look_until(look, lambda seen: len(seen) == len(indexes), patience))

    def _fits(self, one: Instance, indexes: Sequence[int]) -> bool:
        mine = one.cluster.id == self._wanted.cluster.id and one.tags.role == self._wanted.role
        return mine and indexes[0] <= one.index <= indexes[-1] and not one.gone

    def _replayed(self, made: Sequence[Instance]) -> bool:
        """Whether the answer is that of an old call with this token, whose machines are gone."""
        old = time.time() - REPLAYED
        if not all(one.state in GONE or 0 < one.launched < old for one in made):
            return False
        # The old call may be this one's own first try: this computer slept before it heard the answer.
        return all(one.gone for one in named(self._api, [one.id for one in made]))

    def _say(self, what: str, seconds: float | None = None) -> None:
        self._on_event(Event(what, seconds=seconds))


def _counted(role: Role, count: int) -> str:
    return "the controller" if role == "controller" else f"{count} engine machine{'s'[: count != 1]}"
