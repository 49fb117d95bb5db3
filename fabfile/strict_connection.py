"""The one kind of SSH connection there is here: it knows its host's key beforehand, or it does not connect.

Fabric's own accepts every key, a changed one too. Which hosts there are, and how often one tries, is no concern of it.
"""

from __future__ import annotations

import logging
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import fabric
import fabric.tasks
import paramiko

from . import host_keys
from .errors import HostKeyError
from .remote import Endpoint

logging.getLogger("paramiko").setLevel(logging.CRITICAL)  # it prints whole tracebacks of its threads otherwise

FAILURES = (OSError, EOFError, paramiko.SSHException)
HANDSHAKE = 10.0  # seconds for each step of one attempt
KEEPALIVE = 15  # seconds
DEAD_AFTER = 45_000  # milliseconds without any acknowledgement from the other side
ALGORITHMS = (  # of host keys: all that paramiko has, tests/test_remote.py
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)


class UnknownHostKey(HostKeyError):
    """Nothing is pinned for the endpoint; ``key`` is the one that it showed, ``type base64``."""

    def __init__(self, endpoint: Endpoint, key: str) -> None:
        told = host_keys.fingerprints([key])
        super().__init__(
            f"the host key of {_both(endpoint)} is unknown; it showed {told}",
            hint="compare it with the host's own (`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` there); "
            f"when it is the same, give --host-key {host_keys.fingerprint(key)}",
        )
        self.endpoint = endpoint
        self.key = key


class StrictConnection(fabric.Connection):  # type: ignore[misc]  # fabric has no types
    """Knows its host's key beforehand, or does not connect.

    ``named_by`` is the host as it was named on `fab -H`; such a connection has no pinned keys and never opens by
    itself: named_hosts finds out how to reach that host, and whether to trust it.
    """

    named_by = ""
    endpoint: Endpoint | None = None
    known_hosts: Path | None = None
    dial_timeout = HANDSHAKE
    opening: threading.RLock

    def __init__(self, host: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(host, *args, **kwargs)
        self.named_by = host
        self._set(opening=threading.RLock())

    def open(self) -> None:
        """Connect unless connected: TCP, then the host key, only then the login; safe from many threads."""
        with self.opening:
            if self.is_connected:
                return
            endpoint = self.endpoint or Endpoint(self.host, self.user, self.port)
            pins = host_keys.pinned(self.known_hosts, endpoint) if self.known_hosts else ()
            self.client.set_missing_host_key_policy(Pinned(endpoint, pins, self.known_hosts))
            self.connect_kwargs["transport_factory"] = _transport
            self.connect_kwargs["disabled_algorithms"] = {"keys": _types_not_among(pins)}
            if self.gateway:
                _open_gateway(self.gateway)
            else:
                self.connect_kwargs["sock"] = _dial(self.host, self.port, self.dial_timeout)
            try:
                super().open()
            except paramiko.ssh_exception.IncompatiblePeer as error:
                self.client.close()
                if pins and "host key" in str(error):
                    raise changed(endpoint, "none of the pinned types", pins, self.known_hosts) from error
                raise
            except BaseException:
                self.client.close()
                raise
            self.transport.set_keepalive(KEEPALIVE)

    def close(self) -> None:
        """Close; twice is fine, and so is a connection that broke (or its gateway's) or never came up."""
        with suppress(*FAILURES):
            super().close()
            self.client.close()


class Pinned(paramiko.MissingHostKeyPolicy):
    """Lets a host pass that shows a pinned key; asked before any login, as paramiko itself is given no host keys.

    paramiko's own check holds one key of each type for a host, known_hosts may have several.
    """

    def __init__(self, endpoint: Endpoint, pins: tuple[str, ...], file: Path | None) -> None:
        self.endpoint, self.pins, self.file = endpoint, pins, file

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        """Return for a pinned key; raises UnknownHostKey when nothing is pinned, HostKeyError for another key."""
        shown = f"{key.get_name()} {key.get_base64()}"
        if shown in self.pins:
            return
        if not self.pins:
            raise UnknownHostKey(self.endpoint, shown)
        raise changed(self.endpoint, host_keys.fingerprints([shown]), self.pins, self.file)


def changed(endpoint: Endpoint, shown: str, pins: tuple[str, ...], file: Path | None) -> HostKeyError:
    """The error for a host that shows another key than the pinned one."""
    return HostKeyError(
        f"the host key of {_both(endpoint)} is not the pinned one: it showed {shown}, "
        f"pinned is {host_keys.fingerprints(pins)}. Somebody may be in between, or the machine was made anew",
        hint=f"if you know that it was made anew, take the line of {host_keys.label(endpoint)} out of {file} "
        "(and out of your own known_hosts); if not, do not connect",
    )


def use_for_fab() -> None:
    """Make `fab -H` build strict connections (tried with fabric 3.2.3: tests/test_remote.py)."""
    fabric.tasks.Connection = StrictConnection


class GatewayFailed(paramiko.SSHException):
    """The host to go through could not be reached; the cause says why."""


def _both(endpoint: Endpoint) -> str:
    """A host's name and, where it differs, its address: whose key it is matters."""
    return str(endpoint) if str(endpoint) == endpoint.address else f"{endpoint} ({endpoint.address})"


def told(error: BaseException) -> str:
    """An exception in words that a person understands."""
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there (connection refused)"
    if isinstance(error, TimeoutError):
        return "no answer"
    if str(error) in ("No existing session", "Error reading SSH protocol banner"):  # of paramiko, when time is over
        return "something listens there, but does not answer as an SSH server"
    if isinstance(error, paramiko.AuthenticationException):
        return f"the login was refused ({error})"
    return str(error) or type(error).__name__


def _open_gateway(gateway: StrictConnection) -> None:
    try:
        gateway.open()
    except FAILURES as error:
        raise GatewayFailed(f"{gateway.endpoint}, which is on the way: {told(error)}") from error


class PromptSocket(socket.socket):
    """Acknowledges at once: sshd has Nagle's delay on, so its next words wait for our acknowledgement of the last."""

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Receive, as ever; Linux goes back to delayed acknowledgements by itself, hence every time."""
        data = super().recv(size, flags)
        if hasattr(socket, "TCP_QUICKACK"):
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return data


def _dial(host: str, port: int, timeout: float) -> PromptSocket:
    """A TCP connection without Nagle's delay from its first byte (paramiko never turns it off: 40 ms a command)."""
    sock = PromptSocket(fileno=socket.create_connection((host, port), timeout=timeout).detach())
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux: a host that is gone is noticed by the keep-alives
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_AFTER)
    sock.settimeout(None)
    return sock


def _transport(sock: Any, **options: Any) -> paramiko.Transport:
    """A transport that prefers ciphers which bring their own authentication: paramiko's other one is made in Python."""
    transport = paramiko.Transport(sock, **options)
    offered = transport.get_security_options()
    offered.ciphers = sorted(offered.ciphers, key=lambda cipher: "gcm" not in cipher)
    return transport


def _types_not_among(pins: tuple[str, ...]) -> list[str]:
    """The host key algorithms not to agree on, so that a host with several keys shows one that is pinned."""
    if not pins:
        return []
    kinds = {pin.split()[0] for pin in pins}
    return [kind for kind in ALGORITHMS if _key_type(kind) not in kinds]


def _key_type(algorithm: str) -> str:
    return "ssh-rsa" if algorithm.startswith("rsa-sha2-") else algorithm
