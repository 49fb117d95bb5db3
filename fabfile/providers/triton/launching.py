"""Launching: all machines of an order at once, each waited for until it can be logged in to with a known host key.

A machine is not made twice: creation.py looks for its name where an answer was lost, and here nothing is repeated.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from ... import host_keys
from ...errors import ClusterError, HostKeyError, ProviderRefused, at_machine
from ...machines import Event, Machine, MachineState, OnEvent, machine_name
from ...remote import Credentials, Outcome, each
from ...settings import Settings
from . import actions, creation, marks, sightings
from .api import Api
from .catalog import Networks
from .creation import Order
from .instances import Instance, instance

PATIENT = 1.0  # s between two looks at a machine that is being made, at first
SLOWER, SLOWEST = 1.2, 5.0
PUBLISHING = 60.0  # s that a machine may take from running to its host key, where there is another way to know it
FIRST_USE = "first-use"


def launch(
    api: Api, settings: Settings, orders: Sequence[Order], networks: Networks, on_event: OnEvent
) -> tuple[list[Machine], list[ClusterError]]:
    """Make these machines, as many at once as the rate of calls allows; they are reachable when it returns.

    With them the failures: of those that could not be made, and of those that did not become reachable in time. What
    was made is found by its tags.
    """

    ordered = _order(api, orders, on_event)
    failures = [at_machine(one.error, _short(one.item)) for one in ordered if one.error is not None]
    made = [(one.item, one.value.id) for one in ordered if one.value is not None]
    waited = each(made, lambda one: reachable(api, settings, one[1], networks, on_event), limit=len(made))
    failures += [at_machine(one.error, _short(one.item[0])) for one in waited if one.error is not None]
    return [one.value for one in waited if one.value is not None], failures


def _order(api: Api, orders: Sequence[Order], on_event: OnEvent) -> tuple[Outcome[Order, Instance], ...]:
    """Ask for all of them, before any is waited for. Ctrl-C waits for the answers to what was asked already.

    Otherwise machines would come into being after everything was removed.
    """
    over, quiet, under_way = threading.Event(), threading.Condition(), 0

    def ask(order: Order) -> Instance:
        nonlocal under_way
        with quiet:
            if over.is_set():
                raise ProviderRefused("it was not asked for any more", machine=_short(order))
            under_way += 1
        try:
            made = creation.create(api, order)
        finally:
            with quiet:
                under_way -= 1
                quiet.notify_all()
        on_event(Event("ordered", _short(order)))
        return made

    try:
        return each(orders, ask)
    except BaseException:
        with quiet:
            over.set()
            on_event(Event(f"waiting for CloudAPI's answers to {under_way} orders (Ctrl-C: not)"))
            quiet.wait_for(lambda: not under_way, creation.READ)
        raise


def _short(order: Order) -> str:
    """The machine's name in its cluster."""
    role, index = marks.place_of(order.tags) or ("engine", 0)
    return machine_name(role, index)


def reachable(
    api: Api,
    settings: Settings,
    id: str,
    networks: Networks,
    on_event: OnEvent,
    pause: Callable[[float], None] = time.sleep,
) -> Machine:
    """The machine, as soon as it runs and has addresses and a host key that is known; waits ``boot_timeout``.

    One that runs, and whose host key the settings may vouch for, has PUBLISHING seconds to say it itself. Raises
    ProviderRefused with what CloudAPI knows of it when it fails or takes too long, HostKeyError when it does not say
    its host key and nobody else does.
    """
    deadline = time.monotonic() + settings.boot_timeout
    look, running = PATIENT, math.inf
    while True:
        seen = instance(api, id)
        if seen is None or seen.gone:
            raise ProviderRefused(f"the machine {id} is gone", hint="somebody may have deleted it; run it again")
        if seen.failed:
            raise ProviderRefused(
                "it could not be made",
                seen=_story(api, seen),
                hint="`invoke provision` tries again with a new one; if that fails as well, ask who runs the data "
                f"center, and name the machine {id}",
            )
        machine = sightings.machine(seen, networks)
        if machine.state is MachineState.RUNNING and machine.host_keys:
            return machine
        now = time.monotonic()
        running = min(running, now) if machine.state is MachineState.RUNNING else math.inf
        if now >= deadline or (settings.host_keys and now >= running + PUBLISHING):
            break
        pause(look)
        look = min(SLOWEST, look * SLOWER)
    if machine.state is not MachineState.RUNNING:
        raise ProviderRefused(
            f"after {settings.boot_timeout:g} s it is {seen.state}" + ("" if seen.nics else ", without an address"),
            seen=_story(api, seen),
            hint="it may still come: run the same command again, or raise `boot_timeout`",
        )
    return trusted(machine, settings, on_event)


def trusted(machine: Machine, settings: Settings, on_event: OnEvent) -> Machine:
    """A machine that has not published its host key, with the one that it shows, if the settings let that count."""
    shown = shown_key(machine)
    mark = host_keys.fingerprint(shown)
    if mark in settings.host_keys:
        return replace(machine, host_keys=(shown,))
    if FIRST_USE in settings.host_keys:
        on_event(Event(f"host key {mark} taken on first use: nobody has vouched for it", machine.name))
        return replace(machine, host_keys=(shown,))
    raise HostKeyError(
        f"it has not published its host key in time; the one that it shows is {mark}",
        machine=machine.name,
        hint="log in to it in another way (`triton ssh`) and compare that with `ssh-keygen -lf /var/ssh/"
        f"ssh_host_ed25519_key.pub`: if it is the same, run it again with --host-key {mark}. /var/svc/log/"
        "smartdc-mdata:execute.log there says why it was not published; `host_keys: [first-use]` believes anything",
    )


def shown_key(machine: Machine) -> str:
    """The host key that a machine shows to whoever connects; nothing else is asked of it. Raises RemoteError."""
    from ... import ssh  # fabric takes 0.2 s to import
    from ...strict_connection import UnknownHostKey

    if machine.endpoint is None:
        raise ProviderRefused("it has no address", machine=machine.name)
    with TemporaryDirectory() as folder:
        nobody = Credentials(Path(folder) / "no-key", Path(folder) / "known_hosts")
        try:
            ssh.open_when_ready(machine.endpoint, machine.name, nobody, timeout=30.0).close()
        except UnknownHostKey as error:
            return error.key
    raise HostKeyError("it let somebody in who has no key", machine=machine.name)


def _story(api: Api, seen: Instance) -> str:
    """What the audit knows of a machine, a line each."""
    try:
        done = actions.audit(api, seen.id)
    except ClusterError:
        return ""
    return "\n".join(f"{one.time} {one.action} {'succeeded' if one.succeeded else 'failed'}" for one in done[:5])
