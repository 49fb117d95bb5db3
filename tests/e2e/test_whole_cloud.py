"""The test cloud with whole machines: cloud-init carries out what an instance was told, and power-off ends it."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fabfile.remote import Credentials, Endpoint
from tests.cloud.account import Account, new_key, until
from tests.cloud.server import Cloud
from tests.e2e.cloud_machines import Site, whole_machines
from tests.e2e.machines import ssh, wait_for_ssh_banner

pytestmark = pytest.mark.e2e

CONFIG = """\
#cloud-config
bootcmd:
- [cloud-init-per, instance, early, sh, -c, "systemctl is-active ssh.service >/srv/ssh; date +%s%N >/srv/bootcmd"]
ssh_deletekeys: true
ssh_genkeytypes: [ed25519]
ssh_keys:
  ed25519_private: |
{private}
  ed25519_public: {public}
users:
- default
- {{name: second, ssh_authorized_keys: ["{login}"]}}
runcmd:
- [sh, -c, "hostname >/srv/runcmd; id -un >>/srv/runcmd"]
"""


class Lab:
    """A machine that was told something, the keys to it, and what it is known by."""

    def __init__(self, cloud: Cloud, folder: Path) -> None:
        self.cloud = cloud
        self.folder = folder
        self.account = Account(cloud)
        self.pair = self.account.import_key(folder)
        self.host, self.login = new_key(folder / "host"), new_key(folder / "login")
        self.host_key, login = (path.with_suffix(".pub").read_text().strip() for path in (self.host, self.login))
        private = "\n".join(f"    {line}" for line in self.host.read_text().splitlines())
        self.config = CONFIG.format(private=private, public=self.host_key, login=login)

    def launch(self, **how: Any) -> str:
        (name,) = self.account.launch_ids(KeyName="lab", UserData=gzip.compress(self.config.encode()), **how)
        self.account.wait("running", name)
        return name

    def ssh(self, name: str, command: str, user: str = "admin", key: Path | None = None, *, check: bool = True) -> str:
        (seen,) = self.account.see(name)
        endpoint = Endpoint(seen["PublicIpAddress"], user)
        wait_for_ssh_banner(endpoint)
        known = self.folder / "known_hosts"
        known.write_text(f"{endpoint.host} {self.host_key}\n")
        return ssh(endpoint, Credentials(key or self.pair, known), command, check=check)


@pytest.fixture(scope="module")
def site(cloud_server: Cloud) -> Iterator[Site]:
    with whole_machines(cloud_server, "whole") as site:
        yield site


@pytest.fixture(scope="module")
def lab(cloud_server: Cloud, site: Site, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    return Lab(cloud_server, tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="module")
def machine(lab: Lab) -> str:
    """A machine whose first boot is over."""
    name = lab.launch(InstanceInitiatedShutdownBehavior="terminate")
    assert lab.ssh(name, "cloud-init status --wait", check=False).strip(".\n") == "status: done"
    return name


def test_what_the_instance_was_told_is_done(lab: Lab, machine: str) -> None:
    assert lab.ssh(machine, "cat /srv/runcmd") == f"{lab.ssh(machine, 'hostname')}root\n"
    assert lab.ssh(machine, "cat /srv/ssh") == "inactive\n"  # that is: before anybody could log in
    assert lab.ssh(machine, "sudo sh -c 'cat /etc/ssh/ssh_host_*.pub'").split()[:2] == lab.host_key.split()[:2]


def test_the_key_pair_opens_the_images_user_and_the_users_own_key_the_other(lab: Lab, machine: str) -> None:
    assert lab.ssh(machine, "sudo id -un") == "root\n"
    assert lab.ssh(machine, "id -un", "second", lab.login) == "second\n"
    assert lab.ssh(machine, "true", "second", check=False) == ""
    with pytest.raises(AssertionError, match="Permission denied"):
        lab.ssh(machine, "true", "second")


def test_it_is_a_machine_of_the_vpc(lab: Lab, machine: str) -> None:
    (seen,) = lab.account.see(machine)
    own = "python3 -c 'import socket; print(socket.gethostbyname(socket.gethostname()))'"
    assert lab.ssh(machine, own) == f"{seen['PrivateIpAddress']}\n"
    assert lab.ssh(machine, "systemctl is-system-running --wait", check=False) == "running\n"
    assert "cloud-init" in lab.account.ec2.get_console_output(InstanceId=machine)["Output"]


def test_stop_and_start_keep_its_disk_and_run_bootcmd_once(lab: Lab, machine: str) -> None:
    before = lab.ssh(machine, "cat /srv/bootcmd; echo kept | sudo tee /srv/kept; sudo hostname >/dev/null")
    (running,) = lab.account.see(machine)
    lab.account.ec2.stop_instances(InstanceIds=[machine])
    lab.account.wait("stopped", machine)
    lab.account.ec2.start_instances(InstanceIds=[machine])
    (started,) = lab.account.wait("running", machine)
    assert started["PublicIpAddress"] != running["PublicIpAddress"]
    assert lab.ssh(machine, "cat /srv/bootcmd /srv/kept") == before
    assert "Halting system" in lab.account.ec2.get_console_output(InstanceId=machine)["Output"]


def test_an_image_of_it_has_its_files_and_makes_another_machine(lab: Lab, machine: str) -> None:
    lab.ssh(machine, "echo baked | sudo tee /srv/baked /etc/ipyfleet-baked")
    image = lab.account.ec2.create_image(InstanceId=machine, Name="baked")["ImageId"]
    until(lambda: lab.account.ec2.describe_images(ImageIds=[image])["Images"][0]["State"] == "available", 60)
    other = lab.launch(ImageId=image)
    assert lab.ssh(other, "cat /srv/baked /etc/ipyfleet-baked") == "baked\nbaked\n"
    lab.ssh(other, "cloud-init status --wait", check=False)
    assert lab.ssh(other, "cat /srv/runcmd") == f"{lab.ssh(other, 'hostname')}root\n"
    assert lab.ssh(machine, "cat /etc/machine-id") != lab.ssh(other, "cat /etc/machine-id")
    lab.account.ec2.terminate_instances(InstanceIds=[other])
    lab.account.wait("terminated", other)


def test_power_off_inside_ends_the_instance_and_its_disk(lab: Lab, site: Site, machine: str) -> None:
    lab.ssh(machine, "sudo poweroff", check=False)
    (seen,) = lab.account.wait("terminated", machine)
    assert seen["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
    until(lambda: site.place.records() == [])
    assert list(site.place.machines.glob("*")) == []
