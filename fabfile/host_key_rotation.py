"""A machine's own host key in the place of the one that it was booted with, which is good until the first login only.

At each moment what is pinned here, and what the provider shows to others, lets in every key that the machine may show;
so the work may end at any point, and is completed by doing it again. Knows of a provider only that it notes keys.
"""

from __future__ import annotations

import time
from dataclasses import replace

from . import boot, host_keys
from .errors import HostKeyError, RemoteError
from .machines import KeyPublishing, Machine
from .remote import Credentials, Endpoint, Host

SCRIPT = boot.script("host-key.sh")
PATIENCE = 20.0  # s in which sshd must come to show its new key
PAUSE = 0.1  # s


def replace_throwaway(
    provider: KeyPublishing,
    machine: Machine,
    host: Host,
    credentials: Credentials,
    *,
    patience: float = PATIENCE,
) -> Machine:
    """Have the machine show a host key that it made itself, if it does not yet; the machine as it is then.

    ``host`` is an open connection to it, verified by either key; it stays open. The key that it was booted with is
    accepted no more when this returns. Raises RemoteError, HostKeyError or what the provider raises; in that case, as
    after being killed, the same call completes the work.
    """
    endpoint, pins = machine.endpoint, credentials.known_hosts
    if not machine.throwaway_key or endpoint is None:
        return machine
    old = host_keys.plain(machine.throwaway_key)
    new = host_keys.plain(host.script(SCRIPT, "make", old, sudo=True).stdout)
    host_keys.pin(pins, endpoint, (old, new))
    machine = provider.publish_host_keys(machine, (old, new), old)
    host.script(SCRIPT, "use", sudo=True)
    _prove(endpoint, new, machine.name, credentials, patience)
    machine = provider.publish_host_keys(machine, (new,), "")
    host_keys.pin(pins, endpoint, (new,))
    return machine


def to_pin(machine: Machine, pinned: tuple[str, ...]) -> tuple[str, ...]:
    """The keys to pin for a machine, when the provider shows ``machine`` and ``pinned`` is pinned already.

    While its key is being replaced the provider may lag behind, also behind the end of it; only what is pinned under
    a name of the machine's own (``key_alias``) is known to be of this machine, and not of one that had its address.
    """
    own = machine.endpoint is not None and machine.endpoint.key_alias != ""
    if not (own and pinned and machine.throwaway_key):
        return machine.host_keys
    if machine.throwaway_key not in pinned:
        return pinned
    return tuple(dict.fromkeys((*machine.host_keys, *pinned)))


def _prove(endpoint: Endpoint, new: str, name: str, credentials: Credentials, patience: float) -> None:
    """Log in over a new connection that accepts this key and no other, as soon as sshd shows it."""
    from . import ssh  # fabric takes 0.2 s to import

    alone = replace(endpoint, key_alias=f"{host_keys.label(endpoint)}-new")
    deadline = time.monotonic() + patience
    host_keys.pin(credentials.known_hosts, alone, (new,))
    try:
        while True:
            try:
                ssh.connect(alone, name, credentials).close()
                return
            except RemoteError as error:  # it reads its keys anew while we ask
                if time.monotonic() > deadline:
                    raise _unproved(error, name) from error
            time.sleep(PAUSE)
    finally:
        host_keys.pin(credentials.known_hosts, alone, ())


def _unproved(error: RemoteError, name: str) -> RemoteError:
    if not isinstance(error, HostKeyError):
        return error
    return HostKeyError(
        "its sshd does not show the host key that was just made for it",
        seen=error.message,
        machine=name,
        hint="see there what `sudo sshd -T | grep -i hostkey` says: it must be /etc/ssh/ssh_host_ed25519_key; "
        "then run the same command again",
    )
