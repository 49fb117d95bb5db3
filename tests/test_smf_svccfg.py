"""The stand-in's svccfg: how it reads its arguments and files, what it changes, what it says. One case file each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.smf.lexing import BUFFER, joined, tokens
from tests.smf.playground import Playground
from tests.smf.repository import load, locked, set_property
from tests.smf.states import State, publish
from tests.smf_steps import Case, cases, names

ONE = "svc:/site/x:one"


@pytest.fixture
def zone(tmp_path: Path) -> Playground:
    return Playground(tmp_path / "zone", smartos=False)


def prepare(zone: Playground, case: Case) -> None:
    with locked(zone.place) as repository:
        for name in list(repository.services):
            del repository.services[name]
    zone.call("svccfg", "add", "site/x")
    zone.call("svccfg", "-s", "site/x", "add", "one")
    if not any(path.startswith("service ") for path in case["given"]):
        zone.call("svccfg", "-s", ONE, "addpg", "config", "application")
    with locked(zone.place) as repository:
        for path, (kind, *values) in case["given"].items():
            service = path.startswith("service ")
            entity = repository.services["site/x"] if service else repository.services["site/x"].instances["one"]
            set_property(entity.groups, path.removeprefix("service "), "application", kind, *values)
    if "state" in case:
        publish(zone.place, {ONE: State(case["state"])})
    zone.place.change({"unprivileged": case.get("unprivileged", False)})


def properties(zone: Playground) -> dict[str, list[Any]] | None:
    found = load(zone.place).instance(ONE)
    if found is None:
        return None
    groups = found.groups.items()
    return {f"{name}/{key}": [p.type, *p.values] for name, group in groups for key, p in group.properties.items()}


@pytest.mark.parametrize(("name", "case"), cases("svccfg"), ids=names("svccfg"))
def test_a_command_does_and_says_what_svccfg_would(zone: Playground, name: str, case: Case) -> None:
    prepare(zone, case)
    options = case.get("bare", ["-s", ONE])
    done = zone.call("svccfg", *options, *case["argv"], stdin=case.get("stdin", ""))
    assert (done.returncode, done.stderr) == (case.get("rc", 0), case.get("stderr", ""))
    if "stdout" in case:
        assert done.stdout == case["stdout"]
    if "after" in case:
        assert properties(zone) == case["after"]
    if "groups" in case:
        instance = load(zone.place).instance(ONE)
        assert instance is not None
        assert list(instance.groups) == case["groups"]
    if "gone" in case:
        assert properties(zone) is None


def test_the_real_program_reads_its_arguments_and_its_standard_input(zone: Playground) -> None:
    zone.place.change({"adoption": None})
    prepare(zone, {"given": {"config/ip": ["astring", "old"]}})
    try:
        assert zone.run("svccfg", "-s", ONE, "setprop", "config/ip=astring:", "").returncode == 0
        assert properties(zone) == {"config/ip": ["astring", "astring:"]}
        done = zone.run("svccfg", "-s", ONE, "-f", "-", stdin='setprop config/ip = astring: "new one"\nnonsense\n')
        assert (done.returncode, done.stderr) == (1, 'svccfg (<stdin>, line 2): Unknown command "nonsense".\n')
        assert properties(zone) == {"config/ip": ["astring", "new one"]}
    finally:
        zone.close()


def test_arguments_are_cut_at_the_end_of_the_buffer_in_bytes() -> None:
    assert joined(["a", "b c"]) == "a b c "
    assert len(joined(["é" * BUFFER]).encode("utf-8", "surrogateescape")) == BUFFER - 1


def test_commands_are_words_unless_they_begin_a_command() -> None:
    kinds = [(token.kind, token.text) for token in tokens("help list\nlist list # list\n")]
    assert kinds == [
        ("command", "help"),
        ("command", "list"),
        ("newline", "\n"),
        ("command", "list"),
        ("word", "list"),
        ("newline", "\n"),
    ]
