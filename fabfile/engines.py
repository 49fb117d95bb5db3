"""Put controller and engines on hosts, and take them off again: software, files, services, in that order.

Works on one open host at a time; which hosts, and when, is the chain's. Whether an engine is of use is asked of the
hub, not here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import boot, service_managers
from .connection import Connection, client_file, engine_file
from .connection_files import (
    ENGINE,
    controller_config,
    controller_files,
    engine_files,
    login_client_file,
    security_folders,
)
from .errors import ClusterError, ServiceFailed
from .host_software import install_software as install_software
from .patience import patience
from .plan import Deployment
from .remote import File, Host
from .services import CONTROLLER, LEASE, Service, ServiceManager, engine_service, wait_for_svc
from .settings import Settings
from .software import Software

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = (
    "systemd/ip*",
    "bootscripts/controller-*",
    "bootscripts/engine-*",
    "bootscripts/lease-*",
    "bootscripts/*.py",
    "smf/ip*.xml",
    "smf/smf-*.sh",
    "smf/*-method.sh",
)
SERVICE_USER, SERVICE_HOME = "ipyparallel", "/var/lib/ipyparallel"
MARKS = "/etc/ipyfleet"
ENV_PYTHON = "/opt/ipyfleet/env/bin/python"
REGISTERED = "/opt/ipyfleet/libexec/registered-engines.py"
FIRST_LOOK = 0.7  # seconds after engines were told to start; the hub takes more to know them
SPACING = "/opt/ipyfleet/libexec/controller-spacing"

Values = Mapping[str, Sequence[str]]


def controller_values(settings: Settings) -> Values:
    """What the controller's service is configured with; no secret."""
    return {"spacing": (str(patience(settings).spacing),), "options": settings.controller_options}


def engine_values(settings: Settings, machine: str) -> Values:
    """What the engines' service on that machine is configured with; no secret."""
    return {
        "machine": (machine,),
        "heartbeat_misses": (str(patience(settings).engine_misses),),
        "options": settings.engine_options,
        "environment": tuple(f"{name}={value}" for name, value in settings.engine_env),
        "stop_timeout": (f"{settings.stop_timeout:g}",),
    }


def lease_values(settings: Settings, action: str) -> Values:
    """What the lease is configured with: ``action`` is poweroff, or stop where the machine is not ours."""
    return {"seconds": (f"{settings.lease:g}",), "action": (action,)}


def controller_digest(settings: Settings, connection: Connection | None, software: Software) -> str:
    """What stands for everything that is put on a controller; "" before there is a connection."""
    if connection is None:
        return ""
    parts = (engine_file(connection), client_file(connection), controller_config(connection, settings))
    return _digest(software, controller_values(settings), parts)


def engine_digest(settings: Settings, connection: Connection | None, software: Software) -> str:
    """What stands for everything that is put on an engines' machine; "" before there is a connection."""
    if connection is None:
        return ""
    return _digest(software, engine_values(settings, ""), (engine_file(connection),))


def _digest(software: Software, values: Values, parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256(software.id.encode())
    shipped = [path for pattern in SHIPPED for path in sorted(ROOT.glob(pattern))]
    for part in (*parts, repr(sorted(values.items())).encode(), *(path.read_bytes() for path in shipped)):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Survey:
    """What of ours a host has: its service manager, the software's id, and the mark of each service deployed.

    ``machine`` is what ``uname -m`` says. A mark is the digest of what was deployed and the engine numbers; it is
    written last, so a service without the mark of what it should be may run in any version.
    """

    manager: ServiceManager
    machine: str
    software: str
    marks: Mapping[str, tuple[str, tuple[int, ...]]]


def survey(host: Host) -> Survey:
    """Look at a host; one round trip. Raises ServiceFailed when it has no service manager that we know."""
    facts = service_managers.facts(host)
    marks = {}
    for service in (CONTROLLER.name, "ipengine"):
        digest, *numbers = facts[service].split() or [""]
        marks[service] = digest, tuple(int(number) for number in numbers)
    return Survey(service_managers.chosen(facts["manager"], host), facts["machine"], facts["software"], marks)


def deploy_controller(
    host: Host,
    seen: Survey,
    connection: Connection,
    secret: str | None,
    settings: Settings,
    digest: str,
    begun: Callable[[], object] = lambda: None,
) -> None:
    """Files, service, start: anew unless the host's mark says that just this runs already. The mark goes last.

    With ``secret`` None the host has the secret half of the connection's keys already. ``begun`` is called when the
    service was told to start.
    """
    manager, (marked, _) = seen.manager, seen.marks[CONTROLLER.name]
    host.run(*manager.run_as(SERVICE_USER, 60, *security_folders(SERVICE_HOME)), sudo=True)
    files = controller_files(connection, secret, settings)
    anew = () if marked == digest else CONTROLLER.instances
    manager.bring_up(host, CONTROLLER, controller_values(settings), files, anew=anew)
    begun()
    wait_for_svc(manager, host, CONTROLLER, timeout=settings.start_timeout, delay=0.25)
    _hand_to_login_user(host, manager, connection)
    host.place((_mark(CONTROLLER, digest),))


def stop_controller(host: Host, manager: ServiceManager) -> None:
    """Stop a controller whose engines have all been stopped, so that the next one need not wait for them to leave."""
    manager.stop(host, CONTROLLER)
    host.run(SPACING, "forget", sudo=True)


def _hand_to_login_user(host: Host, manager: ServiceManager, connection: Connection) -> None:
    """Make ``ipp.Client()`` without arguments work for the login user on the controller's machine."""
    user, owner, home = host.script(boot.script("login-user.sh")).stdout.splitlines()
    host.run(*manager.run_as(user, 60, *security_folders(home)), sudo=True)
    host.place((login_client_file(connection, owner, home),))


def deploy_engines(
    host: Host,
    seen: Survey,
    one: Deployment,
    connection: Connection,
    settings: Settings,
    digest: str,
    drop: Sequence[int] = (),
    name: str = "",
    ready: Callable[[], object] = lambda: None,
    proved: Callable[[], bool] = lambda: False,
) -> None:
    """Files, services, start of the machine's engines, the mark last.

    They start anew unless the host's mark says that they run just this already; then only those of ``one.restart`` do.
    Those of ``drop`` are stopped first, letting a task end. ``name`` is what their idents begin with, when it is not
    the machine's. All begins when ``ready`` returns; ``proved`` may wait a while for a better proof that they run than
    the service manager's word, which is asked for when it returns False.
    """
    manager, (marked, _) = seen.manager, seen.marks["ipengine"]
    if drop:
        manager.stop(host, engine_service(drop))
    service = engine_service(one.numbers)
    anew = engine_service(one.restart if marked == digest else one.numbers)
    values, files = engine_values(settings, name or one.name), engine_files(connection)
    ready()
    manager.bring_up(host, service, values, files, anew=anew.instances, mark=_mark(service, digest))
    if not proved():
        wait_for_svc(manager, host, service, timeout=settings.start_timeout, settle=0.5, delay=FIRST_LOOK)


def wait_until_known(host: Host, manager: ServiceManager, count: int, settings: Settings) -> tuple[str, ...]:
    """The idents of the host's engines, as soon as the hub, asked from the host itself, knows so many of them.

    Raises ServiceFailed when it does not within ``start_timeout``.
    """
    limit = settings.start_timeout
    asking = (ENV_PYTHON, "-I", REGISTERED, ENGINE, manager.run_folder, str(count), f"{limit:g}")
    # As the service user: his code may put links in place of the files that are read.
    words = manager.run_as(SERVICE_USER, limit + 10, *asking)
    asked = host.run(*words, sudo=True, check=False, timeout=limit + 10)
    if asked.exit_code:
        raise ServiceFailed(
            f"its engines are not registered after {limit:g} s",
            machine=host.name,
            seen=asked.stderr,
            hint=f"see that the controller runs and that this host reaches it; `fab -H {host.address} service-logs`",
        )
    return tuple(asked.stdout.split())


def _mark(service: Service, digest: str) -> File:
    """What was deployed, on the host itself: found again when the record is lost."""
    return File(f"{MARKS}/{service.name}.deployed", f"{digest} {' '.join(service.instances)}".strip().encode() + b"\n")


def set_lease(host: Host, manager: ServiceManager, settings: Settings, action: str) -> None:
    """Arm the timer that ends the machine's use when the lease is over, or take it away when there shall be none."""
    if not settings.lease:
        manager.remove(host, LEASE)
        return
    changed = manager.install(host, LEASE)
    changed |= manager.configure(host, LEASE, lease_values(settings, action))
    if changed:
        manager.restart(host, LEASE)
    else:
        manager.start(host, LEASE)


def undeploy(host: Host, manager: ServiceManager, services: Sequence[Service]) -> None:
    """Stop and remove these services; the software stays."""
    failures = []
    for service in services:
        try:
            manager.remove(host, service)
        except ClusterError as error:
            failures.append(error)
    if failures:
        raise failures[0]
