"""Checks of the sources themselves: style, types, imports, shell, units, and what must not stand in a file."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LIBEXEC = "/opt/ipyfleet/libexec/"
LONGEST = 400  # lines; above it there is a second noun in a module
HEAVY = {"boto3", "botocore", "fabric", "paramiko", "ipyparallel", "jupyter_client", "zmq", "rich", "requests", "numpy"}


def _sources() -> Iterator[Path]:
    """Every text file of the project as it lies here, whether or not this is a git checkout."""
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if _wanted(name)]
        yield from (Path(folder, name) for name in files)


def _wanted(folder: str) -> bool:
    made = folder in ("build", "__pycache__") or folder.endswith(".egg-info")
    return folder == ".ci" or not (folder.startswith(".") or made)


SOURCES = sorted(_sources())
PYTHON = [path for path in SOURCES if path.suffix == ".py"]
SHELL = [path for path in SOURCES if path.read_bytes().startswith((b"#!/bin/sh", b"#!/usr/bin/env bash"))]
UNITS = sorted((ROOT / "systemd").glob("*.service")) + sorted((ROOT / "systemd").glob("*.timer"))


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _quiet(*words: str) -> None:
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_ruff_finds_nothing() -> None:
    _quiet(sys.executable, "-m", "ruff", "check", "--quiet", "--output-format", "concise")


def test_everything_is_formatted() -> None:
    _quiet(sys.executable, "-m", "ruff", "format", "--check", "--quiet")


def test_mypy_finds_nothing() -> None:
    _quiet(sys.executable, "-m", "mypy")


def test_imports_run_downward_only_and_every_module_has_its_place() -> None:
    _quiet(str(Path(sys.executable).with_name("lint-imports")), "--no-logo")


def test_shellcheck_finds_nothing() -> None:
    _quiet("shellcheck", "--format", "gcc", *map(_name, SHELL))


def test_every_shell_file_says_which_shell_it_is_for() -> None:
    assert not [_name(path) for path in SOURCES if path.suffix == ".sh" and path not in SHELL]


@pytest.mark.parametrize("path", UNITS, ids=_name)
def test_systemd_understands_the_unit(path: Path, tmp_path: Path) -> None:
    for unit in UNITS:  # all of them, since one names another
        text = unit.read_text(encoding="utf-8")
        (tmp_path / unit.name).write_text(re.sub(rf"{LIBEXEC}\S+", "/bin/true", text), encoding="utf-8")
    words = ("systemd-analyze", "verify", "--man=no", str(tmp_path / path.name))
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    about_it = [line for line in done.stderr.splitlines() if str(tmp_path) in line or path.name in line]
    assert (done.returncode, about_it) == (0, [])


def test_every_script_that_a_unit_starts_is_there() -> None:
    wanted = {name for path in UNITS for name in re.findall(rf"{LIBEXEC}(\S+)", path.read_text(encoding="utf-8"))}
    assert wanted
    assert [name for name in sorted(wanted) if not (ROOT / "bootscripts" / f"{name}.sh").is_file()] == []


def test_every_module_is_short_enough_to_be_read() -> None:
    assert [_name(path) for path in PYTHON if len(path.read_text(encoding="utf-8").splitlines()) > LONGEST] == []


def test_no_module_of_fabfile_has_the_name_of_a_module_of_others() -> None:
    """`fab` puts fabfile/ itself first on the path, so such a module would be found instead of the other."""
    ours = {
        path.stem for path in (ROOT / "fabfile").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    found = [name for name in sorted(ours - {"__init__"}) if _importable(name)]
    assert found == []


def _importable(name: str) -> bool:
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({name!r}) is None)"
    return subprocess.run((sys.executable, "-I", "-c", code), check=False).returncode == 0


def test_only_report_prints_below_the_tasks() -> None:
    allowed = {ROOT / "fabfile" / "report.py"}
    calls = [
        f"{_name(path)}:{node.lineno}"
        for path in PYTHON
        if path.is_relative_to(ROOT / "fabfile") and path not in allowed and "root" not in path.parts[-2:-1]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "input")
    ]
    assert calls == []


@pytest.mark.parametrize("program", ["invoke", "fab"])
def test_listing_the_tasks_imports_nothing_heavy(program: str) -> None:
    """A shell's completion runs this at every key press; Fabric's own program cannot do without Fabric."""
    words = (sys.executable, "-X", "importtime", str(Path(sys.executable).with_name(program)), "--list")
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    needed = {"fabric", "paramiko"} if program == "fab" else set()
    assert imported & HEAVY <= needed


# Written in halves, so that this file does not hold what it looks for.
REGISTRIES = ("py" + "pi.org", "python" + "hosted.org", "npm" + "js.org", "deb" + ".debian.org", "security" + ".debian")
PLACES = ("/wo" + "rk/", "/ho" + "me/runner", "bash" + "_jobs")


def test_no_file_names_a_package_registry_or_a_place_of_one_computer() -> None:
    texts = {_name(path): path.read_text(encoding="utf-8").lower() for path in SOURCES}
    assert [(name, word) for name, text in texts.items() for word in (*REGISTRIES, *PLACES) if word in text] == []
