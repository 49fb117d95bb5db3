"""The lease begun anew: every machine's own timer, then the copy of it that the provider shows, then the record."""

from __future__ import annotations

import time

from . import engines, service_managers
from .deployment import lease_action
from .errors import ClusterError, UsageError, raise_together
from .machines import Found, Leasing, Machine, MachineState
from .observation import LOOK
from .remote import Host
from .run import Run
from .services import LEASE


def renew(run: Run, found: Found) -> float:
    """Give every running machine the lease of the settings in full, from now; when it ends (seconds since the epoch).

    Machines that cannot be reached keep what they have: they are named in the error that is raised when the others have
    theirs. Raises UsageError when the settings say that there is no lease, ClusterError when no machine is on.
    """
    if not run.settings.lease:
        raise UsageError(
            "there is no lease to renew: it is off", hint="say how long: `invoke renew --lease 8h`, or `lease: 8h`"
        )
    running = [one for one in found.machines if one.state is MachineState.RUNNING]
    if not running:
        raise ClusterError("no machine is on, so no lease runs", hint="`invoke start` begins it anew")
    renewed: list[Machine] = []
    failures: list[ClusterError] = []

    def work(host: Host, machine: Machine) -> None:
        manager = service_managers.detect(host)
        engines.set_lease(host, manager, run.settings, lease_action(run))
        manager.restart(host, LEASE)  # one that was right already runs on from its own start
        renewed.append(machine)
        run.tell("lease renewed", machine.name)

    end = time.time() + run.settings.lease
    try:
        run.on_each(running, work, LOOK)
    except ClusterError as error:
        failures.append(error)
    finally:  # after Ctrl-C too: what was renewed is noted
        if len(renewed) == len(running) or (renewed and not run.record.lease):  # else `provision` must see a difference
            run.save(lease=run.settings.lease)
        if renewed and isinstance(run.provider, Leasing):
            try:
                run.provider.note_deadline(renewed, end)
            except ClusterError as error:
                failures.append(error)
    raise_together(failures)
    return end
