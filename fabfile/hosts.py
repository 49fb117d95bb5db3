"""`fab -H HOST …`: the links of the chain on hosts that the user names, without a provider.

A host is reached as the user's own ssh would reach it, and held to a host key that is known or confirmed. What is put
there comes from a cluster's record (``--cluster``) or from connection files (``--connection``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.context import Context

from .command_line import task
from .errors import ClusterError, UsageError
from .paths import expanded

if TYPE_CHECKING:
    from .connection import Connection
    from .engines import Survey
    from .remote import Host
    from .services import Service
    from .settings import Settings
    from .software import Software

HOST_KEY = "fingerprint (SHA256:…) of the host's key, when it is not known here yet"
CLUSTER = "take the connection from this cluster's record"
TEMPLATE = "which template of the settings to use"
FILES = "folder with ipcontroller-engine.json and ipcontroller-client.json"
SERVICE = "ipcontroller, ipengine, ipyfleet-repair, ipyfleet-lease, or any other: an FMRI of SMF, a unit of systemd"
FOREIGN = r"[\w@][\w./@:*-]*[/:][\w./@:*-]*|[\w@][\w.@:-]*\.(service|timer|socket|target|mount|path|slice)"
SERVICES = ("ipcontroller", "ipengine", "ipyfleet-repair", "ipyfleet-lease")


@task(
    help={
        "engines": "how many engines this host shall run (default: 1)",
        "connection": "the engines' connection file (ipcontroller-engine.json)",
        "cluster": CLUSTER,
        "template": TEMPLATE,
        "machine": "first part of its engines' idents (default: the host's name)",
        "host-key": HOST_KEY,
    }
)
def deploy_engine(
    c: Context,
    engines: str = "1",
    connection: str = "",
    cluster: str = "",
    template: str = "",
    machine: str = "",
    host_key: str = "",
) -> None:
    """Put engines on a host: software, files, services; then see that the hub knows them."""
    from . import engines as deployment
    from . import report, session
    from .plan import Deployment

    settings = session.settings_of(c, engines=engines, cluster=cluster, template=template)
    wanted = _connection(settings, cluster, Path(connection) if connection else None)
    with _named(c, host_key) as host:
        _refuse_foreign(host, settings, cluster)
        name = machine or _plain_name(host)
        seen = deployment.survey(host)
        bundle = _equip(host, seen, settings)
        numbers = tuple(range(1, settings.engines + 1))
        surplus = [number for number in seen.marks["ipengine"][1] if number not in numbers]
        one = Deployment("engine", 0, numbers)
        digest = deployment.engine_digest(settings, wanted, bundle)
        deployment.deploy_engines(host, seen, one, wanted, settings, digest, surplus, name=name)
        known = deployment.wait_until_known(host, seen.manager, len(numbers), settings)
        report.say(f"{host.name}: online, {', '.join(known)}")


@task(help={"files": f"{FILES}: taken if they are there, else made and left there (default: .)", "host-key": HOST_KEY})
def deploy_controller(c: Context, files: str = ".", template: str = "", host_key: str = "") -> None:
    """Put a controller on a host, and its connection files into a folder here."""
    from . import connection_files, report, session
    from . import engines as deployment
    from .connection import make

    settings = session.settings_of(c, template=template)
    folder = expanded(files)
    with _named(c, host_key) as host:
        _refuse_foreign(host, settings, "")
        wanted, secret = _pair(folder), None
        if wanted is None:
            wanted, secret = make(_own_address(host), settings)
            _write_pair(folder, wanted)
        elif connection_files.fetch(host).public != wanted.public_key:
            raise UsageError(
                f"the connection files in {folder} are of another controller than the one on {host.name}",
                hint="give another folder with --files, or remove them to make new ones",
            )
        seen = deployment.survey(host)
        bundle = _equip(host, seen, settings)
        digest = deployment.controller_digest(settings, wanted, bundle)
        deployment.deploy_controller(host, seen, wanted, secret, settings, digest)
        report.say(f"{host.name}: the controller is online; its connection files are in {folder}")


@task(help={"files": f"{FILES}: written there (default: .)", "host-key": HOST_KEY})
def fetch_connection(c: Context, files: str = ".", host_key: str = "") -> None:
    """Fetch a controller's connection files into a folder here."""
    from . import connection_files, report
    from .connection import parse

    folder = expanded(files)
    with _named(c, host_key) as host:
        fetched = connection_files.fetch(host)
        if fetched.engine is None or fetched.client is None:
            raise ClusterError(
                f"no controller of ours has its files on {host.name}",
                hint=f"`fab -H {host.address} deploy-controller` puts one there",
            )
        _write_pair(folder, parse(fetched.engine, fetched.client))
    report.say(f"wrote ipcontroller-engine.json and ipcontroller-client.json to {folder}; both open the cluster")


@task(help={"service": SERVICE, "timeout": "seconds to wait at most (default: 60)", "host-key": HOST_KEY})
def wait_for_svc(c: Context, service: str = "ipengine", timeout: str = "60", host_key: str = "") -> None:
    """Wait until a service is online on a host; fails at once, with its last log lines, if waiting cannot help."""
    from . import report, service_managers
    from . import services as waiting

    if not timeout.isdigit():
        raise UsageError(f"--timeout {timeout!r} is not a whole number of seconds")
    wanted = _service(service)
    with _named(c, host_key) as host:
        looks = waiting.wait_for_svc(
            service_managers.detect(host), host, wanted, timeout=float(timeout), beat=report.heartbeat
        )
    report.say(f"{host.name}: {service} online ({', '.join(look.words for look in looks.values())})")


@task(help={"service": SERVICE, "lines": "how many lines (default: 50)", "host-key": HOST_KEY})
def service_logs(c: Context, service: str = "ipengine", lines: str = "50", host_key: str = "") -> None:
    """Print a service's last log lines on a host."""
    from . import report, service_managers

    if not lines.isdigit():
        raise UsageError(f"--lines {lines!r} is not a whole number")
    wanted = _service(service)
    with _named(c, host_key) as host:
        report.say(service_managers.detect(host).logs(host, wanted, int(lines)).rstrip("\n"))


@task(help={"software": "take the software and the service user off as well", "host-key": HOST_KEY})
def undeploy(c: Context, software: bool = False, host_key: str = "") -> None:
    """Stop our services on a host and take them off it."""
    from . import boot, engines, report, service_managers, session

    with _named(c, host_key) as host:
        _refuse_foreign(host, session.settings_of(c), "")
        engines.undeploy(host, service_managers.detect(host), [_service(name) for name in SERVICES])
        if software:
            host.script(boot.script("forget.sh"), sudo=True, timeout=120)
        report.say(f"{host.name}: our services are off it" + (", and the software" if software else ""))


def _equip(host: Host, seen: Survey, settings: Settings) -> Software:
    """Put the software on a host that has another one, or none; what it has now."""
    from . import engines, report
    from .software import software

    bundle = software(settings, seen.machine)
    if seen.software != bundle.id:
        for note in engines.install_software(host, bundle):
            report.say(f"{host.name}: {note}")
        report.say(f"{host.name}: software installed")
    return bundle


@contextmanager
def _named(c: Context, host_key: str) -> Iterator[Host]:
    """A verified connection to the host that `fab -H` names."""
    from . import named_hosts, report, ssh, state
    from .remote import Credentials

    named = getattr(c, "named_by", "")
    if not named:
        raise UsageError("on which host?", hint="`fab -H user@host deploy-engine` names one")
    folder = state.home() / ".hosts"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    credentials = Credentials(folder / "no-key", folder / "known_hosts")
    given = getattr(c, "connect_kwargs", {}).get("key_filename") or []
    resolved = named_hosts.resolve(named, key_files=[given] if isinstance(given, str) else list(given))
    confirm = report.confirm if report.can_ask() else None
    endpoint = named_hosts.admit(resolved, credentials, host_key=host_key, confirm=confirm)
    host = ssh.connect(endpoint, named, credentials)
    try:
        yield host
    finally:
        host.close()


def _connection(settings: Settings, cluster: str, engine_file: Path | None) -> Connection:
    """The connection from the file that was given, else from the cluster's record."""
    from . import record
    from .connection import parse_engine
    from .state import Store

    if cluster and engine_file:
        raise UsageError("--cluster and --connection are two answers to one question", hint="give one of them")
    if engine_file:
        try:
            return parse_engine(expanded(engine_file).read_bytes())
        except OSError as error:
            raise UsageError(f"{engine_file} cannot be read: {error.strerror}") from error
    found = record.load(Store(settings.cluster)).connection
    if found is None:
        raise UsageError(
            f"there is no connection in the record of cluster {settings.cluster!r}",
            hint="name a cluster with --cluster, or a file with --connection ipcontroller-engine.json",
        )
    return found


def _refuse_foreign(host: Host, settings: Settings, cluster: str) -> None:
    """Leave a host alone that belongs to a cluster of provider static, unless that cluster is meant."""
    from .providers.static.owner import parse_owner, whose

    owner = parse_owner((host.read("/etc/ipyfleet/owner.json") or b"").decode(errors="replace"))
    if owner and (not cluster or owner.cluster.name != settings.cluster):
        raise UsageError(
            f"{host.name} {whose(owner)}",
            hint="`invoke provision` and `invoke teardown` manage its services; use another host",
        )


def _service(name: str) -> Service:
    from .kinds import nearest
    from .services import Service

    if re.fullmatch(FOREIGN, name):
        return Service(name, ())
    if name not in SERVICES:
        raise UsageError(
            f"no service {name!r}{nearest(name, SERVICES)}",
            hint=f"it is one of {', '.join(SERVICES)}, a whole name of SMF (svc:/network/ssh:default) or a unit of "
            "systemd (ssh.service)",
        )
    return Service(name, () if name == "ipengine" else ("",))


def _plain_name(host: Host) -> str:
    """The host's own short name, as the first part of an ident."""
    name = host.run("uname", "-n").stdout.strip().partition(".")[0].lower()
    return re.sub(r"[^a-z0-9-]", "-", name).strip("-") or "host"


def _own_address(host: Host) -> str:
    """The address of the host's own that our connection arrived at."""
    shown = host.run("sh", "-c", "echo $SSH_CONNECTION").stdout.split()
    return shown[2] if len(shown) > 2 else ""


def _pair(folder: Path) -> Connection | None:
    from .connection import parse

    paths = [folder / f"ipcontroller-{kind}.json" for kind in ("engine", "client")]
    there = [path for path in paths if path.exists()]
    if not there:
        return None
    if len(there) == 1:
        raise UsageError(f"{there[0]} is there without its other half", hint="remove it, or fetch both")
    return parse(paths[0].read_bytes(), paths[1].read_bytes())


def _write_pair(folder: Path, connection: Connection) -> None:
    from .connection import client_file, engine_file
    from .host_keys import replace_file

    try:
        folder.mkdir(parents=True, exist_ok=True)
        replace_file(folder / "ipcontroller-engine.json", engine_file(connection))
        replace_file(folder / "ipcontroller-client.json", client_file(connection))
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror}", hint="give another with --files") from error
