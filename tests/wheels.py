"""Tiny real packages: wheels in a folder that pip can use as its index, and packages that seem installed here."""

from __future__ import annotations

import os
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path


def make_wheel(
    index: Path, name: str, version: str, *, needs: Sequence[str] = (), tag: str = "py3-none-any", body: str = ""
) -> Path:
    """A wheel of one module, whose text is ``body``, in the folder ``index``."""
    index.mkdir(parents=True, exist_ok=True)
    wheel = index / f"{name}-{version}-{tag}.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{name}.py", body)
        archive.writestr(f"{info}/METADATA", metadata(name, version, needs))
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        archive.writestr(f"{info}/RECORD", "")
    return wheel


def seem_installed(site: Path, name: str, version: str, needs: Sequence[str] = ()) -> None:
    """Make ``name`` look installed in the folder ``site``; another version of it goes, the folder is newer."""
    for other in site.glob(f"{name}-*.dist-info"):
        (other / "METADATA").unlink()
        other.rmdir()
    info = site / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(metadata(name, version, needs))
    later = time.time_ns() + 10**9 * len(list(site.iterdir()))  # two changes within one tick of the clock differ too
    os.utime(site, ns=(later, later))


def metadata(name: str, version: str, needs: Sequence[str]) -> str:
    """A package's METADATA file."""
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {n}" for n in needs)]
    return "\n".join(lines) + "\n"
