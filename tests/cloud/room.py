"""The room that machines stand in: namespaces of their own, so that nothing of them can be left behind.

Its disks are a file system in memory that only the room sees, its network is joined to the computer alone. The room
ends when this process does, even if that is killed: then its pipe closes. With the room end all processes in it, its
mounts, its disks and both ends of the cable.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from ipaddress import IPv4Network
from pathlib import Path
from typing import IO

FURNISH = 'mount -t tmpfs -o mode=0755 disks "$0" && echo ready && read -r _'
PATIENCE = 5.0  # s that the kernel may take to remove a network


class Room:
    """Mounts, processes and a network apart from the computer's; ``disks`` is where this process sees its disks."""

    def __init__(self, folder: Path, network: IPv4Network) -> None:
        """``folder`` is an empty folder, where the room has its disks; all addresses of ``network`` are the room's."""
        self.folder = folder
        apart = ("unshare", "--mount", "--pid", "--net", "--mount-proc", "--fork", "--kill-child", "--")
        self._process = subprocess.Popen(
            (*apart, "sh", "-c", FURNISH, str(folder)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"ready\n":
            self.close()
            raise RuntimeError("no machines can be made: mounting and `unshare` need root")
        (self._init,) = children(self._process.pid)
        self.disks = Path(f"/proc/{self._init}/root") / folder.relative_to("/")
        try:
            self._plug_in(network)
        except BaseException:
            self.close()
            raise

    def _plug_in(self, network: IPv4Network) -> None:
        """Lay a cable to the room. There, no address needs to be added to be a machine's."""
        self._cable = f"room{str(network.network_address).replace('.', '')}"  # one a network, so never another's
        self._unplug()
        here = network.broadcast_address - 1
        _ip(f"link add {self._cable} type veth peer name cable netns {self._init}")
        inside = (
            "link set lo up",
            "link set cable up",
            f"route add local {network} dev lo",
            f"route add {here} dev cable",
        )
        _ip("\n".join(inside), "nsenter", f"--target={self._init}", "--net")
        outside = (f"address add {here}/32 dev", "link set up dev", f"route add {network} dev")
        _ip("\n".join(f"{line} {self._cable}" for line in outside))

    def _unplug(self) -> None:
        """Take the cable away, and wait until it is gone; it goes by itself with the room, but some time later."""
        subprocess.run(["ip", "link", "delete", self._cable], stderr=subprocess.DEVNULL, check=False)
        deadline = time.monotonic() + PATIENCE
        while Path("/sys/class/net", self._cable).exists() and time.monotonic() < deadline:
            time.sleep(0.01)

    def start(self, words: tuple[str, ...], console: IO[bytes]) -> subprocess.Popen[bytes]:
        """Run a command in the room as the first process of a machine: with mounts, processes and a name of its own."""
        inside = ("nsenter", f"--target={self._init}", "--mount", "--pid", "--net", "--")
        machine = ("unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child", "--")
        return subprocess.Popen(
            (*inside, *machine, *words),
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            cwd="/",
            start_new_session=True,
        )

    def clear(self) -> None:
        """Throw all disks away."""
        for path in self.disks.iterdir():
            shutil.rmtree(path)

    def close(self) -> None:
        """End all that is in the room."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.wait()
        if hasattr(self, "_cable"):
            self._unplug()


def _ip(lines: str, *inside: str) -> None:
    subprocess.run([*inside, "ip", "-batch", "-"], input=f"{lines}\n", text=True, check=True)


def end(process: subprocess.Popen[bytes]) -> None:
    """End what ``Room.start`` started, at once and with all its processes; nothing when it has ended itself."""
    while process.poll() is None:  # nsenter does not take its child along, and may not have it yet
        for child in children(process.pid):
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        time.sleep(0.005)


def children(pid: int) -> list[int]:
    """The processes that this one started and that have not ended."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
