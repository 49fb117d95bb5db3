"""What stands behind an instance: a machine that boots, ends, and says something on its console."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from base64 import b64decode
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from . import disks, first_boot, room
from .room import Room

STAND_INS = Path(__file__).parent
Ailing = Callable[[str, Mapping[str, str]], str | None]
PATIENCE = 20.0  # s until a machine's sshd must listen


class Machine(Protocol):
    """A machine behind an instance; the cloud calls its verbs one after the other."""

    def boot(self) -> None:
        """Switch it on; returns when it has as much of itself as it will have."""

    def halt(self, *, orderly: bool = False) -> None:
        """Switch it off, at once and with all its connections, or as a button does; nothing when it is off."""

    def wait(self) -> None:
        """Until it goes off by itself, or is halted."""

    def console(self) -> str:
        """All that it has said."""

    def scrap(self) -> None:
        """Throw its disk away; it is off by then."""

    def capture(self, image: str) -> None:
        """Keep a copy of its disk under that id, for machines that are made of this image."""


def tags_of(instance: Any) -> dict[str, str]:
    """The tags of an instance of moto's."""
    return {tag["key"]: tag["value"] for tag in instance.get_tags()}


class PaperMachine:
    """A machine that nobody can reach: enough where only the cloud's answers are of interest, and there are many."""

    def __init__(self, instance: Any) -> None:
        self.instance = instance

    def boot(self) -> None:
        """It has nothing to do."""

    def halt(self, *, orderly: bool = False) -> None:
        """Nor here."""

    def wait(self) -> None:
        """It never goes off by itself: there is nothing to wait for, so the cloud does not watch it."""

    def console(self) -> str:
        """What a machine says that has nothing to say."""
        return f"{self.instance.id}: on paper\n"

    def scrap(self) -> None:
        """It has no disk."""

    def capture(self, image: str) -> None:
        """It has no disk."""


class SshdMachine:
    """A copy of this computer's files with one sshd on the instance's addresses, in a room apart.

    At the first boot it takes host keys and login keys from its user-data, and the account's key pair; root logs in.
    """

    def __init__(self, instance: Any, room: Room, ailing: Ailing, obeys: bool = False) -> None:
        """``ailing`` says what is wrong with it, asked at its first boot: silent (no sshd), boot (an error text).

        ``obeys``: it carries out what its user-data says, without a network; else it takes the keys from it only.
        """
        self.instance = instance
        self.room = room
        self.ailing = ailing
        self.obeys = obeys
        self.silent = False
        self.inside = room.folder / instance.id  # as the machines see it
        self.disk = room.disks / instance.id
        self.process: subprocess.Popen[bytes] | None = None
        self._console = ""

    def boot(self) -> None:
        """Make its disk, if this is the first time, and start its sshd; returns when that listens."""
        if not self.disk.exists():
            self._first_boot()
        elif self.obeys:
            disks.finish_boot(self.disk, [])
        disks.set_addresses(self.disk, self._addresses())
        with (self.disk / "console").open("ab") as console:
            self.process = self.room.start(("sleep", "infinity") if self.silent else self._words(), console)
        if not self.silent:
            self._until_it_listens()

    def halt(self, *, orderly: bool = False) -> None:
        """Switch it off; there is nothing on it that could end in an orderly way."""
        process, self.process = self.process, None
        if process is not None:
            room.end(process)

    def wait(self) -> None:
        """Until its first process ended."""
        if self.process is not None:
            self.process.wait()

    def console(self) -> str:
        """What sshd and the stand-in for cloud-init said."""
        with suppress(FileNotFoundError):
            self._console = (self.disk / "console").read_text(errors="replace")
        return self._console

    def scrap(self) -> None:
        """Remove its disk; its last words stay."""
        self.console()
        shutil.rmtree(self.disk, ignore_errors=True)

    def capture(self, image: str) -> None:
        """Copy what it has of its own."""
        disks.copy(self.disk, self._image(image))

    def _image(self, image: str) -> Path:
        return self.room.disks / f"image-{image}"

    def file(self, path: str) -> Path:
        """A file on the machine's disk, as this process can read it; only what the machine itself has written."""
        return Path(self.disk, "upper", path.lstrip("/"))

    def _first_boot(self) -> None:
        captured = self._image(self.instance.image_id)
        disks.make(self.disk, captured if captured.exists() else None)
        tags = tags_of(self.instance)
        self.silent = self.ailing("silent", tags) is not None
        broken = self.ailing("boot", tags)
        errors = [broken] if broken is not None else []
        try:
            found = first_boot.read(self._user_data())
        except ValueError as error:
            errors, found = [*errors, str(error)], first_boot.FirstBoot()
        pair = self.instance.ec2_backend.key_pairs.get(self.instance.key_name)
        imported = [pair.material_public] if pair else []
        keys = [key.decode() if isinstance(key, bytes) else key for key in imported]
        said = disks.set_host_keys(self.disk, found.host_keys)
        disks.authorize(self.disk, [*keys, *found.authorized_keys])
        if self.obeys and not errors:
            disks.begin_boot(self.disk, found.program())
        else:
            disks.finish_boot(self.disk, errors)
        (self.disk / "console").write_text(said)

    def _words(self) -> tuple[str, ...]:
        """The machine's first process."""
        sshd = shutil.which("sshd", path="/usr/sbin:/usr/bin") or "/usr/sbin/sshd"
        name = f"ip-{self.instance.private_ip.replace('.', '-')}"
        return ("sh", str(STAND_INS / "machine.sh"), str(self.inside), name, sshd)

    def _user_data(self) -> bytes:
        return b64decode(str(self.instance.user_data or ""))

    def _addresses(self) -> list[str]:
        return sorted({address for address in (self.instance.private_ip, self.instance.public_ip) if address})

    def _until_it_listens(self) -> None:
        process = self.process
        deadline = time.monotonic() + PATIENCE
        for address in self._addresses():
            while True:
                with socket.socket() as probe:
                    if probe.connect_ex((address, 22)) == 0:
                        break
                if self.process is None:  # halted meanwhile
                    return
                if process is None or process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{self.instance.id} does not boot:\n{self.console()}")
                time.sleep(0.01)
