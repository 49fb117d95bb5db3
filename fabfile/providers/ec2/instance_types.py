"""Types of instances: what each of them is, as EC2 says; there is no table of them here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import ProviderRefused
from ...kinds import nearest
from .api import Api, code_of, told

HARDWARE = {"x86_64": "x86_64", "arm64": "aarch64"}  # EC2's word for an architecture, and that of `uname -m`


@dataclass(frozen=True)
class InstanceType:
    """One type: its vCPUs, its memory in MB, and the architectures that it can run, ``x86_64`` or ``arm64``."""

    name: str
    cpus: int
    memory_mb: int
    architectures: tuple[str, ...]


def describe(api: Api, names: Sequence[str]) -> tuple[InstanceType, ...]:
    """These types in their order, by one question.

    Raises ProviderRefused for one that the region does not have, naming the nearest that it has.
    """
    wanted = list(dict.fromkeys(names))
    with told("looking at the types of machines"):
        try:
            found = api.paged("describe_instance_types", "InstanceTypes", InstanceTypes=wanted)
        except Exception as error:
            if not code_of(error).startswith(("InvalidInstanceType", "InvalidParameterValue")):
                raise
            found = []
        types = {one["InstanceType"]: _type(one) for one in found}
        missing = [name for name in wanted if name not in types]
        if missing:
            offered = every(api)
            unknown = [name for name in wanted if name not in offered]
            if not unknown:  # AWS refused the question for another reason than an unknown name
                return tuple(offered[name] for name in names)
            raise ProviderRefused(
                f"{api.region} has no machines of type {', '.join(unknown)}{nearest(unknown[0], offered)}",
                hint="correct `machine_type` or `controller_type`: `invoke types` shows those of the region",
            )
    return tuple(types[name] for name in names)


def every(api: Api) -> dict[str, InstanceType]:
    """All types of the region by name."""
    with told("listing the types of machines"):
        found = api.paged("describe_instance_types", "InstanceTypes")
    return {one["InstanceType"]: _type(one) for one in found}


def offered(api: Api, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The zones that have machines of each of these types, by one question; () for a type that no zone has."""
    with told("looking which zones have which types"):
        found = api.paged(
            "describe_instance_type_offerings",
            "InstanceTypeOfferings",
            LocationType="availability-zone",
            Filters=[{"Name": "instance-type", "Values": list(dict.fromkeys(names))}],
        )
    pairs = {(str(one["InstanceType"]), str(one["Location"])) for one in found}
    return {name: tuple(sorted(zone for kind, zone in pairs if kind == name)) for name in names}


def one_architecture(types: Sequence[InstanceType]) -> str:
    """The architecture that all of them can run; raises ProviderRefused when there is none."""
    common = [kind for kind in HARDWARE if all(kind in one.architectures for one in types)]
    if not common:
        told_apart = ", ".join(f"{one.name} ({'/'.join(one.architectures)})" for one in types)
        raise ProviderRefused(
            f"these types cannot run one image: {told_apart}",
            hint="choose `machine_type` and `controller_type` of one architecture, like m7i.large with t3.small, or "
            "m7g.large with t4g.small",
        )
    return common[0]


def engines_per_machine(types: Sequence[InstanceType]) -> int:
    """One engine for each vCPU that every one of the types has."""
    return max(1, min(one.cpus for one in types))


def _type(described: dict[str, Any]) -> InstanceType:
    kinds = described.get("ProcessorInfo", {}).get("SupportedArchitectures", ())
    return InstanceType(
        name=described["InstanceType"],
        cpus=int(described.get("VCpuInfo", {}).get("DefaultVCpus", 1)),
        memory_mb=int(described.get("MemoryInfo", {}).get("SizeInMiB", 0)),
        architectures=tuple(kind for kind in HARDWARE if kind in kinds),
    )
