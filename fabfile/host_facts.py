"""What there is on a host before anything is put on it, and what of it would keep our services from running there.

Knows nothing of providers: a host is asked over its open connection, the answer is a value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from . import pkgsrc
from .boot import script
from .remote import Host
from .software import PYTHON, Software


@dataclass(frozen=True)
class HostFacts:
    """One host: ``uname -s`` and ``-m``, minor version of Python ("" for none), service manager, rights, address.

    ``pkgin`` says whether pkgsrc's installer is there, which can give it a Python. ``address`` is the host's own, the
    one that our connection arrived at; ``owner`` is its owner.json as it stands.
    """

    system: str
    machine: str
    python: str
    manager: str
    root: bool
    address: str
    owner: str
    pkgin: bool = False


def ask(host: Host) -> HostFacts:
    """The facts of a host, in one round trip; nothing is changed. Raises RemoteError."""
    said = host.script(script("host-facts.sh"), PYTHON, timeout=30.0).stdout
    facts = dict(line.partition("=")[::2] for line in said.splitlines())
    return HostFacts(
        system=facts.get("system", ""),
        machine=facts.get("machine", ""),
        python=facts.get("python", ""),
        manager=facts.get("manager", ""),
        root=facts.get("root") == "yes",
        address=facts.get("address", ""),
        owner=facts.get("owner", ""),
        pkgin=facts.get("pkgin") == "yes",
    )


def obstacles(facts: HostFacts, software: Software) -> Iterator[tuple[str, str]]:
    """What keeps this software and our services off such a host, each with the cure."""
    if not facts.manager:
        yield (
            f"runs no service manager that we know ({facts.system}, neither systemd nor SMF)",
            "use a host that was booted with systemd, or SmartOS",
        )
    if not facts.root:
        yield (
            "its login user cannot become root",
            "log in as root, or give that user sudo without a password (by visudo: `USER ALL=(ALL) NOPASSWD: ALL`)",
        )
    if facts.machine == pkgsrc.MACHINE:
        if not facts.pkgin:
            yield ("has no pkgin, from which it would get its Python", "use an image with pkgsrc, such as base-64-lts")
        return
    if facts.python != software.python:
        has = f"Python {facts.python}" if facts.python else "no python3"
        yield (
            f"has {has}, but engines must have the Python of this computer's ipyfleet, {software.python}",
            f"install python{software.python} there"
            + (f", or run ipyfleet here under Python {facts.python}" if facts.python else ""),
        )
    if facts.machine != software.platform:
        yield (
            f"is {facts.machine}, but the wheels of this computer are for {software.platform}",
            f"use hosts that are {software.platform}, or run ipyfleet on a computer that is {facts.machine}",
        )
