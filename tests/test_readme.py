"""The README is true: its commands exist, its settings hold, its links lead somewhere.

The two commands that set everything up are run on a fresh Debian, by tests/e2e/test_readme_commands.py.
"""

from __future__ import annotations

import copy
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from fabric.main import program as fab
from invoke.collection import Collection
from invoke.parser import Parser
from invoke.program import Program

import fabfile
import tasks
from fabfile.settings import Settings, load
from tests import readme

BIN = Path(sys.executable).parent


SHOWING = [one for one in readme.commands() if re.search(r" --(list|help)\b", one)]


@pytest.mark.parametrize("command", [one for one in readme.commands() if one not in SHOWING])
def test_a_command_in_the_readme_is_one_that_there_is(command: str) -> None:
    program, *words = shlex.split(command, comments=True)
    of_fab = program == "fab"
    namespace: Collection = copy.deepcopy(fabfile.ns if of_fab else tasks.ns)  # reading it uses up the help texts
    core = (fab if of_fab else Program()).initial_context
    parser = Parser(contexts=namespace.to_contexts(), initial=core)
    assert parser.parse_argv(words), f"`{command}` is not understood"


@pytest.mark.parametrize("command", SHOWING)
def test_a_command_that_only_shows_something_shows_it(command: str) -> None:
    program, *words = shlex.split(command)
    done = subprocess.run([BIN / program, *words], cwd=readme.ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) > 5


@pytest.mark.parametrize("text", readme.blocks("yaml"))
def test_the_settings_in_the_readme_can_be_used(text: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    environ = {"IPYFLEET_CONFIG": str(path)}
    _, _, templates = text.partition("templates:")
    chosen = [load({"template": name}, environ=environ) for name in re.findall(r"^  (\S+):", templates, re.MULTILINE)]
    assert any(one != Settings() for one in (load(environ=environ), *chosen))


def test_every_link_to_a_file_leads_to_one() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", readme.TEXT)
    assert links
    assert [link for link in links if not (readme.ROOT / link).exists()] == []


def test_the_readme_names_every_task() -> None:
    said = " ".join(readme.commands())
    missing = [name for name in tasks.ns.task_names if not re.search(rf"\b{re.escape(name)}\b", said)]
    missing += [name for name in fabfile.ns.task_names if not re.search(rf"\b{re.escape(name)}\b", said)]
    assert missing == []


def test_the_exit_codes_in_the_readme_are_those_of_the_errors() -> None:
    from fabfile import errors

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.ClusterError)]
    said = {int(code) for code in re.findall(r"^\| (\d+) \|", readme.TEXT, re.MULTILINE)}
    assert said == {0} | {kind.exit_code for kind in kinds}
