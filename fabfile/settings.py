"""Settings: the only reader of configuration, from files, environment and command line to one frozen value.

Weakest first: invoke.yaml, the user's file, the chosen template, IPYFLEET_… variables, options of the command.
Everything that is wrong is said at once, before anything is made. Knows nothing of providers and machines.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from . import cloud_kinds, kinds, layers, owned
from .errors import UsageError

T = TypeVar("T")
PROJECT_FILE = Path(__file__).resolve().parent.parent / "invoke.yaml"
PROVIDERS = ("local", "static", "ec2", "triton")
UNSHOWN = ("engine_env",)  # there may be secrets of the user's in it
NAME = r"[a-z]([a-z0-9-]{0,29}[a-z0-9])?"
NAME_WANTED = "a name of at most 31 lower-case letters, digits and hyphens that starts with a letter, like lab-2"


def _setting(default: T, kind: Callable[[object], T]) -> T:
    return field(default=default, metadata={"kind": kind})


@dataclass(frozen=True)
class Settings:
    """Everything a user can decide, checked. Times are seconds. invoke.yaml describes each field."""

    cluster: str = _setting("ipython", kinds.text(NAME, NAME_WANTED))
    template: str = _setting("local", kinds.text(r"\S+", "the name of a template"))
    provider: str = _setting("local", kinds.choice(*PROVIDERS))
    engines: int = _setting(4, kinds.whole(1, 10_000))
    engines_per_machine: int = _setting(0, kinds.whole(0, 1024))
    min_engines: int = _setting(0, kinds.whole(0, 10_000))
    hosts: tuple[str, ...] = _setting((), kinds.listing(kinds.host))
    controller_host: str = _setting("", kinds.maybe(kinds.host))
    ssh_config: str = _setting("", kinds.text(r"([~/].*)?", "the path of a file, like ~/.ssh/config-lab"))
    encryption: str = _setting("curve", kinds.choice("curve", "hmac"))
    patience: float = _setting(20.0, kinds.duration("1s", "10m"))
    heartbeat: float = _setting(0.1, kinds.duration("10ms", "10s"))
    lease: float = _setting(0.0, kinds.duration("1m", "365d", off=True))
    packages: tuple[str, ...] = _setting(("numpy",), kinds.listing(kinds.requirement))
    packer: str = _setting("json", kinds.choice("json", "orjson"))
    controller_options: tuple[str, ...] = _setting((), kinds.listing(owned.option))
    engine_options: tuple[str, ...] = _setting((), kinds.listing(owned.option))
    engine_env: tuple[tuple[str, str], ...] = _setting((), kinds.environment(owned.variable))
    ssh_keys: tuple[str, ...] = _setting((), kinds.listing(kinds.public_key))
    first_port: int = _setting(10101, kinds.whole(1024, 65535 - 17))
    stop_timeout: float = _setting(120.0, kinds.duration("1s", "1d"))
    boot_timeout: float = _setting(120.0, kinds.duration("1s", "1d"))
    start_timeout: float = _setting(120.0, kinds.duration("1s", "1d"))
    release: str = _setting("", kinds.text(r"([a-z][a-z0-9.-]*)?", "the code name of a release, like bookworm"))
    subnets: str = _setting("10.203.0.0/16", kinds.private_network)
    aws_profile: str = _setting("", kinds.text(r"\S*", "the name of a profile, like research"))
    triton_profile: str = _setting("", kinds.text(r"\S*", "the name of a profile, like lab"))
    region: str = _setting("", kinds.text(r"([a-z]{2}(-[a-z]+)+-[0-9]+)?", "a region, like eu-central-1"))
    zones: tuple[str, ...] = _setting((), kinds.listing(cloud_kinds.zone))
    machine_type: tuple[str, ...] = _setting(("m7i.large", "m6i.large"), kinds.listing(cloud_kinds.machine_type))
    controller_type: tuple[str, ...] = _setting(("t3.small",), kinds.listing(cloud_kinds.machine_type))
    image: str = _setting("", kinds.text(r"[\w.@-]*", "an image, like ami-0123456789abcdef0 or base-64-lts@24.4.1"))
    login_user: str = _setting("", kinds.text(r"([a-z_][a-z0-9_-]{0,31})?", "a user name, like admin"))
    volume_size: int = _setting(0, kinds.whole(0, 65536))
    volume_type: str = _setting("gp3", kinds.choice("gp3", "gp2", "io1", "io2", "st1", "sc1", "standard"))
    volume_encrypted: bool = _setting(True, kinds.yes_or_no)
    spot: bool = _setting(False, kinds.yes_or_no)
    spot_price: float = _setting(0.0, cloud_kinds.price)
    spot_deadline: float = _setting(120.0, kinds.duration("0s", "1d"))
    spot_fallback: bool = _setting(True, kinds.yes_or_no)
    vpc: str = _setting("", kinds.text(r"(vpc-[0-9a-f]{8,17})?", "the id of a VPC, like vpc-0123456789abcdef0"))
    subnet: tuple[str, ...] = _setting((), kinds.listing(cloud_kinds.subnet))
    networks: tuple[str, ...] = _setting((), kinds.listing(cloud_kinds.network_name))
    affinity: tuple[str, ...] = _setting((), kinds.listing(cloud_kinds.affinity))
    host_keys: tuple[str, ...] = _setting((), kinds.listing(cloud_kinds.host_key))
    join: str = _setting("ssh", kinds.choice("ssh", "metadata"))
    allow_secret_in_metadata: bool = _setting(False, kinds.yes_or_no)
    price_per_hour: tuple[tuple[str, float], ...] = _setting((), cloud_kinds.price_list)
    public_address: bool = _setting(True, kinds.yes_or_no)
    gateway: str = _setting("", kinds.maybe(kinds.host))
    ssh_from: tuple[str, ...] = _setting(("auto",), kinds.listing(cloud_kinds.source))
    address_service: str = _setting(
        "https://checkip.amazonaws.com", kinds.text(r"https?://[^\s]+", "an address, like https://address.example.org")
    )
    open_ports: tuple[str, ...] = _setting((), kinds.listing(cloud_kinds.open_port))
    key_pair: str = _setting("", kinds.text(r"[!-~]{0,255}", "the name of a key pair of your account"))
    key_file: str = _setting("", kinds.text(r"([~/].*)?", "the path of a private key, like ~/.ssh/id_ed25519"))
    placement_group: str = _setting("", kinds.text(r"[ -~]{0,255}", "the name of a placement group"))
    instance_profile: str = _setting("", kinds.text(r"[\w+=,.@-]{0,128}", "the name of an instance profile"))
    tags: tuple[tuple[str, str], ...] = _setting((), cloud_kinds.tags)
    system_packages: tuple[str, ...] = _setting((), kinds.listing(cloud_kinds.system_package))
    userdata: str = _setting("", kinds.text(r"([~/].*)?", "the path of a script, like ~/first-boot.sh"))
    hooks: tuple[tuple[str, tuple[str, ...]], ...] = _setting((), cloud_kinds.hooks)


KINDS: dict[str, Callable[[object], Any]] = {item.name: item.metadata["kind"] for item in fields(Settings)}


@dataclass(frozen=True)
class Resolved:
    """The settings, and for each key where its value came from, as a person finds it."""

    settings: Settings
    origins: Mapping[str, str]


def load(
    overrides: Mapping[str, str] | None = None,
    *,
    runtime_file: str | None = None,
    environ: Mapping[str, str] = os.environ,
    project_file: Path = PROJECT_FILE,
) -> Settings:
    """The settings that hold for this command.

    ``overrides`` are options of the command by key, "" for those not given; ``runtime_file`` is Invoke's `-f FILE`.
    Raises UsageError with all complaints at once, each with the key, the value, where it stands and what would do.
    """
    return resolve(overrides, runtime_file=runtime_file, environ=environ, project_file=project_file).settings


def resolve(
    overrides: Mapping[str, str] | None = None,
    *,
    runtime_file: str | None = None,
    environ: Mapping[str, str] = os.environ,
    project_file: Path = PROJECT_FILE,
) -> Resolved:
    """Like ``load``, with the origin of each value."""
    complaints: list[str] = []
    shipped = layers.project_file(project_file)
    path = layers.users_path(runtime_file or "", environ)
    users = layers.users_file(path) if path else layers.File()
    variables = layers.variables(environ, KINDS, complaints)
    options = layers.options(overrides or {})
    templates = layers.merge_templates(shipped, users)
    tops = (shipped.top, users.top, variables, options)
    for layer in tops:
        complaints += _misfits(layer, KINDS)
    for template in templates.values():
        complaints += _misfits(template, [name for name in (*KINDS, "extends") if name != "template"])
    chosen = {**shipped.top, **users.top, **variables, **options}["template"]
    complaints += _chain_complaints(chosen, templates)
    if complaints:
        raise refusal(complaints)
    given = {**shipped.top, **users.top}
    for name in layers.chain(str(chosen.value), templates):
        given |= {key: item for key, item in templates[name].items() if key != "extends"}
    given |= {**variables, **options}
    settings = Settings(**{key: KINDS[key](item.value) for key, item in given.items()})
    origins = {key: item.where for key, item in given.items()}
    contradictions = _contradictions(settings, origins)
    wanted = users.top.get("provider")
    if wanted and wanted.value != settings.provider and not {"provider", "template"} & {*variables, *options}:
        contradictions.append(
            f"{wanted.where}: provider {wanted.value} has no effect, since the template {settings.template} says "
            f"{settings.provider}: choose a template there, like `template: {wanted.value}`"
        )
    if contradictions:
        raise refusal(contradictions)
    return Resolved(settings, origins)


def refusal(complaints: list[str]) -> UsageError:
    """All complaints as one error, each on a line of its own."""
    what = "a setting" if len(complaints) == 1 else f"{len(complaints)} settings"
    lines = "".join(f"\n  {complaint}" for complaint in complaints)
    return UsageError(
        f"{what} cannot be used, nothing was changed:{lines}", hint=f"{PROJECT_FILE} describes every setting"
    )


def _misfits(layer: layers.Layer, names: Collection[str]) -> list[str]:
    complaints = []
    for key, item in layer.items():
        if key not in names:
            spelled = key.replace("_", "-") if item.where.startswith("--") else key
            complaints.append(f"{item.where}: no such setting: {spelled}{kinds.nearest(key, names)}")
        elif key in KINDS:
            try:
                KINDS[key](item.value)
            except ValueError as misfit:
                shown = f", not {item.value!r}" if str(misfit).startswith("must") and key not in UNSHOWN else ""
                complaints.append(f"{item.where}: {key} {misfit}{shown}")
    return complaints


def _chain_complaints(chosen: layers.Given, templates: Mapping[str, layers.Layer]) -> list[str]:
    complaints: dict[str, None] = {}  # by text: a broken link shows in every chain that it is part of
    if str(chosen.value) not in templates:
        complaints[f"{chosen.where}: {_no_chain(str(chosen.value), templates)}"] = None
    for name in templates:
        if said := _no_chain(name, templates):
            complaints[said] = None
    return list(complaints)


def _no_chain(name: str, templates: Mapping[str, layers.Layer]) -> str:
    try:
        layers.chain(name, templates)
    except ValueError as error:
        return str(error)
    return ""


def _contradictions(settings: Settings, origins: Mapping[str, str]) -> list[str]:
    complaints = []
    if settings.min_engines > settings.engines:
        complaints.append(
            f"{origins['min_engines']}: min_engines {settings.min_engines} is more than "
            f"engines {settings.engines} ({origins['engines']})"
        )
    if settings.patience < 20 * settings.heartbeat:
        complaints.append(
            f"{origins['patience']}: patience {settings.patience:g}s is less than 20 heartbeats of "
            f"{settings.heartbeat:g}s ({origins['heartbeat']}): give more patience or a shorter heartbeat"
        )
    if settings.packer == "orjson" and not any(package.startswith("orjson") for package in settings.packages):
        complaints.append(f"{origins['packer']}: packer orjson needs orjson in packages ({origins['packages']})")
    if settings.provider == "ec2" and settings.image and not settings.image.startswith("ami-"):
        complaints.append(f"{origins['image']}: image must be the id of an image, like ami-0123456789abcdef0")
    if settings.join == "metadata" and settings.provider != "triton":
        complaints.append(f"{origins['join']}: join: metadata is for the provider triton, not for {settings.provider}")
    elif settings.join == "metadata" and not settings.allow_secret_in_metadata:
        complaints.append(
            f"{origins['join']}: join: metadata hands each new machine the engines' connection file as metadata, which "
            "every key of the account can read meanwhile: say `allow_secret_in_metadata: true` if that may be"
        )
    if settings.provider == "static" and not settings.hosts:
        complaints.append(
            f"{origins['provider']}: the provider static needs hosts: in a file `hosts: [user@one, user@two]`, "
            "or IPYFLEET_HOSTS=user@one,user@two"
        )
    return complaints
