"""Baking: an image with the cluster's software in it, made from a machine that boots as any other of ours does.

The machine is an engine of a cluster of its own that has no controller: whatever ends a baking in the middle, its lease
takes the machine away, and sweep.py finds what is left.
"""

from __future__ import annotations

import getpass
import platform
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ... import boot, host_keys, host_software, named_hosts
from ...accounts import ImageInfo
from ...errors import ClusterError, ProviderRefused, UsageError
from ...machines import Cluster, Endpoint, Event, Machine, OnEvent, silent, wait_for_ssh
from ...named_hosts import NamedHost
from ...remote import Credentials, Host
from ...settings import Settings
from ...software import Software, software
from . import images, instance_types, network, power, remains, rules, tags
from .api import Api, hint, passing_over, told
from .booting import wait_until_booted
from .images import BAKED_PYTHON, SOFTWARE, Image
from .instances import described, found, is_up, look_until
from .launching import Launch, launch
from .sweep import epoch, once_unused, snapshots_of
from .userdata import boot_plan

LEASE = 3600.0  # s after which the machine ends by itself, whatever became of who launched it
IMAGE_TIMEOUT = 1800.0  # s that EC2 may take for an image of a disk of some GB
BEAT = 30.0  # s between two words of patience
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 10.0  # s between two looks at the image
CLEAN_TIMEOUT = 60.0
MACHINE = "engine-0"
BASE = f"{tags.PREFIX}base"  # the image that one of ours was made from


@dataclass(frozen=True)
class Recipe:
    """What is baked: the software, the image that it is put on top of, and under which name."""

    base: Image
    software: Software

    @property
    def name(self) -> str:
        """The same for the same contents, so that EC2 refuses a second one."""
        return f"ipyfleet {self.software.id} {self.base.id}"


def bake(api: Api, settings: Settings, on_event: OnEvent = silent, gateway: NamedHost | None = None) -> ImageInfo:
    """Make an image with the software of these settings, from the image that machines boot from otherwise.

    Takes minutes; ``gateway`` is the host to go through. An image of the same contents is returned as it is, or waited
    for. Raises ClusterError; the machine and its group are gone by then, as far as EC2 answers.
    """
    mine = replace(settings, lease=LEASE, spot=False, userdata="", placement_group="", instance_profile="")
    types = instance_types.describe(api, (*mine.machine_type, *mine.controller_type))
    architecture = instance_types.one_architecture(types)
    recipe = Recipe(images.choose(api, mine, architecture), software(mine, instance_types.HARDWARE[architecture]))
    for one in list_images(api):
        if one.name == recipe.name and one.state in ("available", "pending"):
            return _wait_for_image(api, one.id, on_event)
    owner = f"{getpass.getuser()}@{platform.node()}"
    cluster = Cluster(f"bake-{secrets.token_hex(3)}", secrets.token_hex(4), owner, time.time())
    try:
        machine = _baked_machine(api, mine, recipe, cluster, gateway, on_event)
        power.stop(api, cluster.name, [machine.id], mine.stop_timeout)
        made = _create(api, mine, machine, recipe, cluster)
        return _wait_for_image(api, made, on_event)
    finally:
        _clean(api, cluster, on_event)


def list_images(api: Api) -> tuple[ImageInfo, ...]:
    """The images that were baked by us in this account and region, the newest first."""
    with told("looking for images of ours"):
        answers = _ours(api)
    return tuple(sorted((_info(one) for one in answers), key=lambda one: one.created, reverse=True))


def remove_image(api: Api, image: str, timeout: float = CLEAN_TIMEOUT) -> None:
    """Remove an image of ours, by id or name, and its snapshots; silent about one that is gone already.

    Machines that were made from it go on. Raises UsageError for an image that we did not bake.
    """
    deadline = time.monotonic() + timeout
    with told(f"removing the image {image}"):
        field = "image-id" if image.startswith("ami-") else "name"
        named = [{"Name": field, "Values": [image]}]
        for one in api.paged("describe_images", "Images", Filters=named):
            if SOFTWARE not in tags.read(one):
                raise UsageError(
                    f"{image} was not baked by this project, so it is not removed",
                    hint="`invoke images.list` shows those that were",
                )
            with passing_over("InvalidAMIID.NotFound", "InvalidAMIID.Unavailable"):
                api.ec2.deregister_image(ImageId=one["ImageId"])
            for snapshot in snapshots_of(one):
                with passing_over("InvalidSnapshot.NotFound"):
                    once_unused(partial(api.ec2.delete_snapshot, SnapshotId=snapshot), deadline)


def _baked_machine(
    api: Api, settings: Settings, recipe: Recipe, cluster: Cluster, gateway: NamedHost | None, on_event: OnEvent
) -> Machine:
    """A machine that has the software, and nothing of its own any more: nobody can log in again."""
    subnets = network.choose(api, settings)
    with TemporaryDirectory(prefix="ipyfleet-bake-") as folder:
        credentials = Credentials(Path(folder) / "key", Path(folder) / "known_hosts")
        public = host_keys.make_key_pair(credentials.key_file, cluster.name)
        if gateway:
            named_hosts.admit(gateway, credentials)
        plan = boot_plan(settings, cluster, "engine", (public,), recipe.software)
        wanted = Launch(
            cluster=cluster,
            role="engine",
            indexes=(0,),
            image=recipe.base,
            types=settings.machine_type,
            subnets=subnets,
            group_id=rules.ensure(api, cluster, subnets[0].vpc, settings),
            key_name="",
            user_data=plan.user_data,
            boot_key=plan.boot_key,
        )
        machine, endpoint = _up(api, settings, wanted, gateway, on_event)
        host_keys.pin(credentials.known_hosts, endpoint, machine.host_keys)
        host = wait_for_ssh(machine, credentials, settings.boot_timeout, on_event)
        try:
            _fill(host, settings, recipe.software, on_event)
        finally:
            host.close()
    return machine


def _up(
    api: Api, settings: Settings, wanted: Launch, gateway: NamedHost | None, on_event: OnEvent
) -> tuple[Machine, Endpoint]:
    """The machine, once it runs and has addresses, and the way in."""
    launched = launch(api, settings, wanted, (), on_event)
    if launched.missing:
        why = "; ".join(f"{place}: {code}" for place, code in launched.refusals.items())
        advice = dict.fromkeys(hint(code) for code in launched.refusals.values())
        raise ProviderRefused(f"no place has room for a machine to bake on: {why}", hint="; ".join(advice))
    name = wanted.cluster.name
    seen = look_until(
        lambda: described(api, name),
        lambda there: bool(there) and all(one.gone or is_up(one, settings) for one in there),
        settings.boot_timeout,
    )
    machine = found(seen, settings, gateway.endpoint if gateway else None).by_name(MACHINE)
    if machine is None or machine.endpoint is None:
        said = "; ".join(f"{one.id} is {one.state}: {one.said or one.reason}" for one in seen)
        raise ProviderRefused(
            f"the machine to bake on is not up after {settings.boot_timeout:.0f} s: {said or 'AWS does not show it'}",
            hint="raise `boot_timeout`, or try later",
        )
    return machine, machine.endpoint


def _fill(host: Host, settings: Settings, software: Software, on_event: OnEvent) -> None:
    """See that the machine has the software, and take off it what is its own."""
    begun = time.monotonic()
    wait_until_booted(host, MACHINE, settings.boot_timeout)
    on_event(Event("booted", MACHINE, time.monotonic() - begun))
    if host_software.installed_software(host) != software.id:
        host_software.install_software(host, software)
        on_event(Event("software sent from here", MACHINE))
    host.script(boot.script("clean-for-image.sh"), sudo=True, timeout=CLEAN_TIMEOUT)


def _create(api: Api, settings: Settings, machine: Machine, recipe: Recipe, cluster: Cluster) -> str:
    """The id of the image that EC2 begins to make; the one that an earlier call began, if its answer was lost."""
    base, contents = recipe.base, recipe.software
    its = {
        **tags.of_cluster(cluster, settings.tags),
        "Name": recipe.name,
        SOFTWARE: contents.id,
        BAKED_PYTHON: contents.python,
        BASE: base.id,
        tags.USER: settings.login_user or base.login_user,
    }
    with told(f"making an image of {machine.id}"):
        with passing_over("InvalidAMIName.Duplicate"):
            answer = api.ec2.create_image(
                InstanceId=machine.id,
                Name=recipe.name,
                Description=f"{base.id} with Python {contents.python} and software {contents.id} of ipyfleet",
                TagSpecifications=tags.specification(its, "image", "snapshot"),
            )
            return str(answer["ImageId"])
        there = [one.id for one in list_images(api) if one.name == recipe.name]
    if not there:
        raise ProviderRefused(
            f"there is an image {recipe.name!r} already, which does not say that it was baked by us",
            hint="look at it in the EC2 console: if nobody needs it, deregister it, then bake again",
        )
    return there[0]


def _wait_for_image(api: Api, image: str, on_event: OnEvent) -> ImageInfo:
    """The image once it can be used; a new one may be invisible for some seconds."""
    begun = said = time.monotonic()
    pause = FIRST_PAUSE
    while True:
        with told(f"waiting for the image {image}"):
            seen = [one for one in _ours(api) if one["ImageId"] == image]
        state = str(seen[0]["State"]) if seen else ""
        passed = time.monotonic() - begun
        if state == "available":
            on_event(Event(f"image {image} available", seconds=passed))
            return _info(seen[0])
        if state not in ("", "pending"):
            reason = (seen[0].get("StateReason") or {}).get("Message", "")
            raise ProviderRefused(
                f"AWS could not make the image {image}: {reason or state}",
                hint=f"`invoke images.remove --image {image}`, then bake again",
            )
        if passed + pause > IMAGE_TIMEOUT:
            raise ProviderRefused(
                f"the image {image} is not ready after {IMAGE_TIMEOUT:.0f} s",
                hint="it may be later: `invoke images.list` shows it; `invoke images.bake` waits for it again",
            )
        if time.monotonic() - said >= BEAT:
            said = time.monotonic()
            on_event(Event(f"image {image} still {state or 'not to be seen'}", seconds=passed))
        time.sleep(pause)
        pause = min(1.5 * pause, LONGEST_PAUSE)


def _clean(api: Api, cluster: Cluster, on_event: OnEvent) -> None:
    """Remove machine, group and volumes; a failure is told and hides nothing: sweep.py and the lease do the rest."""
    try:
        alive = [one.id for one in described(api, cluster.name) if not one.gone]
        if alive:
            power.terminate(api, cluster.name, alive, CLEAN_TIMEOUT)
        rules.delete(api, cluster.name, CLEAN_TIMEOUT)
        remains.remove_volumes(api, cluster.name)
    except ClusterError as error:
        on_event(Event(f"left for `invoke sweep`: {error.message}"))


def _ours(api: Api) -> Sequence[dict[str, Any]]:
    filters = [{"Name": "tag-key", "Values": [SOFTWARE]}]
    return api.paged("describe_images", "Images", Owners=["self"], Filters=filters)


def _info(image: dict[str, Any]) -> ImageInfo:
    its = tags.read(image)
    cluster = tags.cluster_of(its)
    disks = [(mapping.get("Ebs") or {}).get("VolumeSize", 0) for mapping in image.get("BlockDeviceMappings") or ()]
    return ImageInfo(
        id=str(image["ImageId"]),
        name=str(image.get("Name", "")),
        state=str(image.get("State", "")),
        architecture=str(image.get("Architecture") or its.get("")),
        python=its.get(BAKED_PYTHON, ""),
        software=its.get(SOFTWARE, ""),
        base=its.get(BASE, ""),
        owner=cluster.owner if cluster else "",
        created=epoch(image.get("CreationDate")),
        size_gb=int(sum(disks)),
    )
