"""What of a connection lies on a cluster's hosts: files for the controller, the engines, the login user, and back.

The secret half of the CURVE pair goes to the controller in ``curve.json`` and never comes back. Knows paths, modes and
owners; what is in the two documents is connection.py's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from .connection import Connection, client_file, differences, engine_file
from .patience import patience
from .remote import File, Host
from .settings import Settings

SERVICE_USER = "ipyparallel"
SERVICE_OWNER = f"{SERVICE_USER}:{SERVICE_USER}"
ETC = "/etc/ipyfleet"
CONTROLLER_CONFIG = f"{ETC}/ipcontroller_config.py"
CURVE = f"{ETC}/curve.json"
ENGINE = f"{ETC}/engine.json"
SECURITY = ".ipython/profile_default/security"
SERVICE_SECURITY = f"/var/lib/ipyparallel/{SECURITY}"
PUBLIC_HALF = r's/^ *"public": "\([^"]*\)",*$/\1/p'


@dataclass(frozen=True)
class Fetched:
    """What a controller's machine holds; None where there is no such file, ``public`` of its curve.json."""

    engine: bytes | None = field(repr=False)
    client: bytes | None = field(repr=False)
    public: str | None = field(repr=False)


def controller_config(connection: Connection, settings: Settings, curve: str = CURVE) -> bytes:
    """ipcontroller_config.py, ipyparallel's own configuration file: literals only, the CURVE pair from ``curve``.

    Ports come from the two documents; the pools say the same, so that a controller which lost them picks no others.
    Three pools: with one range for all, a second start with kept files takes the engines' ports for its own.
    """
    waits = patience(settings)
    info = connection.client_info
    traits: dict[str, Any] = {
        "IPController.reuse_files": True,
        "IPController.engine_ip": connection.address,
        "IPController.client_ip": info["interface"].removeprefix("tcp://"),
        "IPController.location": connection.address,
        "IPController.engine_ports": list(connection.engine_ports),
        "IPController.client_ports": list(connection.client_ports),
        "IPController.ports": list(connection.internal_ports),
        "IPController.registration_timeout": waits.registration_timeout,
        "HeartMonitor.period": waits.period,
        "HeartMonitor.max_heartmonitor_misses": waits.hub_misses,
        "Session.packer": info["pack"],
        "Session.unpacker": info["unpack"],
    }
    if not any("log-level" in option or "log_level" in option for option in settings.controller_options):
        # At INFO the hub writes two lines a task; whether engines are there is asked of the hub, not read in its log.
        # The heart monitor takes its level from the logger's and not from log_level, and writes a line a missed beat.
        traits["IPController.log_level"] = "WARN"
        traits["IPController.logging_config"] = {"loggers": {"IPController": {"level": "WARNING"}}}
    if connection.public_key is None:
        traits["Session.key"] = connection.key.encode()
    lines = ["c = get_config()", *(f"c.{name} = {value!r}" for name, value in traits.items())]
    if connection.public_key is not None:
        lines += [
            "import json",
            f"with open({curve!r}) as pair:",
            "    halves = json.load(pair)",
            'c.IPController.curve_publickey = halves["public"].encode()',
            'c.IPController.curve_secretkey = halves["secret"].encode()',
            "c.IPController.enable_curve = True",
        ]
    return ("\n".join(lines) + "\n").encode()


def curve_file(public: str, secret: str) -> bytes:
    """The controller's CURVE pair, one half a line, so that the public one can be read back alone."""
    return (json.dumps({"public": public, "secret": secret}, indent=2) + "\n").encode()


def controller_files(connection: Connection, secret: str | None, settings: Settings) -> tuple[File, ...]:
    """Everything the controller's services need to know; with ``secret`` None a curve.json there stays as it is."""
    files = [
        _secret(CONTROLLER_CONFIG, controller_config(connection, settings)),
        _secret(f"{SERVICE_SECURITY}/ipcontroller-engine.json", engine_file(connection)),
        _secret(f"{SERVICE_SECURITY}/ipcontroller-client.json", client_file(connection)),
    ]
    if secret is not None and connection.public_key is not None:
        files.append(_secret(CURVE, curve_file(connection.public_key, secret)))
    return tuple(files)


def engine_files(connection: Connection) -> tuple[File, ...]:
    """Everything an engines' machine needs to know."""
    return (_secret(ENGINE, engine_file(connection)),)


def login_client_file(connection: Connection, owner: str, home: str) -> File:
    """The file by which ``ipp.Client()`` works for the login user, ``user:group``, on the controller's machine."""
    path = PurePosixPath(home) / SECURITY / "ipcontroller-client.json"
    return _secret(str(path), client_file(connection), owner)


def security_folders(home: str) -> tuple[str, ...]:
    """The command, as words for the user whose home it is, that makes IPython's folders down to ``security``.

    As root it would hand over whatever the user, whose own code runs as him, has put a link to in their place.
    """
    folders = [str(PurePosixPath(home) / part) for part in (".ipython", ".ipython/profile_default", SECURITY)]
    return ("mkdir", "-p", "-m", "0700", *folders)


def fetch(host: Host, security: str = SERVICE_SECURITY) -> Fetched:
    """Read both documents and the public half of the pair back from a controller's host; ``security`` is the folder.

    Raises RemoteError when the host cannot be asked.
    """
    shown = host.run("sed", "-n", PUBLIC_HALF, CURVE, sudo=True, check=False)
    return Fetched(
        engine=host.read(f"{security}/ipcontroller-engine.json"),
        client=host.read(f"{security}/ipcontroller-client.json"),
        public=shown.stdout.strip() or None,
    )


def check(connection: Connection, fetched: Fetched) -> tuple[str, ...]:
    """What differs between the connection and what the controller's host holds: sentences, without any secret."""
    found = []
    pairs = (("engine", connection.engine_info, fetched.engine), ("client", connection.client_info, fetched.client))
    for name, wanted, data in pairs:
        file = f"ipcontroller-{name}.json"
        if data is None:
            found.append(f"{file} is missing")
            continue
        try:
            fields = differences(wanted, json.loads(data))
        except (ValueError, AttributeError):
            found.append(f"{file} is no JSON object")
            continue
        if fields:
            found.append(f"{file} differs in {', '.join(fields)}")
    if connection.public_key is not None and fetched.public != connection.public_key:
        found.append("curve.json is missing" if fetched.public is None else "curve.json holds another pair")
    return tuple(found)


def _secret(path: str, data: bytes, owner: str = SERVICE_OWNER) -> File:
    return File(path, data, mode=0o600, owner=owner)
