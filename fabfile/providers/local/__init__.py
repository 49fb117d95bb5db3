"""Provider ``local``: machines on this computer, each a real systemd host made by systemd-nspawn.

What needs root is done by the program in ``root/``; here its answers become frozen values. The truth about machines
lies in root's folder /var/lib/ipyfleet, so clusters are found and removed also when the user's record is lost.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from ...errors import ClusterError
from ...machines import (
    Cluster,
    Endpoint,
    Event,
    Finding,
    Found,
    Machine,
    MachineSpec,
    MachineState,
    OnEvent,
)
from ...settings import Settings
from ...software import Software, software, wheelhouse
from . import privilege, release
from .privilege import call
from .root.fields import HIGHEST_INDEX

USER = "ipyfleet"
MACHINE_BYTES = 200_000_000  # what a machine writes to its disk in ordinary use
IMAGE_BYTES = 3_000_000_000  # an image that is not there yet, while it is built
LAUNCH_TIME = 120.0  # s, before which so many machines are launched
BUILD_TIME = 1900.0  # s


def provider(settings: Settings) -> LocalProvider:
    """The provider for these settings; raises UsageError where it can never work: not Linux, or started by sudo."""
    privilege.refuse_sudo(os.environ, os.geteuid())
    return LocalProvider(settings)


class LocalProvider:
    """Machines on this computer; ``bare`` ones have nothing of the project on them but a login user."""

    name = "local"
    owns_machines = True

    def __init__(self, settings: Settings, *, bare: bool = False, platform: release.Platform | None = None) -> None:
        self.settings = settings
        self.bare = bare
        self.platform = platform or release.observe()
        release.need_linux(self.platform)

    def engines_per_machine(self, engines: int) -> int:
        """One: an engine machine is a systemd host of its own, as on a cloud."""
        return 1

    def check(self, new_machines: int) -> list[Finding]:
        """Tools, release, disk space, subnet and number of machines, all at once."""
        findings = []
        if new_machines > HIGHEST_INDEX + 2:
            text = f"{new_machines} machines do not fit into one cluster's network, which has {HIGHEST_INDEX + 2}"
            findings.append(Finding("error", text, "ask for fewer engines, or set engines_per_machine"))
        if self.platform.missing_tools:
            packages = sorted({release.TOOLS[tool] for tool in self.platform.missing_tools})
            text = f"not installed here: {', '.join(self.platform.missing_tools)}"
            findings.append(Finding("error", text, f"run bootscripts/here.sh, or install {' '.join(packages)}"))
        try:
            facts = self._inspect()
        except ClusterError as error:
            return [*findings, Finding("error", error.message, error.hint)]
        findings += [Finding("error", error["message"], error["hint"]) for error in facts["refusals"]]
        needed = MACHINE_BYTES * new_machines + (IMAGE_BYTES if facts["missing"] and new_machines else 0)
        if facts["free"] < needed:
            text = f"{needed / 1e9:.1f} GB are needed below /var/lib/ipyfleet, {facts['free'] / 1e9:.1f} GB are free"
            findings.append(Finding("error", text, "free some space, or ask for fewer engines"))
        return findings

    def prepare(self, on_event: OnEvent) -> None:
        """Build the image's layers that are missing; asks for sudo's password when it must."""
        facts = self._inspect()
        what = f"image: {self._image['distribution']} {self._image['suite']}"
        if any(layer.startswith("base-") for layer in facts["missing"]):
            _build(on_event, f"{what} base", {"image": {**self._image, "software": ""}})
        if any(layer.startswith("software-") for layer in facts["missing"]) and self._software:
            tar = wheelhouse(self._software, on_event)
            _build(on_event, f"{what} with the software", {"image": self._image, "wheelhouse": str(tar)})

    def find(self, cluster: str) -> Found:
        """What root's folder and the processes of this computer say."""
        return _found(call("find", {"cluster": cluster}))

    def clusters(self) -> list[Found]:
        """Every cluster of this user on this computer."""
        return [_found(one) for one in call("clusters", {})["clusters"]]

    def create(self, cluster: Cluster, specs: Sequence[MachineSpec], on_event: OnEvent) -> tuple[Machine, ...]:
        """Launch machines, all at once; they boot while this returns."""
        if not specs:
            return ()
        request = {
            "cluster": cluster.name,
            "subnets": self.settings.subnets,
            "tags": {"id": cluster.id, "owner": cluster.owner, "created": cluster.created},
            "image": self._image,
            "machines": [
                {"role": spec.role, "index": spec.index, "authorized_keys": list(spec.authorized_keys)}
                for spec in specs
            ],
        }
        begun = time.monotonic()
        found = _found(call("create", request, timeout=LAUNCH_TIME))
        on_event(Event(f"{len(specs)} machine{'s'[: len(specs) > 1]} launched", seconds=time.monotonic() - begun))
        return _those(found, [spec.name for spec in specs])

    def destroy(self, cluster: str, machines: Sequence[Machine]) -> None:
        """Kill machines and remove their disks."""
        if machines:
            call("destroy", _meant(cluster, machines))

    def clean(self, cluster: str) -> None:
        """Remove the cluster's network and folder."""
        call("clean", {"cluster": cluster})

    def console(self, machine: Machine) -> str:
        """The boot console, of this boot and those before."""
        return str(call("console", {"id": machine.id})["text"])

    def stop(self, cluster: str, machines: Sequence[Machine]) -> None:
        """Power machines off, all at once; what does not end in ``stop_timeout`` is killed."""
        if machines:
            timeout = self.settings.stop_timeout
            call("stop", {**_meant(cluster, machines), "timeout": timeout}, timeout=timeout + LAUNCH_TIME)

    def start(self, cluster: str, machines: Sequence[Machine]) -> tuple[Machine, ...]:
        """Launch machines that are off, all at once; network and mounts are made anew where they are gone."""
        if not machines:
            return ()
        request = {**_meant(cluster, machines), "subnets": self.settings.subnets}
        found = _found(call("start", request, timeout=LAUNCH_TIME))
        return _those(found, [machine.name for machine in machines])

    def authorize(self, cluster: str, public_key: str) -> None:
        """Let a key in on all machines of the cluster."""
        call("authorize", {"cluster": cluster, "key": public_key})

    @cached_property
    def _software(self) -> Software | None:
        return None if self.bare else software(self.settings)

    @cached_property
    def _image(self) -> dict[str, str]:
        """The image as the root program names it; raises UsageError when no release fits."""
        chosen = release.choose(self.platform, self.settings.release)
        software_id = self._software.id if self._software else ""
        return {"distribution": chosen.distribution, "suite": chosen.suite, "software": software_id}

    def _inspect(self) -> dict[str, Any]:
        what = {"cluster": self.settings.cluster, "subnets": self.settings.subnets, "image": self._image}
        return call("inspect", what)


def _build(on_event: OnEvent, what: str, request: Mapping[str, Any]) -> None:
    on_event(Event(what))
    begun = time.monotonic()
    call("image-build", request, timeout=BUILD_TIME)
    on_event(Event(what, seconds=time.monotonic() - begun))


def _meant(cluster: str, machines: Sequence[Machine]) -> dict[str, Any]:
    """Machines by name and id: a name that was given anew is another machine."""
    return {"cluster": cluster, "machines": [{"name": machine.name, "id": machine.id} for machine in machines]}


def _those(found: Found, names: Sequence[str]) -> tuple[Machine, ...]:
    return tuple(machine for machine in map(found.by_name, names) if machine)


def _found(answer: Mapping[str, Any]) -> Found:
    cluster = answer["cluster"]
    return Found(Cluster(**cluster) if cluster else None, tuple(_machine(one) for one in answer["machines"]))


def _machine(answer: Mapping[str, Any]) -> Machine:
    address = answer["address"]
    return Machine(
        name=answer["name"],
        id=answer["id"],
        role=answer["role"],
        index=answer["index"],
        state=MachineState(answer["state"]),
        endpoint=Endpoint(address, USER) if address else None,
        private_address=address,
        host_keys=(answer["host_key"],) if answer["host_key"] else (),
        created=answer["created"],
        detail=answer["detail"],
    )
