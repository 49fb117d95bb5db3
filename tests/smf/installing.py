"""Put the stand-in on a machine, or into a folder for one test.

``python -m tests.smf.installing ROOT`` puts it on the machine whose files are below ROOT ("/" is this one).
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from .disguise import disguise
from .machine import furnish
from .places import DEFAULT_STATE, Place
from .program import COMMANDS, PACKAGERS, ROOTS

PACKAGE = Path(__file__).resolve().parent
LIBRARY = "/usr/lib/smf-standin"
LAUNCHER = """#!{python} -IS
import os, sys
sys.path.insert(0, {library!r})
os.environ.setdefault("SMF_STANDIN_STATE", {state!r})
os.environ["SMF_STANDIN_PROGRAM"] = {program!r}
from {package}.program import main
sys.exit(main(sys.argv))
"""
UNIT = """[Unit]
Description=Stand-in for svc.startd
[Service]
ExecStartPre=/bin/rm -f {state}/stopped
ExecStart={program} svc.startd
KillMode=mixed
TimeoutStopSec=3
[Install]
WantedBy=multi-user.target
"""


def install(
    root_folder: str | Path,
    *,
    python: str = "/usr/bin/python3",
    metadata: dict[str, str] | None = None,
    settings: dict[str, Any] | None = None,
    dtd: Path | None = None,
    smartos: bool = True,
    sunos: bool = False,
) -> None:
    """Put the commands into the folders for commands of the machine whose files are below ``root_folder``.

    With ``sunos`` it says of itself that it runs illumos, lacks commands that illumos lacks, and knows contracts.

    ``python`` (3.11 or newer) is a path on that machine; ``metadata`` what mdata-get finds there ({} for none of it);
    ``settings`` are places.SETTINGS; ``dtd`` is put where illumos has it, for xmllint. Where systemd is, a unit starts
    the restarter at boot; elsewhere the first command does.
    """
    root = Path(root_folder)
    library = root / LIBRARY.lstrip("/")
    shutil.rmtree(library, ignore_errors=True)
    library.mkdir(parents=True)
    shutil.copytree(PACKAGE, library / "smf", ignore=shutil.ignore_patterns("__pycache__"))
    program = library / "command"
    _launcher(program, python, LIBRARY, "smf", DEFAULT_STATE, f"{LIBRARY}/command")
    for name in COMMANDS:
        folder = "opt/local/bin" if name in PACKAGERS else "usr/sbin" if name in ROOTS else "usr/bin"
        link = root / folder / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(f"{LIBRARY}/command")
    state = root / DEFAULT_STATE.lstrip("/")
    shutil.rmtree(state, ignore_errors=True)
    state.mkdir(parents=True)
    state.chmod(0o755)
    place = Place(state)
    place.change({"log_folder": "/var/svc/log", **(settings or {})})
    (root / "var/svc/log").mkdir(parents=True, exist_ok=True)
    furnish(place, f"{LIBRARY}/command", {} if metadata is None else metadata, smartos=smartos, home=DEFAULT_STATE)
    if dtd is not None:
        target = root / place.setting("dtd").lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(dtd, target)
    if sunos:
        disguise(root, python, f"{DEFAULT_STATE}/states.json")
    units = root / "etc/systemd/system"
    if units.is_dir():
        (units / "smf-standin.service").write_text(UNIT.format(program=f"{LIBRARY}/command", state=DEFAULT_STATE))
        wants = units / "multi-user.target.wants"
        wants.mkdir(exist_ok=True)
        (wants / "smf-standin.service").unlink(missing_ok=True)
        (wants / "smf-standin.service").symlink_to("/etc/systemd/system/smf-standin.service")


def install_in(
    folder: Path, python: str, *, metadata: dict[str, str] | None, settings: dict[str, Any], smartos: bool = True
) -> Path:
    """Put the commands into ``folder/bin``, with state and logs in ``folder/state``; the folder for PATH."""
    commands, state = folder / "bin", folder / "state"
    commands.mkdir(parents=True)
    state.mkdir()
    program = commands / "command"
    package = PACKAGE.relative_to(PACKAGE.parents[1]).as_posix().replace("/", ".")
    _launcher(program, python, str(PACKAGE.parents[1]), package, str(state), str(program))
    for name in COMMANDS:
        (commands / name).symlink_to("command")
    place = Place(state)
    place.change({"mdata_folder": str(state / "mdata"), "default_init": str(state / "init"), **settings})
    place.logs.mkdir()
    furnish(place, str(program), metadata, smartos=smartos)
    return commands


def _launcher(path: Path, python: str, library: str, package: str, state: str, program: str) -> None:
    text = LAUNCHER.format(python=python, library=library, package=package, state=state, program=program)
    path.write_text(text)
    path.chmod(0o755)


def main() -> None:
    """Put it on a machine, from a shell."""
    parser = argparse.ArgumentParser(description=install.__doc__)
    parser.add_argument("root_folder")
    parser.add_argument("--python", default="/usr/bin/python3")
    parser.add_argument("--metadata", type=json.loads, default={}, help="a JSON object")
    parser.add_argument("--settings", type=json.loads, default={}, help="a JSON object")
    parser.add_argument("--dtd", type=Path)
    parser.add_argument("--sunos", action="store_true")
    install(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
