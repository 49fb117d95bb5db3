"""mdata-get, mdata-put, mdata-list, mdata-delete and zonename; and what svc:/smartdc/mdata:fetch and :execute run."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .places import Place, read, write
from .repository import locked, set_property
from .requests import ask

EXECUTE = "svc:/smartdc/mdata:execute"
SCRIPT = "mdata-user-script"
LOOK = 0.05  # s between two looks for the metadata service
UPDATE = "Error putting metadata for key '{}': Cannot update the \"sdc\" Namespace.\n"


def run(place: Place, name: str, words: Sequence[str]) -> int:
    """Be the command of that name; its exit code."""
    if name == "zonename":
        print(read(place.metadata, {}).get("sdc:zonename", os.uname().nodename))
        return 0
    expected = {"mdata-get": (1, 1), "mdata-put": (1, 2), "mdata-delete": (1, 1), "mdata-list": (0, 0)}[name]
    if not expected[0] <= len(words) <= expected[1]:
        usage = {"mdata-put": " <keyname> [ <value> ]", "mdata-list": ""}.get(name, " <keyname>")
        sys.stderr.write(f"Usage: {name}{usage}\n")
        return 3
    if not place.privileged():
        sys.stderr.write("ERROR: could not initialise protocol: Permission denied\n")
        return 2
    while not place.metadata.exists():
        time.sleep(LOOK)
    return {"mdata-get": _get, "mdata-put": _put, "mdata-delete": _delete, "mdata-list": _list}[name](place, words)


def _get(place: Place, words: Sequence[str]) -> int:
    found = read(place.metadata, {}).get(words[0])
    if found is None:
        sys.stderr.write(f"No metadata for '{words[0]}'\n")
        return 1
    sys.stdout.write(found if found.endswith("\n") else f"{found}\n")
    return 0


def _put(place: Place, words: Sequence[str]) -> int:
    if len(words) == 1 and sys.stdin.isatty():
        sys.stderr.write("ERROR: either specify value as an argument, or pipe it to standard input\n")
        return 2
    value = words[1] if len(words) == 2 else sys.stdin.read()
    if words[0].startswith("sdc:"):
        sys.stderr.write(UPDATE.format(words[0]))
        return 2
    with _changed(place) as metadata:
        metadata[words[0]] = value
    return 0


def _delete(place: Place, words: Sequence[str]) -> int:
    with _changed(place) as metadata:
        metadata.pop(words[0], None)
    return 0


def _list(place: Place, words: Sequence[str]) -> int:
    for key in read(place.metadata, {}):
        if not key.startswith("sdc:"):
            print(key)
    return 0


@contextmanager
def _changed(place: Place) -> Iterator[dict[str, str]]:
    """The metadata for a change; whatever else stands in for CloudAPI takes the same lock."""
    with (place.state / "metadata.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        metadata = read(place.metadata, {})
        yield metadata
        write(place.metadata, metadata)


def fetch(place: Place) -> int:
    """The method of mdata:fetch: put the user-script in its place, then enable mdata:execute, always."""
    while not place.metadata.exists():
        time.sleep(LOOK)
    time.sleep(place.setting("fetch_seconds"))
    folder = Path(place.setting("mdata_folder"))
    script = read(place.metadata, {}).get("user-script")
    if script is None:
        (folder / SCRIPT).unlink(missing_ok=True)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / SCRIPT).write_text(script)
        (folder / SCRIPT).chmod(0o755)
    with locked(place) as repository:
        instance = repository.instance(EXECUTE)
        if instance is not None:
            set_property(instance.groups, "general/enabled", "framework", "boolean", "true")
    ask(place, EXECUTE, "enabled")
    return 0


def execute(place: Place) -> int:
    """The method of mdata:execute: run the user-script if there is one; any failure of it is final."""
    script = Path(place.setting("mdata_folder")) / SCRIPT
    provisioning = Path(place.setting("mdata_folder")) / "provisioning"
    if provisioning.exists():
        provisioning.rename(provisioning.with_name("provision_success"))
    if not script.exists():
        return 0
    kept = ("PATH", "TZ", "LANG", "SMF_FMRI", "SMF_METHOD", "SMF_RESTARTER", "SMF_ZONENAME")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    print(f"+ {script}", file=sys.stderr, flush=True)
    try:
        code = subprocess.run([str(script)], cwd="/", env=environment, stdin=subprocess.DEVNULL).returncode
    except OSError as error:
        print(f"{script}: {error.strerror}", file=sys.stderr)
        code = 126
    return 95 if code else 0
