"""Which Debian or Ubuntu release machines run: one whose Python is the client's, preferably this computer's own.

Pure but for ``observe``: what is known of a computer is one frozen value, so other computers can be tested here.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...errors import UsageError

PYTHONS: Mapping[str, tuple[str, str]] = {
    "bookworm": ("debian", "3.11"),
    "trixie": ("debian", "3.13"),
    "noble": ("ubuntu", "3.12"),
    "plucky": ("ubuntu", "3.13"),
    "questing": ("ubuntu", "3.13"),
}
"""Releases with a Python that the project runs under: distribution and minor version of their python3."""

KEYRING_PACKAGES = {"debian": "debian-archive-keyring", "ubuntu": "ubuntu-keyring"}
KEYRINGS = Path("/usr/share/keyrings")
TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "mount": "mount",
    "ssh-keygen": "openssh-client",
}
"""Programs that the provider needs, each with the package that has it."""
ADMIN_PATH = "/usr/local/sbin:/usr/sbin:/sbin"  # not on every user's PATH, but on root's


@dataclass(frozen=True)
class Platform:
    """What is known of a computer: ``system`` as uname says it, the distribution and its code name from os-release,
    the minor version of its own python3 and of the client's, whose packages it can verify, which tools it lacks.
    """

    system: str
    distribution: str = ""
    codename: str = ""
    own_python: str = ""
    client_python: str = ""
    keyrings: tuple[str, ...] = ()
    missing_tools: tuple[str, ...] = ()


@dataclass(frozen=True)
class Release:
    """A release of a distribution: ``Release("debian", "bookworm")``."""

    distribution: str
    suite: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.suite}"


def observe() -> Platform:
    """This computer."""
    client = f"{sys.version_info.major}.{sys.version_info.minor}"
    system = platform.system()
    if system != "Linux":
        return Platform(system, client_python=client)
    try:
        about = platform.freedesktop_os_release()
    except OSError:
        about = {}
    path = f"{os.environ.get('PATH', os.defpath)}:{ADMIN_PATH}"
    return Platform(
        system,
        about.get("ID", ""),
        about.get("VERSION_CODENAME", ""),
        _python_of(Path("/usr/bin/python3")),
        client,
        tuple(name for name in KEYRING_PACKAGES if any(KEYRINGS.glob(f"{name}-archive-keyring.[gp][gp][gp]"))),
        tuple(tool for tool in TOOLS if not shutil.which(tool, path=path)),
    )


def need_linux(seen: Platform) -> None:
    """Raise UsageError where there can be no systemd-nspawn machines."""
    if seen.system != "Linux":
        name = {"Darwin": "macOS"}.get(seen.system, seen.system)
        raise UsageError(
            f"the provider `local` makes systemd-nspawn machines, which need Linux; this is {name}",
            hint="use hosts that you have: `--template static` with `hosts:` in your settings; "
            "or run this on a Linux computer",
        )


def choose(seen: Platform, wanted: str = "") -> Release:
    """The release for machines; ``wanted`` names one, else this computer's own if it fits, else one that fits.

    Raises UsageError naming the choices when none has the client's Python, or none can be verified here.
    """
    fitting = [suite for suite, (_, python) in PYTHONS.items() if python == seen.client_python]
    if wanted:
        return _named(seen, wanted, fitting)
    own = seen.distribution in KEYRING_PACKAGES and seen.codename and seen.own_python == seen.client_python
    if own:
        return Release(seen.distribution, seen.codename)
    if not fitting:
        raise UsageError(
            f"no Debian or Ubuntu release has this client's Python {seen.client_python}, which machines must have too",
            hint=f"make the virtual environment with one of these: {_pythons()}",
        )
    fitting.sort(key=lambda suite: PYTHONS[suite][0] != seen.distribution)
    usable = [suite for suite in fitting if PYTHONS[suite][0] in seen.keyrings]
    if not usable:
        packages = " or ".join(sorted({KEYRING_PACKAGES[PYTHONS[suite][0]] for suite in fitting}))
        raise UsageError(
            f"machines need a release with Python {seen.client_python} ({', '.join(fitting)}), "
            "but this computer has no keys to verify its packages",
            hint=f"install {packages}, or make the virtual environment with another Python: {_pythons()}",
        )
    return Release(PYTHONS[usable[0]][0], usable[0])


def _named(seen: Platform, wanted: str, fitting: list[str]) -> Release:
    if wanted == seen.codename and seen.distribution in KEYRING_PACKAGES:
        distribution, python = seen.distribution, seen.own_python
    elif wanted in PYTHONS:
        distribution, python = PYTHONS[wanted]
    else:
        raise UsageError(
            f"release: {wanted!r} is not known here",
            hint=f"choose one of {', '.join(PYTHONS)}, or leave it empty",
        )
    if python != seen.client_python:
        raise UsageError(
            f"release: {wanted} has Python {python}, but this client runs Python {seen.client_python}",
            hint=f"leave it empty or choose one of {', '.join(fitting) or 'none'}; "
            f"or make the virtual environment with Python {python}",
        )
    if distribution not in seen.keyrings:
        raise UsageError(
            f"release: this computer has no keys to verify packages of {wanted}",
            hint=f"install {KEYRING_PACKAGES[distribution]}",
        )
    return Release(distribution, wanted)


def _pythons() -> str:
    return ", ".join(f"{python} ({suite})" for suite, (_, python) in PYTHONS.items())


def _python_of(path: Path) -> str:
    """The minor version of a Python, "" when there is none."""
    words = (str(path), "-I", "-S", "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
    try:
        return subprocess.run(words, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
