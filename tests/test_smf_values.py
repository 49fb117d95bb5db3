"""Values on their way into SMF and back: any line of text arrives as it is, or is refused."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fabfile.errors import UsageError
from fabfile.service_managers.smf import command_file, quoted
from fabfile.services import CONTROLLER, LEASE, engine_service
from tests.smf.grammar import commands

ROOT = Path(__file__).resolve().parents[1]
ENGINES = engine_service([1])
TOKEN = re.compile(r'(?P<string>"(?:[^"\\]|\\.)*")|(?P<word>[^ \t\n">=()]+)|(?P<sign>[=()>\n])|[ \t]+', re.DOTALL)
SHELL = "$*?[]~#{}!;&()|^<>\\\"'` \t=%,-"
LINE = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0\r\n") | st.sampled_from(SHELL))


def tokens(text: str) -> Iterator[str]:
    """Tokens as svccfg's lexer makes them: strings keep their first quote, comments are gone."""
    at = 0
    while at < len(text):
        found = TOKEN.match(text, at)
        assert found, f"svccfg: unrecognized character {text[at]}"
        at = found.end()
        if found["word"] and found["word"].startswith("#"):
            at = text.find("\n", at) if "\n" in text[at:] else len(text)
        elif found["string"]:
            yield '"' + re.sub(r"\\(.)", r"\1", found["string"][1:-1], flags=re.DOTALL)
        elif found.lastgroup:
            yield found[0]


def stored(text: str) -> dict[str, tuple[str, tuple[str, ...]]]:
    """What svccfg's commands set, by property: its type and values."""
    found = {}
    line: list[str] = []
    for token in [*tokens(text), "\n"]:
        if token != "\n":
            line.append(token)
            continue
        if line[:1] == ["setprop"]:
            name, equals, kind, *values = line[1:]
            assert equals == "="
            assert kind.endswith(":")
            if values[0] == "(":
                assert values[-1] == ")"
                values = values[1:-1]
                assert all(value.startswith('"') for value in values)
            found[name] = kind[:-1], tuple(value.removeprefix('"') for value in values)
        else:
            assert line in ([], ["addpg", "config", "application"])
        line = []
    return found


def shown(properties: dict[str, tuple[str, tuple[str, ...]]]) -> str:
    """What svcprop prints of the group config, in an order of its own."""
    lines = []
    for name, (kind, values) in properties.items():
        escaped = [re.sub(r"""[;&()|^<>\n \t\\"'`]""", r"\\\g<0>", value) or '""' for value in values]
        lines.append(f"{name} {kind} {' '.join(escaped)}")
    return "".join(f"{line}\n" for line in reversed(lines))


@given(LINE)
def test_the_lexer_reads_a_quoted_value_back(value: str) -> None:
    assert list(tokens(f"setprop a/b = astring: {quoted(value)}"))[-1] == '"' + value


@pytest.fixture(scope="module")
def read_back(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose svcprop prints the file beside it."""
    folder = tmp_path_factory.mktemp("svcprop")
    (folder / "svcprop").write_text(f'#!/bin/sh\necho "$@" >"{folder}/asked"\ncat "{folder}/shown"\n')
    (folder / "svcprop").chmod(0o755)
    return folder


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LINE, min_size=1, max_size=6), st.lists(LINE, max_size=3))
def test_any_line_of_text_arrives_in_its_order(read_back: Path, options: list[str], variables: list[str]) -> None:
    text = command_file(ENGINES, {"options": options, "environment": variables, "machine": ["m"]}).data.decode()
    properties = {name: value for name, value in stored(text).items() if name.startswith("config/")}
    (read_back / "shown").write_bytes(shown(properties).encode())
    words = ["sh", str(ROOT / "smf" / "smf-values.sh"), "svc:/site/ipengine:engine-1"]
    done = subprocess.run(words, env={"PATH": f"{read_back}:/usr/bin:/bin"}, capture_output=True, check=True)
    lines = [*(f"environment {value}" for value in variables), "machine m", *(f"options {value}" for value in options)]
    assert done.stdout.decode().split("\n")[:-1] == lines
    # What services.sh compares with: the comments of the command file.
    assert [line[2:] for line in text.split("\n") if line.startswith("# ")] == lines


def test_the_values_of_a_start_are_those_of_its_snapshot_and_others_can_be_asked_for(read_back: Path) -> None:
    (read_back / "shown").write_text("config/machine astring m\n")
    for extra, asked in ([], "-p config F\n"), (["-c"], "-c -p config F\n"):
        words = ["sh", str(ROOT / "smf" / "smf-values.sh"), *extra, "F"]
        subprocess.run(words, env={"PATH": f"{read_back}:/usr/bin:/bin"}, check=True, capture_output=True)
        assert (read_back / "asked").read_text() == asked


@pytest.mark.parametrize("printed", ["options astring a\\ b\n", "config/options astring  a\\ b \n"])
def test_the_groups_name_and_blanks_do_not_matter(read_back: Path, printed: str) -> None:
    (read_back / "shown").write_text(printed)
    words = ["sh", str(ROOT / "smf" / "smf-values.sh"), "F"]
    done = subprocess.run(words, env={"PATH": f"{read_back}:/usr/bin:/bin"}, capture_output=True, text=True, check=True)
    assert done.stdout == "options a b\n"


@given(LINE, st.sampled_from(["\n", "\r", "\0", "\ud800"]), LINE)
def test_what_is_no_line_of_text_is_refused(before: str, sign: str, after: str) -> None:
    with pytest.raises(UsageError, match="ipengine cannot be given"):
        command_file(ENGINES, {"options": [before + sign + after]})


def test_a_key_that_a_service_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="patience"):
        command_file(CONTROLLER, {"spacing": ["17"], "patience": ["20"]})


def test_the_command_file_is_the_whole_group_anew() -> None:
    file = command_file(
        ENGINES, {"options": ["--a=b c", ""], "machine": ["m"], "environment": [], "stop_timeout": ["1.5"]}
    )
    assert file.path == "/etc/ipyfleet/ipengine.svccfg"
    assert file.data.decode().splitlines() == [
        "# machine m",
        "# options --a=b c",
        "# options ",
        "# stop_timeout 2",
        "addpg config application",
        'setprop config/machine = astring: ("m")',
        'setprop config/options = astring: ("--a=b c" "")',
        'setprop config/stop_timeout = astring: ("2")',
        "setprop stop/timeout_seconds = count: 32",
    ]


def test_a_long_lease_is_a_plain_number() -> None:
    text = command_file(LEASE, {"seconds": ["1e+06"], "action": ["poweroff"]}).data.decode()
    assert 'setprop config/seconds = astring: ("1000000")\n' in text


def test_text_beyond_ascii_has_the_type_for_it() -> None:
    text = command_file(ENGINES, {"environment": ["A=ä"], "options": ["--x"]}).data.decode()
    assert 'setprop config/environment = ustring: ("A=ä")\n' in text
    assert 'setprop config/options = astring: ("--x")\n' in text


@given(st.lists(LINE, min_size=1, max_size=6))
def test_the_stand_ins_svccfg_reads_the_same(options: list[str]) -> None:
    text = command_file(ENGINES, {"options": options}).data.decode()
    _, setprop = commands(text)
    assert (setprop.name, setprop.words, setprop.kind) == (
        "setprop",
        ("config/options",),
        stored(text)["config/options"][0] + ":",
    )
    assert tuple(value.removeprefix('"').removesuffix('"') for value in setprop.values or ()) == tuple(options)
