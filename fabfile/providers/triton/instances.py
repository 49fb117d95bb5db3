"""Instances: the account's machines as frozen values, what CloudAPI says of their state, and which address is public.

Asking for all machines of a cluster is one list by tag; those that the list leaves out (failed ones, deleted ones) are
asked for by their ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from ...remote import each, values
from .api import Api, entries, step, thing
from .catalog import Networks


class InstanceState(StrEnum):
    """CloudAPI's states; what it calls otherwise is UNKNOWN, and passes."""

    PROVISIONING = "provisioning"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    READY = "ready"
    OFFLINE = "offline"
    DELETED = "deleted"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Nic:
    """A network interface; ``network`` is the id of the network that it is in."""

    address: str
    network: str
    mac: str = ""
    primary: bool = False


@dataclass(frozen=True)
class Instance:
    """A machine as CloudAPI describes it; ``created`` is seconds since the epoch, 0 when it does not say.

    ``package`` and the interfaces of a new machine are empty for a while. Tags are texts, whatever they were set as.
    ``memory`` and ``disk`` are MiB. ``server`` is the id of the computer that it is on, "" as long as there is none.
    """

    id: str
    name: str
    state: InstanceState
    image: str = ""
    package: str = ""
    brand: str = ""
    tags: Mapping[str, str] = field(default_factory=dict, hash=False)
    metadata: Mapping[str, str] = field(
        default_factory=dict, hash=False, repr=False
    )  # it may be large, and is not for a log
    nics: tuple[Nic, ...] = ()
    primary_address: str = ""
    created: float = 0.0
    memory: int = 0
    disk: int = 0
    firewall: bool = False
    protected: bool = False
    server: str = ""

    @property
    def gone(self) -> bool:
        """True when it is deleted, from where nothing comes back."""
        return self.state is InstanceState.DELETED

    @property
    def failed(self) -> bool:
        """True when it could not be made; lists leave it out, and it must be deleted all the same."""
        return self.state is InstanceState.FAILED

    @property
    def settled(self) -> bool:
        """True when it will stay as it is unless somebody acts."""
        return self.state in (InstanceState.RUNNING, InstanceState.STOPPED, InstanceState.DELETED, InstanceState.FAILED)


def parse(body: Mapping[str, Any]) -> Instance:
    """An instance from CloudAPI's JSON; what is missing there is empty here."""
    nics = body.get("nics")
    return Instance(
        id=str(body.get("id") or ""),
        name=str(body.get("name") or ""),
        state=_state(body.get("state")),
        image=str(body.get("image") or ""),
        package=str(body.get("package") or ""),
        brand=str(body.get("brand") or ""),
        tags=_texts(body.get("tags")),
        metadata=_texts(body.get("metadata")),
        nics=tuple(_nic(one) for one in nics if isinstance(one, dict)) if isinstance(nics, list) else (),
        primary_address=str(body.get("primaryIp") or ""),
        created=_seconds(body.get("created")),
        memory=_whole(body.get("memory")),
        disk=_whole(body.get("disk")),
        firewall=body.get("firewall_enabled") is True,
        protected=body.get("deletion_protection") is True,
        server=str(body.get("compute_node") or ""),
    )


def public_address(instance: Instance, networks: Networks) -> str:
    """Its address in a network that CloudAPI calls public, the primary one of several; "" for none."""
    return _first(instance, [nic for nic in instance.nics if networks.public(nic.network) is True])


def private_address(instance: Instance, networks: Networks) -> str:
    """Its address in a network that CloudAPI calls not public; "" for none."""
    return _first(instance, [nic for nic in instance.nics if networks.public(nic.network) is False])


def reachable_address(instance: Instance, networks: Networks) -> str:
    """The address to log in at from outside: the public one, else the one that CloudAPI calls primary; "" for none."""
    return public_address(instance, networks) or instance.primary_address


def instance(api: Api, id: str) -> Instance | None:
    """The machine of that id, also when it failed or is deleted; None when there never was one in this account."""
    doing = f"looking for the machine {id}"
    answer = api.call("GET", f"/machines/{step(id)}", doing, passing=(404, 410))
    if answer.status == 404:
        return None
    if answer.status == 410 and not isinstance(answer.body, dict):  # for a moment there is nothing but its id
        return Instance(id, "", InstanceState.DELETED)
    return parse(thing(answer, doing))


def tagged(api: Api, tags: Mapping[str, str], *, name: str = "", gone_too: bool = False) -> list[Instance]:
    """The machines that have all these tags, and exactly that name unless it is ""; failed ones are left out.

    ``gone_too`` gives failed and deleted ones as well. A machine that was just made may be missing from the answer.
    """
    query: dict[str, str] = {f"tag.{key}": value for key, value in tags.items()}
    if name:
        query["name"] = name  # which CloudAPI takes for the beginning of a name
    if gone_too:
        query["tombstone"] = "true"
    found = [parse(one) for one in api.paged("/machines", "looking for machines", **query)]
    return [one for one in found if not name or one.name == name]


def survey(api: Api, tags: Mapping[str, str], remembered: Iterable[str] = ()) -> list[Instance]:
    """The machines that have all these tags, and those of the remembered ids that the list leaves out, failed or gone.

    Of a remembered id that never was one of this account there is nothing.
    """
    found = tagged(api, tags)
    there = {one.id for one in found}
    missing = [id for id in dict.fromkeys(remembered) if id not in there]
    asked = values(each(missing, lambda id: instance(api, id)))
    return found + [one for one in asked if one is not None]


def listed(api: Api, path: str, doing: str) -> list[Instance]:
    """The machines that another list of CloudAPI's consists of, such as those that a firewall rule is about."""
    return [parse(one) for one in entries(api.get(path, doing), doing)]


def _first(instance: Instance, nics: list[Nic]) -> str:
    return next((nic.address for nic in sorted(nics, key=lambda nic: not nic.primary) if nic.address), "")


def _state(value: object) -> InstanceState:
    try:
        return InstanceState(str(value))
    except ValueError:
        return InstanceState.UNKNOWN


def _nic(body: Mapping[str, Any]) -> Nic:
    return Nic(
        address=str(body.get("ip") or ""),
        network=str(body.get("network") or ""),
        mac=str(body.get("mac") or ""),
        primary=body.get("primary") is True,
    )


def _texts(value: object) -> dict[str, str]:
    """Tags and metadata as texts; what is set as a number or a truth value is told as JSON tells it."""
    if not isinstance(value, dict):
        return {}
    return {str(key): str(one).lower() if isinstance(one, bool) else str(one) for key, one in value.items()}


def _seconds(value: object) -> float:
    try:
        at = datetime.fromisoformat(str(value))
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
