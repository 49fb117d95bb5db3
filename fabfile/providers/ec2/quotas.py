"""Quotas: how many virtual processors the account may have running, and whether new machines still fit.

Only the two quotas that ordinary types fall under, on demand and on spot; what cannot be read is passed over, since EC2
says it again when machines are launched. Knows nothing of clusters.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ...errors import ClusterError
from ...machines import Finding
from ...remote import each
from .api import Api, code_of, told
from .instance_types import describe

ON_DEMAND, SPOT = "L-1216C47A", "L-34B43A08"
STANDARD = re.compile(r"(a|c|d|h|i|im|is|m|r|t|z)[0-9].*")  # instance families A, C, D, H, I, M, R, T, Z
NAMES = {
    ON_DEMAND: "Running On-Demand Standard instances",
    SPOT: "All Standard Spot Instance Requests",
}


@dataclass(frozen=True)
class Wanted:
    """So many machines of one type on one market."""

    kind: str
    count: int
    spot: bool = False

    @property
    def quota(self) -> str:
        """The code of the quota that it falls under."""
        return SPOT if self.spot else ON_DEMAND


def limit(api: Api, quota: str) -> float | None:
    """How many virtual processors a quota allows in this region; None when it cannot be read."""
    try:
        answer = api.quotas.get_service_quota(ServiceCode="ec2", QuotaCode=quota)
        return float(answer["Quota"]["Value"])
    except Exception as error:
        if code_of(error) or isinstance(error, ClusterError | LookupError):
            return None
        raise


def running(api: Api) -> Counter[tuple[str, bool]]:
    """How many machines the account has in this region, ours or not, by type and whether on spot."""
    states = [{"Name": "instance-state-name", "Values": ["pending", "running"]}]
    with told("counting the machines of the account"):
        reservations = api.paged("describe_instances", "Reservations", Filters=states)
    return Counter(
        (str(one["InstanceType"]), one.get("InstanceLifecycle") == "spot")
        for reservation in reservations
        for one in reservation["Instances"]
    )


def findings(api: Api, wanted: Sequence[Wanted], *, may_start_short: bool = False) -> Iterator[Finding]:
    """What of the wanted machines exceeds its quota, beside what runs already; nothing where a quota is unreadable.

    With ``may_start_short`` it is a warning: a cluster is made of what there is. Raises ProviderRefused when what runs
    or what a type has cannot be read.
    """
    standard = [one for one in wanted if STANDARD.fullmatch(one.kind) and one.count]
    quotas = list(dict.fromkeys(one.quota for one in standard))
    limits = {one.item: one.value for one in each(quotas, lambda quota: limit(api, quota)) if one.value is not None}
    if not limits:
        return
    there = Counter({kind: count for kind, count in running(api).items() if STANDARD.fullmatch(kind[0])})
    names = sorted({one.kind for one in standard} | {name for name, _ in there})
    cpus = {one.name: one.cpus for one in describe(api, names)}
    for quota, most in limits.items():
        mine = [one for one in standard if one.quota == quota]
        needed = sum(one.count * cpus.get(one.kind, 0) for one in mine)
        used = sum(count * cpus.get(name, 0) for (name, spot), count in there.items() if spot == (quota == SPOT))
        if needed + used > most:
            yield _exceeded(quota, most, needed, used, cpus, mine, "warning" if may_start_short else "error")


def _exceeded(
    quota: str,
    most: float,
    needed: int,
    used: int,
    cpus: Mapping[str, int],
    wanted: Sequence[Wanted],
    level: Literal["error", "warning"],
) -> Finding:
    what = " and ".join(f"{one.count} {one.kind}" for one in wanted)
    beside = f", and {used} are in use already" if used else ""
    room = max(0, int(most) - used)
    least = min((cpus[one.kind] for one in wanted if cpus.get(one.kind)), default=1)
    return Finding(
        level,
        f"{what} take {needed} vCPUs, the quota {NAMES[quota]!r} ({quota}) allows {most:.0f}{beside}",
        f"there is room for {room // least} machines of {least} vCPUs: ask for fewer or smaller ones, remove some "
        "(`invoke clusters`), or have the quota raised under Service Quotas",
    )
