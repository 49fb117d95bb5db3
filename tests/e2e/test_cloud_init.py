"""The user-data of EC2 carried out by a real cloud-init, on real machines that have no network but each other.

Every machine differs in what it is told; all of them are launched together. What a cloud would give them, their
user-data and a name of their own, they find in a folder (cloud-init's NoCloud).
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fabfile import engines, host_keys, ssh
from fabfile.errors import ClusterError, RemoteError
from fabfile.host_key_rotation import replace_throwaway
from fabfile.machines import Cluster, Machine, MachineSpec, MachineState, silent
from fabfile.providers.ec2.booting import wait_until_booted
from fabfile.providers.ec2.userdata import BootPlan, boot_plan
from fabfile.providers.local import LocalProvider
from fabfile.providers.local.root.store import ClusterRecord, MachineRecord, Place
from fabfile.remote import Credentials
from fabfile.services import LEASE
from fabfile.settings import Settings
from fabfile.software import Software, software, wheelhouse
from fabfile.ssh_host import SshHost
from tests.e2e.cloud_machines import CLOUD, cloud_image
from tests.e2e.machines import audit, remove, root_folder
from tests.e2e.services import shell, systemd, until

pytestmark = pytest.mark.e2e
NAME = "cloudinit"
CLUSTER = Cluster(NAME, "c1", "tests@here", 1_700_000_000.0)
LOGIN = "admin"
USERS = """#!/bin/sh -e
test -e /opt/ipyfleet/env
echo "$(id -un) in $HOME" >/srv/by-the-user
echo 'the user speaks'
"""
BROKEN = "#!/bin/sh\necho 'no such luck' >&2\nexit 7\n"
BOOT = 120.0  # s
SHORT = 20.0  # s of a lease that ends while we look


@dataclass
class Told:
    """A machine that was told something: how it is reached, and by which host key."""

    machine: Machine
    plan: BootPlan
    credentials: Credentials

    def open(self) -> SshHost:
        assert self.machine.endpoint is not None
        return ssh.open_when_ready(self.machine.endpoint, self.machine.name, self.credentials, timeout=BOOT)

    def wait(self, timeout: float = BOOT) -> None:
        with closing(self.open()) as host:
            wait_until_booted(host, self.machine.name, timeout)


class Noted:
    """A provider that notes host keys."""

    def publish_host_keys(self, machine: Machine, keys: tuple[str, ...], throwaway: str) -> Machine:
        return replace(machine, host_keys=tuple(keys), throwaway_key=throwaway)


class Launcher:
    """Machines of one image, each with its own user-data, in one cluster of provider local."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.provider = LocalProvider(Settings(cluster=NAME), bare=True)
        self.place = Place(root_folder(), os.getuid(), NAME)
        self.key = host_keys.make_key_pair(folder / "key", "tests")
        self.told: dict[str, Told] = {}
        self.image = cloud_image()

    def launch(self, told: dict[str, tuple[Settings, Software | None]], wheels: dict[str, Path]) -> None:
        """Launch a machine for each; those in ``wheels`` have Python packages to be found by their own pip."""
        self.place.save_cluster(ClusterRecord(os.getuid(), NAME, CLUSTER.id, CLUSTER.owner, CLUSTER.created))
        plans = {}
        for index, (name, (settings, wanted)) in enumerate(told.items()):
            plans[name] = boot_plan(settings, CLUSTER, "engine", (self.key,), wanted)
            record = MachineRecord(f"engine-{index}", f"i-{name}", "engine", index, time.time(), (self.image.layer,))
            self.place.save_machine(record)
            self.tell(record.name, record.id, plans[name])
            if name in wheels:
                folder = self.disk(record.name) / "srv/wheels"
                folder.mkdir(parents=True)
                subprocess.run(("tar", "-C", str(folder), "-xf", str(wheels[name])), check=True)
                pip = "[global]\nno-index = true\nfind-links = /srv/wheels\n"
                (self.disk(record.name) / "etc/pip.conf").write_text(pip)
        # What has a record already is launched as that says.
        specs = [MachineSpec("engine", index) for index in range(len(told))]
        for machine in self.provider.create(CLUSTER, specs, silent):
            name = machine.id.removeprefix("i-")
            self.told[name] = self.known(machine, machine.id, plans[name])

    def disk(self, machine: str) -> Path:
        """What a machine that is off has of its own above its image."""
        return self.place.machines / machine / "upper"

    def tell(self, machine: str, instance: str, plan: BootPlan) -> None:
        """Have a machine that is off find this user-data, and be told that it is this instance."""
        seed = self.disk(machine) / "var/lib/cloud/seed/nocloud"
        seed.mkdir(parents=True, exist_ok=True)
        (seed / "user-data").write_bytes(plan.user_data)
        (seed / "meta-data").write_text(f"instance-id: {instance}\n")
        settings = self.disk(machine) / "etc/cloud/cloud.cfg.d/95-tests.cfg"
        settings.parent.mkdir(parents=True, exist_ok=True)
        settings.write_text(CLOUD.format(user=LOGIN))

    def known(self, machine: Machine, instance: str, plan: BootPlan) -> Told:
        """The machine as EC2 would show it, with the host key that it was told pinned."""
        assert machine.endpoint is not None
        endpoint = replace(machine.endpoint, user=LOGIN, key_alias=instance)
        machine = replace(machine, endpoint=endpoint, host_keys=(plan.boot_key,), throwaway_key=plan.boot_key)
        credentials = Credentials(self.folder / "key", self.folder / "known_hosts")
        host_keys.pin(credentials.known_hosts, endpoint, machine.host_keys)
        return Told(machine, plan, credentials)

    def state(self, name: str) -> Machine:
        found = self.provider.find(NAME).by_name(self.told[name].machine.name)
        assert found is not None
        return found


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    folder = tmp_path_factory.mktemp("cloudinit")
    launcher = Launcher(folder)
    full, lease = software(Settings()), Settings(lease=3600.0)
    for name, text in (("users", USERS), ("broken", BROKEN)):
        (folder / name).write_text(text)
    try:
        launcher.launch(
            {
                "whole": (replace(lease, userdata=str(folder / "users")), full),
                "broken": (replace(lease, userdata=str(folder / "broken")), None),
                "packages": (replace(lease, system_packages=("git",)), None),
                "alone": (Settings(), full),
                "short": (Settings(lease=SHORT), None),
            },
            wheels={"whole": wheelhouse(full)},
        )
        yield launcher
    finally:
        remove(launcher.provider, NAME)
    assert audit() == []


@pytest.fixture(scope="module")
def whole(launcher: Launcher) -> Iterator[SshHost]:
    """The machine that was told everything, booted; reached by the host key that it was told alone."""
    told = launcher.told["whole"]
    told.wait()
    with closing(told.open()) as host:
        yield host


def started(host: SshHost, unit: str) -> float:
    """When systemd began to start the unit for the first time in this boot, in seconds since the kernel's."""
    lines = shell(host, f"journalctl --quiet --boot --output=json --unit={unit}").splitlines()
    entries: list[dict[str, Any]] = [json.loads(line) for line in lines]
    return min(int(entry["__MONOTONIC_TIMESTAMP"]) for entry in entries) / 1e6


def armed(host: SshHost) -> float:
    """When the lease's timer was started, in seconds since the kernel's boot."""
    return int(shell(host, "systemctl show --value -p ActiveEnterTimestampMonotonic ipyfleet-lease.timer")) / 1e6


class TestWhole:
    def test_the_lease_was_armed_before_anybody_could_log_in(self, whole: SshHost) -> None:
        assert armed(whole) < started(whole, "ssh.service")
        left = systemd.lease_left(whole)
        assert left is not None
        assert 3600 - BOOT < left < 3600

    def test_a_deployment_finds_the_lease_as_it_would_leave_it(self, whole: SshHost) -> None:
        before = systemd.state(whole, LEASE)[""]
        settings = Settings(lease=3600.0)
        assert not systemd.install(whole, LEASE)
        assert not systemd.configure(whole, LEASE, engines.lease_values(settings, "poweroff"))
        engines.set_lease(whole, systemd, settings, "poweroff")
        assert systemd.state(whole, LEASE)[""] == before
        assert shell(whole, "systemctl is-enabled ipyfleet-lease.timer") == "enabled"

    def test_the_images_user_logs_in_and_may_do_everything_and_root_may_not_log_in(
        self, launcher: Launcher, whole: SshHost
    ) -> None:
        assert whole.run("id", "-un").stdout == f"{LOGIN}\n"
        assert shell(whole, "id -un") == "root"
        told = launcher.told["whole"]
        assert told.machine.endpoint is not None
        with pytest.raises(RemoteError, match="login was refused"):
            ssh.connect(replace(told.machine.endpoint, user="root"), "engine-0", told.credentials)

    def test_it_has_no_other_host_key(self, launcher: Launcher, whole: SshHost) -> None:
        keys = shell(whole, "cat /etc/ssh/ssh_host_*.pub").splitlines()
        assert [host_keys.plain(key) for key in keys] == [launcher.told["whole"].plan.boot_key]

    def test_its_own_pip_made_the_software_that_hosts_shall_have(self, whole: SshHost) -> None:
        seen = engines.survey(whole)
        wanted = software(Settings())
        assert seen.software == wanted.id
        listed = shell(whole, "/opt/ipyfleet/env/bin/pip list --format=freeze --disable-pip-version-check")
        assert sorted(listed.lower().replace("_", "-").split()) == sorted(wanted.requirements)
        assert shell(whole, "ls /opt/ipyfleet") == f"env\nenv-{wanted.id}\nlibexec\npackages\nsoftware.lock"

    def test_the_users_script_came_last_and_its_words_are_in_the_log(self, whole: SshHost) -> None:
        assert shell(whole, "cat /srv/by-the-user") == "root in /root"
        assert "the user speaks" in shell(whole, "cat /var/log/cloud-init-output.log")

    def test_waiting_for_what_is_over_is_one_quick_question(self, whole: SshHost) -> None:
        begun = time.monotonic()
        wait_until_booted(whole, "engine-0", 60)
        assert time.monotonic() - begun < 1

    def test_the_service_manager_has_nothing_to_complain_of(self, whole: SshHost) -> None:
        assert shell(whole, "systemctl --failed --plain --no-legend") == ""


def test_its_own_host_key_and_its_lease_outlast_a_stop(launcher: Launcher, whole: SshHost) -> None:
    told = launcher.told["whole"]
    told.machine = replace_throwaway(Noted(), told.machine, whole, told.credentials)
    assert told.plan.boot_key not in told.machine.host_keys
    time.sleep(max(0.0, armed(whole) + 30 - float(whole.run("cat", "/proc/uptime").stdout.split()[0])))
    launcher.provider.stop(NAME, [told.machine])
    launcher.provider.start(NAME, [told.machine])
    told.wait()
    with closing(told.open()) as host:
        assert armed(host) < started(host, "ssh.service")
        left = systemd.lease_left(host)
        assert left is not None
        assert left > 3600 - 30
        assert host_keys.plain(shell(host, "cat /etc/ssh/ssh_host_ed25519_key.pub")) == told.machine.host_keys[0]
        assert shell(host, "grep -c 'the user speaks' /var/log/cloud-init-output.log") == "1"


def test_a_machine_made_of_an_image_of_another_is_told_everything_anew(launcher: Launcher, whole: SshHost) -> None:
    machine = launcher.told["whole"].machine
    users = Settings(lease=7200.0, userdata=str(launcher.folder / "users"))
    plan = boot_plan(users, CLUSTER, "engine", (launcher.key,), software(Settings()))
    launcher.provider.stop(NAME, [machine])
    launcher.tell(machine.name, "i-another", plan)
    launcher.provider.start(NAME, [machine])
    told = launcher.known(launcher.state("whole"), "i-another", plan)
    told.wait()
    with closing(told.open()) as host:
        keys = shell(host, "cat /etc/ssh/ssh_host_*.pub").splitlines()
        assert [host_keys.plain(key) for key in keys] == [plan.boot_key]
        assert armed(host) < started(host, "ssh.service")
        left = systemd.lease_left(host)
        assert left is not None
        assert left > 7200 - BOOT
        assert shell(host, "grep -c 'the user speaks' /var/log/cloud-init-output.log") == "2"


@pytest.mark.parametrize(
    ("name", "message", "seen"),
    [
        ("broken", r"your script \(`userdata`\) failed with exit code 7", "no such luck"),
        ("packages", "installing `system_packages` failed with exit code 100", "Unable to locate package git"),
    ],
)
def test_a_failure_is_told_with_the_machines_own_words(launcher: Launcher, name: str, message: str, seen: str) -> None:
    with pytest.raises(ClusterError, match=message) as caught:
        launcher.told[name].wait()
    assert seen in str(caught.value)


def test_a_machine_that_reaches_no_packages_gets_the_software_from_its_client(launcher: Launcher) -> None:
    told = launcher.told["alone"]
    told.wait()
    with closing(told.open()) as host:
        assert engines.survey(host).software == ""
        assert systemd.lease_left(host) is None
        engines.install_software(host, software(Settings()))
        assert engines.survey(host).software == software(Settings()).id


def test_when_the_lease_is_over_the_machine_goes_off(launcher: Launcher) -> None:
    until(lambda: launcher.state("short").state is MachineState.STOPPED, SHORT + BOOT)
    assert launcher.state("short").detail == "powered off from inside"
