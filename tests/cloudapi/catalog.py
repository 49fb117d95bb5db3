"""The account, what it may use, and its keys."""

from __future__ import annotations

import random
import time
from base64 import b64decode
from typing import Any

from .answers import Answer, Refusal, invalid, missing, unknown
from .asked import Asked
from .versions import ROUTES
from .world import SINCE, Key, World, fingerprint

CENTER = "test-1"
NAMED = {"Triton-Datacenter-Name": CENTER}


def ping(world: World, asked: Asked) -> Answer:
    """GET /--ping."""
    versions = [".".join(map(str, one)) for one in reversed(ROUTES)]
    return Answer(body={"ping": "pong", "cloudapi": {"versions": versions}}, headers=dict(NAMED))


def account(world: World, asked: Asked) -> Answer:
    """GET /my."""
    body = {"id": world.id, "login": world.login, "email": f"{world.login}@example.com"}
    return Answer(body={**body, "triton_cns_enabled": world.names_in_dns, "updated": SINCE, "created": SINCE})


def services(world: World, asked: Asked) -> Answer:
    """GET /my/services."""
    return Answer(body={"cloudapi": world.url})


def datacenters(world: World, asked: Asked) -> Answer:
    """GET /my/datacenters."""
    return Answer(body={CENTER: world.url}, headers=dict(NAMED))


def datacenter(world: World, asked: Asked) -> Answer:
    """GET /my/datacenters/NAME."""
    name = asked.params["name"]
    if name != CENTER:
        raise unknown(f"{name} is not an available datacenter")
    raise Refusal(302, "ResourceMoved", f" {name} {world.url}", headers={"Location": world.url})


def images(world: World, asked: Asked) -> Answer:
    """GET /my/images."""
    wanted = {key: asked.query[key] for key in ("name", "version", "os", "type", "owner") if key in asked.query}
    state = asked.query.get("state", "active")
    found = [
        one
        for one in world.images.values()
        if all(one[key] == value for key, value in wanted.items()) and state in ("all", one["state"])
    ]
    return Answer(body=[_for_version(one, asked) for one in random.sample(found, len(found))])


def image(world: World, asked: Asked) -> Answer:
    """GET /my/images/ID."""
    return Answer(body=_for_version(find_image(world, asked.params["image"]), asked))


def find_image(world: World, id: str) -> dict[str, Any]:
    """The image of that id; raises Refusal."""
    if id not in world.images:
        raise unknown("image not found")
    return world.images[id]


def packages(world: World, asked: Asked) -> Answer:
    """GET /my/packages."""
    wanted = {key: asked.query[key] for key in ("name", "memory", "disk", "version", "group") if key in asked.query}
    found = [one for one in world.packages.values() if all(str(one[key]) == value for key, value in wanted.items())]
    return Answer(body=[one for one in found if one.get("active", True)])


def package(world: World, asked: Asked) -> Answer:
    """GET /my/packages/ID-or-NAME."""
    wanted = asked.params["package"]
    found = world.find_package(wanted)
    if found is None:
        raise unknown(f"{wanted} not found")
    return Answer(body=found)


def networks(world: World, asked: Asked) -> Answer:
    """GET /my/networks."""
    only_fabric = asked.query.get("fabric") == "true"
    return Answer(body=[one for one in world.networks.values() if one.get("fabric") or not only_fabric])


def network(world: World, asked: Asked) -> Answer:
    """GET /my/networks/ID."""
    id = asked.params["network"]
    found = world.networks.get(id) or world.pooled.get(id)
    if found is None:
        raise unknown(f"{id} not found")
    return Answer(body=found)


def keys(world: World, asked: Asked) -> Answer:
    """GET /my/keys."""
    return Answer(body=[one.body() for one in world.keys])


def key(world: World, asked: Asked) -> Answer:
    """GET /my/keys/NAME-or-MD5."""
    return Answer(body=_find_key(world, asked).body())


def add_key(world: World, asked: Asked) -> Answer:
    """POST /my/keys."""
    line = asked.params.get("key")
    if not line:
        raise missing("key is a required argument")
    words = str(line).split()
    try:
        b64decode(words[1], validate=True)
    except (IndexError, ValueError) as error:
        raise invalid("key is invalid") from error
    new = Key(str(asked.params.get("name") or fingerprint(line)), str(line).strip(), time.monotonic())
    if any(new.name == one.name or new.fingerprint == one.fingerprint for one in world.keys):
        raise invalid("key already exists or is invalid")
    world.keys.append(new)
    where = f"/{world.login}/keys/{new.fingerprint.replace(':', '%3A')}"
    return Answer(201, new.body(), {"Location": where})


def remove_key(world: World, asked: Asked) -> Answer:
    """DELETE /my/keys/NAME-or-MD5."""
    world.keys.remove(_find_key(world, asked))
    return Answer(204)


def _find_key(world: World, asked: Asked) -> Key:
    wanted = asked.params["key"]
    found = next((one for one in world.keys if wanted in (one.name, one.fingerprint)), None)
    if found is None:
        raise unknown(f"{wanted} not found")
    return found


def _for_version(image: dict[str, Any], asked: Asked) -> dict[str, Any]:
    """The words of the version that was asked for: version 7 has but two types."""
    if not asked.headers.get("Accept-Version", "").startswith("~7"):
        return image
    return image | {"type": "virtualmachine" if image["type"] == "zvol" else "smartmachine"}
