"""User-data: read back as cloud-init reads it, and never more than EC2 takes."""

from __future__ import annotations

import gzip
import os
import shlex
import subprocess
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as some

from fabfile import boot, host_keys
from fabfile.errors import UsageError
from fabfile.machines import Cluster
from fabfile.providers.ec2 import tags
from fabfile.providers.ec2.userdata import FOLDER, LIMIT, BootPlan, boot_plan
from fabfile.settings import Settings
from fabfile.software import Software

CLUSTER = Cluster("lab", "c0ffee", "me@here", 1_700_000_000.0)
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIL4kjbCeiaZNxcUH5gmURVFRf/GP4x9AvUbuWBCBqNrM me@here"
SOFTWARE = Software("50f7", "3.11", ("ipyparallel==9.1", "pip==26.3"), "x86_64")
BUDGET = 12_288  # bytes, for everything but the user's own script


def planned(settings: Settings, keys: tuple[str, ...] = (KEY,), software: Software | None = SOFTWARE) -> BootPlan:
    return boot_plan(settings, CLUSTER, "engine", keys, software)


def text(plan: BootPlan) -> str:
    return gzip.decompress(plan.user_data).decode()


def document(plan: BootPlan) -> dict[str, Any]:
    """The cloud-config, read by the parser that cloud-init uses."""
    assert text(plan).startswith("#cloud-config\n")
    read = yaml.safe_load(text(plan))
    assert isinstance(read, dict)
    return read


def files(plan: BootPlan) -> dict[str, bytes]:
    """What is written into the folder of the first boot, by name."""
    written = {}
    for file in document(plan)["write_files"]:
        content = file["content"]
        packed = file.get("encoding") == "gz+b64"
        written[file["path"].removeprefix(f"{FOLDER}/")] = (
            gzip.decompress(b64decode(content)) if packed else content.encode()
        )
    return written


class TestHostKey:
    def test_its_halves_belong_together_and_two_such_keys_fit_into_a_tag(self, tmp_path: Path) -> None:
        plan = planned(Settings())
        keys = document(plan)["ssh_keys"]
        (tmp_path / "key").write_text(keys["ed25519_private"])
        (tmp_path / "key").chmod(0o600)
        derived = subprocess.run(
            ["ssh-keygen", "-y", "-f", tmp_path / "key"], capture_output=True, text=True, check=True
        )
        assert host_keys.plain(derived.stdout) == plan.boot_key == keys["ed25519_public"].strip()
        assert tags.host_keys([plan.boot_key, plan.boot_key])

    def test_each_launch_has_its_own(self) -> None:
        assert planned(Settings()).boot_key != planned(Settings()).boot_key

    def test_it_is_the_only_one_and_the_only_secret(self) -> None:
        plan = planned(Settings(lease=60.0, ssh_keys=(KEY,)))
        assert text(plan).count("PRIVATE KEY") == 2  # its first and its last line
        assert document(plan)["ssh_deletekeys"] is True
        assert document(plan)["ssh_genkeytypes"] == ["ed25519"]


class TestLogin:
    def test_the_given_keys_may_and_no_password_and_not_root(self) -> None:
        read = document(planned(Settings(), keys=(KEY, KEY.replace("me@here", "you@there"))))
        assert [key.split()[2] for key in read["ssh_authorized_keys"]] == ["me@here", "you@there"]
        assert read["ssh_pwauth"] is False
        assert read["disable_root"] is True

    @given(some.text(some.characters(exclude_characters="\n\r", codec="utf-8"), max_size=30))
    def test_whatever_a_keys_comment_holds_the_key_arrives(self, comment: str) -> None:
        key = f"{' '.join(KEY.split()[:2])} {comment}"
        assert document(planned(Settings(), keys=(key,)))["ssh_authorized_keys"][0].startswith(KEY.rpartition(" ")[0])


class TestLease:
    def test_it_is_armed_once_an_instance_with_the_files_of_a_deployment(self) -> None:
        (command,) = document(planned(Settings(lease=3600.0)))["bootcmd"]
        *how, script, name = command[:7]
        assert how == ["cloud-init-per", "instance", "ipyfleet-lease", "sh", "-c"]
        assert (script, name) == (boot.script("arm-lease.sh").read_text(), "arm-lease.sh")
        words = [
            word for file in boot.lease_files(3600.0) for word in (f"{file.mode:04o}", file.path, file.data.decode())
        ]
        assert command[7:] == words

    def test_without_one_nothing_is_armed(self) -> None:
        assert "bootcmd" not in document(planned(Settings()))


class TestFirstBoot:
    def test_the_machine_gets_our_scripts_and_the_software_to_fetch(self) -> None:
        assert files(planned(Settings())) == {
            **{name: boot.script(name).read_bytes() for name in ("first-boot.sh", "host.sh", "software.sh")},
            "python": b"3.11\n",
            "requirements.txt": b"ipyparallel==9.1\npip==26.3\n",
        }

    def test_one_command_starts_it_all(self) -> None:
        (command,) = document(planned(Settings(system_packages=("git", "g++"), boot_timeout=300.0)))["runcmd"]
        assert command == ["sh", f"{FOLDER}/first-boot.sh", FOLDER, "50f7", "225", "git", "g++"]

    def test_an_image_with_the_software_needs_none(self) -> None:
        plan = planned(Settings(), software=None)
        assert files(plan).keys() == {"first-boot.sh", "host.sh"}
        assert document(plan)["runcmd"][0][3] == ""

    def test_the_users_script_arrives_to_the_byte_and_can_be_run(self, tmp_path: Path) -> None:
        script = b"#!/usr/bin/python3\n" + bytes(range(256))
        (tmp_path / "mine").write_bytes(script)
        plan = planned(Settings(userdata=str(tmp_path / "mine")))
        assert files(plan)["userdata"] == script
        assert document(plan)["write_files"][-1]["permissions"] == "0700"

    def test_a_script_that_cannot_be_used_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="cannot be read"):
            planned(Settings(userdata=str(tmp_path / "none")))


class TestSize:
    def test_everything_of_ours_stays_within_the_budget(self) -> None:
        pins = tuple(f"{os.urandom(5).hex()}-{n}==2026.{n}.{n}" for n in range(120))
        rsa = tuple(f"ssh-rsa {os.urandom(402).hex()[:716]} somebody@somewhere-{n}" for n in range(3))
        keys = (KEY, *rsa, *(f"ssh-ed25519 AAAA{os.urandom(24).hex()} somebody@somewhere-{n}" for n in range(5)))
        packages = tuple(f"lib{os.urandom(4).hex()}-dev" for _ in range(40))
        full = Settings(lease=8 * 3600.0, system_packages=packages)
        plan = planned(full, keys, Software("0123456789ab", "3.11", pins, "x86_64"))
        assert len(plan.user_data) < BUDGET

    def test_what_ec2_would_refuse_is_refused_here_saying_what_takes_how_much(self, tmp_path: Path) -> None:
        script = tmp_path / "mine"
        script.write_bytes(b"#!/bin/sh\n# " + os.urandom(LIMIT))
        with pytest.raises(UsageError) as caught:
            planned(Settings(userdata=str(script), system_packages=("git",)))
        message = caught.value.message
        assert f"EC2 takes {LIMIT}" in message
        assert message.index("(`userdata`)") < message.index("(`packages`)")
        assert "(`system_packages`)" in message
        assert "fetch the rest" in caught.value.hint

    def test_a_script_of_8_kb_that_cannot_be_compressed_is_taken(self, tmp_path: Path) -> None:
        script = tmp_path / "mine"
        script.write_bytes(b"#!/bin/sh\n# " + os.urandom(8192))
        assert len(planned(Settings(userdata=str(script))).user_data) <= LIMIT


def test_words_that_a_shell_could_take_apart_stay_whole() -> None:
    """cloud-init makes a script of these lists, each word in single quotes."""
    command = document(planned(Settings(lease=60.0)))["bootcmd"][0]
    assert shlex.split(" ".join("'" + word.replace("'", "'\\''") + "'" for word in command)) == command
