"""Service managers: one module each, imported when asked for, chosen by looking at the host."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from .. import boot
from ..errors import ServiceFailed
from ..remote import Host
from ..services import ServiceManager

NAMES = ("systemd", "smf")


def get(name: str) -> ServiceManager:
    """The service manager of that name; each plug-in has a value ``service_manager``."""
    return cast(ServiceManager, import_module(f"{__name__}.{name}").service_manager)


def chosen(seen: str, host: Host) -> ServiceManager:
    """The service manager that a survey of the host has ``seen``: systemd, smf, or "" for neither.

    Raises ServiceFailed where it is none of ours.
    """
    if seen in NAMES:
        return get(seen)
    raise ServiceFailed(
        "no service manager that can run controller and engines was found",
        machine=host.name,
        seen="neither /run/systemd/system (systemd runs) nor svcs and svccfg (SMF) are there",
        hint="use a host whose first process is systemd, or SmartOS; a plain container has none",
    )


def detect(host: Host) -> ServiceManager:
    """The service manager that runs on this host, seen from what is there; one round trip.

    Raises ServiceFailed, naming what was looked for, where it is none of ours.
    """
    return chosen(facts(host)["manager"], host)


def facts(host: Host) -> dict[str, str]:
    """What of ours is on the host, by name, as bootscripts/survey.sh describes it; one round trip."""
    shown = host.script(boot.script("survey.sh")).stdout
    return dict(line.split("=", 1) for line in shown.splitlines())
