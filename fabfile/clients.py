"""Clients of a cluster on this computer: the way to it opened, and kept open, and an ``ipyparallel.Client`` through it.

For scripts and notebooks, from any directory, where the project is installed:

    from fabfile.clients import client
    rc = client("ipython")
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from invoke.context import Context

from . import access, chain, client_file, hub, session, tunnel
from .deployment import controller_of
from .engines import ENV_PYTHON
from .errors import ClusterError, HubSilent
from .machines import Found, Guarding
from .observation import LOOK
from .run import Run
from .software import PYTHON

if TYPE_CHECKING:
    from ipyparallel import Client

ASKED, TRIES = 8, 25  # so many engines are asked to write something, and so often is looked before that is done again
PATIENCE = 20.0  # s that another command may still be at it: programs that connect at the same moment take turns
ANSWER = 3.0  # s that the hub has to answer through a tunnel that is open


def client(cluster: str = "", template: str = "", timeout: float = 30.0) -> Client:
    """A connected client of the cluster of that name (default: that of the settings), the way to it opened if need be.

    ``timeout`` (s) is what the client waits for the controller. Raises ClusterError, which says what to do next:
    NoSuchCluster, UsageError for a cluster that is not in the record, HubSilent; and where engines run another minor
    version of Python, since functions that are sent would crash them.
    """
    import ipyparallel

    with session.changing(Context(), "connect", PATIENCE, cluster=cluster, template=template) as run:
        connect(run)
        path = run.record.client_file
    return listen(ipyparallel.Client(path, timeout=timeout))


def listen(rc: Client, timeout: float = 2.0) -> Client:
    """The client, as soon as it hears what engines write; ``timeout`` seconds later when all of them are at work.

    What they write before that is lost, and a blocking ``execute`` or ``%px`` then waits for it for ever (tried with
    ipyparallel 9.2 through a tunnel: one new client in twenty; tests/e2e/test_clients.py).
    """
    deadline = time.monotonic() + timeout
    while rc.ids and time.monotonic() < deadline:
        asked = [rc[one].execute("", block=False) for one in rc.ids[:ASKED]]
        for _ in range(TRIES):
            if any(one.wait_for_output(0) for one in asked):
                return rc
            time.sleep(0.01)
    return rc


def connect(run: Run) -> int:
    """Open the way from this computer to the hub, write the client file; how many engines the hub knows.

    The run must hold the lock. What is open and answers stays as it is.
    """
    found = access.machines_of(run)
    _refuse_other_python(run, found)
    engines = _ask(run, found)
    if engines is None:  # it may be open and lead nowhere, as after a sleep that ssh has not noticed yet
        cut(run)
        engines = _ask(run, found)
    if engines is None:
        raise HubSilent(
            f"the tunnel is open, but the hub does not answer within {ANSWER:g} s",
            machine="controller",
            hint="`invoke doctor` says why; `invoke provision` puts it right",
        )
    chain.hand_over(run, found, chain.connection_of(run))
    return engines


def cut(run: Run) -> None:
    """Close the tunnel, remembering its ports: clients that are open go on when it is opened again."""
    if run.record.tunnel:
        tunnel.end_tunnel(run.record.tunnel, run.store.folder)


def disconnect(run: Run) -> bool:
    """Close the way that this computer has to the cluster and remove the client file; whether there was any."""
    open_tunnel, cluster = run.record.tunnel, run.record.cluster
    was_open = open_tunnel is not None and tunnel.alive(open_tunnel)
    cut(run)
    removed = cluster is not None and client_file.remove_client_file(cluster, run.record.client_file)
    return was_open or removed


def _ask(run: Run, found: Found) -> int | None:
    """How many engines the hub knows; None when it does not answer. This computer is let in from where it is now."""
    controller, connection = controller_of(found), chain.connection_of(run)
    try:
        info = run.tunnel_to(controller, connection)
    except ClusterError:
        cluster, provider = found.cluster, run.provider
        if not (cluster and isinstance(provider, Guarding) and provider.let_in(cluster)):
            raise
        run.tell("this computer let in from where it is now")
        info = run.tunnel_to(controller, connection)
    known = hub.registered(info, ANSWER)
    return None if known is None else len(known)


def _refuse_other_python(run: Run, found: Found) -> None:
    """Raise ClusterError when this Python is not the engines': its functions are bytecode that would crash theirs."""
    with run.open(controller_of(found), LOOK) as host:
        shown = host.run(ENV_PYTHON, "-V", check=False).stdout.split()
    there = ".".join(shown[1].split(".")[:2]) if len(shown) > 1 else ""
    if there and there != PYTHON:
        raise ClusterError(
            f"the engines run Python {there}, and this is Python {PYTHON} ({sys.executable}): functions that it sends "
            "would crash them",
            hint=f"use the Python {there} that made the cluster; or `invoke provision` under this one puts Python "
            f"{PYTHON} on the machines, where they have it",
        )
