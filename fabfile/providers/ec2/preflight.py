"""Preflight: everything that would keep machines from being made, or surprise whoever made them, found at once.

Nothing is made: EC2 is only asked, and told of the real calls as a dry run. A question that fails hides no other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from ... import boot, checks, entrances, named_hosts
from ...kinds import nearest
from ...machines import Cluster, Finding, MachineSpec
from ...settings import Settings
from ...software import software
from . import images, instance_types, key_pairs, network, places, quotas, tags
from .api import NO_ROOM, QUOTA, THROTTLED, UNANSWERED, UNKNOWN_REGION, Api, code_of, hint, refusal, told
from .images import Image
from .launching import Launch, Place, request
from .network import Subnet
from .prices import Prices
from .quotas import Wanted

DRY = "DryRunOperation"  # what EC2 answers to the dry run of a call that it would carry out
NOBODY = Cluster("preflight", "0", "preflight", 0.0)
ALLOWED = "whoever runs the account must allow it: the README shows the least policy that this project needs"


def findings(
    api: Api, settings: Settings, new_machines: int, prices: Prices, *, controller: bool = True
) -> list[Finding]:
    """What would stop so many machines from being made, and what to know before they are; errors first.

    ``controller`` says whether one of them is the controller. Without credentials, or with a wrong region, AWS is asked
    no further.
    """
    here = [partial(of_the_settings, settings), partial(entrances.world_findings, settings)] if new_machines else []
    account = checks.findings([partial(of_the_account, api)])
    found = [*account, *checks.findings(here)]
    if new_machines and not account:
        found += _Ground(api, settings, new_machines, prices, controller).findings()
    once = list(dict.fromkeys(found))
    return sorted(once, key=lambda finding: finding.level != "error")


def of_the_account(api: Api) -> Iterator[Finding]:
    """What is wrong with the region or with who we are; raises ProviderRefused as well."""
    known = places.known_regions()
    if api.region not in known:
        yield Finding(
            "error",
            f"there is no region {api.region}{nearest(api.region, known)}",
            UNKNOWN_REGION,
        )
        return
    with told("asking AWS who we are"):
        api.sts.get_caller_identity()


def of_the_settings(settings: Settings) -> Iterator[Finding]:
    """What the settings alone show."""
    if not settings.lease:
        yield Finding(
            "warning",
            "no lease: the machines run, and cost, until somebody removes them",
            "set `lease`, like `lease: 8h`: then they end by themselves, and `invoke renew` puts that off",
        )
    if not settings.ssh_from:
        yield Finding(
            "error",
            "`ssh_from` is empty, so nobody could reach the machines by SSH, this computer included",
            "leave it out (`auto`: this computer), or name your networks, like [203.0.113.0/24]",
        )
    boot.users_script(settings.userdata)
    gateway = None if settings.public_address else named_hosts.gateway(settings)
    way = f"ssh://{settings.gateway}" if ":" in settings.gateway else settings.gateway
    for host in named_hosts.strangers(gateway) if gateway else ():
        yield Finding(
            "error",
            f"the host key of {host}, which is on the way to the machines, is not known here",
            f"`ssh {way}` once, and compare the fingerprint that it shows with the host's own",
        )


class _Ground:
    """What the machines would be made of, found out by looks that do not wait for each other."""

    def __init__(self, api: Api, settings: Settings, machines: int, prices: Prices, controller: bool) -> None:
        self._api = api
        self._settings = settings
        self._prices = prices
        self._controllers = min(machines, int(controller))
        self._engines = machines - self._controllers
        self._image: Image | None = None
        self._subnets: tuple[Subnet, ...] = ()
        self._types_exist = False

    def findings(self) -> list[Finding]:
        """All looks at once; then those that need what they found, dry runs among them."""
        looks: list[checks.Check] = [self._network, self._machine, self._keys, self._address]
        found = checks.findings([*looks, self._quotas, self._cost])
        further: list[checks.Check] = []
        if self._types_exist and self._subnets:
            further.append(self._offers)
        if self._image and self._subnets:
            image, subnet = self._image, self._subnets[0]
            further += [partial(self._launch, image, subnet, role == "engine") for role in self._roles]
            further.append(partial(self._group, subnet))
        return [*found, *checks.findings(further)]

    @property
    def _roles(self) -> list[str]:
        return ["controller"] * bool(self._controllers) + ["engine"] * bool(self._engines)

    def _network(self) -> Iterator[Finding]:
        wanted = self._settings.zones
        there = [zone.name for zone in places.zones(self._api)] if wanted else []
        strange = [zone for zone in wanted if zone not in there]
        for zone in strange:
            text = f"{self._api.region} has no zone {zone}{nearest(zone, there)}"
            yield Finding("error", text, f"correct `zones`: there are {', '.join(there)}")
        if wanted and len(strange) == len(wanted):
            return  # that no subnet lies in them goes without saying
        self._subnets = network.choose(self._api, self._settings)
        yield from network.findings(self._subnets, self._settings, self._engines + self._controllers)

    def _machine(self) -> Iterator[Finding]:
        names = (*self._settings.machine_type, *self._settings.controller_type)
        types = instance_types.describe(self._api, names)
        self._types_exist = True
        architecture = instance_types.one_architecture(types)
        contents = software(self._settings, instance_types.HARDWARE[architecture])
        image = self._image = images.choose(self._api, self._settings, architecture, contents.id)
        if 0 < self._settings.volume_size < image.size_gb:
            text = f"{image.id} ({image.name}) needs a disk of {image.size_gb} GB, `volume_size` is "
            yield Finding("error", f"{text}{self._settings.volume_size}", "raise `volume_size`, or set it to 0")

    def _offers(self) -> Iterator[Finding]:
        """A role for which no subnet lies in a zone that has machines of any of its types."""
        mine = self._settings
        kinds = {"controller": mine.controller_type, "engine": mine.machine_type}
        there = instance_types.offered(self._api, [kind for role in self._roles for kind in kinds[role]])
        zones = {one.zone for one in self._subnets}
        for role in self._roles:
            theirs = sorted({zone for kind in kinds[role] for zone in there[kind]})
            if not zones.intersection(theirs):
                setting = "machine_type" if role == "engine" else "controller_type"
                yield Finding(
                    "error",
                    f"no zone of {', '.join(sorted(zones))} has machines of type {', '.join(kinds[role])}",
                    f"name a `subnet` or `zones` among {', '.join(theirs) or 'those of another region'}, or another "
                    f"`{setting}`",
                )

    def _keys(self) -> Iterator[Finding]:
        yield from key_pairs.findings(self._api, self._settings)

    def _address(self) -> Iterator[Finding]:
        mine = self._settings
        if "auto" not in mine.ssh_from or not mine.public_address:
            return
        network = entrances.own_address(mine)
        if ":" in network and all(":" in source or source == "auto" for source in mine.ssh_from):
            yield Finding(
                "error",
                f"{mine.address_service} sees this computer at {network}, but machines are reached by IPv4",
                "name your IPv4 network in `ssh_from`, like 203.0.113.7/32, or an `address_service` that is asked by "
                "IPv4",
            )

    def _quotas(self) -> Iterator[Finding]:
        mine = self._settings
        wanted = [
            Wanted(mine.controller_type[0], self._controllers),
            Wanted(mine.machine_type[0], self._engines, mine.spot),
        ]
        may = bool(mine.min_engines) or (mine.spot and mine.spot_fallback)
        yield from quotas.findings(self._api, wanted, may_start_short=may)

    def _cost(self) -> Iterator[Finding]:
        specs = [MachineSpec("controller", 0)] * self._controllers
        rate = self._prices.estimate([*specs, *(MachineSpec("engine", index) for index in range(self._engines))])
        if rate:
            text = f"the new machines will cost about {rate.hourly:.3f} US dollars an hour, without {rate.without}"
            yield Finding("warning", text)

    def _launch(self, image: Image, subnet: Subnet, engines: bool) -> Iterator[Finding]:
        """A dry run of RunInstances, the group left out, which is not there yet."""
        mine = self._settings
        types, spot = (mine.machine_type, mine.spot) if engines else (mine.controller_type, False)
        wanted = Launch(
            cluster=NOBODY,
            role="engine" if engines else "controller",
            indexes=(0,),
            image=image,
            types=types,
            subnets=(subnet,),
            group_id="",
            key_name=mine.key_pair,
            user_data=b"#cloud-config\n",
            boot_key="",
            spot=spot,
        )
        asked = request(mine, wanted, (0,), Place(types[0], subnet, spot), 1, 0)
        del asked["NetworkInterfaces"][0]["Groups"]
        what = "launching engine machines" if engines else "launching the controller"
        yield from _dry(partial(self._api.ec2_once.run_instances, **asked), what, "ec2:RunInstances")

    def _group(self, subnet: Subnet) -> Iterator[Finding]:
        asked: dict[str, Any] = {
            "GroupName": "ipyfleet-preflight",
            "Description": "never made",
            "VpcId": subnet.vpc,
            "TagSpecifications": tags.specification(tags.of_cluster(NOBODY, self._settings.tags), "security-group"),
        }
        act = partial(self._api.ec2.create_security_group, **asked)
        yield from _dry(act, "making a security group", "ec2:CreateSecurityGroup")


def _dry(call: Callable[..., Any], what: str, permission: str) -> Iterator[Finding]:
    """What EC2 would have against a call; a lack of room or of time may be over when it is made, and is no finding."""
    try:
        call(DryRun=True)
    except Exception as error:
        code = code_of(error)
        passing = NO_ROOM.fullmatch(code) or QUOTA.fullmatch(code) or UNANSWERED.fullmatch(code)
        if code == DRY or passing or THROTTLED.search(code):
            return
        if code.startswith(("Unauthorized", "AccessDenied")):
            named = re.search(r"to perform: ([\w-]+:\w+)", str(error))
            text = f"these credentials may not do it: {what} needs {named[1] if named else permission}"
            yield Finding("error", text, ALLOWED)
        elif code:
            yield Finding("error", refusal(error, f"{what} (a dry run)").message, hint(code))
        else:
            raise
