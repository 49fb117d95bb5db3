"""The software that hosts must have: decided by the client, carried to them as wheels, compared and never assumed.

An engine runs code that a client made with its own Python and packages, so hosts get the client's minor version of
Python and its very versions of packages. Knows nothing of providers and clusters; pip does all fetching, with the
client's own configuration (proxies, private indexes, certificates).
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, mkstemp
from typing import Any

from . import pkgsrc
from .errors import ClusterError
from .machines import Event, OnEvent, silent
from .remote import each
from .settings import Settings

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
ALWAYS = ("ipyparallel", "pip")
PIP_TIMEOUT = 1800.0
OLDEST_GLIBC = 28
"""Wheels are taken for glibc 2.28 and older: every distribution in support that has a Python of ours has it."""


@dataclass(frozen=True)
class Software:
    """What a host must have: ``python`` is a minor version, ``requirements`` are ``name==version`` for every package
    of the closure, ``platform`` is the hosts' machine as ``uname -m`` says it; ``id`` stands for all three. ``wanted``
    are those of the requirements that were asked for, and not for the sake of others.
    """

    id: str
    python: str
    requirements: tuple[str, ...]
    platform: str
    wanted: tuple[str, ...] = ()


def software(settings: Settings, machine: str = "") -> Software:
    """The software for hosts of that machine (default: this computer's): the client's own versions.

    A package that the client lacks is resolved by pip to the newest that goes with the client's versions, once; the
    answer is remembered, so that a cluster grown later gets the same. Raises UsageError for packages that cannot be
    meant, ClusterError when pip finds none.
    """
    machine = machine or {"arm64": "aarch64", "AMD64": "x86_64"}.get(platform.machine(), platform.machine())
    wanted = tuple(sorted({*ALWAYS, *settings.packages}))
    note = _cache() / f"pins-{_digest(PYTHON, machine, sys.prefix, *wanted)}.json"
    known = _read(note)
    # Reading all metadata takes 80 ms; installing or removing a package changes the folder's time.
    seen = [
        [path, os.stat(path).st_mtime_ns] for path in sys.path if path.endswith("-packages") and os.path.isdir(path)
    ]
    if known.get("seen") != seen:
        from . import pins

        installed, lacking = pins.pins(wanted, PYTHON, machine)
        if (known.get("installed"), known.get("lacking")) != (installed, lacking):
            known = {"installed": installed, "lacking": lacking, "pins": installed}
            if lacking:
                known["pins"] = sorted({*installed, *_resolve(lacking, machine)})
        _write(note, {**known, "seen": seen})
    requirements = tuple(known["pins"])
    asked = tuple(pkgsrc.chosen(requirements, wanted))
    return Software(_digest(PYTHON, machine, *requirements), PYTHON, requirements, machine, asked)


def wheelhouse(software: Software, on_event: OnEvent = silent) -> Path:
    """The tar file of that software, in the cache: wheels, requirements.txt and python, as software.sh takes it.

    Made once by the client's pip; two commands at once make one. Raises ClusterError with pip's last lines.
    """
    tar = _cache() / f"{software.id}.tar"
    if not tar.exists():
        with _writing(tar), _alone(tar.with_suffix(".lock")):
            if not tar.exists():
                _build(software, tar, on_event)
    return tar


def _build(software: Software, tar: Path, on_event: OnEvent) -> None:
    import tarfile

    on_event(Event(f"software: fetching {len(software.requirements)} packages"))
    begun = time.monotonic()
    with TemporaryDirectory(dir=tar.parent) as folder:
        wheels = Path(folder) / "wheels"
        wheels.mkdir()
        (wheels / "python").write_text(software.python + "\n")
        (wheels / "requirements.txt").write_text("\n".join(software.requirements) + "\n")
        if software.platform == pkgsrc.MACHINE:
            _gather_pure(software, wheels)
        else:
            _pip(("download", *_into(wheels), "--requirement", str(wheels / "requirements.txt")), software.platform)
        made = Path(folder) / tar.name
        with made.open("wb") as file:
            with tarfile.open(fileobj=file, mode="w") as archive:
                archive.add(wheels, arcname=".")
            file.flush()
            os.fsync(file.fileno())
        made.replace(tar)
    on_event(Event(f"software: {tar.stat().st_size / 1e6:.0f} MB of wheels", seconds=time.monotonic() - begun))


def _into(wheels: Path) -> tuple[str, ...]:
    return ("--no-deps", "--dest", str(wheels))


def _gather_pure(software: Software, wheels: Path) -> None:
    """The wheels that fit any computer; ``native`` names the packages that have none, ``wanted.txt`` what was asked.

    There are no wheels for illumos on PyPI (tried with pip 26: pyzmq, psutil, tornado, numpy).
    """
    pure = [pin for pin in software.requirements if pkgsrc.is_pure(pin)]
    for pins in (pure, pkgsrc.FITTING):  # one call takes one version of a package
        _pip(("download", *_into(wheels), *pins), software.platform)

    def fetch(pin: str) -> bool:
        _pip(("download", *_into(wheels), pin), software.platform)
        return True

    # This computer may have a compiled wheel of what is also there as a pure one.
    tried = each([pin for pin in software.requirements if pin not in pure], fetch, limit=8)
    native = {one.item: pkgsrc.native(one.item, software.python) for one in tried if not one.value}
    (wheels / "native").write_text("".join(f"{one}\n" for one in native.values()))
    (wheels / "wanted.txt").write_text("".join(f"{pin}\n" for pin in software.wanted if pin not in native))


def _resolve(lacking: Sequence[str], machine: str) -> Iterator[str]:
    """Pins of packages that the client has not, and of all that they need, none against the client's versions."""
    from . import pins

    with TemporaryDirectory() as folder:
        here = Path(folder) / "constraints.txt"
        here.write_text("\n".join(pins.installed()))
        report = Path(folder) / "report.json"
        words = ("install", "--dry-run", "--ignore-installed", "--target", folder, "--report", str(report))
        _pip((*words, "--constraint", str(here), *lacking), machine)
        for package in json.loads(report.read_text())["install"]:
            yield pins.pin(package["metadata"]["name"], package["metadata"]["version"])


def _pip(words: Sequence[str], machine: str) -> None:
    """Let the client's own pip work for hosts of that machine."""
    if machine == pkgsrc.MACHINE:
        _run_pip(words, ("any",), "illumos")
        return
    glibc = [f"manylinux_2_{minor}_{machine}" for minor in range(OLDEST_GLIBC, 4, -1)]
    older = [f"{name}_{machine}" for name in ("manylinux2014", "manylinux2010", "manylinux1", "linux")]
    _run_pip(words, (*glibc, *older), f"Linux {machine}")


def _run_pip(words: Sequence[str], tags: Sequence[str], system: str) -> None:
    target = [word for tag in tags for word in ("--platform", tag)]
    command, *rest = words
    what = [sys.executable, "-m", "pip", command, "-qq", "--no-input", "--disable-pip-version-check"]
    what += ["--only-binary=:all:", "--implementation", "cp", "--python-version", PYTHON, *target, *rest]
    try:
        done = subprocess.run(what, capture_output=True, text=True, timeout=PIP_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        raise ClusterError(f"pip {command} has not ended in {PIP_TIMEOUT:.0f} s", hint="is the network up?") from None
    if done.returncode:
        raise ClusterError(
            f"pip {command} found no wheels for hosts ({system}, Python {PYTHON})",
            seen=done.stderr or done.stdout,
            hint="a name not found: correct `packages`; no wheel of it for that platform: build one with `pip wheel` "
            "into a folder that your pip's find-links names; no network: mend pip's proxy or index settings",
        )


def _cache() -> Path:
    from platformdirs import user_cache_path

    folder = user_cache_path("ipyfleet") / "wheelhouse"
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ClusterError(
            f"{path} cannot be written: {error.strerror}",
            hint="mend that, or set XDG_CACHE_HOME to a folder on a disk with room that you may write",
        ) from error


def _digest(*words: str) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:12]


def _read(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(path.read_bytes())
    except (OSError, ValueError):  # where it cannot be read it cannot be written either, and that is told
        return {}
    return known if isinstance(known, dict) else {}


def _write(path: Path, value: dict[str, Any]) -> None:
    with _writing(path):
        descriptor, name = mkstemp(dir=path.parent)
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(value, file)
        Path(name).replace(path)


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    import fcntl

    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
