"""Looking at a cluster for its doctor: every machine over SSH, all at once in one round trip each, and what is here.

Changes nothing; what is seen is judged in diagnosis.py.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from dataclasses import replace

from . import boot, client_file, diagnosis, engines, tunnel
from .complaints import Examined, versions
from .diagnosis import Diagnosis, Here
from .errors import ClusterError, addressed
from .examination import Facts, asked, parse
from .machines import Machine, MachineState
from .observation import LOOK
from .remote import each
from .run import Run
from .services import CONTROLLER, LEASE, REPAIR, Service, engine_service
from .status import Observed
from .tunnel import Tunnel

TIMEOUT = 30.0  # seconds that the script may take


def examine(run: Run, observed: Observed, before: Tunnel | None) -> Diagnosis:
    """The diagnosis of a cluster that was just observed; ``before`` is the tunnel as it was recorded before that.

    A machine that cannot be examined is a finding and keeps no other from being so.
    """
    running = [one for one in observed.found.machines if one.state is MachineState.RUNNING]
    digests = _digests(run)
    machines = tuple(
        Examined(
            one.item.name,
            one.item.role,
            one.value,
            run.software_for(one.value.machine) if one.value else None,
            outdated=run.record.digests.get(one.item.name) != digests[one.item.role],
            **_failure(one.error),
        )
        for one in each(running, lambda machine: _look(run, machine))
    )
    here = _here(run, observed, before)
    return Diagnosis(
        run.settings.cluster,
        run.provider.name,
        platform.python_version(),
        versions(run.software),
        machines,
        diagnosis.judge(observed, machines, here),
    )


def meant_for(seen: Diagnosis, cluster: str, template: str) -> Diagnosis:
    """The same with every cure meant for the cluster and template that the command was given by name."""
    told = tuple(replace(one, cure=addressed(one.cure, cluster, template)) for one in seen.findings)
    return replace(seen, findings=told)


def _digests(run: Run) -> Mapping[str, str]:
    """What `invoke provision` would deploy now, by role."""
    settings, connection, software = run.settings, run.record.connection, run.software
    return {
        "controller": engines.controller_digest(settings, connection, software),
        "engine": engines.engine_digest(settings, connection, software),
    }


def _failure(error: Exception | None) -> dict[str, str]:
    """Why a machine was not examined; an exception that is none of ours is a bug and raised as it is."""
    if error is None:
        return {}
    if not isinstance(error, ClusterError):
        raise error
    last = error.seen.splitlines()[-1:]
    return {"unreached": ": ".join([error.message, *last]), "hint": error.hint}


def _services(run: Run, machine: Machine) -> tuple[Service, ...]:
    """What shall run on the machine."""
    leased = (LEASE,) if run.record.lease > 0 else ()
    if machine.role == "controller":
        return (CONTROLLER, *leased)
    numbers = [slot.number for slot in sorted(run.record.assigned) if slot.index == machine.index]
    return (engine_service(numbers), REPAIR, *leased) if numbers else leased


def _look(run: Run, machine: Machine) -> Facts:
    services, connection = _services(run, machine), run.record.connection
    ports: tuple[str, ...] = ()
    if connection and machine.role == "engine":
        ports = (connection.address, *map(str, connection.engine_ports))
    words = (*asked(services), *ports)
    with run.open(machine, LOOK) as host:
        sent = time.time()
        said = host.script(boot.script("examine.sh"), *words, sudo=True, timeout=TIMEOUT).stdout
        return parse(said, services, sent, time.time())


def _here(run: Run, observed: Observed, before: Tunnel | None) -> Here:
    found, connection, now = observed.found, run.record.connection, run.record.tunnel
    path = str(client_file.client_file_path(run.settings.cluster))
    endpoint = found.controller.endpoint if found.controller else None
    if found.cluster is None or endpoint is None or connection is None or now is None:
        return Here(path, None, alive=False)
    client = client_file.look(found.cluster, connection, now.ports)
    if not (tunnel.alive(now) and tunnel.leads_to(now, endpoint, connection)):
        return Here(path, client, alive=False)
    reopened = ""
    if before is None:
        reopened = "was not open"
    elif now != before:
        right = tunnel.leads_to(before, endpoint, connection)
        reopened = "had ended" if right else f"led to {before.endpoint}, where the controller was before"
    return Here(path, client, reopened=reopened, silent=tunnel.silent_ports(now))
