"""Kinds of values: each turns what a file, a variable or an option gave into a checked value.

A kind takes text or a YAML value and returns the value, or raises ValueError with a phrase that completes
"engines …": "must be a whole number from 1 to 10000". It knows neither the key nor where the value stood.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable

from .paths import expanded

UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
QUOTES = "(YAML reads a bare yes, no, on, off or number as something else than text: put it in quotes)"


def whole(low: int, high: int) -> Callable[[object], int]:
    """A whole number within limits, both included."""

    def kind(value: object) -> int:
        if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,15}", value.strip()):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return value

    return kind


def duration(low: str, high: str, *, off: bool = False) -> Callable[[object], float]:
    """A time in seconds: ``20s``, ``100ms``, ``90m``, ``8h``, ``2d`` or a number of them; ``off`` is 0 if allowed."""
    allowed = f"must be a time from {low} to {high}, like 20s, 90m, 8h or a number of seconds" + ", or off" * off

    def kind(value: object) -> float:
        if off and (value is False or str(value).strip().lower() in ("off", "0")):
            return 0.0
        try:
            given = seconds(value)
        except ValueError:
            raise ValueError(allowed) from None
        if not seconds(low) <= given <= seconds(high):
            raise ValueError(allowed)
        return given

    return kind


def seconds(value: object) -> float:
    """The seconds of a time such as ``1.5h``; ValueError when it is none."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)\s*([a-z]*)", str(value).strip().lower(), re.ASCII)
    if isinstance(value, bool) or not match or match[2] not in UNITS:
        raise ValueError(f"{value!r} is not a time")
    given = float(match[1]) * UNITS[match[2]]
    if not math.isfinite(given):
        raise ValueError(f"{value!r} is not a time")
    return given


def yes_or_no(value: object) -> bool:
    """True or False, as YAML and people write it."""
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    if isinstance(value, bool):
        return value
    if str(value).strip().lower() not in words:
        raise ValueError("must be true or false")
    return words[str(value).strip().lower()]


def choice(*names: str) -> Callable[[object], str]:
    """One of these words."""

    def kind(value: object) -> str:
        if value not in names:
            raise ValueError(f"must be one of {', '.join(names)}{nearest(str(value), names)}")
        return str(value)

    return kind


def text(pattern: str, wanted: str) -> Callable[[object], str]:
    """Text that matches a whole pattern; ``wanted`` completes "must be"."""

    def kind(value: object) -> str:
        if not isinstance(value, str):
            raise ValueError(f"must be {wanted} {QUOTES}")
        if not re.fullmatch(pattern, value, re.ASCII):
            raise ValueError(f"must be {wanted}")
        return value

    return kind


def listing(item: Callable[[str], str]) -> Callable[[object], tuple[str, ...]]:
    """A list of texts, each checked by ``item``, none of them twice; in one text they are separated by commas."""

    def kind(value: object) -> tuple[str, ...]:
        if isinstance(value, str):
            value = [word.strip() for word in value.split(",") if word.strip()]
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            raise ValueError(f"must be a list of texts, like [a, b] {QUOTES}")
        words, misfits = [], []
        for word in value:
            try:
                words.append(item(word))
            except ValueError as misfit:
                misfits.append(str(misfit))
        misfits += [f"has {word!r} twice" for word in dict.fromkeys(words) if words.count(word) > 1]
        if misfits:
            raise ValueError(", and ".join(misfits))
        return tuple(words)

    return kind


def environment(refused: Callable[[str], str]) -> Callable[[object], tuple[tuple[str, str], ...]]:
    """Variables for a process as sorted (name, value) pairs; ``refused`` says why a name is not allowed, or ""."""

    def kind(value: object) -> tuple[tuple[str, str], ...]:
        if isinstance(value, str):
            pairs = [pair.strip().partition("=") for pair in value.split(",") if pair.strip()]
            value = {name: content if equals else None for name, equals, content in pairs}
        if not isinstance(value, dict):
            raise ValueError("must be names and values, like {OMP_NUM_THREADS: 1}")
        for name, content in value.items():
            if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", str(name), re.ASCII):
                raise ValueError(f"has {name!r}, which cannot be the name of a variable")
            if refused(name):
                raise ValueError(f"has {name}, {refused(name)}")
            if isinstance(content, bool) or not isinstance(content, str | int | float):
                raise ValueError(f"must give {name} a text or number {QUOTES}")
            if not str(content).isprintable():
                raise ValueError(f"has {name} with a line break or another character that cannot be printed")
        return tuple(sorted((str(name), str(content)) for name, content in value.items()))

    return kind


def one_line(value: str) -> str:
    """Text that fits into one line of a configuration file on a host."""
    if not value.isprintable():
        raise ValueError(f"has {value!r}, with a line break or another character that cannot be printed")
    return value


def host(value: str) -> str:
    """A host as ``host``, ``user@host`` or ``user@host:port``; an IPv6 address with a port stands in brackets."""
    match = re.fullmatch(
        r"(?:[A-Za-z_][A-Za-z0-9_.-]*@)?"
        r"(?:[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9]+)?\])(?::([0-9]{1,5}))?",
        value,
        re.ASCII,
    )
    if not match or not 0 < int(match[1] or 22) < 65536:
        raise ValueError(f"has {value!r}, which is not a host like user@host or user@host:2222")
    return value


def maybe(item: Callable[[str], str]) -> Callable[[object], str]:
    """Nothing ("") or one text that ``item`` checks."""

    def kind(value: object) -> str:
        if not isinstance(value, str):
            raise ValueError(f"must be a text {QUOTES}")
        return item(value) if value else ""

    return kind


def requirement(value: str) -> str:
    """A Python package with or without versions, as pip takes it: ``scipy``, ``pandas>=2``."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        Requirement(value)
    except InvalidRequirement:
        raise ValueError(
            f"has {value!r}, which is not a Python package like scipy or pandas>=2 (ranges with a comma: in a file)"
        ) from None
    return value


def merged(requirements: Iterable[str], more: Iterable[str]) -> tuple[str, ...]:
    """The requirements of both, sorted; where both name a package, the later one counts."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    return tuple(sorted({canonicalize_name(Requirement(one).name): one for one in (*requirements, *more)}.values()))


def public_key(value: str) -> str:
    """An SSH public key; a path is read, so that the value is always the key itself."""
    key = value.strip()
    if key.startswith(("/", "~")):
        try:
            key = expanded(key).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise ValueError(f"has {value!r}, which is not a file that can be read") from None
    if not re.fullmatch(r"(?:ssh|ecdsa|sk)-[a-z0-9@.-]+ [A-Za-z0-9+/]{40,}={0,3}(?: .*)?", key, re.ASCII):
        shown = "a private key" if "PRIVATE KEY" in key else repr(value)
        raise ValueError(f"has {shown}, which is no SSH public key: give the line or the path of one .pub file")
    return key


def private_network(value: object) -> str:
    """A private IPv4 network of 256 addresses or more, like ``10.203.0.0/16``."""
    from ipaddress import IPv4Network

    wanted = "must be a private IPv4 network of 256 addresses or more, like 10.203.0.0/16"
    try:
        network = IPv4Network(str(value), strict=False)
    except ValueError:
        raise ValueError(wanted) from None
    private = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
    if network.prefixlen > 24 or not any(network.subnet_of(IPv4Network(block)) for block in private):
        raise ValueError(wanted)
    if str(network) != value:
        raise ValueError(f"must be a network, not an address in it; did you mean {network}?")
    return str(network)


def nearest(name: str, names: Iterable[str]) -> str:
    """``; did you mean engines?`` for a name that is close to one of the names, else ""."""
    from difflib import get_close_matches

    by_lower = {known.lower(): known for known in names}
    close = get_close_matches(name.lower(), by_lower, n=1)
    return f"; did you mean {by_lower[close[0]]}?" if close else ""
