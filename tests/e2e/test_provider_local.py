"""Machines on this computer, for real: the contract of all providers, and what is particular to these."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fabfile.machines import Cluster, Machine, MachineSpec, MachineState, silent
from fabfile.providers.local import LocalProvider
from fabfile.providers.local.privilege import call
from fabfile.providers.local.root import cgroups, image, nspawn, store, tree
from fabfile.remote import Credentials
from fabfile.settings import Settings
from tests.contract.provider import ProviderContract
from tests.e2e.cluster import until
from tests.e2e.machines import audit, bare_hosts, new_key, pin, remove, root_folder, ssh, wait_for_ssh_banner

pytestmark = pytest.mark.e2e
FILE = "/var/lib/contract"


class TestLocalProvider(ProviderContract):
    """The contract, on bare machines."""

    @pytest.fixture(autouse=True)
    def _keys(self, tmp_path: Path) -> None:
        self.folder = tmp_path
        self.public = new_key(tmp_path / "key")
        self.other = new_key(tmp_path / "other")
        self.new_provider().prepare(silent)

    def new_provider(self) -> LocalProvider:
        return LocalProvider(Settings(cluster="contract", stop_timeout=20.0), bare=True)

    def login_key(self) -> str:
        return self.public

    def other_key(self) -> str:
        return self.other

    def ssh(self, machine: Machine, command: str, key: str = "key", *, check: bool = True) -> str:
        assert machine.endpoint is not None
        wait_for_ssh_banner(machine.endpoint)
        credentials = Credentials(self.folder / key, pin((machine,), self.folder / "known_hosts"))
        return ssh(machine.endpoint, credentials, command, check=check)

    def write(self, machine: Machine, text: str) -> None:
        self.ssh(machine, f"echo -n {text} | sudo tee {FILE}")

    def read(self, machine: Machine) -> str:
        return self.ssh(machine, f"cat {FILE}")

    def lets_in(self, machine: Machine) -> bool:
        answer = self.ssh(machine, "echo in", "other", check=False)
        assert answer in ("", "in\n")
        return bool(answer)

    def leftovers(self) -> list[str]:
        return audit()


@pytest.fixture
def cluster() -> Cluster:
    return Cluster("particular", "c1", "tests@here", time.time())


class Particular:
    """One cluster of bare machines with a way in."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.folder = folder
        self.key = new_key(folder / "key")
        self.provider = LocalProvider(Settings(cluster=cluster.name, stop_timeout=20.0), bare=True)
        self.provider.prepare(silent)

    def create(self, engines: int) -> tuple[Machine, ...]:
        specs = [MachineSpec("controller", 0, (self.key,))]
        specs += [MachineSpec("engine", index, (self.key,)) for index in range(engines)]
        return self.provider.create(self.cluster, specs, silent)

    def ssh(self, machine: Machine, command: str, *, check: bool = True) -> str:
        assert machine.endpoint is not None
        wait_for_ssh_banner(machine.endpoint)
        credentials = Credentials(self.folder / "key", pin((machine,), self.folder / "known_hosts"))
        return ssh(machine.endpoint, credentials, command, check=check)

    def found(self, name: str) -> Machine:
        machine = self.provider.find(self.cluster.name).by_name(name)
        assert machine is not None
        return machine

    def wait_until_stopped(self, name: str) -> Machine:
        deadline = time.monotonic() + 30
        while self.found(name).state is not MachineState.STOPPED:
            assert time.monotonic() < deadline, "still running"
            time.sleep(0.1)
        return self.found(name)

    def pid(self, name: str) -> int:
        where = f"--directory={root_folder()}/clusters/.*-{self.cluster.name}/machines/{name}/root"
        words = ["pgrep", "--full", "--oldest", "--", where]
        return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


@pytest.fixture
def particular(cluster: Cluster, tmp_path: Path) -> Iterator[Particular]:
    particular = Particular(cluster, tmp_path)
    yield particular
    remove(particular.provider, cluster.name)
    assert audit() == []


def test_machines_reach_each_other_by_name_and_have_names_of_their_own(particular: Particular) -> None:
    controller, first, second = particular.create(2)
    assert particular.ssh(first, "hostname") == "engine-0\n"
    own = "python3 -c 'import socket; print(socket.gethostbyname(socket.gethostname()))'"
    assert particular.ssh(first, own) == f"{first.private_address}\n"
    dial = "python3 -c 'import socket; print(socket.create_connection((\"controller\", 22), 5).getpeername()[0])'"
    for machine in (first, second):
        assert particular.ssh(machine, dial) == f"{controller.private_address}\n"
    ids = {particular.ssh(machine, "cat /etc/machine-id") for machine in (controller, first, second)}
    assert len(ids) == 3


def test_machines_reach_nothing_outside_their_cluster(particular: Particular) -> None:
    (machine,) = particular.create(0)
    dial = "python3 -c 'import socket; socket.create_connection((\"198.51.100.1\", 9), 5)' 2>&1 | tail -n 1"
    assert "unreachable" in particular.ssh(machine, dial)


def test_a_machine_boots_without_failed_units(particular: Particular) -> None:
    (machine,) = particular.create(0)
    assert particular.ssh(machine, "systemctl is-system-running --wait", check=False) == "running\n"


def test_services_of_two_machines_have_separate_control_groups(particular: Particular) -> None:
    first, second = particular.create(1)
    for machine in (first, second):
        particular.ssh(machine, "sudo systemd-run --quiet --unit=twin sleep 600")
    particular.ssh(first, "sudo systemctl stop twin")
    assert particular.ssh(second, "systemctl is-active twin", check=False) == "active\n"
    assert "Failed to kill control group" not in particular.ssh(second, "sudo journalctl --boot")


def test_the_image_knows_nothing_of_the_way_its_packages_came(particular: Particular) -> None:
    (machine,) = particular.create(0)
    kept = "cat /etc/apt/sources.list /etc/apt/sources.list.d/* /etc/resolv.conf 2>/dev/null; "
    kept += "ls /var/lib/apt/lists; grep -rli 'proxy\\|CaInfo' /etc/apt; ls /etc/ssh/ssh_host_*"
    lines = particular.ssh(machine, kept, check=False).split()
    assert lines == ["/etc/ssh/ssh_host_ed25519_key", "/etc/ssh/ssh_host_ed25519_key.pub"]


def test_a_machine_that_powers_itself_off_is_stopped_and_says_so(particular: Particular) -> None:
    _, machine = particular.create(1)
    particular.ssh(machine, "sudo poweroff", check=False)
    assert particular.wait_until_stopped("engine-0").detail == "powered off from inside"
    assert particular.found("controller").state is MachineState.RUNNING
    (started,) = particular.provider.start("particular", [machine])
    assert particular.ssh(started, "echo again") == "again\n"


def test_a_machine_whose_process_was_killed_is_stopped_and_says_so(particular: Particular) -> None:
    (machine,) = particular.create(0)
    particular.ssh(machine, "true")
    os.kill(particular.pid("controller"), signal.SIGKILL)
    assert "process is gone" in particular.wait_until_stopped("controller").detail
    (started,) = particular.provider.start("particular", [machine])
    assert started.state is MachineState.RUNNING
    assert particular.ssh(started, "echo again") == "again\n"


def test_start_makes_everything_anew_that_a_restart_of_the_computer_takes_away(particular: Particular) -> None:
    machines = particular.create(1)
    particular.ssh(machines[0], "echo kept | sudo tee /root/kept; sudo sync")
    for machine in machines:
        os.kill(particular.pid(machine.name), signal.SIGKILL)
        particular.wait_until_stopped(machine.name)
    forget_as_a_restart_does()
    assert particular.found("controller").state is MachineState.STOPPED
    started = particular.provider.start("particular", machines)
    assert particular.ssh(started[0], "sudo cat /root/kept") == "kept\n"
    assert particular.ssh(started[1], "getent hosts controller").split()[0] == started[0].private_address


def test_teardown_works_after_a_restart_of_the_computer(particular: Particular) -> None:
    machines = particular.create(1)
    for machine in machines:
        os.kill(particular.pid(machine.name), signal.SIGKILL)
        particular.wait_until_stopped(machine.name)
    forget_as_a_restart_does()
    particular.provider.destroy("particular", machines)
    particular.provider.clean("particular")
    assert audit() == []


def forget_as_a_restart_does() -> None:
    """Take away namespaces, interfaces, routes and mounts of this run's machines, which outlive no restart."""
    for line in audit():
        kind, _, what = line.rpartition(" ")
        if kind == "mount":
            subprocess.run(["umount", what], check=True)
        elif kind == "network namespace":
            subprocess.run(["ip", "netns", "delete", Path(what).name], check=True)
    for line in audit():
        kind, _, what = line.rpartition(" ")
        if kind == "route":
            subprocess.run(["ip", "route", "delete", "unreachable", what, "metric", "1768978790"], check=True)


def test_a_subnet_that_the_computer_came_to_use_is_exchanged_at_start(particular: Particular) -> None:
    (machine,) = particular.create(0)
    particular.ssh(machine, "true")
    particular.provider.stop("particular", [machine])
    forget_as_a_restart_does()
    taken = f"{machine.private_address.rpartition('.')[0]}.77/24"
    subprocess.run(["ip", "address", "add", taken, "dev", "lo"], check=True)
    try:
        (started,) = particular.provider.start("particular", [machine])
        assert started.private_address != machine.private_address
        assert particular.ssh(started, "hostname -I").split() == [started.private_address]
    finally:
        subprocess.run(["ip", "address", "delete", taken, "dev", "lo"], check=True)


def test_an_interrupted_launch_is_a_failed_machine_that_create_mends(particular: Particular) -> None:
    (machine,) = particular.create(0)
    record = next(root_folder().glob("clusters/*-particular/machines/controller/machine.json"))
    text = record.read_text()
    record.write_text(text[: text.index('"process"')] + '"process": null, "off": false}')
    assert particular.found("controller").state is MachineState.FAILED
    before = particular.pid("controller")
    (mended,) = particular.create(0)
    assert mended.state is MachineState.RUNNING
    assert mended.host_keys == machine.host_keys
    assert particular.pid("controller") != before
    assert particular.ssh(mended, "hostname") == "controller\n"


def test_a_link_on_a_machine_does_not_lead_the_root_program_out_of_it(particular: Particular, tmp_path: Path) -> None:
    (machine,) = particular.create(0)
    outside = tmp_path / "outside"
    outside.write_text("untouched")
    commands = f"sudo ln -sf {outside} /etc/hosts; rm -r ~/.ssh; sudo mkdir -p {tmp_path}; ln -s {tmp_path} ~/.ssh"
    particular.ssh(machine, commands)
    before = sorted(path.name for path in tmp_path.iterdir())
    particular.provider.stop("particular", [machine])
    with pytest.raises(Exception, match=r"symbolic link|Not a directory"):
        particular.provider.start("particular", [machine])
    assert outside.read_text() == "untouched"
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_half_of_a_cluster_gone_does_not_stop_its_removal(particular: Particular) -> None:
    machines = particular.create(2)
    namespace = next(line.split()[-1] for line in audit() if line.startswith("network namespace"))
    os.kill(particular.pid("engine-0"), signal.SIGKILL)
    particular.wait_until_stopped("engine-0")
    folder = next(root_folder().glob("clusters/*-particular/machines/engine-0"))
    subprocess.run(["umount", str(folder / "root")], check=True)
    (folder / "machine.json").unlink()
    subprocess.run(["ip", "netns", "delete", Path(namespace).name], check=True)
    particular.provider.destroy("particular", machines)
    particular.provider.clean("particular")
    assert audit() == []


def test_what_outlives_a_build_that_was_killed_is_ended_by_the_next(particular: Particular, tmp_path: Path) -> None:
    """Killing systemd-nspawn does not end what runs in the tree (tried with systemd 252)."""
    base = next(root_folder().glob("images/base-*/tree"))
    root = tree.mount(tmp_path, [base])
    (tmp_path / "slow.sh").write_text("exec sleep 6543\n")
    (tmp_path / "quick.sh").write_text("true\n")
    group = cgroups.groups(cgroups.observe(), f"ipyf-build-{store.tag(root_folder())}")
    code = "import sys; from pathlib import Path; from fabfile.providers.local.root import image; "
    code += "image._enter(*map(Path, sys.argv[1:]))"
    words = [sys.executable, "-c", code, str(root_folder()), str(root), str(tmp_path / "slow.sh")]

    def sleeping() -> bytes:
        return subprocess.run(["pgrep", "--full", "^sleep 6543$"], capture_output=True).stdout

    try:
        program = subprocess.Popen(words, cwd=Path(__file__).parents[2])
        until("the script runs in the tree", sleeping, 30)
        program.kill()
        program.wait()
        image._enter(root_folder(), root, tmp_path / "quick.sh")
        assert not sleeping()
        assert not any(path.exists() for path in group)
    finally:
        nspawn.kill_group_members(group)
        tree.unmount(tmp_path)


def test_a_sweep_removes_what_has_no_record_and_spares_what_has(particular: Particular) -> None:
    (machine,) = particular.create(0)
    assert call("sweep", {"remove": "yes"}) == {"left": []}
    assert particular.ssh(machine, "echo spared") == "spared\n"
    next(root_folder().glob("clusters/*-particular/cluster.json")).unlink()
    left = call("sweep", {"remove": "no"})["left"]
    assert {"clusters", "netns", "net"} < {Path(path).parent.name for path in left}
    removed = call("sweep", {"remove": "yes"})["left"]
    assert set(left) <= set(removed)
    assert audit() == call("sweep", {"remove": "no"})["left"] == []


def test_bare_hosts_have_nothing_of_the_project(tmp_path: Path) -> None:
    with bare_hosts(2, "barehosts", tmp_path) as hosts:
        for host in hosts:
            assert host.ssh("sudo ls /opt /var/lib/ipyparallel 2>/dev/null", check=False) == "/opt:\n"
            assert host.ssh("ls /opt; sudo id -un; id -un") == "root\nipyfleet\n"
    assert audit() == []


def test_more_than_eight_machines_raise_the_computers_limits_for_as_long_as_they_are_there(
    particular: Particular,
) -> None:
    limit = Path("/proc/sys/fs/inotify/max_user_instances")
    before = limit.read_text()
    machines = particular.create(9)
    assert int(limit.read_text()) >= 8192
    assert particular.ssh(machines[-1], "systemctl is-system-running --wait", check=False) == "running\n"
    remove(particular.provider, "particular")
    assert limit.read_text() == before
