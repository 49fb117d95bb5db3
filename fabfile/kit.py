"""The kit of an engine machine that joins by itself: what would be done on it over SSH, taken down to be done there.

A Host that nobody is behind stands in for the machine; smf/join-method.sh does on the real one what this one was told.
The kit holds the engines' connection file, so it is a secret: how it travels is for the provider to say.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from . import boot, engines, pkgsrc
from .connection import Connection
from .errors import UsageError
from .host_software import RUN_AS, TAR
from .plan import Deployment
from .remote import File, Result, Then, quoted
from .services import ServiceManager
from .settings import Settings
from .software import Software, wheelhouse
from .ssh_host import archive

MOST = 64_000  # bytes: CloudAPI takes 100,000 a call, and text is a third longer than what it stands for
SCRIPTS = "scripts"


class Tape:
    """A Host that takes down what it is asked, and answers as one where all goes well and everything is new."""

    name = address = "kit"

    def __init__(self) -> None:
        self.steps: list[tuple[bytes, bytes]] = []  # a line of shell, its standard input
        self.scripts: dict[str, bytes] = {}

    def run(
        self, *words: str, sudo: bool = False, check: bool = True, timeout: float = 60.0, stdin: bytes = b""
    ) -> Result:
        """Take down one command."""
        self.steps.append((quoted(words).encode(), stdin))
        return Result(words, 0, "", "")

    def script(
        self, path: Path, *args: str, sudo: bool = False, check: bool = True, timeout: float = 60.0, stdin: bytes = b""
    ) -> Result:
        """Take down a script with its arguments."""
        self.scripts[path.name] = path.read_bytes()
        return self.run("sh", f"{SCRIPTS}/{path.name}", *args, stdin=stdin)

    def place(self, files: Sequence[File], then: Then | None = None) -> frozenset[str]:
        """Take down files, and what is done with them."""
        stream = b"".join(archive(files, then))
        self.script(boot.script("place.sh"), *(then.arguments if then else ()), stdin=stream)
        return frozenset(file.path for file in files)

    def read(self, path: str) -> bytes | None:
        """There is nothing yet."""
        return None

    def fabric(self) -> Any:
        """There is no connection that could be given; what needs one is refused in the preflight (hooks)."""
        raise TypeError("a kit has no connection: it is done later, by the machine itself")

    def close(self) -> None:
        """Nothing is open."""


def make_kit(
    manager: ServiceManager,
    one: Deployment,
    connection: Connection,
    settings: Settings,
    software: Software,
    digest: str,
    lease_action: str,
) -> bytes:
    """The kit for one machine, a tar file with gzip: the steps of its deployment, in their order, and their input.

    Unlike over SSH, the software comes from the machine's own package repository and index of Python packages. Raises
    UsageError when it is larger than MOST.
    """
    tape = Tape()
    seen = engines.Survey(manager, software.platform, "", {"ipcontroller": ("", ()), "ipengine": ("", ())})
    tape.script(boot.script("host.sh"))
    tape.place((File(TAR, _names(software), mode=0o600), File(RUN_AS, boot.script("run-as.py").read_bytes())))
    tape.script(boot.script("software-pkgsrc.sh"), TAR, software.id)
    if settings.lease:
        engines.set_lease(tape, manager, settings, lease_action)
    engines.deploy_engines(tape, seen, one, connection, settings, digest, proved=lambda: True)
    engines.wait_until_known(tape, manager, len(one.numbers), settings)
    kit = _packed(tape)
    if len(kit) > MOST:
        raise UsageError(
            f"{one.name} would be handed {len(kit)} bytes, and {MOST} fit into metadata",
            hint="shorten `engine_options`, `engine_env` or `packages`, or use `join: ssh`",
        )
    return kit


def _names(software: Software) -> bytes:
    """The wheelhouse without its wheels: what is wanted, and the versions to take, for the machine's own pip."""
    wheels = wheelhouse(software)
    notes: dict[str, bytes] = {}
    with tarfile.open(wheels) as full:
        for name in ("python", "native", "wanted.txt"):
            member = full.extractfile(f"./{name}")
            notes[name] = member.read() if member else b""
    native = {line.split()[0] for line in notes["native"].decode().splitlines()}
    yielding = {Requirement(one).name for one in pkgsrc.FITTING}  # these go by what pkgsrc has
    fixed = [pin for pin in software.requirements if pin not in native and Requirement(pin).name not in yielding]
    notes["constraints.txt"] = "".join(f"{pin}\n" for pin in fixed).encode()
    return _tar(notes)


def _packed(tape: Tape) -> bytes:
    members = {f"{SCRIPTS}/{name}": text for name, text in tape.scripts.items()}
    for number, (line, stdin) in enumerate(tape.steps, 10):
        members |= {f"{number}/line": line + b"\n", f"{number}/stdin": stdin}
    return _tar(members, "w:gz")


def _tar(members: Mapping[str, bytes], mode: Any = "w") -> bytes:
    into = io.BytesIO()
    with tarfile.open(fileobj=into, mode=mode, format=tarfile.USTAR_FORMAT) as made:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o600
            made.addfile(member, io.BytesIO(data))
    return into.getvalue()
