"""The connection: what engines and clients must know to reach one controller, made before the controller starts.

ipyparallel's own two documents, ``ipcontroller-engine.json`` and ``ipcontroller-client.json``, are the value; both are
secrets, since whoever holds one may run code on the cluster. The secret half of the CURVE pair is never part of it.
Pure: knows neither hosts nor paths.
"""

from __future__ import annotations

import ipaddress
import itertools
import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .errors import UsageError
from .settings import Settings

Info = dict[str, Any]

ENGINE_CHANNELS = ("control", "mux", "task", "iopub", "hb_ping", "hb_pong")
CLIENT_CHANNELS = ("control", "mux", "task", "iopub", "notification", "broadcast")
FORWARDED = ("registration", *CLIENT_CHANNELS)
LEAVES = 2  # engines' ends of the broadcast tree: 2 ** broadcast_scheduler_depth, which is 1 by default
EQUAL = ("registration", "key", "curve_serverkey", "signature_scheme", "pack", "unpack")
PACKERS = ("json", "orjson")
LOOPBACK = "127.0.0.1"
WILDCARDS = ("0.0.0.0", "*", "::")  # noqa: S104 (recognised here, never bound)


@dataclass(frozen=True)
class Connection:
    """The two documents as text; not shown by ``repr``, because they open the cluster."""

    engine: str = field(repr=False)
    client: str = field(repr=False)

    @property
    def engine_info(self) -> Info:
        """The engines' document as ipyparallel reads it; a fresh copy."""
        return _document(self.engine)

    @property
    def client_info(self) -> Info:
        """The clients' document as ipyparallel reads it; a fresh copy."""
        return _document(self.client)

    @property
    def address(self) -> str:
        """Where engines reach the controller."""
        return _host(self.engine_info)

    @property
    def public_key(self) -> str | None:
        """The public half of the CURVE pair, Z85; None when traffic is signed but not encrypted."""
        key = self.client_info["curve_serverkey"]
        return None if not key else str(key)

    @property
    def key(self) -> str:
        """What messages are signed with; "" under CURVE, which needs no signature."""
        return str(self.client_info["key"])

    @property
    def engine_ports(self) -> tuple[int, ...]:
        """Every port that engines dial, registration first."""
        info = self.engine_info
        return (info["registration"], *(info[channel] for channel in ENGINE_CHANNELS), *info["broadcast"])

    @property
    def client_ports(self) -> tuple[int, ...]:
        """Every port that clients dial beside registration."""
        info = self.client_info
        return tuple(info[channel] for channel in CLIENT_CHANNELS)

    @property
    def internal_ports(self) -> tuple[int, ...]:
        """The ports between the controller's own processes: the next ones after all others."""
        first = max(*self.engine_ports, *self.client_ports) + 1
        return tuple(range(first, first + LEAVES + 1))

    @property
    def targets(self) -> tuple[str, ...]:
        """``address:port`` of each forwarded channel, as seen from the controller's own machine."""
        info = self.client_info
        host = LOOPBACK if _host(info) in WILDCARDS else _host(info)
        return tuple(f"{host}:{info[channel]}" for channel in FORWARDED)


def make(address: str, settings: Settings) -> tuple[Connection, str | None]:
    """A new connection for a controller at this private address, and the secret half of its CURVE pair.

    The secret is Z85 text, None with ``encryption: hmac``. Ports are counted up from ``first_port``: registration, the
    rest of the engines', the clients', the controller's own. Raises UsageError when address is no plain IP address.
    """
    public, secret = _curve_pair() if settings.encryption == "curve" else (None, None)
    port = itertools.count(settings.first_port)
    common = {
        "ssh": "",
        "key": "" if public else secrets.token_hex(32),
        "curve_serverkey": public,
        "signature_scheme": "hmac-sha256",
        "pack": settings.packer,
        "unpack": settings.packer,
    }
    engine = {"interface": _interface(address), "location": address, "registration": next(port)}
    engine |= {channel: next(port) for channel in ENGINE_CHANNELS}
    engine["broadcast"] = [next(port) for _ in range(LEAVES)]
    client = {"interface": _interface(LOOPBACK), "location": LOOPBACK, "registration": engine["registration"]}
    client |= {"task_scheme": "leastload"} | {channel: next(port) for channel in CLIENT_CHANNELS}
    return Connection(_text(engine | common), _text(client | common)), secret


def follows(connection: Connection, settings: Settings) -> bool:
    """Whether the connection is as ``make`` would make it with these settings, but for keys and address."""
    info = connection.engine_info
    encrypted = settings.encryption == "curve"
    return (bool(info["curve_serverkey"]), info["pack"], info["registration"]) == (
        encrypted,
        settings.packer,
        settings.first_port,
    )


def at_address(connection: Connection, address: str) -> Connection:
    """The same connection with the controller at another private address; keys and ports stay."""
    moved = connection.engine_info | {"interface": _interface(address), "location": address}
    return Connection(_text(moved), connection.client)


def parse(engine_file: bytes, client_file: bytes) -> Connection:
    """A connection from the two files of any controller, kept as they are.

    Raises UsageError, naming the file and the field, for what an ipcontroller would overwrite or a client choke on:
    not JSON, a field missing, the two files of different controllers, a packer that is not JSON.
    """
    texts = {name: _decoded(name, data) for name, data in (("engine", engine_file), ("client", client_file))}
    documents = {name: _checked(name, text) for name, text in texts.items()}
    different = [name for name in EQUAL if documents["engine"][name] != documents["client"][name]]
    if different:
        raise UsageError(
            f"the engine and the client file are not of one controller: {', '.join(different)} differ",
            hint="fetch both files again, from the same controller's security folder",
        )
    return Connection(texts["engine"], texts["client"])


def parse_engine(engine_file: bytes) -> Connection:
    """A connection of which only the engines' half is known: engines can be deployed with it, nothing else."""
    text = _decoded("engine", engine_file)
    _checked("engine", text)
    return Connection(text, "")


def engine_file(connection: Connection) -> bytes:
    """The engines' connection file."""
    return connection.engine.encode()


def client_file(connection: Connection) -> bytes:
    """The clients' connection file, for clients on the controller's own machine."""
    return connection.client.encode()


def local_info(connection: Connection, ports: Sequence[int]) -> Info:
    """The clients' document through a tunnel that listens on these loopback ports, in the order of FORWARDED."""
    through = {"interface": _interface(LOOPBACK), "location": LOOPBACK, "ssh": ""}
    return connection.client_info | through | dict(zip(FORWARDED, ports, strict=True))


def differences(wanted: Mapping[str, Any], seen: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the fields in which two documents differ; never their values, some are secret."""
    return tuple(sorted(name for name in {*wanted, *seen} if wanted.get(name) != seen.get(name)))


def _curve_pair() -> tuple[str, str]:
    import zmq

    public, secret = zmq.curve_keypair()
    return public.decode(), secret.decode()


def _interface(address: str) -> str:
    # A name would do for those who dial, but ZeroMQ does not resolve names when it binds.
    try:
        usable = not ipaddress.IPv4Address(address).is_unspecified
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(
            f"a controller cannot listen on {address!r}",
            hint="its machine needs a private IPv4 address that the engines' machines reach",
        )
    return f"tcp://{address}"


def _host(info: Info) -> str:
    return str(info["interface"]).partition("://")[2]


def _text(document: Info) -> str:
    return json.dumps(document, indent=2) + "\n"


def _document(text: str) -> Info:
    document: Info = json.loads(text)
    return document


def _decoded(name: str, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise _broken(name, "is not text") from None


def _checked(name: str, text: str) -> Info:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise _broken(name, f"is not JSON ({error})") from None
    if not isinstance(document, dict):
        raise _broken(name, "holds no JSON object")
    channels = {"engine": (*ENGINE_CHANNELS, "broadcast"), "client": CLIENT_CHANNELS}[name]
    missing = [key for key in ("interface", "location", "ssh", *EQUAL, *channels) if key not in document]
    if missing:
        raise _broken(name, f"lacks {', '.join(missing)}")
    if not str(document["interface"]).startswith("tcp://"):
        raise _broken(
            name, f"has the interface {document['interface']!r}; only tcp://ADDRESS can be reached from outside"
        )
    ports = [document["registration"], *_flat(document[channel] for channel in channels)]
    if not all(isinstance(port, int) and 0 < port < 65536 for port in ports):
        raise _broken(name, "has a port that is not a number from 1 to 65535")
    for key in ("pack", "unpack"):
        if document[key] not in PACKERS:
            raise _broken(name, f"has {key} {document[key]!r}; {' and '.join(PACKERS)} are supported")
    return document


def _flat(ports: Iterable[Any]) -> list[Any]:
    return [port for entry in ports for port in (entry if isinstance(entry, list) else [entry])]


def _broken(name: str, what: str) -> UsageError:
    return UsageError(
        f"the {name} file of the controller {what}",
        hint=f"fetch ipcontroller-{name}.json again from the controller's security folder, or remove both and start "
        "the controller again",
    )
