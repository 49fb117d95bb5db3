"""Lines for a person: what an account has (clusters, keys, images, places, sizes, prices, leftovers), and a diagnosis.

Pure: values in, lines out; report.py prints them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from packaging.utils import canonicalize_name

from .accounts import ImageInfo, KeyPair, Leftover, MachineType, Price, Region, Zone
from .complaints import Examined, size
from .diagnosis import Diagnosis
from .machines import Found, Rate
from .report import duration, since
from .software import Software

MAIN = ("ipyparallel", "pyzmq", "numpy")


def table(head: Sequence[str], rows: Iterable[Sequence[str]], nothing: str) -> list[str]:
    """Rows under their heads, each column as wide as its widest word; ``nothing`` when there are none."""
    whole = [tuple(head), *(tuple(row) for row in rows)]
    if len(whole) == 1:
        return [nothing]
    widths = [max(len(row[column]) for row in whole) for column in range(len(head))]
    return ["  ".join(word.ljust(size) for word, size in zip(row, widths, strict=True)).rstrip() for row in whole]


def clusters(found: Sequence[Found], rates: Sequence[Rate | None], where: str) -> list[str]:
    """Clusters with owner, age, machines by state, lease and what they cost an hour."""
    rows = []
    for one, rate in zip(found, rates, strict=True):
        if one.cluster is None:
            continue
        states = Counter(str(machine.state) for machine in one.machines)
        ends = [machine.deadline for machine in one.machines if machine.deadline is not None]
        rows.append(
            (
                one.cluster.name,
                one.cluster.owner,
                since(one.cluster.created),
                ", ".join(f"{count} {state}" for state, count in sorted(states.items())),
                f"ends in {duration(min(ends) - time.time())}" if ends else "none",
                f"{rate.hourly:.2f} USD/h" if rate else "",
            )
        )
    return table(("cluster", "owner", "made", "machines", "lease", "cost"), rows, f"no clusters {where}")


def key_pairs(found: Sequence[KeyPair]) -> list[str]:
    """Key pairs with kind, age and fingerprint."""
    rows = [(one.name, one.kind, _age(one.created), one.cluster, one.fingerprint) for one in found]
    return table(("key pair", "kind", "made", "cluster", "fingerprint"), rows, "no key pairs")


def images(found: Sequence[ImageInfo]) -> list[str]:
    """Images of ours with what is in them."""
    rows = [
        (one.id, one.state, one.architecture, one.python, one.software, _age(one.created), one.owner, one.name)
        for one in found
    ]
    head = ("image", "state", "architecture", "Python", "software", "made", "by", "name")
    return table(head, rows, "no images of ours; `invoke images.bake` makes one")


def regions(found: Sequence[Region]) -> list[str]:
    """Regions, the current one marked."""
    rows = [
        ("*" if one.current else "", one.name, one.detail if one.usable else "not enabled for this account")
        for one in found
    ]
    return table(("", "region", ""), rows, "no regions")


def zones(found: Sequence[Zone]) -> list[str]:
    """Zones of the region."""
    rows = [(one.name, one.id, one.state, one.detail) for one in found]
    return table(("zone", "id", "state", ""), rows, "no zones")


def machine_types(found: Sequence[MachineType]) -> list[str]:
    """Types of machines with processors, memory, architectures, and price and zones where they are known."""
    rows = [
        (
            one.name,
            str(one.cpus),
            f"{round(one.memory_mb / 1024, 2):g} GB",
            ", ".join(one.architectures),
            "" if one.hourly is None else f"{one.hourly:.4f}",
            " ".join(one.zones),
        )
        for one in found
    ]
    nothing = "no types like that; `invoke types` without options shows all"
    return table(("type", "CPUs", "memory", "architecture", "USD/h", "zones"), rows, nothing)


def prices(found: Sequence[Price]) -> list[str]:
    """Prices an hour: of machines that stay, and what spare capacity cost."""
    rows = []
    for one in found:
        spot = one.interruptible
        shown = [f"{value:.4f}" for value in (spot.now, spot.least, spot.mean, spot.most)] if spot else [""] * 4
        rows.append((one.type, one.zone, "" if one.fixed is None else f"{one.fixed:.4f}", *shown))
    head = ("type", "zone", "on demand", "spot now", "least", "mean", "most")
    return [
        *table(head, rows, "no such types have a price; `invoke types` shows those that there are"),
        *(["US dollars an hour"] if rows else []),
    ]


def leftovers(found: Sequence[Leftover]) -> list[str]:
    """What no live cluster covers, and why."""
    rows = [(str(one.kind), one.id, one.cluster, one.owner, _age(one.created), one.why) for one in found]
    return table(("", "id", "cluster", "owner", "made", "why"), rows, "nothing is left over")


def diagnosis(seen: Diagnosis) -> list[str]:
    """The main versions machine by machine, then what is wrong, each with its cure; what is well is only counted."""
    here = ("here", seen.python, *(seen.versions.get(name, "") for name in MAIN))
    rows = [(*here, "", "", ""), *(_examined(one) for one in seen.machines)]
    lines = table(("machine", "Python", *MAIN, "clock", "disk free", "memory"), rows, "")
    wrong = [one for one in seen.findings if one.level != "ok"]
    lines += [
        "",
        *(line for one in wrong for line in (f"{one.level}: {one.machine}: {one.found}", f"  next: {one.cure}")),
    ]
    if not wrong:
        return [*lines, f"all is well ({len(seen.findings)} things looked at)"]
    counts = [(seen.count("error"), "error"), (seen.count("warning"), "warning")]
    told = [f"{number} {noun}{'' if number == 1 else 's'}" for number, noun in counts if number]
    return [*lines, "", f"{' and '.join(told)}; {len(seen.findings) - len(wrong)} other things are well"]


def packages(software: Software, there: Mapping[str, Mapping[str, str]]) -> list[str]:
    """The packages that were asked for: the versions that machines shall have and, by machine, those that they have."""
    wanted = dict(pin.split("==", 1) for pin in software.wanted)
    seen = {name: {str(canonicalize_name(key)): one for key, one in its.items()} for name, its in there.items()}
    rows = []
    for name, version in sorted(wanted.items()):
        versions = {machine: its.get(name, "none") for machine, its in seen.items()}
        alike = len(set(versions.values())) == 1
        on = next(iter(versions.values())) if alike else ", ".join(f"{m}: {v}" for m, v in sorted(versions.items()))
        rows.append((name, version, on))
    return table(("package", "wanted", "on the machines"), rows, "none")


def _examined(one: Examined) -> tuple[str, ...]:
    facts = one.facts
    if facts is None:
        return (one.name, *["?"] * (len(MAIN) + 1), "", "", "")
    middle = sum(facts.ahead) / 2 if facts.ahead else 0.0
    return (
        one.name,
        facts.python or "none",
        *(facts.packages.get(name, "none") for name in MAIN),
        f"{middle:+.1f} s" if facts.ahead else "",
        size(min(disk.free for disk in facts.disks)) if facts.disks else "",
        size(facts.memory) if facts.memory is not None else "",
    )


def _age(created: float) -> str:
    return since(created) if created else ""
