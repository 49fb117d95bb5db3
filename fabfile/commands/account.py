"""The account with a provider: what runs there, what is left over, what there is to be had and what it costs."""

from __future__ import annotations

import json as to_json
import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, is_dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from invoke.context import Context

from ..command_line import task
from ..errors import ClusterError, UsageError, addressed
from .options import CLUSTER, TEMPLATE, YES

if TYPE_CHECKING:
    from ..machines import Provider

T = TypeVar("T")
JSON = "print JSON and nothing else"
FEW = 20  # types that are listed with their prices: each is a question of its own


def ability(provider: Provider, kind: type[T], what: str) -> T:
    """The provider as one that can do this; raises UsageError for one that cannot, naming the way out."""
    if not isinstance(provider, kind):
        raise UsageError(
            f"provider {provider.name} has no {what}",
            hint="choose a template of a provider that has: `--template ec2`",
        )
    return provider


def show(values: Sequence[Any], lines: Callable[[Sequence[Any]], list[str]], *, json: bool, template: str = "") -> None:
    """Print a listing for a person, or as JSON; what it advises is meant for the ``template`` that was given."""
    from .. import report

    if json:
        plain = [asdict(one) if is_dataclass(one) and not isinstance(one, type) else one for one in values]
        report.say(to_json.dumps(plain, indent=2, default=str))
    else:
        report.say(addressed("\n".join(lines(values)), None, template))


@task(help={"template": TEMPLATE, "json": JSON})
def clusters(c: Context, template: str = "", json: bool = False) -> None:
    """Every cluster of ours at the template's provider, whoever made it."""
    from .. import listings, session
    from ..machines import Found, MachineState, Priced, Rate

    provider = session.account(c, template)
    found = provider.clusters()

    def rated(one: Found) -> Rate | None:
        running = [machine for machine in one.machines if machine.state is MachineState.RUNNING]
        return provider.rate(running) if isinstance(provider, Priced) and running else None

    rates = [rated(one) for one in found]
    where = f"on provider {provider.name}"
    plain = [{**asdict(one), "hourly": rate.hourly if rate else None} for one, rate in zip(found, rates, strict=True)]
    show(plain, lambda _: listings.clusters(found, rates, where), json=json)


@task(help={"template": TEMPLATE, "json": JSON})
def regions(c: Context, template: str = "", json: bool = False) -> None:
    """The provider's regions; * marks the one that the settings mean."""
    from .. import accounts, listings, session

    provider = session.account(c, template)
    show(ability(provider, accounts.Placing, "regions").regions(), listings.regions, json=json)


@task(help={"template": TEMPLATE, "json": JSON})
def zones(c: Context, template: str = "", json: bool = False) -> None:
    """The availability zones of the region."""
    from .. import accounts, listings, session

    provider = session.account(c, template)
    show(ability(provider, accounts.Placing, "zones").zones(), listings.zones, json=json)


@task(
    help={
        "like": "only types of these names, like `c7i.*,m7i.large`; then with their zones",
        "cpus": "only types with at least so many virtual processors",
        "memory": "only types with at least so much memory, in GB",
        "architecture": "only types that can run it: x86_64 or arm64",
        "template": TEMPLATE,
        "json": JSON,
    }
)
def types(
    c: Context,
    like: str = "",
    cpus: str = "",
    memory: str = "",
    architecture: str = "",
    template: str = "",
    json: bool = False,
) -> None:
    """The types of machines in the region, the smallest first; with what they cost on demand when they are few."""
    from .. import accounts, listings, session

    least_cpus, least_memory = _number("cpus", cpus), _number("memory", memory)
    if architecture not in ("", "x86_64", "arm64"):
        raise UsageError(f"--architecture: there is no {architecture}", hint="it is x86_64 or arm64")
    provider = session.account(c, template)
    patterns = [word.strip() for word in like.split(",") if word.strip()]
    found = [
        one
        for one in ability(provider, accounts.Sizing, "types of machines").machine_types(patterns)
        if one.cpus >= least_cpus
        and one.memory_mb >= least_memory * 1024
        and (not architecture or architecture in one.architectures)
    ]
    if 0 < len(found) <= FEW and isinstance(provider, accounts.Pricing):
        with suppress(ClusterError):  # types whose prices cannot be read are types all the same
            known = {one.type: one.fixed for one in provider.prices([one.name for one in found], 1)}
            found = [replace(one, hourly=known.get(one.name)) for one in found]
    show(found, listings.machine_types, json=json)


@task(
    help={
        "types": "types of machines, separated by commas (default: those of the settings)",
        "days": "how far back spot prices are looked at (default: 7)",
        "template": TEMPLATE,
        "json": JSON,
    }
)
def prices(c: Context, types: str = "", days: str = "7", template: str = "", json: bool = False) -> None:
    """What machines cost an hour, on demand and on spot."""
    from .. import accounts, listings, session

    back = _number("days", days)
    if not 1 <= back <= 90 or back != int(back):
        raise UsageError("--days must be a whole number from 1 to 90", hint="the provider remembers 90 days")
    provider = session.account(c, template)
    wanted = [word.strip() for word in types.split(",") if word.strip()]
    show(
        ability(provider, accounts.Pricing, "prices").prices(wanted, int(back)),
        listings.prices,
        json=json,
        template=template,
    )


@task(
    help={
        "machine": "one machine, by the name that status shows (default: the controller)",
        "cluster": CLUSTER,
        "template": TEMPLATE,
    }
)
def console(c: Context, machine: str = "", cluster: str = "", template: str = "") -> None:
    """What a machine wrote on its console while it booted."""
    from .. import report, session
    from ..power import chosen

    run = session.open_run(c, cluster=cluster, template=template)
    found = run.provider.find(run.settings.cluster)
    if found.cluster is None:
        raise session.none_such(run)
    for one in chosen(found, machine or "controller"):
        written = run.provider.console(one)
        report.say(written or f"{one.name} has written nothing on a console that provider {run.provider.name} shows")


@task(help={"delete": "remove what is listed, after asking", "template": TEMPLATE, "json": JSON, "yes": YES})
def sweep(c: Context, delete: bool = False, template: str = "", json: bool = False, yes: bool = False) -> None:
    """List what clusters of ours left behind at the provider; --delete removes it."""
    from .. import accounts, listings, report, session
    from ..machines import silent

    provider = session.account(c, template)
    able = ability(provider, accounts.Sweeping, "leftovers that it shows")
    found = able.leftovers()
    show(found, listings.leftovers, json=json)
    if not delete or not found:
        return
    session.agree_to(f"remove these {len(found)}", yes=yes)
    failure: ClusterError | None = None
    with nullcontext(silent) if json else report.Progress(provider.name) as progress:
        try:
            able.remove_leftovers(found, progress)
        except ClusterError as error:
            failure = error
    try:
        left = {(one.kind, one.id) for one in able.leftovers()} & {(one.kind, one.id) for one in found}
    except ClusterError as error:  # who may not remove may be unable to look as well
        raise failure or error from error
    if not json:
        report.say(f"{len(found) - len(left)} of {len(found)} removed")
    if failure:
        raise failure
    if left:
        named = ", ".join(f"{kind} {one}" for kind, one in sorted(left))
        raise ClusterError(f"still there: {named}", hint="run `invoke sweep --delete` again")


@task(
    help={
        "lease": "how long from now, like 4h (default: the settings' lease)",
        "cluster": CLUSTER,
        "template": TEMPLATE,
    }
)
def renew(c: Context, lease: str = "", cluster: str = "", template: str = "") -> None:
    """Begin the lease anew on every machine, from now."""
    from .. import lease as link
    from .. import observation, report, session

    with session.changing(c, "renew", lease=lease, cluster=cluster, template=template) as run:
        observed = session.known(run, observation.observe(run))
        with session.showing(run):
            end = link.renew(run, observed.found)
    report.say(f"the lease of {run.settings.cluster} ends {time.strftime('%Y-%m-%d %H:%M', time.localtime(end))}")


def _number(option: str, given: str) -> float:
    """The number that an option was given, 0 for none; raises UsageError for what counts nothing."""
    with suppress(ValueError):
        number = float(given or 0)
        if math.isfinite(number) and number >= 0:
            return number
    raise UsageError(f"--{option} must be a number, not {given!r}", hint=f"as in --{option} 8")
