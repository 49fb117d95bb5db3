"""A host with SMF in a folder: what the service manager puts on it is really run, below that folder, as this user.

SMF itself is the stand-in's. Every path of ours leads into the folder, in scripts and manifests too; contracts are
seen by pgrep, pkill and ps as on illumos. ``ipengine`` and ``ipcontroller`` are programs of our own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import grp
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fabfile import ssh_host
from fabfile.errors import RemoteError
from fabfile.remote import File, Result, Then
from fabfile.services import Service, ServiceManager, ServiceState
from tests.smf.disguise import CONTRACTS, KSTAT, contracts
from tests.smf.playground import Playground

ROOT = Path(__file__).resolve().parents[1]
OURS = ("/opt/ipyfleet", "/etc/ipyfleet", "/var/lib/ipyparallel", "/var/run/ipyfleet", "/var/svc/manifest")

# With STAYS the engine has a child that outlives it, like the worker of a pool whose parent was killed.
ENGINE = """
import json, os, signal, subprocess, sys, time
from pathlib import Path
told = Path(os.environ["TOLD"])
stays = f"trap 'echo told >{told}/worker-was-told' TERM; while :; do sleep 0.1; done"
worker = subprocess.Popen(["sh", "-c", stays if "STAYS" in os.environ else "exit"])
def end(*_):
    time.sleep(float(os.environ.get("TASK", "0")))
    sys.exit(1)
signal.signal(signal.SIGTERM, end)
what = {"words": sys.argv[1:], "environment": dict(os.environ), "worker": worker.pid, "pid": os.getpid()}
number = next(word for word in sys.argv if word.startswith("--ident=")).split("-")[-2]
(told / f"engine-{number}.new").write_text(json.dumps(what))
(told / f"engine-{number}.new").rename(told / f"engine-{number}")
while True:
    time.sleep(60)
"""


class Zone:
    """A Host as the service manager knows it."""

    name = "engine-0"
    address = "root@zone"

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        data = os.environ.get("IPYFLEET_TEST_DATA")
        dtd = {"dtd": f"{data}/service_bundle.dtd.1"} if data else {}
        self.smf = Playground(folder / "smf", **dtd, **settings)
        self.trips = 0
        self.told = folder / "told"
        for path in (*OURS[:3], "/var/run", "/told", "/var/svc/manifest/site", "/opt/ipyfleet/env/bin"):
            (folder / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
        python = os.path.realpath(sys.executable)
        states = str(self.smf.place.states)
        for name in CONTRACTS:
            self.program(self.smf.bin / name, contracts(python, str(ROOT), "tests.smf", states))
        self.program(self.smf.bin / "kstat", KSTAT)
        self.program(self.smf.bin / "poweroff", f"#!/bin/sh\ndate +%s >>{self.told}/poweroff\n")
        (folder / "engine.py").write_text(ENGINE)
        runs = f'#!/bin/sh\nshift\nTOLD={self.told} exec {python} {folder}/engine.py "$@"\n'
        self.program(self.path("/opt/ipyfleet/env/bin/python"), runs)
        self.program(
            self.path("/opt/ipyfleet/env/bin/ipcontroller"),
            f'#!/bin/sh\nprintf "%s\\n" "$@" >{self.told}/controller\nulimit -n >{self.told}/files\n'
            "(trap '' TERM; while :; do sleep 0.1; done) &\nwhile :; do sleep 0.1; done\n",
        )

    def run_ipyparallel(self) -> None:
        """Have the real programs of this test run's environment in place of our own."""
        for name in ("python", "ipcontroller"):
            real = Path(sys.executable).with_name(name)
            self.program(self.path(f"/opt/ipyfleet/env/bin/{name}"), f'#!/bin/sh\nexec {real} "$@"\n')

    def program(self, path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)

    def path(self, path: str) -> Path:
        """Where a path of the host really is."""
        return self.folder / path.lstrip("/")

    def _here(self, text: str) -> str:
        for path in OURS:
            text = text.replace(path, f"{self.folder}{path}")
        user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
        text = text.replace("user='ipyparallel' group='ipyparallel'", f"user='{user}' group='{group}'")
        return text.replace("value='/opt/local/bin:", f"value='{self.smf.bin}:/opt/local/bin:")

    def _file(self, file: File) -> File:
        plain = file.path.endswith((".json", ".svccfg"))
        data = file.data if plain else self._here(file.data.decode()).encode()
        return dataclasses.replace(file, path=self._here(file.path), data=data, owner="root:root")

    def place(self, files: Sequence[File], then: Then | None = None) -> frozenset[str]:
        """By bootscripts/place.sh itself."""
        self.trips += 1
        if then:
            script = self.folder / then.script.name
            script.write_text(self._here(then.script.read_text()))
            then = Then(script, tuple(map(self._here, then.arguments)), tuple(map(self._file, then.last)))
        words = ["sh", str(ROOT / "bootscripts" / "place.sh"), *(then.arguments if then else ())]
        archive = b"".join(ssh_host.archive([self._file(file) for file in files], then))
        done = self._run(words, archive)
        return frozenset(line.removeprefix(str(self.folder)) for line in done.stdout.splitlines())

    def script(self, path: Path, *args: str, sudo: bool = False, timeout: float = 60.0) -> Result:
        """A script of ours with its paths led astray."""
        self.trips += 1
        script = self.folder / path.name
        script.write_text(self._here(path.read_text()))
        return self._run(["sh", str(script), *map(self._here, args)])

    def run(self, *words: str, sudo: bool = False, check: bool = True, timeout: float = 60.0) -> Result:
        """One of SMF's own commands."""
        self.trips += 1
        return self._run(list(map(self._here, words)), check=check)

    def _run(self, words: list[str], stdin: bytes = b"", check: bool = True) -> Result:
        environment = {**os.environ, **self.smf.environment}
        done = subprocess.run(words, input=stdin, capture_output=True, env=environment, timeout=60, check=False)
        result = Result(tuple(words), done.returncode, done.stdout.decode(), done.stderr.decode())
        if check and done.returncode:
            raise RemoteError(f"{words} exited with {done.returncode}", machine=self.name, seen=result.stderr)
        return result

    def kill(self, service: Service, instance: str = "default") -> None:
        """Kill the process that an instance started as, as the kernel does when memory is short."""
        fmri = f"svc:/site/{service.name}:{instance}"
        os.kill(int(self.smf.ok("svcprop", "-p", "restarter/start_pid", fmri)), signal.SIGKILL)

    def until(self, true: Callable[[], object], what: str, seconds: float = 15.0) -> None:
        """Wait until something is true."""
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
            time.sleep(0.05)

    def online(self, manager: ServiceManager, service: Service, seconds: float = 15.0) -> dict[str, str]:
        """Wait until all its instances are online; their marks."""
        looks: dict[str, Any] = {}

        def all_online() -> bool:
            looks.update(manager.state(self, service))  # type: ignore[arg-type]
            return all(look.state is ServiceState.ONLINE for look in looks.values())

        with contextlib.suppress(AssertionError):
            self.until(all_online, "online", seconds)
            return {instance: look.mark for instance, look in looks.items()}
        raise AssertionError(f"{looks}\n{manager.logs(self, service, 60)}")  # type: ignore[arg-type]


def runs(pid: int) -> bool:
    """Whether a process is there and not merely unburied."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
