"""A Debian as its installer leaves it, with nothing but python3 added, to try on it what the README tells people to do.

It is a systemd-nspawn machine, booted by systemd, with all capabilities and the computer's own network, so that it can
fetch packages and make machines. Its root is a plain folder: an overlay's upper layer, which those machines need,
cannot lie on an overlay. It gets this computer's ways to packages: resolver, certificates, settings of apt and pip.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fabfile.providers.local.root import apt, cgroups
from fabfile.providers.local.root.nspawn import PROPAGATE

ROOT = Path(__file__).resolve().parents[2]
CHECKOUT = "/root/ipyfleet"
CERTIFICATES = "/etc/certificates.pem"
HOSTNAME = "fresh"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PACKAGES = "python3,systemd-sysv,dbus"
MADE = (".git", ".venv", ".*_cache", ".hypothesis", "__pycache__", "*.egg-info", "build")
PROXIES = ("http_proxy", "https_proxy", "no_proxy")
SUITES = {(3, 11): "bookworm", (3, 13): "trixie"}


@dataclass(frozen=True)
class Debian:
    """The machine: its first process as this computer numbers it, and what its commands find in their environment."""

    pid: int
    environment: Mapping[str, str]

    def run(self, command: str, *, timeout: float = 900.0) -> str:
        """What a shell command prints, run by root in the checkout there without a terminal; fails if it does.

        In a scope, as a login's commands are, so that systemd lets live what they leave running.
        """
        inside = ("nsenter", f"--target={self.pid}", "--mount", "--cgroup", "--uts", "--ipc", "--pid", "--root", "--")
        scope = ("systemd-run", "--quiet", "--scope", "--collect")
        settings = [f"{name}={value}" for name, value in self.environment.items()]
        done = subprocess.run(
            [*inside, "env", "--ignore-environment", f"--chdir={CHECKOUT}", *settings, *scope, "sh", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert done.returncode == 0, f"`{command}` ended with {done.returncode}:\n{done.stdout}"
        return done.stdout


@contextmanager
def fresh_debian(folder: Path, name: str) -> Iterator[Debian]:
    """A Debian with a copy of the checkout; ``name`` is its own and that of the cluster which its commands mean.

    The cluster's name must be one that this computer does not use: the two have their network in common.
    """
    root = folder / name
    try:
        _unpack(root)
        shutil.copytree(ROOT, root / CHECKOUT[1:], ignore=shutil.ignore_patterns(*MADE))
        settings = _pip(root) | {key: value for key, value in os.environ.items() if key.lower() in PROXIES}
        with _booted(root) as pid:
            yield Debian(pid, {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", "IPYFLEET_CLUSTER": name, **settings})
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _unpack(root: Path) -> None:
    """A Debian whose python3 is of the minor version that runs these tests."""
    suite = SUITES[sys.version_info[:2]]
    options = root.with_suffix(".conf")
    options.write_text(apt.configuration())
    words = ["mmdebstrap", "--mode=root", "--format=directory", "--variant=minbase", f"--include={PACKAGES}"]
    words += [f"--aptopt={options}", suite, str(root), *apt.sources("debian", suite)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    # The installer's own, for programs that look up the computer's name; in a bare root there is none.
    (root / "etc" / "hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {HOSTNAME}\n")


@contextmanager
def _booted(root: Path) -> Iterator[int]:
    """The machine while it runs: the pid of its first process; it is killed at the end, with all that runs in it."""
    name = f"ipyf-{root.name}"
    layout = cgroups.observe()
    cgroups.make(layout, name)
    words = ("systemd-nspawn", "--quiet", "--settings=no", "--register=no", "--keep-unit", "--boot", "--capability=all")
    words += (f"--directory={root}", f"--machine={name}", f"--hostname={HOSTNAME}", "--resolv-conf=copy-host")
    words += ("--timezone=off", "--link-journal=no")
    with (
        root.with_suffix(".log").open("w") as console,
        subprocess.Popen(cgroups.joined(layout, name, words), stdin=subprocess.DEVNULL, stdout=console) as nspawn,
    ):
        try:
            yield _first_process(nspawn.pid)
        finally:
            nspawn.terminate()  # an orderly power-off
            try:
                nspawn.wait(30)
            except subprocess.TimeoutExpired:
                nspawn.kill()
            for pid in cgroups.members(cgroups.groups(layout, name)):
                os.kill(pid, signal.SIGKILL)
            cgroups.remove(cgroups.groups(layout, name))
            with suppress(FileNotFoundError):  # left by nspawn when it is killed
                (PROPAGATE / name).rmdir()


def _first_process(nspawn: int, patience: float = 60.0) -> int:
    """The pid of systemd in the machine, once it takes commands; ``patience`` in seconds."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        children = Path(f"/proc/{nspawn}/task/{nspawn}/children").read_text().split()
        if children and Path(f"/proc/{children[0]}/root/run/dbus/system_bus_socket").exists():
            return int(children[0])
        time.sleep(0.1)
    raise TimeoutError(f"the machine has not booted within {patience:.0f} s")


def _pip(root: Path) -> dict[str, str]:
    """This computer's settings of pip that hold in another place: no folders of wheels, certificates carried over."""
    words = (sys.executable, "-m", "pip", "config", "list")
    settings = {}
    for line in subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines():
        key, _, quoted = line.partition("=")
        key, value = key.rpartition(".")[2], quoted.strip("'\"")
        if key == "cert":
            shutil.copy(value, root / CERTIFICATES[1:])
            value = CERTIFICATES
        if key in ("cert", "index-url", "trusted-host", "proxy"):
            settings[f"PIP_{key.upper().replace('-', '_')}"] = value
    return settings
