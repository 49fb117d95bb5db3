"""What a launch needs: subnets, group, key, image and user-data, made where they are missing.

Everything that does not wait for something else is asked for at the same time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from ...machines import Cluster, MachineSpec, Role
from ...settings import Settings
from ...software import Software, software
from . import images, instance_types, key_pairs, network, rules
from .api import Api, at_once
from .images import Image
from .instances import Instance
from .launching import Launch
from .network import Subnet
from .userdata import boot_plan

SETTLED = 120.0  # s since the launch of a machine, after which those that were launched with it are in sight


def launches(
    api: Api, settings: Settings, cluster: Cluster, new: Sequence[MachineSpec], there: Sequence[Instance]
) -> list[Launch]:
    """One launch for each role that has new machines; ``there`` are the cluster's instances so far."""
    subnets = network.choose(api, settings)
    key = new[0].authorized_keys[0]
    needs: list[Any] = [
        partial(rules.ensure, api, cluster, subnets[0].vpc, settings),
        partial(key_pairs.ensure, api, cluster, key, settings),
        partial(_image, api, settings),
    ]
    group_id, key_name, (image, lacking) = at_once(needs, lambda need: need())
    kinds: dict[Role, tuple[str, ...]] = {"controller": settings.controller_type, "engine": settings.machine_type}
    made = []
    for role, types in kinds.items():
        specs = [spec for spec in new if spec.role == role]
        if specs:
            plan = boot_plan(settings, cluster, role, specs[0].authorized_keys, lacking)
            made.append(
                Launch(
                    cluster=cluster,
                    role=role,
                    indexes=tuple(spec.index for spec in specs),
                    image=image,
                    types=types,
                    subnets=near(subnets, _leading(there, role)),
                    group_id=group_id,
                    key_name=key_name,
                    user_data=plan.user_data,
                    boot_key=plan.boot_key,
                    spot=settings.spot and role == "engine",
                )
            )
    return made


def near(subnets: Sequence[Subnet], there: Sequence[Instance]) -> tuple[Subnet, ...]:
    """The subnets, those first in whose zone the cluster has machines: between zones traffic is slower, and charged."""
    zones = {one.zone for one in there if not one.gone}
    return tuple(sorted(subnets, key=lambda subnet: subnet.zone not in zones))


def _leading(there: Sequence[Instance], role: Role) -> list[Instance]:
    """Those that machines of that role shall be near: not what one run just launched of the other role beside them.

    Of a run that died, the rest may be unseen: asked for in another order of places, it would be made twice.
    """
    return [one for one in there if one.tags.role == role or one.launched < time.time() - SETTLED]


def _image(api: Api, settings: Settings) -> tuple[Image, Software | None]:
    """The image for both roles, and the software that it lacks."""
    types = instance_types.describe(api, (*settings.controller_type, *settings.machine_type))
    architecture = instance_types.one_architecture(types)
    needed = software(settings, instance_types.HARDWARE[architecture])
    image = images.choose(api, settings, architecture, needed.id)
    return image, None if image.baked == needed.id else needed
