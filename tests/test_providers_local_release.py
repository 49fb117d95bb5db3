"""Which release machines run, from recorded facts of many computers."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from fabfile.errors import UsageError
from fabfile.providers.local import LocalProvider
from fabfile.providers.local.release import Platform, Release, choose, need_linux, observe
from fabfile.settings import Settings

DEBIAN_12 = Platform("Linux", "debian", "bookworm", "3.11", "3.11", ("debian",))
DEBIAN_13 = Platform("Linux", "debian", "trixie", "3.13", "3.13", ("debian",))
UBUNTU_2404 = Platform("Linux", "ubuntu", "noble", "3.12", "3.12", ("debian", "ubuntu"))
FEDORA = Platform("Linux", "fedora", "", "3.13", "3.13", ())
MACOS = Platform("Darwin", client_python="3.12")


@pytest.mark.parametrize(
    ("seen", "release"),
    [
        (DEBIAN_12, "debian bookworm"),
        (DEBIAN_13, "debian trixie"),
        (UBUNTU_2404, "ubuntu noble"),
        # A release that is newer than this program, but is the computer's own and has the client's Python.
        (Platform("Linux", "debian", "forky", "3.14", "3.14", ("debian",)), "debian forky"),
    ],
    ids=str,
)
def test_machines_run_the_computers_own_release_when_its_python_is_the_clients(seen: Platform, release: str) -> None:
    assert str(choose(seen)) == release


def test_a_client_with_another_python_gets_a_release_that_has_it() -> None:
    assert choose(replace(DEBIAN_12, client_python="3.13")) == Release("debian", "trixie")


def test_a_release_of_the_computers_own_distribution_comes_first() -> None:
    assert choose(replace(UBUNTU_2404, client_python="3.13")) == Release("ubuntu", "plucky")
    assert choose(replace(UBUNTU_2404, client_python="3.13", keyrings=("debian",))) == Release("debian", "trixie")


def test_a_release_whose_packages_cannot_be_verified_here_is_not_taken() -> None:
    with pytest.raises(UsageError, match=r"3\.12 \(noble\).*no keys") as caught:
        choose(replace(DEBIAN_12, client_python="3.12"))
    assert "install ubuntu-keyring" in caught.value.hint


def test_a_computer_of_another_distribution_takes_any_release_that_it_can_verify() -> None:
    assert choose(replace(FEDORA, keyrings=("debian",))) == Release("debian", "trixie")
    with pytest.raises(UsageError, match="no keys"):
        choose(FEDORA)


def test_a_python_that_no_release_has_is_an_error_that_names_those_that_there_are() -> None:
    with pytest.raises(UsageError, match=r"Python 3\.99") as caught:
        choose(replace(DEBIAN_12, client_python="3.99"))
    for choice in ("3.11 (bookworm)", "3.13 (trixie)", "3.12 (noble)"):
        assert choice in caught.value.hint


def test_a_named_release_is_taken_if_it_fits() -> None:
    assert choose(replace(UBUNTU_2404, client_python="3.13"), "trixie") == Release("debian", "trixie")
    assert choose(DEBIAN_12, "bookworm") == Release("debian", "bookworm")


@pytest.mark.parametrize(
    ("wanted", "complaint"),
    [("sarge", "not known"), ("trixie", "has Python 3.13, but this client runs Python 3.11"), ("noble", "Python 3.12")],
)
def test_a_named_release_that_cannot_be_is_refused(wanted: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint) as caught:
        choose(DEBIAN_12, wanted)
    assert "bookworm" in caught.value.hint


def test_a_named_release_without_its_keys_is_refused() -> None:
    with pytest.raises(UsageError, match="no keys") as caught:
        choose(replace(DEBIAN_12, client_python="3.12"), "noble")
    assert "ubuntu-keyring" in caught.value.hint


@pytest.mark.parametrize(("system", "name"), [("Darwin", "macOS"), ("FreeBSD", "FreeBSD")])
def test_another_system_than_linux_is_an_error_that_names_another_provider(system: str, name: str) -> None:
    with pytest.raises(UsageError, match=f"this is {name}") as caught:
        need_linux(replace(MACOS, system=system))
    assert "static" in caught.value.hint


def test_the_provider_itself_is_refused_on_macos() -> None:
    with pytest.raises(UsageError, match="need Linux"):
        LocalProvider(Settings(), platform=MACOS)


def test_this_computer_is_seen_as_it_is() -> None:
    seen = observe()
    need_linux(seen)
    assert seen.client_python == f"{sys.version_info.major}.{sys.version_info.minor}"
    assert seen.distribution in ("debian", "ubuntu")
    assert seen.distribution in seen.keyrings
    assert seen.missing_tools == ()


def test_a_tool_that_is_not_there_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fabfile.providers.local.release.ADMIN_PATH", "/nowhere")
    monkeypatch.setenv("PATH", "/nowhere")
    assert "mmdebstrap" in observe().missing_tools
