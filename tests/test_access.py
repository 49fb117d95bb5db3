"""access.py: which machines are meant, and what OpenSSH is told of them; seen by OpenSSH itself."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from fabfile.access import chosen, export, logins, machines_of
from fabfile.errors import UsageError
from fabfile.machines import Cluster, Endpoint, Found, Machine, MachineState, Role, machine_name
from fabfile.remote import Credentials
from fabfile.ssh_config import snippet
from tests.fakes.commands import SETTINGS, provision
from tests.fakes.fleet import FakeFleet, new_run


def machine(role: Role, index: int) -> Machine:
    return Machine(machine_name(role, index), f"{role}{index}", role, index, MachineState.RUNNING)


FOUND = Found(
    Cluster("lab", "c0ffee", "ada@desk", 0.0), (machine("controller", 0), machine("engine", 0), machine("engine", 1))
)


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ("", ["controller", "engine-0", "engine-1"]),
        ("all", ["controller", "engine-0", "engine-1"]),
        ("controller", ["controller"]),
        ("engines", ["engine-0", "engine-1"]),
        ("engine-1, controller", ["engine-1", "controller"]),
        ("engine-1,engines", ["engine-1", "engine-0"]),
    ],
)
def test_machines_are_named_by_role_or_name(wanted: str, names: list[str]) -> None:
    assert [one.name for one in chosen(FOUND, wanted)] == names


@pytest.mark.parametrize(
    ("wanted", "near"), [("engine-9", "engine-"), ("engnes", "engines"), ("controler", "controller")]
)
def test_a_name_that_there_is_not_is_refused_with_the_nearest(wanted: str, near: str) -> None:
    with pytest.raises(UsageError, match=f"did you mean {near}"):
        chosen(FOUND, wanted)


def asked(folder: Path, host: str) -> dict[str, str]:
    """What OpenSSH makes of a configuration for one host."""
    words = ["ssh", "-G", "-F", str(folder / "config"), host]
    shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return dict(line.split(" ", 1) for line in shown.splitlines() if " " in line)


def test_openssh_reaches_each_machine_strictly_and_other_hosts_as_before(tmp_path: Path) -> None:
    gateway = Endpoint("bastion.example.org", "ada", 2222, key_files=("/home/ada/key",))
    reached = {
        "lab-controller": Endpoint("10.0.0.1", "admin", key_alias="i-1"),
        "lab-engine-0": Endpoint("10.0.0.2", "admin", gateway=gateway),
    }
    credentials = Credentials(tmp_path / "a key", tmp_path / "known hosts")
    (tmp_path / "config").write_text(snippet(reached, credentials))
    first = asked(tmp_path, "lab-controller")
    assert (first["hostname"], first["user"], first["hostkeyalias"]) == ("10.0.0.1", "admin", "i-1")
    assert (first["stricthostkeychecking"], first["identityfile"]) == ("true", f"{tmp_path}/a key")
    assert first["userknownhostsfile"] == f"{tmp_path}/known hosts"
    second = asked(tmp_path, "lab-engine-0")
    assert second["proxyjump"] == "lab-engine-0-gateway-1"
    assert asked(tmp_path, "lab-engine-0-gateway-1")["hostname"] == "bastion.example.org"
    (tmp_path / "config").write_text("")
    plain = asked(tmp_path, "elsewhere.example.org")
    (tmp_path / "config").write_text(snippet(reached, credentials))
    assert asked(tmp_path, "elsewhere.example.org") == plain


def test_commands_at_the_same_time_leave_each_other_the_way(fleet: FakeFleet, tmp_path: Path) -> None:
    provision(fleet, tmp_path, 2)
    run = new_run(fleet, tmp_path, SETTINGS)
    controller, *engines = machines_of(run).machines
    first = logins(run, engines)
    logins(run, [controller])
    for one in engines:
        assert one.endpoint
        ssh, *options, _, _ = first(one, "true")
        shown = subprocess.run([ssh, "-G", *options, f"{SETTINGS.cluster}-{one.name}"], capture_output=True, text=True)
        assert f"hostname {one.endpoint.host}\n" in shown.stdout


def test_a_file_of_ones_own_is_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    machine = snippet({"lab-controller": Endpoint("10.0.0.1", "admin")}, Credentials(Path("key"), Path("hosts")))
    assert export(machine, "lab.config", "lab") == tmp_path / "lab.config"
    assert export(machine + machine, "lab.config", "lab").read_text() == machine + machine
    own = ("Host work\n  User ada\n", f"ForwardX11 yes\n{machine}", f"{machine}\nhost lab2\n", "# mine\n")
    for text in (*own, machine.replace("Host lab-", "Host other-")):
        (tmp_path / "config").write_text(text)
        with pytest.raises(UsageError, match="not overwritten"):
            export(machine, "config", "lab")
        assert (tmp_path / "config").read_text() == text
