"""The machines of the test cloud: real SSH servers that boot, end and keep their disks as EC2's do."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from pathlib import Path
from typing import Any

import pytest

from tests.cloud.account import Account, new_key, ssh, until
from tests.cloud.first_boot import read
from tests.cloud.room import children
from tests.cloud.server import Cloud

pytestmark = pytest.mark.e2e


class Lab:
    """An account with a key pair, and ways into its machines."""

    def __init__(self, cloud: Cloud, folder: Path) -> None:
        self.cloud = cloud
        self.folder = folder
        self.account = Account(cloud)
        self.ec2 = self.account.ec2
        self.key = self.account.import_key(folder)

    def launch(self, **changes: Any) -> str:
        """The id of a new machine that runs."""
        (name,) = self.account.launch_ids(**{"KeyName": "lab", **changes})
        self.account.wait("running", name)
        return name

    def host_key(self, name: str) -> str:
        """The host key that its console shows."""
        until(lambda: "END SSH HOST KEY KEYS" in self.console(name))
        lines = self.console(name).splitlines()
        return lines[lines.index("-----BEGIN SSH HOST KEY KEYS-----") + 1]

    def console(self, name: str) -> str:
        return str(self.ec2.get_console_output(InstanceId=name)["Output"])

    def ssh(self, name: str, command: str, *, host_key: str = "", key: Path | None = None) -> str:
        """What a command prints on a machine, whose host key is checked."""
        (seen,) = self.account.see(name)
        known = host_key or self.host_key(name)
        until(lambda: "listening on" in self.console(name))
        return ssh(seen["PublicIpAddress"], key or self.key, command, known, self.folder / "known_hosts")


@pytest.fixture
def lab(cloud: Cloud, tmp_path: Path) -> Lab:
    return Lab(cloud, tmp_path)


def cloud_config(folder: Path) -> tuple[str, str, Path]:
    """A cloud-config with a host key and a login key of its own; the host key's public half, the login key."""
    host, login = new_key(folder / "host"), new_key(folder / "login")
    private = "".join(f"    {line}\n" for line in host.read_text().splitlines())
    public, may_log_in = (path.with_suffix(".pub").read_text().strip() for path in (host, login))
    text = f"#cloud-config\nssh_keys:\n  ed25519_private: |\n{private}  ed25519_public: {public}\n"
    return f"{text}ssh_authorized_keys:\n- {may_log_in}\n", public, login


def archive(config: str) -> bytes:
    """The same as one part of a MIME archive, the other one a script."""
    whole = MIMEMultipart()
    whole.attach(MIMEText("#!/bin/sh\ntrue\n", "x-shellscript"))
    whole.attach(MIMEText(config, "cloud-config"))
    return whole.as_bytes()


def test_a_machine_shows_its_host_key_on_the_console_and_lets_the_key_pair_in(lab: Lab) -> None:
    name = lab.launch()
    assert lab.ssh(name, "id -u") == "0\n"
    other = new_key(lab.folder / "other")
    assert "Permission denied" in lab.ssh(name, "id -u", key=other)
    wrong = other.with_suffix(".pub").read_text()
    assert "HOST IDENTIFICATION HAS CHANGED" in lab.ssh(name, "id -u", host_key=wrong)


@pytest.mark.parametrize("packed", ["plain", "gzip", "archive", "gzip archive"])
def test_a_machine_takes_its_keys_from_its_user_data(lab: Lab, packed: str) -> None:
    config, host_key, login = cloud_config(lab.folder)
    data = archive(config) if "archive" in packed else config.encode()
    name = lab.launch(UserData=gzip.compress(data) if "gzip" in packed else data)
    assert lab.ssh(name, "id -u", host_key=host_key, key=login) == "0\n"
    assert lab.ssh(name, "id -u", host_key=host_key) == "0\n"  # the key pair as well


def test_a_host_key_can_be_replaced(lab: Lab) -> None:
    config, first, _ = cloud_config(lab.folder)
    name = lab.launch(UserData=config)
    make = "cd /etc/ssh && ssh-keygen -q -t ed25519 -N '' -C '' -f new && cat new.pub"
    second = lab.ssh(name, make, host_key=first)
    swap = "mv new ssh_host_ed25519_key && mv new.pub ssh_host_ed25519_key.pub && systemctl reload ssh"
    lab.ssh(name, f"cd /etc/ssh && {swap}", host_key=first)
    until(lambda: "SIGHUP" in lab.console(name))
    until(lambda: lab.ssh(name, "id -u", host_key=second) == "0\n")
    assert "HOST IDENTIFICATION HAS CHANGED" in lab.ssh(name, "true", host_key=first)


def test_machines_keep_their_files_to_themselves(lab: Lab) -> None:
    Path(lab.folder, "here").write_text("")
    one, two = lab.launch(), lab.launch()
    places = ("/etc/ipyfleet", "/opt/ipyfleet", "/var/lib/ipyparallel", "/root/sub", "/usr/lib/ipyfleet")
    before = {place: Path(place).exists() for place in places}
    assert lab.ssh(one, f"mkdir {' '.join(places)} && rm -r /var/lib/dpkg && echo done") == "done\n"
    assert {place: Path(place).exists() for place in places} == before
    assert Path("/var/lib/dpkg").exists()
    assert lab.ssh(two, "ls -A /root; ls /etc/ipyfleet 2>/dev/null; ls -d /var/lib/dpkg") == ".ssh\n/var/lib/dpkg\n"
    assert lab.cloud.machine_of(one).file("/root/sub").is_dir()


def test_machines_have_names_and_processes_of_their_own(lab: Lab) -> None:
    names = [lab.launch(), lab.launch()]
    assert lab.ssh(names[0], "hostname") != lab.ssh(names[1], "hostname")
    processes = lab.ssh(names[0], "cat /proc/[0-9]*/comm").split()
    assert set(processes) <= {"bash", "cat", "sshd"}


def test_stop_and_start_keep_disk_and_host_key(lab: Lab) -> None:
    name = lab.launch()
    key = lab.host_key(name)
    lab.ssh(name, "echo kept >/root/kept")
    (before,) = lab.account.see(name)
    lab.ec2.stop_instances(InstanceIds=[name])
    lab.account.wait("stopped", name)
    lab.ec2.start_instances(InstanceIds=[name])
    (after,) = lab.account.wait("running", name)
    assert after["PublicIpAddress"] != before["PublicIpAddress"]
    until(lambda: lab.ssh(name, "cat /root/kept", host_key=key) == "kept\n")


def test_a_reboot_ends_processes_and_keeps_files(lab: Lab) -> None:
    name = lab.launch()
    lab.ssh(name, "echo kept >/root/kept; touch /run/lost /tmp/lost")
    said = len(lab.console(name))
    lab.ec2.reboot_instances(InstanceIds=[name])
    until(lambda: "listening on" in lab.console(name)[said:])
    assert lab.ssh(name, "cat /root/kept; ls /run/lost /tmp/lost 2>/dev/null") == "kept\n"
    assert lab.account.states(name) == {"running"}


@pytest.mark.parametrize(("behaviour", "state"), [("terminate", "terminated"), ("stop", "stopped"), (None, "stopped")])
def test_a_machine_that_powers_off_ends_or_stops_its_instance(lab: Lab, behaviour: str | None, state: str) -> None:
    how = {"InstanceInitiatedShutdownBehavior": behaviour} if behaviour else {}
    name = lab.launch(**how)
    lab.ssh(name, "poweroff")
    (seen,) = lab.account.wait(state, name)
    assert seen["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"


def test_ending_a_machine_cuts_its_connections(lab: Lab) -> None:
    name = lab.launch()
    (seen,) = lab.account.see(name)
    assert lab.ssh(name, "true") == ""
    known = f"UserKnownHostsFile={lab.folder / 'known_hosts'}"
    words = [
        "ssh",
        "-F",
        "none",
        "-i",
        str(lab.key),
        "-o",
        known,
        f"root@{seen['PublicIpAddress']}",
        "echo in; sleep 99",
    ]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"in\n"
        lab.ec2.terminate_instances(InstanceIds=[name])
        assert client.wait(timeout=10) == 255


def test_ssh_can_be_made_never_to_answer(lab: Lab) -> None:
    lab.cloud.faults.silence_ssh(lambda tags: tags.get("role") == "engine")
    tags = [{"ResourceType": "instance", "Tags": [{"Key": "role", "Value": "engine"}]}]
    silent, well, after = lab.launch(TagSpecifications=tags), lab.launch(), lab.launch(TagSpecifications=tags)
    assert lab.ssh(well, "id -u") == lab.ssh(after, "id -u") == "0\n"
    (seen,) = lab.account.see(silent)
    assert "refused" in ssh(seen["PublicIpAddress"], lab.key, "id", lab.host_key(silent), lab.folder / "known_hosts")
    lab.ec2.terminate_instances(InstanceIds=[silent])
    lab.account.wait("terminated", silent)


def test_a_first_boot_can_be_made_to_fail(lab: Lab) -> None:
    lab.cloud.faults.break_boot("('scripts_user', RuntimeError('Runparts: 1 failures'))")
    broken, well = lab.launch(), lab.launch()
    assert lab.ssh(well, "cloud-init status --wait; echo $?") == "status: done\n0\n"
    assert lab.ssh(broken, "cloud-init status --wait; echo $?") == "status: error\n1\n"
    assert "Runparts" in lab.ssh(broken, "cat /run/cloud-init/result.json /var/log/cloud-init-output.log")


def test_user_data_that_cloud_init_would_not_understand_is_an_error_of_the_boot(lab: Lab) -> None:
    name = lab.launch(UserData="#cloud-config\nssh_keys: [\n")
    assert lab.ssh(name, "cloud-init status") == "status: error\n"
    with pytest.raises(ValueError, match="does not know"):
        read(b"echo no interpreter\n")


def test_machines_carry_out_their_user_data_when_they_shall(lab: Lab) -> None:
    lab.cloud.machines_obey = True
    config = (
        "#cloud-config\nwrite_files:\n- {path: /srv/a/plain, content: plain}\n"
        "- {path: /srv/packed, content: cGFja2Vk, encoding: b64, permissions: '0600'}\n"
        "runcmd:\n- [sh, -c, 'echo said; cat /srv/a/plain /srv/packed >/srv/both']\n"
        "- tail -n +3 /proc/net/dev | cut -d ':' -f 1 >/srv/net\n"
    )
    failing = ("#!/bin/sh\necho by me\nfalse\n", "#cloud-config\nruncmd:\n- [sh, -c, exit 3]\n- echo and on\n")
    well, broken, worse = (lab.launch(UserData=data) for data in (config, *failing))
    assert lab.ssh(well, "cloud-init status --wait; cat /srv/both; stat -c %a /srv/packed") == (
        "status: done\nplainpacked600\n"
    )
    assert set(lab.ssh(well, "cat /srv/net").split()) == {"cable", "lo"}  # no way to anywhere but this computer
    assert lab.ssh(well, "cat /var/log/cloud-init-output.log") == "said\n"
    assert lab.ssh(broken, "cloud-init status --wait; cat /var/log/cloud-init-output.log") == "status: error\nby me\n"
    assert lab.ssh(worse, "cloud-init status --wait; cat /var/log/cloud-init-output.log") == "status: error\nand on\n"
    lab.ssh(well, "rm /srv/both")
    said = len(lab.console(well))
    lab.ec2.reboot_instances(InstanceIds=[well])
    until(lambda: "listening on" in lab.console(well)[said:])
    assert lab.ssh(well, "ls /srv; cloud-init status") == "a\nnet\npacked\nstatus: done\n"


def test_an_image_of_a_machine_has_its_files_and_makes_another_machine(lab: Lab) -> None:
    one = lab.launch()
    key = lab.host_key(one)
    lab.ssh(one, "echo baked >/opt/baked; rm /etc/motd; touch /root/once /etc/ssh/ssh_host_rsa_key")
    image = lab.ec2.create_image(InstanceId=one, Name="baked")["ImageId"]
    until(lambda: lab.ec2.describe_images(ImageIds=[image])["Images"][0]["State"] == "available")
    other = lab.launch(ImageId=image)
    assert lab.host_key(other) != key
    assert lab.ssh(other, "cat /opt/baked; ls /etc/motd /root/once /etc/ssh/*rsa* 2>/dev/null; cloud-init status") == (
        "baked\n/root/once\nstatus: done\n"
    )
    assert lab.ssh(one, "uptime >/dev/null; cat /opt/baked", host_key=key) == "baked\n"


def test_the_console_can_be_read_also_when_the_machine_is_gone(lab: Lab) -> None:
    name = lab.launch()
    key = lab.host_key(name)
    lab.ec2.terminate_instances(InstanceIds=[name])
    lab.account.wait("terminated", name)
    assert key in lab.console(name)


def test_nothing_is_left_of_machines_when_their_process_is_killed(tmp_path: Path) -> None:
    code = (
        "import ipaddress, pathlib, sys; from tests.cloud.room import Room; "
        "room = Room(pathlib.Path(sys.argv[1]), ipaddress.IPv4Network('198.19.255.0/24'));"
        "room.start(('sleep', '61.25'), open('/dev/null', 'wb'));"
        "print(room._process.pid, flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        room = int(owner.stdout.readline())
        (inside,) = children(room)
        until(lambda: _sleepers() == 1)
        owner.send_signal(signal.SIGKILL)
    until(lambda: _sleepers() == 0 and not os.path.exists(f"/proc/{inside}"))
    assert str(tmp_path) not in Path("/proc/mounts").read_text()
    until(lambda: not list(Path("/sys/class/net").glob("room198192550")))


def _sleepers() -> int:
    found = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found += path.read_bytes() == b"sleep\x0061.25\x00"
        except OSError:
            continue
    return found
