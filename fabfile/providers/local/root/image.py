"""Images in layers: the base (a distribution that boots and answers SSH) and, above it, the software of a cluster.

A layer is named by a hash of all that made it; it is built in a folder aside and renamed when it is complete, so that
what is there is whole. Machines lay their own files over layers and never change them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import apt, cgroups, nspawn, tree
from .command import run
from .errors import Refused
from .store import PREFIX, locked, make_folder, places, read, tag, write

PACKAGES = [
    "ca-certificates",
    "dbus",
    "iproute2",
    "netbase",
    "openssh-server",
    "procps",
    "python3",
    "sudo",
    "systemd",
    "systemd-sysv",
    "tzdata",
]
KEYRINGS = Path("/usr/share/keyrings")
LEAVE_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*")
BASE_BYTES = 1 << 30  # that a base needs while it is built, packages included
BUILD_TIME = 1800.0  # s
# mmdebstrap mounts into the tree what is the computer's own (/dev/shm) and, when killed, leaves it there: removing the
# tree would empty that too. In namespaces of its own the mounts end with it, and all its processes with us.
ASIDE = (
    "setpriv",
    "--pdeathsig",
    "KILL",
    "unshare",
    "--mount",
    "--mount-proc",
    "--pid",
    "--fork",
    "--kill-child",
    "--",
)
SCRIPTS = Path(__file__).resolve().parents[4] / "bootscripts"
BASE_SCRIPT = Path(__file__).with_name("base.sh")


@dataclass(frozen=True)
class Image:
    """What machines shall boot: ``software`` is the id of the software on it, "" for none."""

    distribution: str
    suite: str
    software: str = ""

    @property
    def base(self) -> str:
        """The name of the base layer."""
        what = (self.distribution, self.suite, os.uname().machine, *PACKAGES, *LEAVE_OUT, BASE_SCRIPT.read_text())
        return f"base-{_digest(*what)}"

    @property
    def layers(self) -> tuple[str, ...]:
        """All its layers, uppermost first."""
        if not self.software:
            return (self.base,)
        scripts = [(SCRIPTS / name).read_text() for name in ("host.sh", "software.sh")]
        return (f"software-{_digest(self.base, self.software, *scripts)}", self.base)


def missing(folder: Path, image: Image) -> tuple[str, ...]:
    """The layers of an image that are not there yet."""
    return tuple(layer for layer in image.layers if not (folder / "images" / layer / "layer.json").exists())


def need_space(folder: Path, needed: int, what: str) -> None:
    """Raise Refused when less than so many bytes are free where our folder is."""
    make_folder(folder)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise Refused(
            f"{what} needs {needed / 1e9:.1f} GB below {folder}, but only {free / 1e9:.1f} GB are free",
            hint="free some space; `invoke images.list` shows images that can go",
        )


def build_base(folder: Path, image: Image) -> None:
    """Build the base layer of an image unless it is there; raises Refused with the last lines of what failed."""
    with _building(folder, image, image.base) as new:
        if new is None:
            return
        need_space(folder, BASE_BYTES, f"an image of {image.distribution} {image.suite}")
        keyring = _keyring(image)
        run(*_mmdebstrap(image, new, keyring), timeout=BUILD_TIME)
        _enter(folder, new, BASE_SCRIPT)
        _forget_sources(new)


def build_software(folder: Path, image: Image, wheelhouse: int) -> None:
    """Build the software layer of an image from an open wheelhouse, unless it is there; its base must be."""
    layer, base = image.layers
    with _building(folder, image, layer) as new:
        if new is None:
            return
        size = os.fstat(wheelhouse).st_size
        need_space(folder, size * 5 + (200 << 20), "an image with the software")
        copy = new.parent / "wheelhouse.tar"
        with os.fdopen(os.dup(wheelhouse), "rb") as source, copy.open("wb") as target:
            shutil.copyfileobj(source, target)
        root = tree.mount(new.parent, [folder / "images" / base / "tree"])
        try:
            _enter(folder, root, SCRIPTS / "host.sh")
            _enter(folder, root, SCRIPTS / "software.sh", "/run/wheelhouse.tar", image.software, wheelhouse=copy)
        finally:
            tree.unmount(new.parent)
        (new.parent / "upper").rename(new)


def listed(folder: Path) -> list[dict[str, Any]]:
    """Every layer that is there: name, what it is, bytes on disk, when made (epoch seconds), whether in use."""
    used = _used(folder)
    layers = []
    for path in sorted((folder / "images").glob("[!.]*/layer.json")):
        name = path.parent.name
        layers.append({**read(path), "layer": name, "used": name in used, "bytes": _size(path.parent)})
    return layers


def remove(folder: Path, layer: str) -> None:
    """Remove a layer; silent when it is gone. Raises Refused while a machine or another layer lies on it."""
    with locked(folder / "locks" / "images.lock", "the images", 30.0):
        above = {read(path)["base"] for path in (folder / "images").glob("software-*/layer.json")}
        if layer in _used(folder) or layer in above:
            raise Refused(f"{layer} is in use", hint="remove the machines or the image that lie on it first")
        path = folder / "images" / layer
        gone = path.with_name(f".gone-{layer}")
        with suppress(FileNotFoundError):
            path.rename(gone)
        discard(gone)


@contextmanager
def _building(folder: Path, image: Image, layer: str) -> Iterator[Path | None]:
    """Where to build a layer's tree, aside; None when it is there. A build that breaks leaves nothing."""
    images = folder / "images"
    with locked(folder / "locks" / "images.lock", "the images", BUILD_TIME):
        for left in images.glob(".*"):  # of a build that was killed
            discard(left)
        if (images / layer / "layer.json").exists():
            yield None
            return
        aside = images / f".new-{layer}"
        make_folder(aside)
        try:
            yield aside / "tree"
            for path in aside.iterdir():
                if path.name != "tree":
                    _remove(path)
            what = {"distribution": image.distribution, "suite": image.suite, "made": time.time()}
            above = {} if layer == image.base else {"software": image.software, "base": image.base}
            write(aside / "layer.json", {**what, **above})
            os.sync()  # after a power cut, what is named complete must be
            aside.rename(images / layer)
        finally:
            discard(aside)


def discard(folder: Path) -> None:
    """Remove the folder of a build or of a layer, nothing that is mounted in it; silent when it is gone."""
    tree.unmount(folder)
    run("rm", "-rf", "--one-file-system", str(folder), check=False, timeout=BUILD_TIME)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _mmdebstrap(image: Image, target: Path, keyring: Path) -> tuple[str, ...]:
    """The command that makes a tree; mirrors and proxies, which may have passwords, are told in files beside it."""
    options, sources = target.with_name("apt.conf"), target.with_name("sources.list")
    options.write_text(apt.configuration())
    sources.write_text("".join(f"{line}\n" for line in apt.sources(image.distribution, image.suite)))
    return (
        *ASIDE,
        "mmdebstrap",
        "--mode=root",
        "--format=directory",
        "--variant=minbase",
        f"--include={','.join(PACKAGES)}",
        f"--aptopt={options}",
        f"--keyring={keyring}",
        "--dpkgopt=force-unsafe-io",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in LEAVE_OUT),
        image.suite,
        str(target),
        *([str(sources)] if sources.stat().st_size else []),
    )


def _enter(folder: Path, root: Path, script: Path, *args: str, wheelhouse: Path | None = None) -> None:
    """Run a script in a tree, as root there, without a network; the tree keeps nothing of how it was run."""
    group = f"{PREFIX}build-{tag(folder)}"  # one at a time: the images are locked
    binds = [f"--bind-ro={script}:/run/script.sh"]
    if wheelhouse:
        binds.append(f"--bind-ro={wheelhouse}:/run/wheelhouse.tar")
    how = ("--quiet", "--settings=no", "--register=no", "--keep-unit", "--as-pid2", "--pipe", "--private-network")
    off = ("--resolv-conf=off", "--timezone=off", "--link-journal=no", "--setenv=SYSTEMD_OFFLINE=1")
    words = ("systemd-nspawn", *how, *off, *binds, f"--directory={root}", "--", "sh", "/run/script.sh", *args)
    layout = cgroups.observe()
    groups = cgroups.groups(layout, group)
    nspawn.kill_group_members(groups)  # of a build that was killed: what runs in a tree outlives its nspawn
    cgroups.make(layout, group)  # else nspawn makes groups of its own where it happens to be run, and leaves them
    try:
        run(*cgroups.joined(layout, group, words), timeout=BUILD_TIME)
    finally:
        nspawn.kill_group_members(groups)


def _forget_sources(root: Path) -> None:
    """Remove what the base knows of this computer's mirrors, proxies and certificates, and logs of the build."""
    for name in ("etc/apt/apt.conf.d/99mmdebstrap", "etc/apt/sources.list", "etc/dpkg/dpkg.cfg.d/99mmdebstrap"):
        (root / name).unlink(missing_ok=True)
    for pattern in (
        "etc/apt/sources.list.d/*",
        "var/lib/apt/lists/*",
        "var/cache/apt/*",
        "var/log/*.log",
        "var/log/apt/*",
    ):
        for path in root.glob(pattern):
            _remove(path)


def _keyring(image: Image) -> Path:
    """The file with the distribution's keys; raises Refused when this computer has none."""
    names = [f"{image.distribution}-archive-keyring.{suffix}" for suffix in ("gpg", "pgp")]
    path = next((KEYRINGS / name for name in names if (KEYRINGS / name).exists()), None)
    if path is None:
        raise Refused(
            f"{KEYRINGS / names[0]} is missing, so packages of {image.distribution} cannot be verified",
            hint="install debian-archive-keyring (for Debian) or ubuntu-keyring (for Ubuntu)",
        )
    return path


def _used(folder: Path) -> set[str]:
    return {layer for place in places(folder) for record in place.records() for layer in record.layers}


def _size(path: Path) -> int:
    """Bytes on disk."""
    return int(run("du", "-s", "--block-size=1", str(path)).stdout.split()[0])


def _digest(*words: str) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:16]
