"""What somebody else needs to understand a fault: texts by path, of every machine and of this computer.

Gathers; that no secret is in it is bundle.py's and redaction.py's matter, to which ``Gathered.secrets`` are told.
"""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from importlib import metadata

from . import access, boot, known_secrets, observation, report, service_managers
from .errors import ClusterError
from .machines import Machine
from .redaction import Secrets
from .remote import Host
from .run import Run
from .services import LEASE, REPAIR, Service, ServiceManager, Stretch
from .settings import Resolved

LINES = 2000
PACKAGES = ("ipyfleet", "ipyparallel", "fabric", "invoke", "paramiko", "pyzmq", "cryptography", "ipykernel", "boto3")
ABOUT = """\
A bug report on the cluster {cluster} (provider {provider}) by `invoke logs --bundle`.

this-computer/   status, settings and where each comes from, times of the last run, versions
machines/NAME/   logs and states of the services, what of ours is there, versions; or why there is nothing
removed.txt      how many secrets were taken out, and where
"""


@dataclass(frozen=True)
class Gathered:
    """Texts by path, and the secrets that must be taken out of them; machines of which there is nothing."""

    files: dict[str, str]
    secrets: Secrets
    silent: tuple[str, ...]


def gather(run: Run, machines: Sequence[Machine], stretch: Stretch, resolved: Resolved, note: str = "") -> Gathered:
    """Everything for a bug report; ``note`` says why there are no machines. What fails is told in its place."""
    files = {"about.txt": ABOUT.format(cluster=run.settings.cluster, provider=run.provider.name) + note}
    secrets = known_secrets.of_cluster(run, machines)
    silent = []

    def ask(host: Host, machine: Machine) -> tuple[dict[str, str], Secrets]:
        # First: without it nobody could tell whether the rest holds the secret.
        found = known_secrets.on_controller(host) if machine.role == "controller" else Secrets()
        return _of_machine(run, host, machine, stretch), found

    for outcome in access.on_each(run, machines, ask):
        folder = f"machines/{outcome.item.name}"
        if outcome.value is None:
            if not isinstance(outcome.error, ClusterError):
                raise outcome.error or AssertionError(folder)
            files[f"{folder}/no-answer.txt"] = f"{outcome.error}\n"
            silent.append(outcome.item.name)
            continue
        files |= {f"{folder}/{name}": text for name, text in outcome.value[0].items()}
        secrets |= outcome.value[1]
    files |= {f"this-computer/{name}": text for name, text in _here(run, resolved).items()}
    return Gathered(files, secrets, tuple(silent))


def _of_machine(run: Run, host: Host, machine: Machine, stretch: Stretch) -> dict[str, str]:
    facts = service_managers.facts(host)
    files = {
        "survey.txt": "".join(f"{name} = {value}\n" for name, value in facts.items()),
        "versions.txt": _told(lambda: host.script(boot.script("versions.sh")).stdout),
    }
    own = access.service_on(run, machine)
    services = [own, LEASE] if machine.role == "controller" else [own, REPAIR, LEASE]
    try:
        manager = service_managers.chosen(facts["manager"], host)
    except ClusterError as error:
        return files | {"services.txt": f"{error}\n"}
    files["services.txt"] = "".join(_told(partial(_states, manager, host, one)) for one in services)
    for one in services:
        files[f"{one.name}.log"] = _told(partial(manager.past, host, one, stretch))
    return files


def _states(manager: ServiceManager, host: Host, service: Service) -> str:
    looks = manager.state(host, service)
    lines = [
        f"{service.name} {instance}".rstrip() + f": {look.state} ({look.words})\n" for instance, look in looks.items()
    ]
    return "".join(lines) or f"{service.name}: no instance is there\n"


def _here(run: Run, resolved: Resolved) -> dict[str, str]:
    return {
        "status.json": _told(lambda: report.status_json(observation.look(run)) + "\n"),
        "settings.txt": settings_lines(resolved),
        "timings.txt": "\n".join(report.waterfall(run.record)) + "\n",
        "versions.txt": versions(),
    }


def _told(ask: Callable[[], str]) -> str:
    """What is asked, or why it cannot be had."""
    try:
        return ask()
    except ClusterError as error:
        return f"this could not be had: {error}\n"


def settings_lines(resolved: Resolved) -> str:
    """Each setting with its value and origin; of variables for engines the names alone."""
    lines = []
    for item in fields(resolved.settings):
        value = getattr(resolved.settings, item.name)
        if item.name == "engine_env":
            value = tuple((name, "(its value is not told)") for name, _ in value)
        lines.append(f"{item.name} = {value!r}  ({resolved.origins.get(item.name, 'default')})\n")
    return "".join(lines)


def versions() -> str:
    """What this computer runs."""
    lines = [f"Python {sys.version}", platform.platform(), platform.machine()]
    for name in PACKAGES:
        try:
            lines.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            lines.append(f"{name}: not installed")
    try:
        lines.append(subprocess.run(("ssh", "-V"), capture_output=True, text=True, check=False).stderr.strip())
    except OSError as error:
        lines.append(f"ssh: {error.strerror}")
    return "\n".join(lines) + "\n"
