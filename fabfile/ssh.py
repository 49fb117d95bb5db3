"""Opening SSH: hermetic, quick to come up, patient while a machine boots. It imports fabric: import it lazily.

Nothing of the user's ssh_config is read here. What is done on a host is no concern of this module.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import cast

import fabric
import paramiko

from .errors import RemoteError
from .remote import Credentials, Endpoint
from .ssh_host import SshHost
from .strict_connection import FAILURES, HANDSHAKE, GatewayFailed, StrictConnection, UnknownHostKey, told

NO_KEY = "No authentication methods available"  # what paramiko says when it has no key to offer
FAST, SLOW = 0.05, 0.2  # seconds between attempts


def connect(endpoint: Endpoint, name: str, credentials: Credentials, *, timeout: float = 10.0) -> SshHost:
    """Open one verified connection, in one attempt of at most ``timeout`` seconds.

    Raises HostKeyError for an unknown or changed host key, RemoteError for everything else.
    """
    try:
        return _open(endpoint, name, credentials, timeout, timeout)
    except FAILURES as error:
        raise _failed(endpoint, name, credentials, error, "") from error


def open_when_ready(
    endpoint: Endpoint,
    name: str,
    credentials: Credentials,
    *,
    timeout: float,
    beat: Callable[[str], None] = lambda text: None,
    pause: Callable[[float], None] = time.sleep,
) -> SshHost:
    """Open a verified connection as soon as the host answers, trying again for at most ``timeout`` seconds.

    ``beat`` hears what the last attempt met. A host key that is unknown or changed is raised at once, as is what no
    waiting cures (a missing key file); raises RemoteError when the time is over.
    """
    begun = time.monotonic()
    deadline, wait, attempt = begun + timeout, FAST, 1.0
    while True:
        left = deadline - time.monotonic()
        try:
            return _open(endpoint, name, credentials, max(0.05, min(attempt, left)), max(0.05, min(HANDSHAKE, left)))
        except FAILURES as error:
            if not worth_retrying(error) or time.monotonic() + wait > deadline:
                waited = f" after {time.monotonic() - begun:.1f} s"
                raise _failed(endpoint, name, credentials, error, waited) from error
            beat(told(error))
        # A booting machine drops the first packets: short attempts at first, longer ones for a slow line.
        attempt = min(10.0, attempt * 1.5)
        pause(wait)
        wait = min(SLOW, wait * 1.3)


def shown_key(endpoint: Endpoint, credentials: Credentials, *, timeout: float) -> tuple[str, UnknownHostKey]:
    """The key, ``type base64``, that a host with nothing pinned shows, and the error that says so; no login is tried.

    The hosts on the way to it must be pinned already. Raises RemoteError when it cannot be reached.
    """
    try:
        _open(endpoint, str(endpoint), credentials, timeout, timeout).close()
    except UnknownHostKey as unknown:
        if unknown.endpoint != endpoint:
            raise
        return unknown.key, unknown
    except FAILURES as error:
        raise _failed(endpoint, str(endpoint), credentials, error, "") from error
    raise AssertionError(f"{endpoint} has a pinned key")


def worth_retrying(error: BaseException | None) -> bool:
    """Whether a later attempt can succeed: yes while a machine boots, no for what is wrong on this side."""
    if isinstance(error, GatewayFailed):
        return worth_retrying(error.__cause__)
    if isinstance(error, FileNotFoundError | PermissionError | paramiko.PasswordRequiredException):
        return False
    if isinstance(error, paramiko.ssh_exception.IncompatiblePeer):
        return False
    if isinstance(error, paramiko.ChannelException) and error.code == 1:  # the gateway forbids forwarding
        return False
    return NO_KEY not in str(error)


def _open(endpoint: Endpoint, name: str, credentials: Credentials, dial: float, handshake: float) -> SshHost:
    connection = _connection(endpoint, credentials, dial, handshake)

    def transport() -> paramiko.Transport:
        try:
            connection.open()
        except FAILURES as error:
            raise _failed(endpoint, name, credentials, error, "") from error
        return cast(paramiko.Transport, connection.transport)

    connection.open()
    return SshHost(name, endpoint, transport, connection.close, lambda: connection)


def _connection(endpoint: Endpoint, credentials: Credentials, dial: float, handshake: float) -> StrictConnection:
    own = endpoint.key_files is not None
    connection = StrictConnection(
        endpoint.host,
        user=endpoint.user,
        port=endpoint.port,
        config=_hermetic(),
        gateway=_gateway(endpoint.gateway, credentials) if endpoint.gateway else False,
        connect_kwargs={
            "key_filename": list(endpoint.key_files) if endpoint.key_files is not None else [str(credentials.key_file)],
            "look_for_keys": False,
            "allow_agent": own,
            "timeout": handshake,
            "banner_timeout": handshake,
            "auth_timeout": handshake,
            "channel_timeout": handshake,
        },
    )
    connection.endpoint, connection.known_hosts, connection.dial_timeout = endpoint, credentials.known_hosts, dial
    return connection


_gateways: dict[tuple[Endpoint, Credentials], StrictConnection] = {}
_gateways_lock = threading.RLock()


def _gateway(endpoint: Endpoint, credentials: Credentials) -> StrictConnection:
    """The one connection to a host to go through, shared by all that go through it, open until the program ends."""
    with _gateways_lock:
        if (endpoint, credentials) not in _gateways:
            _gateways[endpoint, credentials] = _connection(endpoint, credentials, HANDSHAKE, HANDSHAKE)
        return _gateways[endpoint, credentials]


def _hermetic() -> fabric.Config:
    """A configuration made of Fabric's defaults alone: no file of the user or the system, no ssh_config.

    One for each connection, since making a connection changes its configuration, which for a moment is empty then.
    """
    quiet = {"hide": True, "in_stream": False}
    return fabric.Config(lazy=True, overrides={"load_ssh_configs": False, "run": quiet, "sudo": quiet})


def _failed(endpoint: Endpoint, name: str, credentials: Credentials, error: BaseException, waited: str) -> RemoteError:
    own = endpoint.key_files is not None
    if isinstance(error, paramiko.AuthenticationException) or NO_KEY in str(error):
        keys = [*(endpoint.key_files or ()), "a key in the ssh-agent"] if own else [str(credentials.key_file)]
        hint = f"see that {endpoint.user} there accepts the public half of {' or '.join(keys)}"
        if own:
            hint += "; a key with a passphrase has to be in the agent: `ssh-add FILE`"
    elif isinstance(error, FileNotFoundError | PermissionError):
        hint = "see that the key file is there and yours to read"
    else:
        hint = "see that the machine is up, its sshd runs and no firewall is between: "
        hint += f"`ssh ssh://{endpoint}` tells more" if own else f"`invoke console --machine {name}` shows its boot"
    return RemoteError(f"no SSH connection to {endpoint}{waited}: {told(error)}", machine=name, hint=hint)
