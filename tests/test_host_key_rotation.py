"""A machine's own host key in the place of the one it was booted with: on a real sshd, ended at every single step."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from fabfile import boot, host_key_rotation, host_keys, ssh
from fabfile.errors import HostKeyError
from fabfile.host_key_rotation import replace_throwaway, to_pin
from fabfile.machines import Machine, MachineState
from fabfile.remote import Credentials, Endpoint, each, values
from fabfile.ssh_host import SshHost
from tests.sshd import Sshd, serving

SYSTEMCTL = """#!/bin/sh
case "$*" in
"reload sshd.service") kill -HUP "$(cat {folder}/pid)" ;;
*) exit 5 ;;
esac
"""


class Ended(BaseException):
    """The program ended here."""


@dataclass
class Steps:
    """Numbers all that was done; ends the program after the step ``at``."""

    at: int | None = None
    seen: list[str] = field(default_factory=list)

    def around(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def numbered(*words: Any, **options: Any) -> Any:
            answer = work(*words, **options)
            self.seen.append(name)
            if len(self.seen) == self.at:
                raise Ended(name)
            return answer

        return numbered


@dataclass
class Cloud:
    """What a provider shows of one machine to everybody."""

    machine: Machine

    def publish_host_keys(self, machine: Machine, keys: Sequence[str], throwaway: str) -> Machine:
        assert machine.id == self.machine.id
        assert not throwaway or throwaway in keys
        self.machine = replace(self.machine, host_keys=tuple(keys), throwaway_key=throwaway)
        return self.machine


@dataclass
class Booted:
    """A machine that shows the key that it was booted with, its provider, and what this computer has pinned."""

    server: Sshd
    cloud: Cloud
    credentials: Credentials

    @property
    def machine(self) -> Machine:
        return self.cloud.machine

    @property
    def endpoint(self) -> Endpoint:
        assert self.machine.endpoint is not None
        return self.machine.endpoint

    @property
    def pinned(self) -> tuple[str, ...]:
        return host_keys.pinned(self.credentials.known_hosts, self.endpoint)

    @property
    def shown(self) -> str:
        """The key that its sshd shows, asked by OpenSSH's own program."""
        words = ["ssh-keyscan", "-t", "ed25519", "-p", str(self.endpoint.port), self.endpoint.host]
        for _ in range(200):
            if told := subprocess.run(words, capture_output=True, text=True, check=False).stdout:
                return " ".join(told.split()[-2:])
            time.sleep(0.02)  # it reads its key anew
        raise AssertionError(self.server.log.read_text())

    def open(self) -> SshHost:
        host = ssh.open_when_ready(self.endpoint, self.machine.name, self.credentials, timeout=10)
        host._root = True  # all that it does concerns files of the test's own user
        return host

    def replace(self) -> Machine:
        """What the chain does with a machine that it has just reached: pin what holds, connect, replace."""
        host_keys.pin(self.credentials.known_hosts, self.endpoint, to_pin(self.machine, self.pinned))
        with closing(self.open()) as host:
            return replace_throwaway(self.cloud, self.machine, host, self.credentials, patience=2)


@contextmanager
def booted(
    folder: Path, name: str = "engine-0", known_hosts: Path | None = None, usual: str = "host_key"
) -> Iterator[Booted]:
    """A machine whose sshd has just come up for the first time; ``usual`` is where host keys usually lie."""
    tools = folder / "bin"
    tools.mkdir(parents=True)
    (folder / "cloud").mkdir()
    (tools / "systemctl").write_text(SYSTEMCTL.format(folder=folder))
    (tools / "systemctl").chmod(0o755)
    environment = {
        "PATH": f"{tools}:/usr/local/bin:/usr/bin:/bin",
        "IPYFLEET_HOST_KEY": str(folder / usual),
        "IPYFLEET_CLOUD_CONFIG": str(folder / "cloud"),
    }
    with serving(folder, environment=environment) as server:
        assert server.process is not None
        (folder / "pid").write_text(str(server.process.pid))
        endpoint = replace(server.endpoint, key_alias=f"i-{name}")
        machine = Machine(name, f"i-{name}", "engine", 0, MachineState.RUNNING, endpoint)
        machine = replace(machine, host_keys=(server.host_key,), throwaway_key=server.host_key)
        credentials = Credentials(server.credentials.key_file, known_hosts or folder / "record")
        yield Booted(server, Cloud(machine), credentials)


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Booted]:
    with booted(tmp_path / "machine") as machine:
        yield machine


def assert_replaced(one: Booted, old: str) -> None:
    """The machine shows a key of its own, and here and at the provider nothing else is accepted."""
    new = one.shown
    assert new != old
    assert one.pinned == one.machine.host_keys == (new,)
    assert one.machine.throwaway_key == ""
    assert "-new" not in one.credentials.known_hosts.read_text()
    one.open().close()


def test_afterwards_only_the_machines_own_key_is_accepted(fresh: Booted) -> None:
    old = fresh.server.host_key
    answer = fresh.replace()
    assert answer == fresh.machine
    assert_replaced(fresh, old)
    key = fresh.server.folder / "host_key"
    assert key.stat().st_mode & 0o777 == 0o600
    assert host_keys.plain(key.with_name("host_key.pub").read_text()) == answer.host_keys[0]
    assert (fresh.server.folder / "cloud/99-ipyfleet.cfg").read_text() == "ssh_deletekeys: false\n"
    assert sorted(path.name for path in fresh.server.folder.glob("host_key*")) == ["host_key", "host_key.pub"]


def test_the_connection_that_it_was_done_over_goes_on(fresh: Booted) -> None:
    host_keys.pin(fresh.credentials.known_hosts, fresh.endpoint, fresh.machine.host_keys)
    with closing(fresh.open()) as host:
        replace_throwaway(fresh.cloud, fresh.machine, host, fresh.credentials)
        assert host.run("echo", "still here").stdout == "still here\n"
        for session in fresh.server.sessions():
            subprocess.run(["kill", "-9", str(session)], check=True)
        assert host.run("echo", "and again").stdout == "and again\n"


def test_a_machine_with_a_key_of_its_own_is_left_alone(fresh: Booted) -> None:
    own = replace(fresh.machine, throwaway_key="")
    assert replace_throwaway(fresh.cloud, own, None, fresh.credentials) is own  # type: ignore[arg-type]  # not asked


def test_keys_are_noted_before_the_machine_shows_another(fresh: Booted, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = Steps()
    with _numbered(steps, monkeypatch):
        fresh.replace()
    assert steps.seen == [
        "pin",  # what the provider says, by the chain
        "make",
        "pin",  # both
        "publish",  # both
        "use",
        "pin",  # the new one alone, under another name
        "connect",
        "pin",  # that name away
        "publish",  # the new one
        "pin",
    ]


@contextmanager
def _numbered(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Number everything that changes the machine, this computer or the provider, and each new connection."""
    script = SshHost.script

    def numbered_script(host: SshHost, path: Path, *words: str, **options: Any) -> Any:
        return steps.around(words[0], lambda: script(host, path, *words, **options))()

    with monkeypatch.context() as patch:
        patch.setattr(host_keys, "pin", steps.around("pin", host_keys.pin))
        patch.setattr(ssh, "connect", steps.around("connect", ssh.connect))
        patch.setattr(SshHost, "script", numbered_script)
        patch.setattr(Cloud, "publish_host_keys", steps.around("publish", Cloud.publish_host_keys))
        yield


def test_ended_at_any_step_the_machine_still_verifies_and_the_next_run_completes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = 0
    while True:
        at += 1
        with booted(tmp_path / str(at)) as one:
            steps = Steps(at)
            old = one.server.host_key
            try:
                with _numbered(steps, monkeypatch):
                    one.replace()
            except Ended:
                assert one.shown in to_pin(one.machine, one.pinned), steps.seen
                assert one.shown in one.machine.host_keys, f"another computer would be shut out: {steps.seen}"
                one.replace()
                assert_replaced(one, old)
                assert one.replace() == one.machine
            else:
                break
    assert at == len(steps.seen) + 1


@pytest.mark.parametrize("ended", ["half a key", "key made", "key moved, sshd not told", "key moved"])
def test_ended_within_a_step_on_the_machine_the_next_run_completes_it(fresh: Booted, ended: str) -> None:
    old, key = fresh.server.host_key, fresh.server.folder / "host_key"
    new, part = key.with_name("host_key.new"), key.with_name("host_key.new.part")
    if ended == "half a key":
        part.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\n")
        part.with_name("host_key.new.part.pub").write_text("ssh-ed25519 AAAA")
        made = ""
    else:
        public = host_keys.plain(host_keys.make_key_pair(new, ""))
        new.with_name("host_key.new.pub").unlink()
        made = new.read_text()
    if ended.startswith("key moved"):
        fresh.cloud.machine = replace(fresh.machine, host_keys=(old, public))
        new.rename(key)
    if ended == "key moved":
        subprocess.run([fresh.server.folder / "bin" / "systemctl", "reload", "sshd.service"], check=True)
    fresh.replace()
    assert_replaced(fresh, old)
    assert not made or key.read_text() == made


def test_an_sshd_that_goes_on_showing_the_old_key_is_told_and_still_let_in(tmp_path: Path) -> None:
    with booted(tmp_path / "machine", usual="unusual_key") as one:
        folder = one.server.folder
        shutil.copy(folder / "host_key", folder / "unusual_key")
        with pytest.raises(HostKeyError, match="does not show the host key that was just made") as caught:
            one.replace()
        assert "sshd -T" in caught.value.hint
        assert one.machine.throwaway_key == one.server.host_key == one.shown
        one.open().close()


def test_a_provider_that_lags_behind_shuts_nobody_out(fresh: Booted) -> None:
    first = fresh.machine
    fresh.replace()
    for stale in (first, replace(first, host_keys=(*first.host_keys, fresh.shown))):
        fresh.cloud.machine = stale
        assert fresh.replace() == fresh.machine
        assert_replaced(fresh, fresh.server.host_key)


def test_many_machines_of_one_record_at_once(tmp_path: Path) -> None:
    record = tmp_path / "known_hosts"
    with ExitStack() as stack:
        machines = [stack.enter_context(booted(tmp_path / str(n), f"engine-{n}", record)) for n in range(4)]
        values(each(machines, Booted.replace))
        for one in machines:
            assert_replaced(one, one.server.host_key)
        assert len(record.read_text().splitlines()) == 4


class TestWhatIsPinned:
    """The keys in the order old, new; the machine has a name of its own unless said otherwise."""

    OLD, NEW = "ssh-ed25519 OLD", "ssh-ed25519 NEW"

    def pins(self, shown: tuple[str, ...], throwaway: str, pinned: tuple[str, ...], alias: str = "i-1") -> Any:
        endpoint = Endpoint("10.0.0.1", "admin", key_alias=alias)
        machine = Machine("engine-0", "i-1", "engine", 0, MachineState.RUNNING, endpoint, "", shown)
        return to_pin(replace(machine, throwaway_key=throwaway), pinned)

    def test_a_machine_that_is_new_here_has_the_providers_keys(self) -> None:
        assert self.pins((self.OLD,), self.OLD, ()) == (self.OLD,)
        assert self.pins((self.OLD, self.NEW), self.OLD, ()) == (self.OLD, self.NEW)

    def test_once_it_has_its_own_key_the_provider_is_believed(self) -> None:
        assert self.pins((self.NEW,), "", (self.OLD, self.NEW)) == (self.NEW,)
        assert self.pins((self.NEW,), "", (self.OLD,)) == (self.NEW,)

    def test_until_then_a_key_that_was_pinned_for_it_stays(self) -> None:
        assert self.pins((self.OLD,), self.OLD, (self.OLD, self.NEW)) == (self.OLD, self.NEW)

    def test_a_throwaway_key_that_was_dropped_does_not_come_back(self) -> None:
        assert self.pins((self.OLD, self.NEW), self.OLD, (self.NEW,)) == (self.NEW,)

    def test_what_is_pinned_under_an_address_may_be_another_machines(self) -> None:
        assert self.pins((self.OLD,), self.OLD, (self.NEW,), alias="") == (self.OLD,)


def test_the_script_asks_for_what_it_does_not_know() -> None:
    done = subprocess.run(["sh", str(boot.script("host-key.sh"))], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "usage: host-key.sh make OLD | use\n")
    assert host_key_rotation.SCRIPT.name == "host-key.sh"
