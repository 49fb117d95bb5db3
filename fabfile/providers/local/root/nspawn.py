"""systemd-nspawn: how a machine is launched, halted and killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from . import cgroups, network, processes, tree
from .command import ENVIRONMENT, run
from .errors import Refused
from .store import PREFIX, ClusterRecord, MachineRecord, Place, Process

USER_ID = 1000  # of the login user on every machine, made by base.sh
KEYS = "/home/ipyfleet/.ssh/authorized_keys"
HOST_KEY = "/etc/ssh/ssh_host_ed25519_key"
CONSOLE_LIMIT = 1 << 20
PROPAGATE = Path("/run/systemd/nspawn/propagate")


def unit(place: Place, name: str) -> str:
    """A machine's name on this computer: of its control groups, its scope, and for nspawn."""
    return f"{PREFIX}{place.key}-{name}"


def words(place: Place, name: str, root: Path) -> tuple[str, ...]:
    """The command that boots a machine in its cluster's network.

    nsenter and not ``ip netns exec``, which mounts a fresh /sys without control groups; no registration with
    systemd-machined, which need not run here.
    """
    return (
        "nsenter",
        f"--net={network.NAMESPACES / network.namespace(place)}",
        "--",
        "systemd-nspawn",
        "--quiet",
        "--settings=no",
        "--register=no",
        "--keep-unit",
        "--boot",
        f"--directory={root}",
        f"--machine={unit(place, name)}",
        f"--hostname={name}",
        f"--network-bridge={network.BRIDGE}",
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
    )


def need_machine_id(path: Path = Path("/etc/machine-id")) -> None:
    """Give this computer the id that nspawn derives hardware addresses from, if it has none: a container made of a
    cleaned image, where systemd was never started.
    """
    if not path.exists() or not re.fullmatch(r"[0-9a-f]{32}\s*", path.read_text()):
        run("systemd-machine-id-setup")


def new_host_key(folder: Path) -> str:
    """Make a machine's host key in its folder, once; its public half as ``type base64``."""
    path = folder / "host_key"
    if not path.with_suffix(".pub").exists():
        path.unlink(missing_ok=True)
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path))
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


def furnish(folder: Path, root: Path, subnet: str, record: MachineRecord) -> None:
    """Put into a machine's tree what makes it this machine; what it has of its own already stays."""
    tree.place(root, "/etc/hostname", f"{record.name}\n")
    tree.place(root, "/etc/hosts", network.hosts_file(subnet))
    interface = network.interface_file(subnet, record.role, record.index)
    tree.place(root, "/etc/systemd/network/10-host0.network", interface)
    tree.place(root, HOST_KEY, (folder / "host_key").read_text(), mode=0o600, keep=True)
    tree.place(root, f"{HOST_KEY}.pub", f"{record.host_key}\n", keep=True)
    authorize(root, record.authorized_keys)


def authorize(root: Path, keys: Sequence[str]) -> None:
    """Let these public keys in, beside those that are let in already."""
    there = tree.content(root, KEYS).splitlines()
    known = {key_of(line) for line in there}
    missing = [key for key in keys if key_of(key) not in known]
    if missing:
        tree.place(root, KEYS, "".join(f"{line}\n" for line in (*there, *missing)), mode=0o600, uid=USER_ID)


def key_of(line: str) -> tuple[str, ...]:
    """What is the key in a line of authorized_keys without options: type and number, not the comment."""
    return tuple(line.split()[:2])


def launch(
    place: Place, cluster: ClusterRecord, record: MachineRecord, layers: Sequence[Path], layout: cgroups.Layout
) -> MachineRecord:
    """Launch a machine whose network is up; the record with its process. It boots while this returns."""
    folder = place.machines / record.name
    name = unit(place, record.name)
    record = place.save_machine(record, process=None, off=False)
    if any(group.exists() for group in cgroups.groups(layout, name)):  # of a launch that was interrupted
        kill(place, [record], layout)
    root = tree.mount(folder, layers)
    furnish(folder, root, cluster.subnet, record)
    cgroups.make(layout, name)
    console = folder / "console.log"
    full = console.exists() and console.stat().st_size > CONSOLE_LIMIT
    with open(os.open(console, os.O_WRONLY | os.O_CREAT | os.O_APPEND | (os.O_TRUNC if full else 0), 0o600)) as log:
        started = subprocess.Popen(
            cgroups.joined(layout, name, words(place, record.name, root)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=ENVIRONMENT,
            cwd="/",
            umask=0o022,
            start_new_session=True,
        )
    return place.save_machine(record, process=processes.identify(started.pid))


def watch(place: Place, records: Sequence[MachineRecord], seconds: float = 0.1) -> None:
    """Raise Refused when one of these machines, just launched, ends within so many seconds."""
    for record in records:
        if record.process is None or processes.wait([record.process], seconds):
            raise Refused(
                "systemd-nspawn ended at once",
                kind="failed",
                machine=record.name,
                seen=console_text(place, record.name),
                hint=f"`invoke console --machine {record.name}` shows all that it said",
            )
        seconds = 0.0


def halt(records: Sequence[MachineRecord], timeout: float) -> None:
    """Ask machines to power off, all at once, and wait at most ``timeout`` seconds for the last of them."""
    running = [record.process for record in records if record.process and processes.alive(record.process)]
    processes.send([process.pid for process in running], signal.SIGTERM)
    processes.wait(running, timeout)


def kill(place: Place, records: Sequence[MachineRecord], layout: cgroups.Layout) -> None:
    """End machines without asking them, all at once, and take away their mounts and control groups.

    Whatever is in a machine's own groups belongs to it, also when its launch was interrupted and no process is known.
    """
    folders = [group for record in records for group in cgroups.groups(layout, unit(place, record.name))]
    _kill([record.process for record in records if record.process])
    kill_group_members(folders)
    for record in records:
        network.unplug(place, f"vb-{unit(place, record.name)}")
        tree.unmount(place.machines / record.name)
    forget(place, [record.name for record in records])


def remains(place: Place, layout: cgroups.Layout) -> None:
    """End and remove whatever is left of machines of a cluster that has no record of them any more."""
    kill_group_members(cgroups.matching(layout, unit(place, "")))
    forget(place, [path.name.removeprefix(unit(place, "")) for path in PROPAGATE.glob(f"{unit(place, '')}*")])


def forget(place: Place, names: Sequence[str]) -> None:
    """Remove what nspawn itself leaves of machines that were killed."""
    for name in names:
        with suppress(OSError):  # gone, or something of nspawn's own still in it
            (PROPAGATE / unit(place, name)).rmdir()


def kill_group_members(folders: Sequence[Path]) -> None:
    """End all processes in these control groups, and remove the groups."""
    _kill([process for process in map(processes.identify, cgroups.members(folders)) if process])
    cgroups.remove(folders)


def _kill(doomed: Sequence[Process]) -> None:
    processes.send([process.pid for process in doomed if processes.alive(process)], signal.SIGKILL)
    if not processes.wait(doomed, 10.0):
        raise Refused("processes of a machine did not end within 10 s of being killed", kind="failed")


def console_text(place: Place, name: str) -> str:
    """What a machine said on its console, "" when nothing."""
    try:
        data = (place.machines / name / "console.log").read_bytes()
    except FileNotFoundError:
        return ""
    return data.decode(errors="replace").replace("\r\n", "\n")
