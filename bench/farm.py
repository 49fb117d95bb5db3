"""The benchmark's machines: booted once, cleaned and proved clean before every measurement, removed at the end.

They are machines of the project's own provider ``local``, with its software in their image; the peers' is added here.
No contender knows that: all get the same plan, an ssh_config that reaches the machines and files made beforehand.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from fabfile import connection, connection_files, host_keys
from fabfile.machines import Cluster, Machine, MachineSpec, silent
from fabfile.patience import patience
from fabfile.providers.local import LocalProvider
from fabfile.remote import each, values
from fabfile.settings import Settings

HERE = Path(__file__).resolve().parent
CLUSTER = "bench"
LOGIN_HOME = "/home/ipyfleet"
ENV = "/opt/ipyfleet/env"
PEERS = "/opt/bench"
BOOT_TIME = 90.0  # s
COMMAND_TIME = 120.0  # s
START = "{ setsid sh start.sh >log 2>&1 </dev/null & }"


@dataclass(frozen=True)
class Farm:
    """Machines that answer SSH: ``controller`` and the engines' in order; ``folder`` holds keys and ssh_config."""

    folder: Path
    settings: Settings
    controller: Machine
    engines: tuple[Machine, ...]

    @property
    def ssh_config(self) -> Path:
        """What a user of these hosts would have as ~/.ssh/config."""
        return self.folder / "ssh_config"

    def ssh(self, machine: Machine, *words: str, stdin: bytes = b"", errors: int | None = None) -> str:
        """What a command prints on a machine; raises CalledProcessError when it fails."""
        done = subprocess.run(
            ("ssh", "-F", self.ssh_config, machine.name, *words),
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=errors,
            timeout=COMMAND_TIME,
            check=True,
        )
        return done.stdout.decode()

    def clean(self, engines: int) -> None:
        """Bring the controller's and so many engines' machines back to how they booted, or raise RuntimeError."""

        def clean_one(machine: Machine) -> str:
            return self.ssh(machine, "sudo", "sh", "-s", stdin=(HERE / "clean.sh").read_bytes())

        machines = (self.controller, *self.engines[:engines])
        for machine, left in zip(machines, values(each(machines, clean_one)), strict=True):
            if left.strip():
                raise RuntimeError(f"{machine.name} could not be cleaned:\n{left}")

    def seconds_worked(self, engines: int) -> float:
        """What the processors have done for these machines since they booted, processes that ended included."""

        def ticks(machine: Machine) -> int:
            return int(
                self.ssh(machine, "sed 's/^.*) //' /proc/[0-9]*/stat | awk '{n += $12+$13+$14+$15} END {print n}'")
            )

        return sum(values(each((self.controller, *self.engines[:engines]), ticks))) / os.sysconf("SC_CLK_TCK")

    def plan(self, engines: int, folder: Path) -> Path:
        """Write what a contender is told, and the files of an encrypted cluster made beforehand; the plan's path."""
        folder.mkdir(mode=0o700, parents=True)
        made, secret = connection.make(self.controller.private_address, self.settings)
        chosen = self.engines[:engines]
        payloads = {self.controller.name: _controller_payload(made, secret, self.settings)}
        payloads |= {machine.name: _engine_payload(made, machine, self.settings) for machine in chosen}
        for name, payload in payloads.items():
            (folder / f"{name}.tar").write_bytes(payload)
        plan: dict[str, Any] = {
            "engines": [_told(machine) for machine in chosen],
            "controller": _told(self.controller),
            "user": "ipyfleet",
            "ssh_config": str(self.ssh_config),
            "key": str(self.folder / "key"),
            "known_hosts": str(self.folder / "known_hosts"),
            "folder": str(folder),
            "python": f"{ENV}/bin/python",
            "peers_python": f"{PEERS}/bin/python",
            "remote_python": "/usr/bin/python3",
            "client_info": made.client_info,
            "forwarded": list(connection.FORWARDED),
            "heartbeat_ms": patience(self.settings).period,
            "hub_misses": patience(self.settings).hub_misses,
            "unpack_and_start": f"mkdir bench && cd bench && tar -xf ../payload.tar && {START}",
            "start": START,
        }
        path = folder / "plan.json"
        path.write_text(json.dumps(plan, indent=2))
        return path


def _told(machine: Machine) -> dict[str, str]:
    return {"name": machine.name, "address": machine.private_address}


def _engine_payload(made: connection.Connection, machine: Machine, settings: Settings) -> bytes:
    start = (
        f"exec {ENV}/bin/ipengine --file={LOGIN_HOME}/bench/engine.json --ident={machine.name} --timeout=60"
        f" --IPEngine.max_heartbeat_misses={patience(settings).engine_misses}\n"
    )
    return _tar({"start.sh": start.encode(), "engine.json": connection.engine_file(made)})


def _controller_payload(made: connection.Connection, secret: str | None, settings: Settings) -> bytes:
    assert secret is not None
    assert made.public_key is not None
    home = f"{LOGIN_HOME}/bench"
    security = ".ipython/profile_default/security"
    start = f"export IPYTHONDIR={home}/.ipython\nexec {ENV}/bin/ipcontroller --config={home}/ipcontroller_config.py\n"
    return _tar(
        {
            "start.sh": start.encode(),
            "ipcontroller_config.py": connection_files.controller_config(made, settings, f"{home}/curve.json"),
            "curve.json": connection_files.curve_file(made.public_key, secret),
            f"{security}/ipcontroller-engine.json": connection.engine_file(made),
            f"{security}/ipcontroller-client.json": connection.client_file(made),
        }
    )


def _tar(files: dict[str, bytes]) -> bytes:
    archive = BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o600
            tar.addfile(member, BytesIO(data))
    return archive.getvalue()


@contextmanager
def farm(engines: int, folder: Path, peers: Path | None) -> Iterator[Farm]:
    """A controller's machine and so many engines', with our software and that of ``peers``, a tar of site-packages."""
    settings = Settings(cluster=CLUSTER)
    provider = LocalProvider(settings)
    provider.prepare(lambda event: print(event.what, file=sys.stderr))
    if provider.find(CLUSTER).cluster:
        raise RuntimeError(f"machines of a cluster {CLUSTER} are there: `invoke teardown --cluster {CLUSTER}`")
    public = host_keys.make_key_pair(folder / "key", "bench")
    specs = [
        MachineSpec("controller", 0, (public,)),
        *(MachineSpec("engine", index, (public,)) for index in range(engines)),
    ]
    try:
        machines = provider.create(Cluster(CLUSTER, f"{time.time_ns():x}"[-8:], "bench", time.time()), specs, silent)
        made = Farm(folder, settings, machines[0], machines[1:])
        made.ssh_config.write_text(_ssh_config(folder, machines))
        (folder / "known_hosts").write_text(
            "".join(f"{m.private_address} {key}\n" for m in machines for key in m.host_keys)
        )
        values(each(machines, lambda machine: _ready(made, machine, peers), limit=4))
        yield made
    finally:
        provider.destroy(CLUSTER, provider.find(CLUSTER).machines)
        provider.clean(CLUSTER)


def _ready(farm: Farm, machine: Machine, peers: Path | None) -> None:
    """Wait until a machine has booted, and put the peers' software on it."""
    deadline = time.monotonic() + BOOT_TIME
    while True:
        try:
            booted = "sudo systemctl is-system-running --wait >/dev/null || true"
            farm.ssh(machine, booted, errors=subprocess.DEVNULL)
            break
        except subprocess.SubprocessError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
    if peers:
        python = f"python{sys.version_info.major}.{sys.version_info.minor}"
        unpack = f"{python} -m venv --without-pip {PEERS} && tar -x -C {PEERS}/lib/{python}/site-packages"
        farm.ssh(machine, "sudo", "sh", "-c", f"'{unpack}'", stdin=peers.read_bytes())


def _ssh_config(folder: Path, machines: Sequence[Machine]) -> str:
    """What a user of these hosts would have in ~/.ssh/config; everything else is OpenSSH's default."""
    hosts = "".join(f"Host {machine.name}\n    HostName {machine.private_address}\n" for machine in machines)
    common = f"""Host *
    User ipyfleet
    IdentityFile {folder / "key"}
    IdentitiesOnly yes
    UserKnownHostsFile {folder / "known_hosts"}
    StrictHostKeyChecking yes
    LogLevel ERROR
"""
    return hosts + common
