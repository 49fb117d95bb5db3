"""The user's own settings file: written once, for one provider, with what a beginner needs and all the rest at hand.

What it says about each setting is invoke.yaml's. Everything stands in the template of the provider, since what a
template says is stronger than what a file says outside of one. Asks nobody anything; the command does.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from . import reference
from .errors import UsageError
from .host_keys import replace_file
from .kinds import nearest
from .layers import usual_path
from .reference import Entry, Section
from .settings import KINDS, PROVIDERS

COLUMN = 37  # where comments begin
OUTSIDE = ("template", "provider")  # the first cannot stand in a template, the second is why one chooses it
PLACEHOLDER = "you@host.example.org"
ALSO = {  # what stands in the section of another provider, but has a meaning for this one
    "local": ("hooks",),
    "static": ("hooks",),
    "ec2": (),
    "triton": (
        *("region", "machine_type", "controller_type", "image", "ssh_from", "address_service", "open_ports", "tags"),
        *("userdata", "hooks"),
    ),
}
SHOWN = {"ec2": ("lease",), "triton": ("lease",)}  # said openly, though it is the default: machines there cost money
HEADER = """\
# Settings of ipyfleet, made by `invoke init` for the provider {provider}. `invoke config` shows what holds, and why.
# Lines behind a # say the defaults: take the # away and change the value. Times: 20s, 90m, 8h, 2d.
# Options of a command and variables (IPYFLEET_ENGINES=8) are stronger than this file.
"""


@dataclass(frozen=True)
class Question:
    """What a beginner is asked about a setting; an empty answer leaves the default, or is refused if ``needed``."""

    key: str
    text: str
    default: str = ""
    needed: bool = False


def provider_named(name: str) -> str:
    """The name of a provider; raises UsageError for any other, with the nearest."""
    if name not in PROVIDERS:
        raise UsageError(
            f"there is no provider {name!r}{nearest(name, PROVIDERS)}", hint=f"it is one of {', '.join(PROVIDERS)}"
        )
    return name


def questions(provider: str) -> tuple[Question, ...]:
    """What to ask for a file that holds at once."""
    more = {
        "static": Question("hosts", "Your hosts, as user@host with commas between them", needed=True),
        "ec2": Question("region", "Region, like eu-central-1 (empty: that of your AWS profile)"),
        "triton": Question("triton_profile", "Profile of the Triton CLI (empty: its current one)"),
    }
    first = Question("engines", "How many engines", default=_default(provider, "engines"))
    return (first, more[provider]) if provider in more else (first,)


def misfit(question: Question, answer: str) -> str:
    """What is wrong with an answer, "" when nothing is."""
    if not answer:
        return f"{question.key} must be given" if question.needed else ""
    try:
        KINDS[question.key](answer)
    except ValueError as error:
        return f"{question.key} {error}"
    return ""


def composed(provider: str, answers: Mapping[str, str]) -> str:
    """The file's text for a provider, with these answers by key; each is text as an option of a command has it."""
    active = {key: _written(key, answer) for key, answer in answers.items() if answer}
    if provider == "static":
        active.setdefault("hosts", f"[{PLACEHOLDER}]")
    for key in ("engines", *SHOWN.get(provider, ())):
        active.setdefault(key, _default(provider, key))
    (choice,) = [one for section in reference.sections() for one in section.entries if one.key == "template"]
    lines = [HEADER.format(provider=provider), *_lines(replace(choice, value=provider), ""), "", "templates:"]
    lines += _lines(Entry(provider, "", (reference.templates()[provider].comment,)), "  ")
    for section in _sections(provider):
        lines += ["", f"    # -- {section.title} ".ljust(110, "-")]
        for one in section.entries:
            if one.key in active:
                lines += _lines(replace(one, value=active[one.key]), "    ")
            else:
                lines += _lines(one, "    # ")
    return "\n".join(lines) + "\n"


def destination(file: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Where the file goes: ``file``, else where it is read from, be it there or not."""
    return Path(os.path.abspath(os.path.expanduser(file or environ.get("IPYFLEET_CONFIG") or usual_path())))


def refuse_taken(path: Path, *, force: bool) -> None:
    """Raise UsageError for a path that something is at already, unless it may be replaced."""
    if os.path.lexists(path) and not force:
        raise UsageError(
            f"{path} is there already and was left as it is",
            hint="`invoke config` shows what it leads to; --force replaces it, --file PATH writes elsewhere",
        )


def place(path: Path, text: str, *, force: bool) -> None:
    """Put the file in place, whole and at once, for its owner alone (0600); a link stays and leads to it.

    Raises UsageError when it is there already and ``force`` is not given, or when it cannot be written.
    """
    refuse_taken(path, force=force)
    target = Path(os.path.realpath(path))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_file(target, text.encode())
    except OSError as error:
        reason = f"{target.parent} is no folder" if isinstance(error, FileExistsError) else error.strerror
        raise UsageError(
            f"{path} cannot be written: {reason}", hint="`invoke init --file PATH` writes it elsewhere"
        ) from error


def _sections(provider: str) -> Iterator[Section]:
    """What may stand in the template of a provider, with the defaults that it has there."""
    shipped = {one.key: one for one in reference.templates()[provider].entries}
    borrowed: tuple[Entry, ...] = ()
    found: list[Section] = []
    for section in reference.sections():
        foreign = any(f"(provider {other})" in section.title for other in PROVIDERS if other != provider)
        entries = tuple(
            replace(one, value=shipped[one.key].value, comment=shipped[one.key].comment or one.comment)
            if one.key in shipped
            else one
            for one in section.entries
            if one.key not in OUTSIDE and (not foreign or one.key in ALSO[provider])
        )
        if foreign:
            borrowed += entries
        else:
            found.append(replace(section, entries=entries))
    for section in found:
        if borrowed and f"(provider {provider})" in section.title:
            yield replace(section, entries=(*section.entries, *borrowed))
        elif section.entries:
            yield section


def _default(provider: str, key: str) -> str:
    return next(one.value for section in _sections(provider) for one in section.entries if one.key == key)


def _written(key: str, answer: str) -> str:
    """An answer as YAML has it: what a text was checked to be must not be read as another kind of value."""
    value = KINDS[key](answer)
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)


def _lines(entry: Entry, before: str) -> list[str]:
    """A setting with its comment beside it, further lines of that below."""
    first, *more = entry.comment
    setting = f"{before}{entry.key}: {entry.value}".rstrip().ljust(COLUMN - 2)
    return [f"{setting}  # {first}", *(f"{' ' * COLUMN}# {one}" for one in more)]
