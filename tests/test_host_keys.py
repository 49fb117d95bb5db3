"""The cluster's key pair and the file of pinned host keys."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from paramiko import Ed25519Key
from paramiko.hostkeys import HostKeys

from fabfile import host_keys
from fabfile.errors import RemoteError
from fabfile.remote import Endpoint, each

HERE, THERE = Endpoint("10.0.0.1", "u"), Endpoint("10.0.0.1", "u", 2222)


@pytest.fixture
def key(tmp_path: Path) -> str:
    return host_keys.plain(host_keys.make_key_pair(tmp_path / "id", "a comment"))


def test_a_key_pair_is_what_openssh_and_paramiko_read(tmp_path: Path) -> None:
    public = host_keys.make_key_pair(tmp_path / "id", "cluster ipython")
    assert public.startswith("ssh-ed25519 ")
    assert public.endswith(" cluster ipython")
    assert (tmp_path / "id.pub").read_text() == public + "\n"
    assert (tmp_path / "id").stat().st_mode & 0o777 == 0o600
    derived = subprocess.run(["ssh-keygen", "-y", "-f", tmp_path / "id"], capture_output=True, text=True, check=True)
    assert host_keys.plain(derived.stdout) == host_keys.plain(public)
    assert Ed25519Key.from_private_key_file(str(tmp_path / "id")).get_base64() == public.split()[1]


def test_a_fingerprint_is_the_one_that_openssh_prints(tmp_path: Path, key: str) -> None:
    (tmp_path / "pub").write_text(key)
    said = subprocess.run(["ssh-keygen", "-lf", tmp_path / "pub"], capture_output=True, text=True, check=True)
    assert said.stdout.split()[1] == host_keys.fingerprint(key)


def test_ports_are_kept_apart_and_others_lines_stay(tmp_path: Path, key: str) -> None:
    file = tmp_path / "known_hosts"
    other = host_keys.plain(host_keys.make_key_pair(tmp_path / "other", ""))
    host_keys.pin(file, HERE, [key + " comment", key])
    host_keys.pin(file, THERE, [other])
    assert file.read_text() == f"10.0.0.1 {key}\n[10.0.0.1]:2222 {other}\n"
    assert file.stat().st_mode & 0o777 == 0o600
    assert host_keys.pinned(file, HERE) == (key,)
    host_keys.pin(file, HERE, [other, key])
    assert host_keys.pinned(file, HERE) == (other, key)
    host_keys.pin(file, HERE, [])
    assert host_keys.pinned(file, HERE) == ()
    assert host_keys.pinned(file, THERE) == (other,)


def test_openssh_and_paramiko_find_what_is_pinned(tmp_path: Path, key: str) -> None:
    file = tmp_path / "known_hosts"
    alias = Endpoint("127.0.0.1", "u", 2222, key_alias="behind-the-gateway")
    for endpoint in (HERE, THERE, alias):
        host_keys.pin(file, endpoint, [key])
        name = host_keys.label(endpoint)
        found = subprocess.run(["ssh-keygen", "-F", name, "-f", file], capture_output=True, text=True, check=True)
        assert key in found.stdout
        assert HostKeys(str(file)).lookup(name) is not None
    assert host_keys.pinned(file, alias) == (key,)


def test_nothing_is_pinned_in_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert host_keys.pinned(tmp_path / "none", HERE) == ()


def test_many_threads_may_pin_at_once(tmp_path: Path, key: str) -> None:
    file = tmp_path / "known_hosts"
    endpoints = [Endpoint(f"10.0.0.{n}", "u") for n in range(1, 41)]
    each(endpoints, lambda endpoint: host_keys.pin(file, endpoint, [key]))
    assert all(host_keys.pinned(file, endpoint) == (key,) for endpoint in endpoints)


@pytest.mark.parametrize(
    "text", ["", "ssh-ed25519", "ssh-ed25519 ====", "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIA==", "a\nb c"]
)
def test_what_is_not_a_public_key_is_never_pinned(tmp_path: Path, text: str) -> None:
    with pytest.raises(RemoteError, match="not an SSH public key"):
        host_keys.pin(tmp_path / "known_hosts", HERE, [text])
    assert not (tmp_path / "known_hosts").exists()
