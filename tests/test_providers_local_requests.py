"""The root program refuses everything that is not exactly what it expects."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fabfile.providers.local.root import verbs
from fabfile.providers.local.root.errors import Refused
from fabfile.providers.local.root.fields import CLUSTER, ID, LAYER, PUBLIC_KEY, SUITE, Fields
from fabfile.providers.local.root.verbs import Request, caller

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIL4kjbCeiaZNxcUH5gmURVFRf/GP4x9AvUbuWBCBqNrM me@here"
PROGRAM = Path(verbs.__file__).parent


@pytest.mark.parametrize("name", ["ipython", "a", "My_Cluster-2.old", "x" * 63])
def test_a_cluster_name_is_taken(name: str) -> None:
    assert Fields({"cluster": name}).text("cluster", CLUSTER) == name


@pytest.mark.parametrize(
    "name", ["", "../x", "a/b", "a b", ".hidden", "-rf", "x" * 64, "a\n", "a\0", "ä", "a:b", "a,b", None, 7, ["a"]]
)
def test_what_is_no_cluster_name_is_refused(name: object) -> None:
    with pytest.raises(Refused, match="cluster"):
        Fields({"cluster": name}).text("cluster", CLUSTER)


def test_a_missing_field_is_refused() -> None:
    with pytest.raises(Refused, match="cluster: None"):
        Fields({}).text("cluster", CLUSTER)


@pytest.mark.parametrize("value", [[], "text", None, 1])
def test_a_request_that_is_no_object_is_refused(value: object) -> None:
    with pytest.raises(Refused, match="not a JSON object"):
        Fields(value)


@pytest.mark.parametrize("key", [KEY, "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQC=", KEY.rsplit(" ", 1)[0]])
def test_a_public_key_is_taken(key: str) -> None:
    assert Fields({"key": key}).text("key", PUBLIC_KEY) == key


@pytest.mark.parametrize(
    "key",
    [
        f'command="sh" {KEY}',
        f"{KEY}\n{KEY}",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        "ssh-ed25519",
        "ssh-dss AAAAB3NzaC1kc3MAAACBA",
        "",
    ],
)
def test_what_is_no_plain_public_key_is_refused(key: str) -> None:
    with pytest.raises(Refused, match="key"):
        Fields({"key": key}).text("key", PUBLIC_KEY)


@pytest.mark.parametrize(
    "machine",
    [
        {"role": "engine", "index": -1},
        {"role": "engine", "index": 244},
        {"role": "engine", "index": 1.5},
        {"role": "engine", "index": True},
        {"role": "engine", "index": "1"},
        {"role": "engine", "index": float("nan")},
        {"role": "engine", "index": 10**400},
        {"role": "controller", "index": 1},
        {"role": "hub", "index": 0},
        {"role": "engine"},
        "engine-0",
    ],
)
def test_a_machine_that_cannot_be_is_refused(machine: object) -> None:
    described = {**machine, "authorized_keys": [KEY]} if isinstance(machine, dict) else machine
    with pytest.raises(Refused):
        Fields({"machines": [described]}).specs()


def test_two_machines_of_one_name_are_refused() -> None:
    machine = {"role": "engine", "index": 1, "authorized_keys": [KEY]}
    with pytest.raises(Refused, match="one name"):
        Fields({"machines": [machine, machine]}).specs()


@pytest.mark.parametrize("name", ["engine-01", "engine--1", "../engine-1", "engine-1/../../x", "root", "engine-1000"])
def test_a_machines_name_is_one_that_we_give(name: str) -> None:
    with pytest.raises(Refused, match="name"):
        Fields({"machines": [{"name": name, "id": "abc"}]}).machines()


@pytest.mark.parametrize("subnets", ["10.203.0.0/16", "10.203.0.0/24, 172.30.0.0/16", "192.168.0.0/16"])
def test_private_networks_are_taken(subnets: str) -> None:
    assert Fields({"subnets": subnets}).pools()


@pytest.mark.parametrize(
    "subnets", ["", "8.8.0.0/16", "10.0.0.0/25", "10.0.0.1/16", "127.0.0.0/8", "169.254.0.0/16", "fd00::/64", "x"]
)
def test_what_is_no_private_network_is_refused(subnets: str) -> None:
    with pytest.raises(Refused, match="subnets"):
        Fields({"subnets": subnets}).pools()


@pytest.mark.parametrize("layer", ["base-0123", "../base-0123456789abcdef", "base-0123456789ABCDEF", "x"])
def test_a_layer_has_a_name_that_we_give(layer: str) -> None:
    with pytest.raises(Refused, match="layer"):
        Fields({"layer": layer}).text("layer", LAYER)


@pytest.mark.parametrize("suite", ["../x", "--option", "book worm", "Bookworm", "1"])
def test_a_suite_is_a_word(suite: str) -> None:
    with pytest.raises(Refused, match="suite"):
        Fields({"suite": suite}).text("suite", SUITE)


def test_an_id_is_no_option_and_no_path() -> None:
    for bad in ("-x", "a/b", ""):
        with pytest.raises(Refused):
            Fields({"id": bad}).text("id", ID)


def test_the_user_behind_sudo_owns_the_cluster() -> None:
    assert caller({"SUDO_UID": "1000"}) == (1000, verbs.FOLDER)


def test_only_root_itself_chooses_another_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    assert caller({"IPYFLEET_ROOT": "/var/tmp/other"}) == (0, Path("/var/tmp/other"))
    assert caller({"IPYFLEET_ROOT": "/var/tmp/other", "SUDO_UID": "1000"}) == (1000, verbs.FOLDER)


@pytest.mark.parametrize("folder", ["relative", "/with,comma", "/with:colon", "/with space", "/with\\backslash"])
def test_a_folder_that_mount_options_cannot_name_is_refused(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    with pytest.raises(Refused, match="IPYFLEET_ROOT"):
        caller({"IPYFLEET_ROOT": folder})


def wheelhouse_of(path: Path, uid: int) -> int:
    return verbs._wheelhouse(Request(verbs.FOLDER, uid, Fields({"wheelhouse": str(path)})))


def link_to(path: Path) -> Path:
    link = path.with_name("link.tar")
    link.symlink_to(path)
    return link


def pipe_beside(path: Path) -> Path:
    os.mkfifo(path.with_name("pipe.tar"))
    return path.with_name("pipe.tar")


@pytest.mark.parametrize("odd", [link_to, pipe_beside, lambda path: path.parent, lambda path: path.with_name("gone")])
def test_a_wheelhouse_is_a_plain_file(tmp_path: Path, odd: Callable[[Path], Path]) -> None:
    tar = tmp_path / "wheels.tar"
    tar.write_bytes(b"wheels")
    os.close(wheelhouse_of(tar, os.getuid()))
    with pytest.raises(Refused, match="wheelhouse"):
        wheelhouse_of(odd(tar), os.getuid())


def test_a_wheelhouse_of_another_user_is_refused(tmp_path: Path) -> None:
    tar = tmp_path / "wheels.tar"
    tar.write_bytes(b"wheels")
    with pytest.raises(Refused, match="not a plain file of yours"):
        wheelhouse_of(tar, os.getuid() + 1)


def program(verb: str, text: str) -> tuple[int, dict[str, Any]]:
    """What the root program answers, run as it is for real."""
    words = [sys.executable, "-I", "-S", "-B", str(PROGRAM), verb]
    done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=20, check=False)
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


ODD_PATH = {
    "image": {"distribution": "debian", "suite": "bookworm", "software": "abc"},
    "wheelhouse": "/no text: \ud800",
}


@pytest.mark.parametrize(
    ("verb", "text"),
    [
        ("rm", "{}"),
        ("find", "no json"),
        ("find", "[" * 100_000),
        ("image-build", json.dumps(ODD_PATH)),
        ("find", "[]"),
        ("find", '{"cluster": "../x"}'),
        ("find", "{}"),
    ],
)
def test_the_program_answers_a_bad_request_with_an_error_in_json(verb: str, text: str) -> None:
    code, answer = program(verb, text)
    assert code == 1
    assert answer["error"]["kind"] == "usage"
    assert answer["error"]["message"]


def test_a_full_disk_is_told_with_its_cure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def full(*request: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(verbs, "_answer", full)
    monkeypatch.setattr(verbs.signal, "signal", lambda number, handler: None)
    monkeypatch.setattr(sys, "stdin", io.StringIO("{}"))
    mask = os.umask(0o022)
    try:
        assert verbs.main() == 1
    finally:
        os.umask(mask)
    error = json.loads(capsys.readouterr().out)["error"]
    assert "/var/lib/ipyfleet is full" in error["message"]
    assert "removing machines needs none" in error["hint"]


def test_the_program_needs_nothing_but_the_standard_library_and_its_own_folder() -> None:
    words = [sys.executable, "-I", "-S", "-B", "-X", "importtime", str(PROGRAM), "rm"]
    done = subprocess.run(words, input="{}", capture_output=True, text=True, timeout=20, check=False)
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "root" in loaded
    assert not loaded & {"fabfile", "invoke", "fabric", "site"}
