"""pkgin and pkg_info, for the packages that the setting ``packages`` names. Their words are only roughly pkgin's.

With ``package_wheels`` packages are really installed: pythonXY is the machine's own Python, pyXY-NAME what a wheel of
that folder holds, put where that Python finds it. It stands for what pkgsrc has compiled.
"""

from __future__ import annotations

import getopt
import re
import shutil
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from .places import Place, read, write

USAGE = "Usage: pkgin [-cdfFhlnPtvVy] command [package ...]\n"
VERSION = "1.0"


def run(place: Place, name: str, words: Sequence[str]) -> int:
    """Be the command of that name; its exit code."""
    path = place.state / "packages.json"
    installed: list[str] = read(path, [])
    if name == "pkg_info":
        return _info(installed, words)
    try:
        _, rest = getopt.getopt(list(words), "cdfFhlnPtvVy")
    except getopt.GetoptError:
        rest = []
    offered: list[str] = place.setting("packages")
    verb, names = (rest[0], rest[1:]) if rest else ("", [])
    if verb in ("update", "up"):
        print("database for pkgsrc is up-to-date")
        return 0
    if verb in ("list", "ls"):
        for one in installed:
            print(f"{one}-{VERSION}")
        return 0
    if verb in ("search", "se") and names:
        found = [one for one in offered if re.search(names[0], f"{one}-{VERSION}")]
        for one in found:
            print(f"{one}-{VERSION} {'=' if one in installed else ' '}  a package")
        if not found:
            print(f"No results found for {names[0]}")
        return 0 if found else 1
    if verb in ("install", "in") and names:
        if not place.privileged():
            sys.stderr.write("pkgin: You don't have enough rights for this operation.\n")
            return 1
        missing = [one for one in names if one not in offered]
        for one in missing:
            sys.stderr.write(f"pkgin: {one} is not available in the repository\n")
        new = [one for one in names if one in offered and one not in installed]
        if wheels := place.setting("package_wheels"):
            for one in new:
                _put(Path(wheels), one)
        write(path, [*installed, *new])
        print(f"{len(new)} packages to install" if new else "nothing to do.")
        return 1 if missing else 0
    sys.stderr.write(USAGE)
    return 1


def _info(installed: Sequence[str], words: Sequence[str]) -> int:
    """``pkg_info -e NAME``: whether it is installed."""
    if len(words) != 2 or words[0] != "-e":
        sys.stderr.write("usage: pkg_info -e package\n")
        return 1
    if words[1] not in installed:
        return 1
    print(f"{words[1]}-{VERSION}")
    return 0


def _put(wheels: Path, package: str) -> None:
    """Install one for real."""
    if minor := re.fullmatch(r"python3(\d+)", package):
        link = Path(f"/opt/local/bin/python3.{minor[1]}")
        if not link.is_symlink():
            link.symlink_to(str(shutil.which(link.name, path="/usr/bin")))
        return
    python, _, name = package.partition("-")
    site = Path(f"/usr/local/lib/python3.{python.removeprefix('py3')}/dist-packages")
    name = {"zmq": "pyzmq"}.get(name, name).replace("-", "_")
    (wheel,) = wheels.glob(f"{name}-*.whl")
    site.mkdir(parents=True, exist_ok=True)
    zipfile.ZipFile(wheel).extractall(site)
