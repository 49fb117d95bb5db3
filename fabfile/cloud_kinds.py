"""Kinds of values that only machines in a cloud need: zones, types, networks, ports, tags, hooks.

The same form as in kinds.py: the checked value, or ValueError with a phrase that completes the key. No cloud is asked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from .kinds import nearest, one_line

EVENTS = ("machine_up", "cluster_up", "machine_down")
RESERVED = ("aws:", "ipyfleet:")


def _like(pattern: str, wanted: str) -> Callable[[str], str]:
    def kind(value: str) -> str:
        if not re.fullmatch(pattern, value, re.ASCII):
            raise ValueError(f"has {value!r}, which is not {wanted}")
        return value

    return kind


zone = _like(r"[a-z]{2}(-[a-z]+)+-[0-9]+([a-z]|(-[a-z0-9]+)+)", "an availability zone like eu-central-1a")
machine_type = _like(r"[A-Za-z0-9][A-Za-z0-9._-]*", "a type or package like m7i.large or g4-highcpu-1G")
network_name = _like(r"[A-Za-z0-9][A-Za-z0-9 ._:-]*", "the name or id of a network")
affinity = _like(r"[A-Za-z_][A-Za-z0-9_.-]+ *(==|!=)~?.+", "a rule like role!=~engine")
host_key = _like(r"first-use|SHA256:[A-Za-z0-9+/]{43}", "a fingerprint like SHA256:…")
subnet = _like(r"subnet-[0-9a-f]{8,17}", "the id of a subnet, like subnet-0123456789abcdef0")
system_package = _like(r"[a-z0-9][a-z0-9+.-]*", "a Debian package like git")


def price(value: object) -> float:
    """US dollars an hour as a number, 0 for no limit of one's own."""
    wanted = "must be US dollars an hour like 0.05, or 0 for no limit of your own"
    if isinstance(value, bool):
        raise ValueError(wanted)
    try:
        given = float(str(value))
    except ValueError:
        raise ValueError(wanted) from None
    if not math.isfinite(given) or not 0 <= given <= 1000:
        raise ValueError(wanted)
    return given


def price_list(value: object) -> tuple[tuple[str, float], ...]:
    """US dollars an hour by package, as sorted pairs."""
    wanted = "must be packages and US dollars an hour, like {g4-highcpu-1G: 0.02}"
    if isinstance(value, str):
        pairs = [pair.strip().partition("=") for pair in value.split(",") if pair.strip()]
        value = {name: content for name, _, content in pairs}
    if not isinstance(value, dict):
        raise ValueError(wanted)
    try:
        return tuple(sorted((str(name), price(content)) for name, content in value.items()))
    except ValueError:
        raise ValueError(wanted) from None


def network(value: str) -> str:
    """An IPv4 or IPv6 network in CIDR form; an address alone is itself."""
    from ipaddress import ip_network

    try:
        return str(ip_network(value, strict=True))
    except ValueError:
        pass
    try:
        near = f"; did you mean {ip_network(value, strict=False)}?"
    except ValueError:
        near = ""
    raise ValueError(f"has {value!r}, which is not a network like 203.0.113.0/24{near}")


def source(value: str) -> str:
    """Where SSH may come from: a network, or ``auto`` for this computer's own address as the internet sees it."""
    return value if value == "auto" else network(value)


def open_port(value: str) -> str:
    """A port that the world outside may reach: ``8888:203.0.113.0/24``, ``8000-8010:…`` or ``udp:60000-61000:…``."""
    match = re.fullmatch(r"(?:(tcp|udp):)?([0-9]{1,5})(?:-([0-9]{1,5}))?:(.+)", value, re.ASCII)
    first, last = (int(match[2]), int(match[3] or match[2])) if match else (0, 0)
    if not match or not 0 < first <= last < 65536:
        raise ValueError(f"has {value!r}, which is not ports and a network like 8888:203.0.113.0/24")
    ports = f"{first}-{last}" if last != first else f"{first}"
    return f"{match[1] or 'tcp'}:{ports}:{network(match[4])}"


def tags(value: object) -> tuple[tuple[str, str], ...]:
    """Tags for everything that is made in the cloud, as sorted (name, value) pairs."""
    if isinstance(value, str):
        pairs = [pair.strip().partition("=") for pair in value.split(",") if pair.strip()]
        value = {name: content if equals else None for name, equals, content in pairs}
    if not isinstance(value, dict) or not all(isinstance(one, str | int | float) for one in value.values()):
        raise ValueError("must be names and values, like {project: spectra}")
    for name, content in value.items():
        if not 1 <= len(str(name)) <= 128 or len(str(content)) > 256:
            raise ValueError(f"has {name}: a name has 1 to 128 characters and its value 256 at the most")
        if str(name).lower().startswith(RESERVED) or str(name) == "Name":
            raise ValueError(f"has {name}, which is not yours to set: leave it out")
        one_line(f"{name}{content}")
    if len(value) > 30:
        raise ValueError("has more than 30 tags; the cloud allows 50 and some are ours")
    return tuple(sorted((str(name), str(content)) for name, content in value.items()))


def hooks(value: object) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """What to run when: for each event the names of fab tasks or paths of scripts, in their order."""
    if not isinstance(value, dict):
        raise ValueError("must be events and what to run then, like {machine_up: [~/mount-data.sh]}")
    found = []
    for event, given in value.items():
        if event not in EVENTS:
            raise ValueError(f"has {event!r}, which is none of {', '.join(EVENTS)}{nearest(str(event), EVENTS)}")
        words = [given] if isinstance(given, str) else given
        if not isinstance(words, list) or not all(isinstance(word, str) and word.strip() for word in words):
            raise ValueError(f"must give {event} a list of tasks and scripts, like [~/mount-data.sh]")
        found.append((str(event), tuple(one_line(word) for word in words)))
    return tuple(sorted(found))
