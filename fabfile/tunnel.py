"""The tunnel: one ``ssh -N`` of ours that carries every client channel from this computer to the controller's machine.

It outlives the command that opened it, is found again by process id and start time, and keeps its local ports, so that
Clients which run go on after it was opened anew: by keep-tunnel.sh, when ssh has ended, or by a command of ours.
ipyparallel's own tunnels are one process a channel and no use under CURVE. That an open tunnel proves no hub is for the
caller to remember.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from . import connection
from .connection import FORWARDED, LOOPBACK, Connection, Info
from .errors import HostKeyError, RemoteError
from .host_keys import replace_file
from .remote import Credentials, Endpoint
from .ssh_config import ssh_config

CONFIG, LOG, UP = "tunnel.ssh_config", "tunnel.log", "tunnel.up"
KEEPER = Path(__file__).with_name("keep-tunnel.sh")
AGAIN = 4.0  # seconds that a connection which was lost has to come back when somebody asks for it
HOST = "controller"
PORTS = range(20000, 32000)  # below the ports that Linux and macOS give to connections
TRIES = 4
LOOK = 0.02  # seconds between two looks at a tunnel that comes up or goes down
_children: dict[int, subprocess.Popen[bytes]] = {}  # started by this very process, so to be reaped by it


@dataclass(frozen=True)
class Tunnel:
    """A tunnel that was opened: the process by id and start time, its loopback ports in the order of FORWARDED.

    ``endpoint`` and ``targets`` say where it leads. The process is the one that keeps ssh running, in a group with it.
    """

    pid: int
    started: str
    ports: tuple[int, ...]
    endpoint: str
    targets: tuple[str, ...]


OnBegun = Callable[[Tunnel], None]


def open_tunnel(
    endpoint: Endpoint,
    credentials: Credentials,
    wanted: Connection,
    folder: Path,
    *,
    ports: Sequence[int] = (),
    timeout: float = 15.0,
    begun: OnBegun = lambda tunnel: None,
) -> Tunnel:
    """Open a tunnel, on these remembered ports if they are free; the hub need not listen yet.

    ``folder`` (private) takes the ssh configuration and what ssh writes; ``begun`` hears of each process as soon as
    there is one. Raises HostKeyError for an unknown or changed
    host key, RemoteError with ssh's own words when the tunnel is not up within ``timeout`` seconds.
    """
    config = folder / CONFIG
    (folder / UP).unlink(missing_ok=True)
    replace_file(config, ssh_config(endpoint, credentials, HOST, timeout).encode())
    deadline = time.monotonic() + timeout
    for _ in range(TRIES):
        local = tuple(ports) if len(ports) == len(FORWARDED) and _free(ports) else _new_ports()
        tunnel = _start(endpoint, wanted, local, config, folder / LOG)
        up = False
        try:
            begun(tunnel)
            if up := _comes_up(tunnel, deadline):
                (folder / UP).touch(0o600)
                return tunnel
        finally:
            if not up:
                close_tunnel(tunnel)
        written = (folder / LOG).read_text(errors="replace")
        # Somebody took a port between our look and ssh's bind.
        if "Could not request local forwarding" not in written or time.monotonic() >= deadline:
            break
        ports = ()
    if "Host key verification failed" in written:
        raise HostKeyError(
            f"the tunnel to {endpoint} was not opened: its host key is not the pinned one",
            seen=written,
            hint=f"if you know that the machine was made anew, correct {credentials.known_hosts}; if not, stop here",
        )
    raise RemoteError(
        f"the tunnel to {endpoint} did not come up in {timeout:.0f} s",
        seen=written,
        hint="`invoke status` says whether the machine answers, and opens the tunnel again",
    )


def ensure_tunnel(
    tunnel: Tunnel | None,
    endpoint: Endpoint,
    credentials: Credentials,
    wanted: Connection,
    folder: Path,
    *,
    timeout: float = 15.0,
    begun: OnBegun = lambda tunnel: None,
) -> Tunnel:
    """The same tunnel while it lives and leads where it should; else a new one, on the same ports if they are free.

    One that is waiting for its connection to come back is told to try at once. Raises RemoteError, leaving it at that,
    when it does not come back.
    """
    if tunnel and alive(tunnel) and leads_to(tunnel, endpoint, wanted):
        if _listens(tunnel) or _comes_back(tunnel):
            return tunnel
        if alive(tunnel):
            raise RemoteError(
                f"the connection to {endpoint} is lost; it is tried again as long as that takes",
                seen=(folder / LOG).read_text(errors="replace"),
                hint="see whether this computer's network is up; `invoke status` says whether the machine is there",
            )
    if tunnel:
        end_tunnel(tunnel, folder)
    ports = tunnel.ports if tunnel else ()
    return open_tunnel(endpoint, credentials, wanted, folder, ports=ports, timeout=timeout, begun=begun)


def leads_to(tunnel: Tunnel, endpoint: Endpoint, wanted: Connection) -> bool:
    """Whether it was opened to that machine, and there to that controller's ports."""
    return (tunnel.endpoint, tunnel.targets) == (str(endpoint), wanted.targets)


def alive(tunnel: Tunnel) -> bool:
    """Whether its process runs; not whether the other end answers."""
    child = _children.get(tunnel.pid)
    if child is not None and child.poll() is not None:
        del _children[tunnel.pid]
    return _started(tunnel.pid) == tunnel.started


def silent_ports(tunnel: Tunnel, timeout: float = 1.0) -> tuple[int, ...]:
    """Those of its local ports on which nobody listens; each is given so many seconds."""
    silent = []
    for port in tunnel.ports:
        try:
            socket.create_connection((LOOPBACK, port), timeout).close()
        except OSError:
            silent.append(port)
    return tuple(silent)


def close_tunnel(tunnel: Tunnel, timeout: float = 3.0) -> None:
    """End its process and the hops that it started; silent when it is gone. Never touches a process that is not it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not alive(tunnel):
            return
        with suppress(ProcessLookupError):
            os.killpg(tunnel.pid, number)
        deadline = time.monotonic() + timeout
        while (alive(tunnel) or _group(tunnel.pid)) and time.monotonic() < deadline:
            time.sleep(LOOK)


def end_tunnel(tunnel: Tunnel, folder: Path) -> None:
    """Close a tunnel that was opened with this folder, also one whose first process is gone and whose ssh goes on."""
    close_tunnel(tunnel)
    _end_orphans(tunnel, folder)


def local_info(wanted: Connection, tunnel: Tunnel) -> Info:
    """The clients' document through this tunnel: for the hub's questions and for ``ipyparallel.Client``."""
    return connection.local_info(wanted, tunnel.ports)


def _start(endpoint: Endpoint, wanted: Connection, ports: tuple[int, ...], config: Path, log: Path) -> Tunnel:
    forwards = [
        word
        for port, target in zip(ports, wanted.targets, strict=True)
        for word in ("-L", f"{LOOPBACK}:{port}:{target}")
    ]
    replace_file(log, b"")
    # Its own session and none of our streams: `provision | tee` ends when provision does, Ctrl-C spares the tunnel.
    child = subprocess.Popen(
        ("sh", str(KEEPER), str(log.parent), "ssh", "-F", str(config), "-N", *forwards, HOST),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    _children[child.pid] = child
    return Tunnel(child.pid, _started(child.pid), ports, str(endpoint), wanted.targets)


def _comes_up(tunnel: Tunnel, deadline: float) -> bool:
    while alive(tunnel) and time.monotonic() < deadline:
        if _listens(tunnel):
            return alive(tunnel)
        time.sleep(LOOK)
    return False


def _comes_back(tunnel: Tunnel) -> bool:
    """Whether a tunnel that lost its connection has it again soon."""
    with suppress(ProcessLookupError):
        os.kill(tunnel.pid, signal.SIGUSR1)
    return _comes_up(tunnel, time.monotonic() + AGAIN)


def _listens(tunnel: Tunnel) -> bool:
    with suppress(OSError), socket.create_connection((LOOPBACK, tunnel.ports[0]), 1.0):
        return True
    return False


def _end_orphans(tunnel: Tunnel, folder: Path) -> None:
    """End what is left of a tunnel whose first process is gone: its ssh would hold the ports."""
    config = os.fsencode(folder / CONFIG)
    for process in _group(tunnel.pid):
        with suppress(OSError):
            if config in (process / "cmdline").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)
                deadline = time.monotonic() + AGAIN
                while not _free(tunnel.ports) and time.monotonic() < deadline:
                    time.sleep(LOOK)


def _group(leader: int) -> list[Path]:
    """The folders in /proc of the processes of a group that run, also when its leader does not; none without /proc."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError):
            state, _, group = (process / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(group) == leader and state not in "ZX":
                found.append(process)
    return found


def _started(pid: int) -> str:
    """When a process started, in the system's own words; "" when it is gone or a zombie."""
    if not Path("/proc/self/stat").exists():
        shown = subprocess.run(
            ("ps", "-o", "stat=,lstart=", "-p", str(pid)), capture_output=True, text=True, check=False
        )
        state, _, when = shown.stdout.strip().partition(" ")
        return "" if state.startswith("Z") else when.strip()
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _new_ports() -> tuple[int, ...]:
    while True:
        first = random.choice(PORTS)  # noqa: S311 (which port is no secret)
        ports = tuple(range(first, first + len(FORWARDED)))
        if _free(ports):
            return ports


def _free(ports: Sequence[int]) -> bool:
    for port in ports:
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((LOOPBACK, port))
            except OSError:
                return False
    return True
