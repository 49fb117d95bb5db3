"""The services that a fresh zone has, as far as anything of ours looks at them."""

from __future__ import annotations

from pathlib import Path

from .places import Place, write
from .repository import Groups, Service, locked, set_property

NETWORK = "milestone/network"
FILES = "system/filesystem/local"
USERS = "milestone/multi-user"
PLAIN = ("system/svc/restarter", FILES, NETWORK, "network/loopback", "milestone/name-services", USERS)
NEEDS = {USERS: (NETWORK, FILES), "milestone/name-services": (NETWORK,)}
METADATA = "smartdc/mdata"


def furnish(place: Place, program: str, metadata: dict[str, str] | None, *, smartos: bool, home: str = "") -> None:
    """Make the repository of a fresh machine, its metadata included; nothing is started.

    ``metadata`` None: the metadata service is not up, mdata-get waits. ``smartos`` False leaves out smartdc/mdata.
    ``home`` is the state's folder as the machine itself sees it.
    """
    place.state.mkdir(parents=True, exist_ok=True)
    place.requests.mkdir(exist_ok=True)
    if metadata is not None:
        write(place.metadata, metadata)
    with locked(place) as repository:
        for name in PLAIN:
            service = repository.services[name] = Service(name)
            _method(service.groups, "start", ":true", "0")
            _method(service.groups, "stop", ":true", "0")
            _depend(service.groups, *NEEDS.get(name, ()))
            set_property(service.groups, "startd/duration", "framework", "astring", "transient")
            instance = repository.add_instance(service, "default")
            set_property(instance.groups, "general/enabled", "framework", "boolean", "true")
        if smartos:
            service = repository.services[METADATA] = Service(METADATA)
            set_property(service.groups, "startd/duration", "framework", "astring", "transient")
            set_property(service.groups, "startd/ignore_error", "framework", "astring", "core,signal")
            _method(service.groups, "stop", ":true", "0")
            limit = str(max(1, round(place.setting("execute_timeout"))))
            for name, needs, on, seconds in (
                ("fetch", (FILES,), "true", "1800"),
                ("execute", (USERS, f"{METADATA}:fetch"), "false", limit),
            ):
                instance = repository.add_instance(service, name)
                set_property(instance.groups, "general/enabled", "framework", "boolean", on)
                _method(instance.groups, "start", f"{program} mdata-{name}", seconds)
                pairs = f"SMF_STANDIN_STATE={home or place.state}"
                set_property(instance.groups, "start/environment", "method", "astring", pairs)
                _depend(instance.groups, *needs)


def _method(groups: Groups, name: str, command: str, seconds: str) -> None:
    set_property(groups, f"{name}/exec", "method", "astring", command)
    set_property(groups, f"{name}/timeout_seconds", "method", "count", seconds)
    set_property(groups, f"{name}/type", "method", "astring", "method")


def _depend(groups: Groups, *needs: str) -> None:
    for number, name in enumerate(needs):
        fmri = f"svc:/{name}" if ":" in name else f"svc:/{name}:default"
        group = Path(name).name.replace(":", "-") if number else "needed"
        set_property(groups, f"{group}/entities", "dependency", "fmri", fmri)
        set_property(groups, f"{group}/grouping", "dependency", "astring", "require_all")
        set_property(groups, f"{group}/restart_on", "dependency", "astring", "none")
        set_property(groups, f"{group}/type", "dependency", "astring", "service")
