"""The lease begun anew: every machine's own timer, then the copy of it that the provider shows, then the record."""

from __future__ import annotations

import time

from . import engines, service_managers
from .deployment import lease_action
from .errors import UsageError
from .machines import Found, Leasing, Machine, MachineState
from .observation import LOOK
from .remote import Host
from .run import Run
from .services import LEASE


def renew(run: Run, found: Found) -> float:
    """Give every running machine the lease of the settings in full, from now; when it ends (seconds since the epoch).

    Machines that cannot be reached keep what they have: they are named in the error that is raised when the others have
    theirs. Raises UsageError when the settings say that there is no lease.
    """
    if not run.settings.lease:
        raise UsageError(
            "there is no lease to renew: it is off", hint="say how long: `invoke renew --lease 8h`, or `lease: 8h`"
        )
    running = [one for one in found.machines if one.state is MachineState.RUNNING]
    renewed: list[Machine] = []

    def work(host: Host, machine: Machine) -> None:
        manager = service_managers.detect(host)
        engines.set_lease(host, manager, run.settings, lease_action(run))
        manager.restart(host, LEASE)  # one that was right already runs on from its own start
        renewed.append(machine)
        run.tell("lease renewed", machine.name)

    end = time.time() + run.settings.lease
    try:
        run.on_each(running, work, LOOK)
    finally:
        if renewed:
            run.save(lease=run.settings.lease)
            if isinstance(run.provider, Leasing):
                run.provider.note_deadline(renewed, end)
    return end
