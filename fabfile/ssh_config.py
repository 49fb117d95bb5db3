"""An ssh_config of our own for OpenSSH's programs: one host and its gateways, as strict and hermetic as ssh.py is.

A file rather than options, since ssh hands its configuration on to the jumps that it starts, but not its options.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from .remote import Credentials, Endpoint

# Nothing of the user's or the system's ssh_config is read; what the defaults would allow beyond a tunnel is off.
STRICT = """\
    BatchMode yes
    CheckHostIP no
    ConnectTimeout {timeout}
    ControlMaster no
    ControlPath none
    ExitOnForwardFailure yes
    ForwardAgent no
    GlobalKnownHostsFile /dev/null
    IdentitiesOnly yes
    LogLevel ERROR
    PermitLocalCommand no
    ServerAliveCountMax 3
    ServerAliveInterval {alive}
    StrictHostKeyChecking yes
    UpdateHostKeys no
    UserKnownHostsFile {known_hosts}
"""


SOON = 5  # seconds between two signs of life, of which three may be missed: a tunnel comes back by itself
PATIENT = 40  # a command that has run for hours does not


def ssh_config(endpoint: Endpoint, credentials: Credentials, name: str, timeout: float = 10.0) -> str:
    """What ``ssh -F`` shall read so that ``ssh NAME`` reaches the endpoint; ``timeout`` for each hop, in seconds."""
    blocks = [
        line for alias, hop, gateway in _hops(endpoint, name) for line in _block(alias, hop, gateway, credentials)
    ]
    strict = STRICT.format(timeout=max(1, round(timeout)), alive=SOON, known_hosts=_word(credentials.known_hosts))
    return "\n".join(blocks) + "\nHost *\n" + strict


def snippet(endpoints: Mapping[str, Endpoint], credentials: Credentials) -> str:
    """What reaches these endpoints by their names, for the user's own ssh_config: it says nothing of other hosts."""
    strict = (
        STRICT.format(timeout=10, alive=PATIENT, known_hosts=_word(credentials.known_hosts)).rstrip("\n").splitlines()
    )
    lines: list[str] = []
    for name, endpoint in endpoints.items():
        for alias, hop, gateway in _hops(endpoint, name, f"{name}-"):
            lines += [*_block(alias, hop, gateway, credentials), *strict, ""]
    return "\n".join(lines)


def _hops(endpoint: Endpoint, name: str, prefix: str = "") -> Iterator[tuple[str, Endpoint, str]]:
    """Each hop with its name and the name of the gateway before it ("" for none); ``prefix`` begins gateways' names."""
    hop, number = endpoint, 1
    while hop.gateway:
        gateway = f"{prefix}gateway-{number}"
        yield name, hop, gateway
        name, hop, number = gateway, hop.gateway, number + 1
    yield name, hop, ""


def _block(name: str, hop: Endpoint, gateway: str, credentials: Credentials) -> Iterator[str]:
    yield f"Host {name}"
    yield f"    HostName {_word(hop.host)}"
    yield f"    Port {hop.port}"
    yield f"    User {_word(hop.user)}"
    if hop.key_alias:
        yield f"    HostKeyAlias {_word(hop.key_alias)}"
    if gateway:
        yield f"    ProxyJump {gateway}"
    if hop.key_files is None:
        yield f"    IdentityFile {_word(credentials.key_file)}"
        yield "    IdentityAgent none"
    else:
        # A host that the user named: the user's own keys, and the agent may hold any of them.
        yield "    IdentitiesOnly no"
        yield from (f"    IdentityFile {_word(path)}" for path in hop.key_files or ("none",))


def _word(value: str | Path) -> str:
    """A value in ssh_config, where % begins a placeholder and blanks end a word."""
    return '"' + str(value).replace("%", "%%") + '"'
