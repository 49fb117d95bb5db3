"""Preflight: everything that would keep machines from being made, or surprise whoever made them, found at once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import partial

from ... import boot, checks, entrances
from ...errors import ClusterError
from ...machines import Cluster, Finding, Machine, MachineSpec, MachineState, Rate
from ...remote import each
from ...settings import Settings
from . import catalog, entry, ingredients, prices
from .api import Api
from .ingredients import Ingredients

MOST = 100_000  # bytes of a request
ROOM = 2_000  # for the cluster's own key and longer names


def findings(api: Api, settings: Settings, new_machines: int, *, controller: bool = True) -> list[Finding]:
    """What would stop so many machines from being made, and what to know before they are; errors first.

    ``controller`` says whether one of them is the controller. When the account cannot be asked, nothing else is.
    """
    account = checks.findings([partial(of_the_account, api, settings)])
    found = [*account]
    if new_machines:
        found += checks.findings([partial(of_the_settings, settings), partial(entrances.world_findings, settings)])
        if not any(one.level == "error" for one in account):
            roles = [*(["controller"] if controller else []), *(["engine"] if new_machines > controller else [])]
            found += checks.findings([partial(of_the_ground, api, settings, new_machines, tuple(roles))])
    return sorted(dict.fromkeys(found), key=lambda finding: finding.level != "error")


def of_the_account(api: Api, settings: Settings) -> Iterator[Finding]:
    """Who we are, and whether a key of the account's is there, which CloudAPI wants; raises ProviderRefused as well."""
    account = catalog.account(api)
    if not catalog.account_keys(api):
        yield Finding(
            "error",
            f"the account {account.login} has no SSH key, and CloudAPI makes no machines without one",
            "add one: `triton key add ~/.ssh/id_ed25519.pub`, or `invoke keys.import`",
        )
    longest = len(settings.cluster) + len("-00000000-controller")
    if account.names_in_dns and longest > 63:
        yield Finding("error", f"the name {settings.cluster} is too long: machines have names in the DNS", "shorten it")


def of_the_settings(settings: Settings) -> Iterator[Finding]:
    """What the settings alone show."""
    if not settings.lease:
        yield Finding(
            "warning",
            "no lease: the machines run, and cost, until somebody removes them",
            "set `lease`, like `lease: 8h`: then they switch themselves off, and `invoke renew` puts that off",
        )
    if not settings.ssh_from:
        yield Finding(
            "error",
            "`ssh_from` is empty, so nobody could reach the machines by SSH, this computer included",
            "leave it out (`auto`: this computer), or name your networks, like [203.0.113.0/24]",
        )
    if settings.system_packages:
        yield Finding(
            "error",
            "`system_packages` are Debian's, and these machines run SmartOS",
            "install them by `pkgin` in the script of `userdata`, or by `hooks`",
        )
    if "first-use" in settings.host_keys:
        yield Finding(
            "warning",
            "`host_keys` has first-use: a machine that does not publish its host key is believed whatever it shows",
            "leave it out where machines publish their keys",
        )
    if settings.join == "metadata":
        yield Finding(
            "warning",
            "`join: metadata`: while a machine joins, every key of the account can read the engines' connection file",
            "leave `join` out, and it travels by SSH alone",
        )
        if "machine_up" in dict(settings.hooks):
            yield Finding(
                "error",
                "`join: metadata` sends engine machines nothing over SSH, and the hooks of machine_up need that",
                "put what they do into the script of `userdata`, or use `join: ssh`",
            )
    boot.users_script(settings.userdata)
    for text in entry.misfits(settings):
        yield Finding("error", text, "correct `ssh_from` or `open_ports`")


def of_the_ground(api: Api, settings: Settings, new_machines: int, roles: tuple[str, ...]) -> Iterator[Finding]:
    """Image, packages and networks, and what the machines will cost."""

    def look(role: str) -> Ingredients:
        return ingredients.gather(api, settings, "controller" if role == "controller" else "engine")

    outcomes = each(roles, look)
    for one in outcomes:
        if isinstance(one.error, ClusterError):
            yield Finding("error", one.error.message, one.error.hint)
        elif one.error is not None:
            raise one.error
    made_of = {one.item: one.value for one in outcomes if one.value is not None}
    for role, its in made_of.items():
        if its.image.least_memory > its.package.memory:
            yield Finding(
                "error",
                f"{its.image.name} needs {its.image.least_memory} MiB of memory, {its.package.name} has "
                f"{its.package.memory}",
                "choose a larger package",
            )
        if its.networks and not any(one.public for one in its.networks) and not settings.gateway:
            yield Finding(
                "warning",
                f"none of {', '.join(one.name for one in its.networks)} is public: this computer must reach them",
                "be in that network, or name one that is public as well",
            )
        yield from _too_much(settings, role, its)
        if not (settings.controller_type if role == "controller" else settings.machine_type):
            yield Finding("warning", f"the {role} machines will be {its.package.name}, the smallest package of 2 GB")
    if len(made_of) == len(roles):
        yield from _cost(settings, made_of, new_machines)


def _too_much(settings: Settings, role: str, its: Ingredients) -> Iterator[Finding]:
    """What CloudAPI would not take of such a machine's order; raises UsageError for tags that it would not keep."""
    spec = MachineSpec("controller" if role == "controller" else "engine", 0, settings.ssh_keys)
    paper = Cluster(settings.cluster, "00000000", "", 0.0)
    size = len(json.dumps(ingredients.order(settings, paper, spec, its, 0.0).body()))
    if size > MOST - ROOM:
        yield Finding(
            "error",
            f"the {role}'s order has {size} bytes, and CloudAPI takes {MOST} with all that comes to it",
            "shorten the script of `userdata`: have it fetch the rest",
        )


def _cost(settings: Settings, made_of: dict[str, Ingredients], new_machines: int) -> Iterator[Finding]:
    names = [made_of["controller"].package.name] if "controller" in made_of else []
    if "engine" in made_of:
        names += [made_of["engine"].package.name] * (new_machines - len(names))
    rate = cost(names, dict(settings.price_per_hour))
    if rate:
        yield Finding("warning", f"the new machines will cost about {rate.hourly:.3f} US dollars an hour")
    else:
        unknown = ", ".join(sorted(set(names) - dict(settings.price_per_hour).keys()))
        yield Finding(
            "warning",
            f"what {unknown} costs is not known: CloudAPI does not say",
            f"say it yourself, and `status` counts: `price_per_hour: {{{names[0]}: 0.05}}`",
        )


def cost(packages: Iterable[str], known: dict[str, float]) -> Rate | None:
    """What machines of these packages cost an hour."""
    papers = [
        Machine(name, name, "engine", place, MachineState.RUNNING, kind=name) for place, name in enumerate(packages)
    ]
    return prices.rate(papers, known)
