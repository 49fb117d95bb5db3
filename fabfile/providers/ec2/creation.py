"""Creation: the machines of a cluster that are not there yet, both roles at once, until each runs and has addresses.

What came is judged here: whether a cluster may start short, and what to say when it may not. Machines that were made
stay, whatever this ends with: their tags say whose they are, so the next run goes on with them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ...errors import ProviderRefused
from ...machines import Cluster, Endpoint, Event, Machine, MachineSpec, OnEvent
from ...settings import Settings
from . import power
from .api import Api, at_once, hint
from .instances import Instance, described, found, is_up, look_until
from .launching import UNSEEN, Launch, Launched, Place, launch

ENDED = {  # by AWS's reason
    "Client.InternalError": "this account may not use the key that encrypts its disks, or that of the image: allow it, "
    "or set `volume_encrypted: false`",
    "Client.VolumeLimitExceeded": "this is a quota of the account: set a smaller `volume_size`, or remove volumes",
    "Client.InvalidSnapshot.NotFound": "choose another `image`: this one's disk is gone",
}
ENDED_OTHERWISE = "AWS's own words are what to look for"
STARTING = ("pending", "running")
RECENT = 120.0  # s since the launch of a machine, by this computer's clock, in which others of its call may be unseen
Ingredients = Callable[[Sequence[MachineSpec], Sequence[Instance]], Sequence[Launch]]
"""From machines that shall be, and all instances of the cluster, to one launch a role; makes what they need."""


@dataclass(frozen=True)
class Missing:
    """A machine that did not come: why, in one sentence, and what to do about it."""

    name: str
    why: str
    advice: str = ""


@dataclass(frozen=True)
class Outcome:
    """What a creation led to: machines by name, those that did not come, and how many engine machines there are."""

    machines: Mapping[str, Machine] = field(default_factory=dict)
    missing: tuple[Missing, ...] = ()
    engine_machines: int = 0


def create(
    api: Api,
    settings: Settings,
    cluster: Cluster,
    specs: Sequence[MachineSpec],
    ingredients: Ingredients,
    on_event: OnEvent,
    gateway: Endpoint | None = None,
) -> Outcome:
    """Make the machines that are not there, and wait until all run and have addresses, ``boot_timeout`` at the most.

    Raises ProviderRefused for a name that another cluster has, and for everything but machines that did not come.
    """
    before = _all_in_sight(api, cluster, specs)
    refuse_name(cluster, [one.cluster for one in before if not one.gone])
    mine = [one for one in before if one.cluster.id == cluster.id]
    there = {one.name for one in mine if not one.gone}
    new = [spec for spec in specs if spec.name not in there]
    launches = ingredients(new, mine) if new else ()
    given_up = threading.Event()
    try:
        launched = at_once(launches, lambda one: launch(api, settings, one, mine, on_event, given_up))
    except BaseException:  # Ctrl-C waits for no thread: one that went on would make machines while others are removed
        given_up.set()
        raise
    ids = {one.name: one.id for its in launched for one in its.made}
    begun = time.monotonic()
    there_now = _once_up(api, settings, cluster, {spec.name for spec in specs}, ids)
    _give_way(api, settings, cluster, there_now, ids)
    seen = [one for one in there_now if one.cluster.id == cluster.id]
    outcome = _outcome(settings, specs, seen, ids, launched, gateway)
    if new:
        up = len({spec.name for spec in new} & outcome.machines.keys())
        on_event(Event(f"{up} of {len(new)} machines run", seconds=time.monotonic() - begun))
    return outcome


def refuse_name(cluster: Cluster, others: Sequence[Cluster]) -> None:
    """Raise ProviderRefused when one of these clusters is another one of the same name."""
    other = next((one for one in others if one.name == cluster.name and one.id != cluster.id), None)
    if other:
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(other.created))
        raise ProviderRefused(
            f"there is a cluster {cluster.name!r} in this region already, which {other.owner} made on {made}",
            hint="choose another name with --cluster, or remove that cluster",
        )


def judge(outcome: Outcome, wanted: int, enough: bool, on_event: OnEvent) -> None:
    """Be content with what came when it is ``enough``, telling what is missing; else raise ProviderRefused."""
    missing = outcome.missing
    if not missing:
        return
    no_controller = any(one.name == "controller" for one in missing)
    if enough and not no_controller:
        for one in missing:
            on_event(Event(f"going on without: {one.why}", one.name))
        return
    reasons: dict[str, list[str]] = {}
    for one in missing:
        reasons.setdefault(one.why, []).append(one.name)
    advice = list(dict.fromkeys(one.advice for one in missing if one.advice))
    advice.append("`invoke provision` tries again with what is there, `invoke teardown` removes it")
    if not no_controller:
        advice.append("`--min-engines K` is content with K engines")
    raise ProviderRefused(
        f"{wanted - len(missing)} of {wanted} machines came, missing: {_listed([one.name for one in missing])}",
        seen="\n".join(f"{_listed(names)}: {why}" for why, names in reasons.items()),
        hint="; ".join(advice),
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _all_in_sight(api: Api, cluster: Cluster, specs: Sequence[MachineSpec]) -> Sequence[Instance]:
    """Every instance under the cluster's name, after a while if some of a call that was just made may be unseen yet.

    Without that, a run soon after one that died would take them for missing, and make them again.
    """

    def complete(seen: Sequence[Instance]) -> bool:
        mine = [one for one in seen if one.cluster.id == cluster.id]
        names, since = {one.name for one in mine}, time.time() - RECENT
        calls = {(one.tags.role, one.tags.first, one.tags.last) for one in mine if one.launched > since}
        return not any(
            spec.name not in names and spec.role == role and first <= spec.index <= last
            for spec in specs
            for role, first, last in calls
        )

    return look_until(lambda: described(api, cluster.name), complete, UNSEEN)


def _once_up(
    api: Api, settings: Settings, cluster: Cluster, names: set[str], ids: Mapping[str, str]
) -> Sequence[Instance]:
    """All instances under the cluster's name once its own of these names are settled.

    New ones may be missing from the first looks.
    """

    def settled(there: Sequence[Instance]) -> bool:
        seen = [one for one in there if one.cluster.id == cluster.id]
        waiting = [one for one in seen if one.name in names and one.state in STARTING and not is_up(one, settings)]
        return not waiting and ids.keys() <= {one.name for one in seen if one.id == ids.get(one.name)}

    return look_until(lambda: described(api, cluster.name), settled, settings.boot_timeout)


def _give_way(api: Api, settings: Settings, cluster: Cluster, seen: Sequence[Instance], ids: Mapping[str, str]) -> None:
    """Take the new machines away again, raising ProviderRefused, if an older cluster of this name came up meanwhile.

    Two that were made at the same time did not see each other before; whoever looks takes the older one for the only.
    """
    others = {one.cluster for one in seen if not one.gone and one.cluster.id != cluster.id}
    older = [one for one in others if (one.created, one.id) < (cluster.created, cluster.id)]
    if older and ids:
        power.terminate(api, cluster.name, list(ids.values()), settings.boot_timeout)
        refuse_name(cluster, older)


def _outcome(
    settings: Settings,
    specs: Sequence[MachineSpec],
    seen: Sequence[Instance],
    ids: Mapping[str, str],
    launched: Sequence[Launched],
    gateway: Endpoint | None,
) -> Outcome:
    alive = {one.name: one for one in seen if not one.gone}
    by_id = {one.id: one for one in seen}
    machines = {one.name: one for one in found(seen, settings, gateway).machines}
    missing = []
    refused = {(its.role, index): its for its in launched for index in its.missing}
    for spec in specs:
        one = alive.get(spec.name)
        if one is not None and (is_up(one, settings) or one.state not in STARTING):
            continue
        if (spec.role, spec.index) in refused:
            missing.append(_no_room(spec, refused[spec.role, spec.index]))
        elif one is not None:
            missing.append(_not_up(spec, one, settings))
        else:
            missing.append(_ended(spec, by_id.get(ids.get(spec.name, "")), settings))
    lacking = {one.name for one in missing}
    names = {spec.name for spec in specs} - lacking
    engine_machines = [one for one in alive.values() if one.tags.role == "engine" and one.name not in lacking]
    return Outcome({name: machines[name] for name in names}, tuple(missing), len(engine_machines))


def _no_room(spec: MachineSpec, launched: Launched) -> Missing:
    by_code: dict[str, list[Place]] = {}
    for place, code in launched.refusals.items():
        by_code.setdefault(code, []).append(place)
    why = "; ".join(f"{', '.join(str(place) for place in places)}: {code}" for code, places in by_code.items())
    return Missing(
        spec.name, f"no place has room for it: {why}", "; ".join(dict.fromkeys(hint(code) for code in by_code))
    )


def _not_up(spec: MachineSpec, one: Instance, settings: Settings) -> Missing:
    after = f"after {settings.boot_timeout:.0f} s"
    if one.state == "pending":
        return Missing(spec.name, f"{one.id} is still pending {after}", "raise `boot_timeout`")
    why = f"{one.id} has no public address {after}"
    return Missing(spec.name, why, "set `public_address: false` to reach machines at their private ones")


def _ended(spec: MachineSpec, one: Instance | None, settings: Settings) -> Missing:
    if one is None:
        why = f"it was launched, and AWS does not show it after {settings.boot_timeout:.0f} s"
        return Missing(spec.name, why, "raise `boot_timeout`")
    advice = next((text for code, text in ENDED.items() if one.reason == code), ENDED_OTHERWISE)
    return Missing(spec.name, f"AWS ended its instance at once: {one.said or one.reason or one.state}", advice)
