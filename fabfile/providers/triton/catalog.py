"""The catalog: what the account and its data center offer to make machines of, as frozen values. Changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from packaging.version import InvalidVersion, Version

from .api import Api, entries, step, thing


@dataclass(frozen=True)
class Account:
    """The account that is asked; ``names_in_dns`` says that machine names become names in the DNS, so are shorter."""

    id: str
    login: str
    names_in_dns: bool = False


@dataclass(frozen=True)
class Image:
    """An image; ``published`` is CloudAPI's date, ``least_memory`` MiB, 0 when it asks for none."""

    id: str
    name: str
    version: str
    os: str = ""
    type: str = ""
    state: str = ""
    published: str = ""
    public: bool = False
    owner: str = ""
    least_memory: int = 0


@dataclass(frozen=True)
class Package:
    """A size of machine; MiB. ``vcpus`` may be 0, which says nothing about processors."""

    id: str
    name: str
    memory: int
    disk: int
    vcpus: int = 0
    version: str = ""
    group: str = ""


@dataclass(frozen=True)
class Network:
    """A network, or a pool of several; ``public`` is the only thing that tells an address that the world can reach."""

    id: str
    name: str
    public: bool
    fabric: bool = False
    subnet: str = ""


@dataclass(frozen=True)
class Key:
    """A public key of the account, which may log in everywhere; ``fingerprint`` is MD5."""

    name: str
    fingerprint: str
    line: str


class Networks:
    """What is known of networks, asked for once; used by any number of threads."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._lock = threading.Lock()
        self._public: dict[str, bool | None] = {}

    def public(self, id: str) -> bool | None:
        """Whether the network is public; None when CloudAPI does not know it.

        A network that is part of a pool is not in the list, and is asked for by itself.
        """
        with self._lock:
            if not self._public:
                self._public.update({one.id: one.public for one in networks(self._api)})
            if id not in self._public:
                found = network(self._api, id)
                self._public[id] = found.public if found else None
            return self._public[id]


def account(api: Api) -> Account:
    """The account; the cheapest proof that address, login, key and clock are right."""
    doing = f"logging in to {api.identity.url} as {api.identity.who}"
    body = thing(api.get("", doing), doing)
    return Account(_text(body, "id"), _text(body, "login"), body.get("triton_cns_enabled") is True)


def datacenters(api: Api) -> dict[str, str]:
    """The address of the CloudAPI of each data center, by its name."""
    doing = "looking for data centers"
    return {str(name): str(url) for name, url in thing(api.get("/datacenters", doing), doing).items()}


def images(api: Api, name: str = "", version: str = "") -> list[Image]:
    """The active images, the newest version first, of that name and version unless these are ""."""
    query = {key: value for key, value in (("name", name), ("version", version)) if value}
    found = [_image(one) for one in entries(api.get("/images", "looking for images", **query), "looking for images")]
    # CloudAPI promises neither an order nor that a filter is exact.
    wanted = [one for one in found if (not name or one.name == name) and (not version or one.version == version)]
    return sorted(wanted, key=lambda one: (_order(one.version), one.published, one.id), reverse=True)


def image(api: Api, id: str) -> Image | None:
    """The image of that id, or None."""
    doing = f"looking for the image {id}"
    answer = api.call("GET", f"/images/{step(id)}", doing, passing=(404,))
    return None if answer.status == 404 else _image(thing(answer, doing))


def packages(api: Api) -> list[Package]:
    """The packages of the account, the smallest first."""
    found = entries(api.get("/packages", "looking for packages"), "looking for packages")
    return sorted((_package(one) for one in found), key=lambda one: (one.memory, one.name, one.id))


def package(api: Api, name_or_id: str) -> Package | None:
    """The package of that name or id, or None; of several versions of a name the highest."""
    doing = f"looking for the package {name_or_id}"
    answer = api.call("GET", f"/packages/{step(name_or_id)}", doing, passing=(404,))
    return None if answer.status == 404 else _package(thing(answer, doing))


def networks(api: Api) -> list[Network]:
    """The networks and pools that the account may use."""
    doing = "looking for networks"
    return sorted((_network(one) for one in entries(api.get("/networks", doing), doing)), key=lambda one: one.name)


def network(api: Api, id: str) -> Network | None:
    """The network of that id, or None."""
    doing = f"looking for the network {id}"
    answer = api.call("GET", f"/networks/{step(id)}", doing, passing=(404,))
    return None if answer.status == 404 else _network(thing(answer, doing))


def account_keys(api: Api) -> list[Key]:
    """The account's public keys, in the order of their names."""
    doing = "looking for the account's keys"
    found = entries(api.get("/keys", doing), doing)
    keys = (Key(_text(one, "name"), _text(one, "fingerprint"), _text(one, "key").strip()) for one in found)
    return sorted(keys, key=lambda one: one.name)


def _image(body: Mapping[str, Any]) -> Image:
    requirements = body.get("requirements")
    needs = requirements if isinstance(requirements, dict) else {}
    return Image(
        id=_text(body, "id"),
        name=_text(body, "name"),
        version=_text(body, "version"),
        os=_text(body, "os"),
        type=_text(body, "type"),
        state=_text(body, "state"),
        published=_text(body, "published_at"),
        public=body.get("public") is True,
        owner=_text(body, "owner"),
        least_memory=_whole(needs, "min_ram") or _whole(needs, "min_memory"),
    )


def _package(body: Mapping[str, Any]) -> Package:
    return Package(
        id=_text(body, "id"),
        name=_text(body, "name"),
        memory=_whole(body, "memory"),
        disk=_whole(body, "disk"),
        vcpus=_whole(body, "vcpus"),
        version=_text(body, "version"),
        group=_text(body, "group"),
    )


def _network(body: Mapping[str, Any]) -> Network:
    return Network(
        id=_text(body, "id"),
        name=_text(body, "name"),
        public=body.get("public") is True,
        fabric=body.get("fabric") is True,
        subnet=_text(body, "subnet"),
    )


def _order(version: str) -> tuple[bool, Version]:
    """Versions in their order; those that are none come last."""
    try:
        return True, Version(version)
    except InvalidVersion:
        return False, Version("0")


def _text(body: Mapping[str, Any], key: str) -> str:
    value = body.get(key)
    return value if isinstance(value, str) else ""


def _whole(body: Mapping[str, Any], key: str) -> int:
    value = body.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
