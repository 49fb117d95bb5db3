"""Layers of given values: what each file, template, variable and option says, and where it says it.

Collects; what the keys mean and whether a value fits is settings.py's matter.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .errors import UsageError
from .kinds import nearest
from .paths import expanded
from .yamlfile import Document, read

OTHER_VARIABLES = ("IPYFLEET_HOME", "IPYFLEET_CONFIG", "IPYFLEET_TEST_DATA", "IPYFLEET_ROOT")
INVOKE_SECTIONS = ("run", "runners", "sudo", "tasks", "timeouts")  # what a file given to `invoke -f` may hold as well


@dataclass(frozen=True)
class Given:
    """A value as it was given, and where, as a person finds it: ``--engines``, ``IPYFLEET_ENGINES``, file and line."""

    value: Any
    where: str


Layer = dict[str, Given]


@dataclass(frozen=True)
class File:
    """A settings file: the keys at its top level, and its templates."""

    top: Layer = field(default_factory=dict)
    templates: dict[str, Layer] = field(default_factory=dict)


def project_file(path: Path) -> File:
    """The defaults, under ``ipyfleet:`` of invoke.yaml."""
    whole = "use ipyfleet from its checkout, with invoke.yaml as it came: `pip install -e .` there"
    if not os.path.isfile(path):
        raise UsageError(f"{path}, which holds the defaults, is missing", hint=whole)
    document = read(path)
    section = document.values.get("ipyfleet")
    if not isinstance(section, dict):
        raise UsageError(f"{path} has no section ipyfleet", hint=whole)
    return _file(document, section, ("ipyfleet",))


def users_file(path: Path) -> File:
    """The user's own file: the same keys, at its top level; Invoke's own sections in it are Invoke's matter."""
    document = read(path)
    section = {key: value for key, value in document.values.items() if key not in INVOKE_SECTIONS}
    return _file(document, section, ())


def users_path(runtime_file: str, environ: Mapping[str, str]) -> Path | None:
    """The user's file: `-f FILE`, else IPYFLEET_CONFIG, else the one in the XDG config folder if it is there.

    Raises UsageError when a file is named but missing.
    """
    named = runtime_file or environ.get("IPYFLEET_CONFIG", "")
    if named:
        path, by = expanded(named), "-f" if runtime_file else "IPYFLEET_CONFIG"
        if not os.path.isfile(path):
            raise UsageError(f"{by} names the settings file {path}, but there is no such file", hint=f"correct {by}")
        return path
    path = usual_path()
    return path if os.path.exists(path) else None


def usual_path() -> Path:
    """Where the user's file lies when nothing else is said."""
    from platformdirs import user_config_path

    return user_config_path("ipyfleet") / "config.yaml"


def variables(environ: Mapping[str, str], names: Collection[str], complaints: list[str]) -> Layer:
    """The IPYFLEET_… variables as a layer; an empty one counts as not set. Complains of unknown ones."""
    layer: Layer = {}
    known = {f"IPYFLEET_{name.upper()}": name for name in names}
    for variable, value in sorted(environ.items()):
        prefix, found, key = variable.partition("IPYFLEET_")
        if found and prefix in ("INVOKE_", "FABRIC_"):
            complaints.append(f"{variable}: is not read; the variable is called IPYFLEET_{key}")
        elif prefix or not found or variable in OTHER_VARIABLES or not value:
            continue
        elif variable in known:
            layer[known[variable]] = Given(value, variable)
        else:
            complaints.append(f"{variable}: no such setting{nearest(variable, (*known, *OTHER_VARIABLES))}")
    return layer


def options(overrides: Mapping[str, str]) -> Layer:
    """Options of the command line as a layer; an empty one counts as not given."""
    return {
        name.replace("-", "_"): Given(value, f"--{name.replace('_', '-')}")
        for name, value in overrides.items()
        if value
    }


def merge_templates(shipped: File, users: File) -> dict[str, Layer]:
    """All templates by name; the user's of the same name are laid over the shipped ones key by key."""
    names = [*shipped.templates, *(name for name in users.templates if name not in shipped.templates)]
    return {name: {**shipped.templates.get(name, {}), **users.templates.get(name, {})} for name in names}


def chain(name: str, templates: Mapping[str, Layer]) -> list[str]:
    """The names of a template and of those it extends, the farthest first.

    Raises ValueError for a template that is not there or extends itself, as a full sentence.
    """
    names: list[str] = []
    where = ""
    while True:
        if name not in templates:
            raise ValueError(
                f"{where + ': extends: ' if where else ''}no template {name!r}{nearest(name, list(templates))} "
                f"(there are: {', '.join(templates) or 'none'})"
            )
        if name in names:
            raise ValueError(f"{where}: templates extend each other in a circle: {' → '.join([*names, name])}")
        names.append(name)
        if "extends" not in templates[name]:
            return names[::-1]
        name, where = str(templates[name]["extends"].value), templates[name]["extends"].where


def _file(document: Document, section: Mapping[str, Any], above: tuple[str, ...]) -> File:
    top = {key: Given(value, document.where(*above, key)) for key, value in section.items() if key != "templates"}
    templates: dict[str, Layer] = {}
    named = section.get("templates") or {}
    if not isinstance(named, dict) or not all(isinstance(body or {}, dict) for body in named.values()):
        raise UsageError(
            f"{document.where(*above, 'templates')}: must be names, each with its keys and values",
            hint="as in `templates: {big: {engines: 32}}`",
        )
    for name, body in named.items():
        templates[name] = {
            key: Given(value, document.where(*above, "templates", name, key)) for key, value in (body or {}).items()
        }
    return File(top, templates)
