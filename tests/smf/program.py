"""All commands of the stand-in, by the name that each is called by."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from . import supervision
from .complaints import Complaint
from .places import Place, here

ASKING = ("svcs", "svccfg", "svcadm", "svcprop")
METADATA = ("mdata-get", "mdata-put", "mdata-list", "mdata-delete")
COMMANDS = (*ASKING, *METADATA, "pkgin", "pkg_info", "zonename", "smf-standin")
ROOTS = ("svcadm", "svccfg", *METADATA)  # they live in /usr/sbin
PACKAGERS = ("pkgin", "pkg_info")  # and these in /opt/local
OWN_USAGE = "Usage: smf-standin start | stop | set SETTING JSON | get SETTING\n"


def main(words: Sequence[str]) -> int:
    """Be the command that the words begin with; a path of the program itself gives the name as its first argument."""
    program, *rest = words
    name = os.path.basename(program)
    if name == "command":
        name, rest = rest[0], rest[1:]
    place = here()
    if not place.state.is_dir():
        sys.stderr.write(f"{name}: the stand-in has no state in {place.state}\n")
        return 70
    try:
        if name in ASKING:
            supervision.ensure(place, _own_path())
        code = run(place, name, rest)
        sys.stdout.flush()
    except Complaint as complaint:
        sys.stderr.write(f"{name}: {complaint.text}\n")
        return complaint.code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    except KeyboardInterrupt:
        return 130
    return code


def run(place: Place, name: str, words: Sequence[str]) -> int:
    """Be the command of that name."""
    # Each is imported only when it is wanted: a command is to take no longer than it must.
    if name in ASKING:
        module = import_module(f"{__package__}.{'listing' if name == 'svcs' else name}")
        return int(module.run(place, words))
    if name.startswith("mdata-") or name == "zonename":
        from . import metadata

        inner = {"mdata-fetch": metadata.fetch, "mdata-execute": metadata.execute}
        return inner[name](place) if name in inner else metadata.run(place, name, words)
    if name in ("pkgin", "pkg_info"):
        from . import packages

        return packages.run(place, name, words)
    if name == "svc.startd":
        from . import restarter

        return restarter.serve(place)
    if name == "smf-standin":
        return _own(place, words)
    sys.stderr.write(f"the stand-in has no command {name}\n")
    return 70


def _own(place: Place, words: Sequence[str]) -> int:
    if list(words) == ["start"]:
        return 0 if supervision.begin(place, _own_path()) else 1
    if list(words) == ["stop"]:
        return 0 if supervision.stop(place) else 1
    if len(words) == 3 and words[0] == "set":
        place.change({words[1]: json.loads(words[2])})
        return 0
    if len(words) == 2 and words[0] == "get":
        print(json.dumps(place.setting(words[1])))
        return 0
    sys.stderr.write(OWN_USAGE)
    return 2


def _own_path() -> str:
    """The launcher that installing.py wrote, whatever link it was called by."""
    return os.environ.get("SMF_STANDIN_PROGRAM", "")
