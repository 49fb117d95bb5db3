"""Machines by verb: every one of them may be repeated, and leaves a state that the next one finds its way from."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Sequence
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from . import cgroups, limits, network, nspawn, processes, tree
from .errors import Refused
from .fields import Spec
from .store import ClusterRecord, MachineRecord, Place, places

Answer = dict[str, Any]


def found(place: Place) -> Answer:
    """The cluster and its machines as the client reads them."""
    cluster = place.cluster()
    subnet = cluster.subnet if cluster else ""
    return {
        "cluster": _cluster_answer(cluster),
        "machines": [_machine_answer(place, subnet, record) for record in place.records()],
    }


def _cluster_answer(cluster: ClusterRecord | None) -> Answer | None:
    if cluster is None:
        return None
    return {"name": cluster.name, "id": cluster.id, "owner": cluster.owner, "created": cluster.created}


def _machine_answer(place: Place, subnet: str, record: MachineRecord) -> Answer:
    state, detail = _state(place, record)
    return {
        "name": record.name,
        "id": record.id,
        "role": record.role,
        "index": record.index,
        "state": state,
        "detail": detail,
        "address": network.address(subnet, record.role, record.index) if subnet else "",
        "host_key": record.host_key,
        "created": record.created,
    }


def _state(place: Place, record: MachineRecord) -> tuple[str, str]:
    if processes.alive(record.process):
        return "running", ""
    if record.off:
        return "stopped", ""
    if record.process is None:
        return ("pending", "being launched") if place.busy() else ("failed", "its launch was interrupted")
    if record.process.boot != processes.boot():
        return "stopped", "this computer was restarted meanwhile"
    if re.search(r"^(Powering off|Halting system)", nspawn.console_text(place, record.name)[-2000:], re.MULTILINE):
        return "stopped", "powered off from inside"
    return "stopped", "its systemd-nspawn process is gone: ended by something else on this computer"


def create(
    place: Place,
    cluster: ClusterRecord,
    specs: Sequence[Spec],
    layers: tuple[str, ...],
    pools: Sequence[IPv4Network],
) -> None:
    """Make these machines and launch them; those that exist stay as they are, unless their launch was interrupted."""
    layout = cgroups.observe()
    known = place.cluster()
    if known and known.id != cluster.id:
        raise Refused(
            f"there is a cluster {known.name} already, made by {known.owner}",
            hint=f"`invoke teardown --cluster {known.name}` removes it; or choose another name",
        )
    if not known:
        place.save_cluster(cluster)
    _take_records(place, specs, layers)
    names = {spec.name for spec in specs}
    _launch(
        place,
        known or cluster,
        [one for one in place.records() if one.name in names and _unlaunched(one)],
        pools,
        layout,
    )


def _unlaunched(record: MachineRecord) -> bool:
    return record.process is None and not record.off


def _take_records(place: Place, specs: Sequence[Spec], layers: tuple[str, ...]) -> None:
    for spec in specs:
        if place.machine(spec.name) is None:
            record = MachineRecord(
                name=spec.name,
                id=secrets.token_hex(6),
                role=spec.role,
                index=spec.index,
                created=time.time(),
                layers=layers,
                authorized_keys=spec.authorized_keys,
            )
            if (place.machines / spec.name).exists():  # without a record: of a removal that was interrupted
                _remove_folder(place.machines / spec.name)
            place.save_machine(record)


def _launch(
    place: Place,
    cluster: ClusterRecord,
    records: Sequence[MachineRecord],
    pools: Sequence[IPv4Network],
    layout: cgroups.Layout,
) -> None:
    if not records:
        return
    images = place.root / "images"
    for layer in {layer for record in records for layer in record.layers}:
        if not (images / layer / "layer.json").exists():
            raise Refused(
                f"the image layer {layer} is not there",
                hint="`invoke provision` builds what new machines need; a machine that lost its image must be removed",
            )
    cluster = network.up(place, cluster, pools)
    nspawn.need_machine_id()
    limits.suffice(place.root, sum(len(other.records()) for other in places(place.root)))
    launched = []
    for record in records:
        if not record.host_key:
            key = nspawn.new_host_key(place.machines / record.name)
            record = place.save_machine(record, host_key=key)
        below = [images / layer / "tree" for layer in record.layers]
        launched.append(nspawn.launch(place, cluster, record, below, layout))
    nspawn.watch(place, launched)


def start(place: Place, wanted: Sequence[tuple[str, str]], pools: Sequence[IPv4Network]) -> None:
    """Launch those of the machines meant that do not run; after a restart of the computer the network is made anew."""
    cluster = place.cluster()
    if cluster is None:
        raise Refused(f"there is no cluster {place.name}", kind="usage")
    layout = cgroups.observe()
    idle = [record for record in _meant(place, wanted) if not processes.alive(record.process)]
    nspawn.kill(place, idle, layout)
    _launch(place, cluster, idle, pools, layout)


def stop(place: Place, wanted: Sequence[tuple[str, str]], timeout: float) -> None:
    """Power off the machines meant, all at once; after ``timeout`` seconds they are killed."""
    layout = cgroups.observe()
    records = [place.save_machine(record, off=True) for record in _meant(place, wanted)]
    nspawn.halt(records, timeout)
    nspawn.kill(place, records, layout)


def destroy(place: Place, wanted: Sequence[tuple[str, str]]) -> None:
    """Remove the machines meant, disks included; silent about those that are gone."""
    records = _meant(place, wanted)
    nspawn.kill(place, records, cgroups.observe())
    for record in records:
        _remove_folder(place.machines / record.name)


def clean(place: Place) -> None:
    """Remove what is left of a cluster without machines; raises Refused when it has machines."""
    records = place.records()
    if records:
        names = ", ".join(record.name for record in records)
        raise Refused(f"cluster {place.name} still has machines: {names}", hint="remove them first: `invoke teardown`")
    nspawn.remains(place, cgroups.observe())
    for folder in place.machines.glob("*"):
        _remove_folder(folder)
    network.down(place, place.cluster())
    shutil.rmtree(place.folder, ignore_errors=True)
    if not places(place.root):
        limits.restore(place.root)


def authorize(place: Place, key: str) -> None:
    """Let a public key in on every machine: now where it runs, at its next start where it does not."""
    for record in place.records():
        known = {nspawn.key_of(line) for line in record.authorized_keys}
        if nspawn.key_of(key) not in known:
            place.save_machine(record, authorized_keys=(*record.authorized_keys, key))
        root = place.machines / record.name / "root"
        if os.path.ismount(root):
            nspawn.authorize(root, [key])


def _meant(place: Place, wanted: Sequence[tuple[str, str]]) -> list[MachineRecord]:
    """The records of the machines meant: name and id must fit, since a name may have been given anew."""
    pairs = set(wanted)
    return [record for record in place.records() if (record.name, record.id) in pairs]


def _remove_folder(folder: Path) -> None:
    """Remove a machine's folder; first it ceases to be a machine, by one rename."""
    tree.unmount(folder)
    gone = folder if folder.name.startswith(".") else folder.with_name(f".gone-{folder.name}")
    if gone != folder:
        shutil.rmtree(gone, ignore_errors=True)
        folder.rename(gone)
    if os.path.ismount(gone / "root"):
        raise Refused(f"{folder}/root cannot be unmounted", kind="failed")
    shutil.rmtree(gone)
