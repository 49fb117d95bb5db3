"""What the client may say: each field of a request by its strict pattern, before anything is done with it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import Refused

HIGHEST_INDEX = 243  # the last address of a cluster's /24 that an engine can have: .11 + 243 = .254

CLUSTER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
MACHINE = re.compile(r"controller|engine-(0|[1-9][0-9]{0,2})")
LAYER = re.compile(r"(base|software)-[0-9a-f]{16}")
SUITE = re.compile(r"[a-z][a-z0-9]{1,31}")
OWNER = re.compile(r"[\x21-\x7e]{1,128}")
PUBLIC_KEY = re.compile(
    r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-ssh-ed25519@openssh\.com|"
    r"sk-ecdsa-sha2-nistp256@openssh\.com) [A-Za-z0-9+/]{16,16384}={0,3}( [\x20-\x7e]{0,256})?"
)
DISTRIBUTIONS = ("debian", "ubuntu")


@dataclass(frozen=True)
class Spec:
    """A machine that shall be."""

    role: str
    index: int
    authorized_keys: tuple[str, ...]

    @property
    def name(self) -> str:
        """``controller`` or ``engine-3``."""
        return "controller" if self.role == "controller" else f"engine-{self.index}"


class Fields:
    """One JSON object of a request; each reader checks one field and raises Refused for anything odd."""

    def __init__(self, values: object, what: str = "the request") -> None:
        if not isinstance(values, dict):
            raise Refused(f"{what} is not a JSON object", kind="usage")
        self.values: Mapping[str, Any] = values

    def text(self, name: str, pattern: re.Pattern[str], default: str | None = None) -> str:
        """A string that is of the pattern as a whole; ``default`` is taken when the field is not there."""
        if name not in self.values and default is not None:
            return default
        value = self.values.get(name)
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise Refused(f"{name}: {value!r} is not allowed", kind="usage")
        return value

    def number(self, name: str, low: float, high: float) -> float:
        """A number between the two, which no NaN is."""
        value = self.values.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise Refused(f"{name}: {value!r} is not a number", kind="usage")
        if not low <= value <= high:
            raise Refused(f"{name}: {value!r} is not between {low:g} and {high:g}", kind="usage")
        return value

    def inner(self, name: str) -> Fields:
        """An object in the object."""
        return Fields(self.values.get(name), name)

    def items(self, name: str) -> list[Any]:
        """A list of at most 1000 items."""
        value = self.values.get(name)
        if not isinstance(value, list) or len(value) > 1000:
            raise Refused(f"{name} is not a list, or too long", kind="usage")
        return value

    def texts(self, name: str, pattern: re.Pattern[str]) -> tuple[str, ...]:
        """A list of strings of that pattern."""
        return tuple(Fields({name: item}).text(name, pattern) for item in self.items(name))

    def machines(self) -> tuple[tuple[str, str], ...]:
        """The machines meant, each by name and id."""
        inner = [Fields(item, "a machine") for item in self.items("machines")]
        return tuple((one.text("name", MACHINE), one.text("id", ID)) for one in inner)

    def specs(self) -> tuple[Spec, ...]:
        """The machines that shall be, no two of one name."""
        specs = tuple(_spec(Fields(item, "a machine")) for item in self.items("machines"))
        if len({spec.name for spec in specs}) < len(specs):
            raise Refused("two machines of one name in one request", kind="usage")
        return specs

    def pools(self) -> tuple[ipaddress.IPv4Network, ...]:
        """``subnets``: private IPv4 networks, separated by commas or blanks, each large enough for a /24."""
        text = self.text("subnets", re.compile(r"[0-9./, ]{9,200}"))
        return tuple(_pool(word) for word in text.replace(",", " ").split())


def _spec(fields: Fields) -> Spec:
    role = fields.text("role", re.compile("controller|engine"))
    index = fields.number("index", 0, HIGHEST_INDEX)
    if not isinstance(index, int) or (role == "controller" and index != 0):
        raise Refused(f"index: {index!r} is no index of a {role}", kind="usage")
    return Spec(role, index, fields.texts("authorized_keys", PUBLIC_KEY))


def _pool(word: str) -> ipaddress.IPv4Network:
    try:
        network = ipaddress.IPv4Network(word)
    except ValueError as error:
        raise Refused(f"subnets: {word!r} is not a network: {error}", kind="usage") from None
    if network.prefixlen > 24 or not network.is_private or network.is_loopback or network.is_link_local:
        raise Refused(f"subnets: {word} is not a private network of /24 or larger", kind="usage")
    return network
