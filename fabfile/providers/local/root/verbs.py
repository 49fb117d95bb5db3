"""The verbs of the root program: checks the request, does the one thing, answers with one JSON object."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import signal
import stat
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from . import image, leftovers, machines, network, nspawn
from .errors import Refused
from .fields import CLUSTER, DISTRIBUTIONS, ID, LAYER, OWNER, PUBLIC_KEY, SUITE, Fields
from .store import FOLDER, ClusterRecord, Place, places

Answer = dict[str, Any]
ABSOLUTE = re.compile(r"/[^\0]{1,4000}")


class Request:
    """Who asks, in which folder, and what."""

    def __init__(self, folder: Path, uid: int, fields: Fields) -> None:
        self.folder = folder
        self.uid = uid
        self.fields = fields

    @property
    def place(self) -> Place:
        """The cluster meant: always one of the caller's own."""
        return Place(self.folder, self.uid, self.fields.text("cluster", CLUSTER))

    @property
    def image(self) -> image.Image:
        """The image meant."""
        fields = self.fields.inner("image")
        distribution = fields.text("distribution", re.compile("|".join(DISTRIBUTIONS)))
        return image.Image(
            distribution, fields.text("suite", SUITE), fields.text("software", re.compile(f"({ID.pattern})?"))
        )


def find(request: Request) -> Answer:
    """What exists of a cluster."""
    return machines.found(request.place)


def clusters(request: Request) -> Answer:
    """Every cluster of the caller."""
    return {"clusters": [machines.found(place) for place in _own(request) if place.cluster()]}


def create(request: Request) -> Answer:
    """Make machines of an image that is there."""
    tags = request.fields.inner("tags")
    created = tags.number("created", 0, 1e11)
    place = request.place
    cluster = ClusterRecord(request.uid, place.name, tags.text("id", ID), tags.text("owner", OWNER), created)
    with place.alone():
        machines.create(place, cluster, request.fields.specs(), request.image.layers, request.fields.pools())
    return machines.found(place)


def start(request: Request) -> Answer:
    """Launch machines that are off."""
    place = request.place
    with place.alone():
        machines.start(place, request.fields.machines(), request.fields.pools())
    return machines.found(place)


def stop(request: Request) -> Answer:
    """Power machines off."""
    place = request.place
    with place.alone():
        machines.stop(place, request.fields.machines(), request.fields.number("timeout", 0, 3600))
    return {}


def destroy(request: Request) -> Answer:
    """Remove machines."""
    place = request.place
    with place.alone():
        machines.destroy(place, request.fields.machines())
    return {}


def clean(request: Request) -> Answer:
    """Remove what a cluster without machines leaves."""
    place = request.place
    with place.alone():
        machines.clean(place)
    return {}


def authorize(request: Request) -> Answer:
    """Let a public key in on all machines of a cluster."""
    place = request.place
    key = request.fields.text("key", PUBLIC_KEY)
    with place.alone():
        machines.authorize(place, key)
    return {}


def console(request: Request) -> Answer:
    """What a machine of the caller, known by its id, said on its console."""
    wanted = request.fields.text("id", ID)
    for place in _own(request):
        for record in place.records():
            if record.id == wanted:
                return {"text": nspawn.console_text(place, record.name)[-200_000:]}
    return {"text": ""}


def inspect(request: Request) -> Answer:
    """Facts for a preflight: layers of the image that are missing, free bytes, and what would be refused."""
    place = request.place
    folder = next(path for path in (request.folder, *request.folder.parents) if path.exists())
    refusals = []
    try:
        network.choose(place, place.cluster(), request.fields.pools())
    except Refused as error:
        refusals.append(error.as_json())
    return {
        "missing": list(image.missing(request.folder, request.image)),
        "free": shutil.disk_usage(folder).free,
        "refusals": refusals,
    }


def image_build(request: Request) -> Answer:
    """Build the layers of an image that are missing: the base or, on a base that is there, the software."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # it takes long and what is half made is removed
    wanted = request.image
    if wanted.software:
        with open(_wheelhouse(request), "rb") as tar:
            image.build_software(request.folder, wanted, tar.fileno())
    else:
        image.build_base(request.folder, wanted)
    return {"layers": list(wanted.layers)}


def image_list(request: Request) -> Answer:
    """Every layer that is there."""
    return {"layers": image.listed(request.folder)}


def image_remove(request: Request) -> Answer:
    """Remove a layer that nothing lies on."""
    image.remove(request.folder, request.fields.text("layer", LAYER))
    return {}


def sweep(request: Request) -> Answer:
    """What is on this computer without a cluster that it belongs to; removed as well when ``remove`` is "yes"."""
    return {"left": leftovers.sweep(request.folder, request.fields.text("remove", re.compile("yes|no")) == "yes")}


VERBS: Mapping[str, Callable[[Request], Answer]] = {
    verb.__name__.replace("_", "-"): verb
    for verb in (
        find,
        clusters,
        create,
        start,
        stop,
        destroy,
        clean,
        authorize,
        console,
        inspect,
        image_build,
        image_list,
        image_remove,
        sweep,
    )
}


def main() -> int:
    """Answer one request; exit code 1 with the error as JSON when it is refused."""
    # Ctrl-C reaches all programs of a terminal: what is begun here is brought to a state that has a name.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.umask(0o077)
    try:
        answer, code = _answer(sys.argv[1:], os.environ, sys.stdin.read(1 << 22)), 0
    except Refused as error:
        answer, code = {"error": error.as_json()}, 1
    except KeyboardInterrupt:
        answer, code = {"error": Refused("interrupted", kind="failed").as_json()}, 1
    except OSError as error:
        refused = Refused(f"{error}", kind="failed")
        if error.errno == errno.ENOSPC:
            hint = "free some space, then run the same command again; removing machines needs none"
            refused = Refused(f"the disk that has {FOLDER} is full", hint=hint)
        answer, code = {"error": refused.as_json()}, 1
    json.dump(answer, sys.stdout)
    return code


def _answer(words: list[str], environ: Mapping[str, str], text: str) -> Answer:
    if len(words) != 1 or words[0] not in VERBS:
        raise Refused(f"the verbs are {', '.join(VERBS)}", kind="usage")
    if os.geteuid() != 0:
        raise Refused("the root program must run as root", kind="usage")
    try:
        fields = Fields(json.loads(text))
    except (ValueError, RecursionError):
        raise Refused("standard input is not JSON", kind="usage") from None
    uid, folder = caller(environ)
    return VERBS[words[0]](Request(folder, uid, fields))


def caller(environ: Mapping[str, str]) -> tuple[int, Path]:
    """Who asks, and root's folder; only root itself may name another one."""
    by_sudo = environ.get("SUDO_UID", "")
    uid = int(by_sudo) if by_sudo.isdecimal() else os.getuid()
    other = environ.get("IPYFLEET_ROOT", "")
    if not other or uid != 0:
        return uid, FOLDER
    if not ABSOLUTE.fullmatch(other) or re.search(r"[:,\\\s]", other):
        raise Refused(f"IPYFLEET_ROOT: {other!r} is no plain absolute path", kind="usage")
    return uid, Path(other)


def _own(request: Request) -> list[Place]:
    return [place for place in places(request.folder) if place.uid == request.uid]


def _wheelhouse(request: Request) -> int:
    """The wheelhouse, opened; it must be a plain file of the caller's own, so that nobody else's is read for him."""
    path = request.fields.text("wheelhouse", ABSOLUTE)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        raise Refused(f"wheelhouse: {error}", kind="usage") from None
    seen = os.fstat(descriptor)
    if not stat.S_ISREG(seen.st_mode) or seen.st_uid != request.uid:
        os.close(descriptor)
        raise Refused(f"wheelhouse: {path} is not a plain file of yours", kind="usage")
    return descriptor
