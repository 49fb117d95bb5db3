"""The software on a host: which it has, and how it gets there from this computer.

What must be in it is software.py's to say; services and engines are unknown here.
"""

from __future__ import annotations

import json

from . import boot, pkgsrc
from .remote import File, Host
from .software import Software, wheelhouse

TAR = "/opt/ipyfleet/wheelhouse.tar"
RUN_AS = "/opt/ipyfleet/libexec/run-as.py"
PYTHON = "/opt/ipyfleet/env/bin/python"
ID = "/opt/ipyfleet/env/ipyfleet-software-id"


def installed_software(host: Host) -> str:
    """The id of the software that a host has, "" for none."""
    return (host.read(ID) or b"").decode(errors="replace").strip()


def packages(host: Host) -> dict[str, str]:
    """The versions of all Python packages that a host's engines see, by name. Raises RemoteError."""
    listing = ("-I", "-m", "pip", "list", "--format=json", "--disable-pip-version-check")
    return {one["name"]: one["version"] for one in json.loads(host.run(PYTHON, *listing).stdout)}


def install_software(host: Host, software: Software) -> tuple[str, ...]:
    """Put the software on a host, sent from here; quick when it is there already. What to know of it, a line each.

    Raises ClusterError with what the host wrote: another Python, no space, not root.
    """
    tar = wheelhouse(software)
    ported = software.platform == pkgsrc.MACHINE
    script, limit = ("software-pkgsrc.sh", 1800.0) if ported else ("software.sh", 600.0)
    host.script(boot.script("host.sh"), sudo=True)
    host.place((File(TAR, tar.read_bytes(), mode=0o600), File(RUN_AS, boot.script("run-as.py").read_bytes())))
    try:
        return tuple(host.script(boot.script(script), TAR, software.id, sudo=True, timeout=limit).stdout.splitlines())
    finally:
        host.run("rm", "-f", TAR, sudo=True, check=False)
