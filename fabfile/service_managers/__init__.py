"""Service managers: one module each, imported when asked for, chosen by looking at the host."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from ..errors import ServiceFailed
from ..remote import Host
from ..services import ServiceManager

NAMES = ("systemd",)
SMF_MARKS = ("/usr/bin/svcs", "/usr/sbin/svccfg")
SYSTEMD_MARK = "/run/systemd/system"


def get(name: str) -> ServiceManager:
    """The service manager of that name; each plug-in has a value ``service_manager``."""
    return cast(ServiceManager, import_module(f"{__name__}.{name}").service_manager)


def detect(host: Host) -> ServiceManager:
    """The service manager that runs on this host, seen from what is there and executable.

    Raises ServiceFailed, naming what was found, where it is none of ours.
    """
    looked_for = (*SMF_MARKS, SYSTEMD_MARK)
    seen = host.run("find", *looked_for, "-prune", "-perm", "-0111", check=False).stdout.split()
    if set(SMF_MARKS) <= set(seen):
        raise ServiceFailed(
            "this host has SMF, which is not supported yet", machine=host.name, hint="use a host that runs systemd"
        )
    if SYSTEMD_MARK in seen:
        return get("systemd")
    raise ServiceFailed(
        "no service manager that can run controller and engines was found",
        machine=host.name,
        seen=f"neither {SYSTEMD_MARK} (systemd runs) nor {' and '.join(SMF_MARKS)} (SMF) is there",
        hint="use a host whose first process is systemd; a plain container has none",
    )
