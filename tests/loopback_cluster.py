"""A real controller and real engines as plain processes on loopback, from the files that hosts would get.

Engines dial 127.0.0.2, clients 127.0.0.1: two addresses, as on real machines.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import SystemRandom

import psutil

from fabfile import connection, connection_files, hub
from fabfile.connection import Connection
from fabfile.patience import patience
from fabfile.settings import Settings

ENGINES_ADDRESS = "127.0.0.2"
BIN = Path(sys.executable).parent
ENGINE_PROGRAM = Path(__file__).resolve().parent.parent / "bootscripts" / "engine-program.py"


def free_block(size: int = 18) -> int:
    """The first of so many consecutive ports that nothing on loopback uses, below the ephemeral ones."""
    while True:
        first = SystemRandom().randrange(20000, 32000)
        try:
            for port in range(first, first + size):
                for address in ("127.0.0.1", ENGINES_ADDRESS):
                    with socket.socket() as trial:
                        trial.bind((address, port))
        except OSError:
            continue
        return first


def family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """A process with everything that it started and that still hangs on it."""
    try:
        return [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def running(process: psutil.Process) -> bool:
    """Whether it is there and no zombie, which it may stay for a while when nobody hurries to reap it."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process with everything it started, and wait until all are gone."""
    members = family(process)
    for member in members:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    process.wait()
    wait_until(lambda: not any(map(running, members)))


@dataclass
class LoopbackCluster:
    """One controller and any number of engines; ``folder`` is the service user's home and /etc/ipyfleet in one."""

    folder: Path
    settings: Settings
    connection: Connection
    secret: str | None
    controller: subprocess.Popen[bytes] | None = None
    engines: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def security(self) -> Path:
        return self.folder / ".ipython/profile_default/security"

    @property
    def info(self) -> connection.Info:
        return self.connection.client_info

    def write_files(self) -> None:
        """Put everything where controller and engines look for it, as ``Host.place`` would."""
        self.security.mkdir(parents=True, mode=0o700, exist_ok=True)
        curve = self.folder / "curve.json"
        config = connection_files.controller_config(self.connection, self.settings, str(curve))
        for path, data in {
            self.folder / "ipcontroller_config.py": config,
            self.folder / "engine.json": connection.engine_file(self.connection),
            self.security / "ipcontroller-engine.json": connection.engine_file(self.connection),
            self.security / "ipcontroller-client.json": connection.client_file(self.connection),
        }.items():
            path.write_bytes(data)
        if self.secret and self.connection.public_key:
            curve.write_bytes(connection_files.curve_file(self.connection.public_key, self.secret))

    def start_controller(self) -> None:
        """Start it and return at once."""
        self.controller = self._spawn(
            "controller.log", "ipcontroller", f"--config={self.folder}/ipcontroller_config.py"
        )

    def start_engine(self, ident: str) -> subprocess.Popen[bytes]:
        """Start an engine and return at once."""
        misses = patience(self.settings).engine_misses
        engine = self._spawn(
            f"{ident}.log",
            "python",
            str(ENGINE_PROGRAM),
            f"--file={self.folder}/engine.json",
            f"--ident={ident}",
            "--timeout=60",
            f"--IPEngine.max_heartbeat_misses={misses}",
        )
        self.engines.append(engine)
        return engine

    def start(self, engines: int) -> dict[int, str]:
        """Start all, engines named ``engine-0-1-a``, ``engine-1-1-a``, …, and wait for them; their idents by id."""
        self.write_files()
        self.start_controller()
        for number in range(engines):
            self.start_engine(f"engine-{number}-1-a")
        return self.wait(engines)

    def wait(self, count: int, timeout: float = 60.0) -> dict[int, str]:
        """Wait until the hub knows so many engines; their idents by id."""
        found = hub.wait_for_engines(self.info, lambda idents: count - len(idents), timeout=timeout)
        assert len(found) >= count, self.log()
        return found

    def kill_controller(self) -> None:
        """Kill the controller with all its processes, as a service manager would after a crash."""
        assert self.controller is not None
        end(self.controller)
        self.controller = None

    def log(self) -> str:
        """Everything the processes wrote."""
        return "\n".join(f"== {path.name}\n{path.read_text()}" for path in sorted(self.folder.glob("*.log")))

    def end(self) -> None:
        """End every process."""
        for engine in self.engines:
            end(engine)
        self.engines.clear()
        if self.controller is not None:
            self.kill_controller()

    def _spawn(self, log: str, program: str, *args: str) -> subprocess.Popen[bytes]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("IPP_")}
        environment |= {"HOME": str(self.folder), "IPYTHONDIR": str(self.folder / ".ipython")}
        with (self.folder / log).open("ab") as output:
            return subprocess.Popen(
                (BIN / program, *args),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=environment,
                start_new_session=True,
            )


@contextmanager
def loopback_cluster(folder: Path, **changes: object) -> Iterator[LoopbackCluster]:
    """A cluster that is not started yet; ``changes`` are fields of Settings. Everything is ended in the end."""
    settings = Settings(**{"first_port": free_block(), "engines": 2, **changes})  # type: ignore[arg-type] # any field
    made, secret = connection.make(ENGINES_ADDRESS, settings)
    cluster = LoopbackCluster(folder, settings, made, secret)
    try:
        yield cluster
    finally:
        cluster.end()


def wait_until(condition: object, timeout: float = 20.0) -> None:
    """Wait until ``condition()`` is true."""
    assert callable(condition)
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
