"""Firewall rules: the language they are written in, and the form that they are kept in."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any

from .answers import Refusal

TOKEN = re.compile(r'\s*(?:("(?:\\.|[^"\\])*")|([()=,-])|([^\s()=,"-][^\s()=,"]*))')
PROTOCOLS = ("tcp", "udp", "icmp", "icmp6", "ah", "esp")
MOST_TARGETS = 24
Target = tuple[str, ...]  # ("tag", K[, V]), ("vm", UUID), ("ip", A), ("subnet", A/n), ("any",), ("all vms",)


@dataclass(frozen=True)
class Rule:
    """A rule that was understood."""

    sources: tuple[Target, ...]
    targets: tuple[Target, ...]
    action: str
    protocol: str
    ports: str
    priority: int = 0

    def text(self) -> str:
        """The rule as it is kept."""
        ends = f"FROM {_targets(self.sources)} TO {_targets(self.targets)}"
        priority = f" PRIORITY {self.priority}" if self.priority else ""
        return f"{ends} {self.action} {self.protocol}{self.ports and ' ' + self.ports}{priority}"

    def concerns(self, vm: Any) -> bool:
        """Whether a machine is one of those that the rule is put into force on."""
        return any(_means(one, vm) for one in (*self.sources, *self.targets))


def parse(text: str) -> Rule:
    """The rule that a text is; raises Refusal."""
    return _Reader(text).rule()


class _Reader:
    def __init__(self, text: str) -> None:
        self.words: list[tuple[int, str]] = []
        place, text = 0, text.rstrip()
        while place < len(text):
            match = TOKEN.match(text, place)
            if not match:
                raise refused(f"Error at character {place}: unexpected text")
            self.words.append((match.start(match.lastindex or 0), match[match.lastindex or 0]))
            place = match.end()
        self.end = len(text)

    def rule(self) -> Rule:
        self.expect("FROM")
        sources = self.ends()
        self.expect("TO")
        targets = self.ends()
        if all(one == ("any",) for one in (*sources, *targets)):
            raise refused("rule does not affect VMs")
        if not any(one[0] in ("tag", "vm", "all vms") for one in (*sources, *targets)):
            raise refused("rule does not affect VMs")
        action = self.expect("ALLOW", "BLOCK").upper()
        protocol = self.expect(*(one.upper() for one in PROTOCOLS)).lower()
        ports = self.types() if protocol.startswith("icmp") else self.ports()
        priority = 0
        if self.at("PRIORITY"):
            self.take()
            word = self.take()
            if not word.isdecimal() or int(word) > 100:
                raise refused(f'Priority level "{word}" is invalid')
            priority = int(word)
        if self.words:
            self.fail("end of rule")
        return Rule(sources, targets, action, protocol, ports, priority)

    def ends(self) -> tuple[Target, ...]:
        if self.at("ANY"):
            self.take()
            return (("any",),)
        if not self.at("("):
            return (self.end_point(),)
        self.take()
        found = [self.end_point()]
        while not self.at(")"):
            self.expect("OR")
            found.append(self.end_point())
        self.take()
        if len(found) > MOST_TARGETS:
            raise refused(f"maximum of {MOST_TARGETS} targets allowed per side")
        return tuple(sorted(set(found), key=_target))

    def end_point(self) -> Target:
        kind = self.expect("all", "ip", "subnet", "tag", "vm").lower()
        if kind == "all":
            self.expect("vms")
            return ("all vms",)
        if kind == "tag":
            name = self.value()
            if not self.at("="):
                return ("tag", name)
            self.take()
            return ("tag", name, self.value())
        value = self.take()
        try:
            if kind == "ip":
                return ("ip", str(ipaddress.ip_address(value)))
            if kind == "subnet":
                return ("subnet", str(ipaddress.ip_network(value)))
        except ValueError as error:
            raise refused(f"{kind} is invalid: {value}") from error
        return ("vm", value)

    def value(self) -> str:
        word = self.take()
        if word.startswith('"'):
            return re.sub(r"\\(.)", r"\1", word[1:-1])
        if not re.fullmatch(r"[A-Za-z0-9_.]+", word) or self.at("-"):
            raise refused(f"Error: quote {word!r}")
        return word

    def ports(self) -> str:
        if not self.at("PORT", "PORTS", "("):
            self.fail("'PORT', 'PORTS', '('")
        if self.at("PORTS"):
            self.take()
            ranges = [self.range()]
            while self.at(","):
                self.take()
                ranges.append(self.range())
            return "PORTS " + ", ".join(str(low) if low == high else f"{low} - {high}" for low, high in sorted(ranges))
        if self.at("PORT"):
            self.take()
            if self.at("all"):
                self.take()
                return "PORT all"
            return f"PORT {self.port()}"
        self.take()
        self.expect("PORT")
        found = [self.port()]
        while not self.at(")"):
            self.expect("AND")
            self.expect("PORT")
            found.append(self.port())
        self.take()
        return f"({' AND '.join(f'PORT {one}' for one in sorted(set(found)))})"

    def range(self) -> tuple[int, int]:
        low = self.port()
        if not self.at("-"):
            return low, low
        self.take()
        high = self.port()
        if high < low:
            raise refused(f"The end of the range ({high}) cannot be less than the start ({low})")
        return low, high

    def port(self) -> int:
        word = self.take()
        if "-" in word:  # 8000-8100 is one word
            word, _, rest = word.partition("-")
            self.words[:0] = [(0, "-"), (0, rest)]
        if not word.isdecimal() or not 1 <= int(word) <= 65535:
            raise refused(f'Port number "{word}" is invalid')
        return int(word)

    def types(self) -> str:
        self.expect("TYPE")
        kind = self.take()
        if self.at("CODE"):
            self.take()
            return f"TYPE {kind} CODE {self.take()}"
        return f"TYPE {kind}"

    def at(self, *wanted: str) -> bool:
        return bool(self.words) and self.words[0][1].upper() in {one.upper() for one in wanted}

    def expect(self, *wanted: str) -> str:
        if not self.at(*wanted):
            self.fail(", ".join(f"'{one}'" for one in wanted))
        return self.take()

    def take(self) -> str:
        if not self.words:
            self.fail("more")
        return self.words.pop(0)[1]

    def fail(self, expected: str) -> None:
        place, word = self.words[0] if self.words else (self.end, "")
        found = f"'{word}', expected: {expected}, found: word" if word else f"expected: {expected}"
        raise refused(f"Error at character {place}: {found}")


def refused(message: str) -> Refusal:
    """The answer to a rule that is none."""
    errors = [{"code": "InvalidParameter", "field": "rule", "message": message}]
    return Refusal(422, "InvalidParameters", "Invalid parameters", errors=errors)


def _targets(targets: tuple[Target, ...]) -> str:
    texts = [_target(one) for one in targets]
    return texts[0] if len(texts) == 1 else f"({' OR '.join(texts)})"


def _target(target: Target) -> str:
    kind, *rest = target
    if kind == "tag":
        return "tag " + " = ".join(_quoted(one) for one in rest)
    return " ".join((kind, *rest))


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _means(target: Target, vm: Any) -> bool:
    kind, *rest = target
    if kind == "tag":
        return rest[0] in vm.tags and (len(rest) == 1 or str(vm.tags[rest[0]]) == rest[1])
    return kind == "all vms" or (kind == "vm" and vm.id in rest)
