"""commands/packages.py: which packages are named on the command line and in a file, and how they are listed."""

from __future__ import annotations

from pathlib import Path

import pytest

from fabfile import listings
from fabfile.commands.packages import _named
from fabfile.errors import UsageError
from fabfile.software import Software


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        ("scipy, pandas>=2", ["scipy", "pandas>=2"]),
        ("scipy pandas >=2,scipy", ["scipy", "pandas>=2"]),
        ("dask[array,dataframe] numpy", ["dask[array,dataframe]", "numpy"]),
    ],
)
def test_names_stand_with_commas_or_blanks_between_them(names: str, wanted: list[str]) -> None:
    assert _named(names, "") == wanted


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("pandas >= 2, < 3  # the old one", "pandas>=2,<3"),
        (
            "numpy ; python_version >= '3.8' and sys_platform == 'linux'",
            "numpy;python_version >= '3.8' and sys_platform == 'linux'",
        ),
        ("numpy; platform_machine not in 'armv6l armv7l'", "numpy;platform_machine not in 'armv6l armv7l'"),
        ("\ufeffscipy", "scipy"),  # as editors on Windows begin a file
    ],
)
def test_a_line_of_a_file_is_whatever_pip_takes(tmp_path: Path, line: str, wanted: str) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text(f"{line}\n\n# ours\n", encoding="utf-8")
    assert _named("", str(file)) == [wanted]


@pytest.mark.parametrize("file", ["/nowhere/requirements.txt", "~nobody-of-that-name/requirements.txt", "/"])
def test_a_file_that_cannot_be_read_is_named(file: str) -> None:
    with pytest.raises(UsageError, match=f"{file} cannot be read: "):
        _named("", file)


def test_all_that_cannot_be_meant_is_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("--index-url https://pypi.example.org\nscipy\n-e .\n")
    with pytest.raises(UsageError, match=r"(?s)--index-url.*-e") as refused:
        _named("", str(file))
    assert "scipy'" not in refused.value.message


def test_the_versions_that_are_wanted_are_not_called_this_computers_which_may_have_none() -> None:
    given = Software("1d", "3.11", ("pip==26.3", "scipy==1.17.1"), "x86_64", ("pip==26.3", "scipy==1.17.1"))
    there = {"controller": {"pip": "26.3", "SciPy": "1.17.1"}, "engine-0": {"pip": "26.3"}}
    assert [line.split(maxsplit=2) for line in listings.packages(given, there)] == [
        ["package", "wanted", "on the machines"],
        ["pip", "26.3", "26.3"],
        ["scipy", "1.17.1", "controller: 1.17.1, engine-0: none"],
    ]
