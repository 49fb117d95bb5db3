"""The commands run, put and get: what they refuse before anything is reached."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fabfile.errors import UsageError
from fabfile.transfer import destination, package, source

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run"], "nothing to run"),
        (["run", "--command", "a", "--script", "b"], "two answers to one question"),
        (["run", "--command", "a", "--args", "b"], "--args are for a --script"),
        (["run", "--script", "/no/such"], "/no/such cannot be read"),
        (["run", "--script", __file__, "--args", "'"], "No closing quotation"),
        (["put"], "what is to be put there?"),
        (["put", "--path", "a", "--package", "b"], "two answers to one question"),
        (["put", "--path", "/no/such"], "there is no /no/such here"),
        (["put", "--package", "fabfile", "--to", "x"], "--to is for --path"),
        (["get"], "what is to be fetched?"),
        (["get", "--path", "/"], "what is to be fetched?"),
        (["get", "--path", "~"], "what shall ~ be called here?"),
        (["get", "--path", "~ada/", "--to", "there/"], "what shall ~ada/ be called here?"),
        (["put", "--path", "/"], "/ has no name that it could have there"),
        (["put", "--path", "/\udcff"], "there is no /"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_could(words: list[str], said: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [str(Path(sys.executable).parent / "invoke"), *words],
        cwd=ROOT,
        env=os.environ | {"IPYFLEET_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2, done.stderr
    assert said in done.stderr


def test_where_something_goes() -> None:
    assert destination("", "data.csv") == "data.csv"
    assert destination("in/", "data.csv") == "in/data.csv"
    assert destination("/srv/other.csv", "data.csv") == "/srv/other.csv"


def test_what_is_sent_has_a_name_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is that on the machines, where ".." would be the folder above."""
    (tmp_path / "data/inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to("data")
    (tmp_path / "broken").symlink_to("nowhere")
    monkeypatch.chdir(tmp_path / "data/inner")
    assert source("..") == source("../../data") == tmp_path / "data"
    assert source("../../link") == tmp_path / "link"
    with pytest.raises(UsageError, match=r"there is no \.\./\.\./broken here"):
        source("../../broken")


def test_a_package_is_what_python_can_import(tmp_path: Path) -> None:
    inner = tmp_path / "project/src/tools"
    inner.mkdir(parents=True)
    (inner / "__init__.py").touch()
    assert package(str(inner)) == inner
    with pytest.raises(UsageError, match="no Python package: it has") as refused:
        package(str(tmp_path / "project"))
    assert refused.value.hint == f"did you mean {inner}?"
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UsageError, match="no Python package"):
        package(str(tmp_path / "notes.txt"))
    (tmp_path / "my-tools.py").touch()
    with pytest.raises(UsageError, match="cannot be imported"):
        package(str(tmp_path / "my-tools.py"))
