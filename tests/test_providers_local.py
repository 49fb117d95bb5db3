"""The client's side of machines on this computer: how it becomes root, what it asks for, what it makes of answers."""

from __future__ import annotations

import os
import pty
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fabfile import providers
from fabfile.errors import ClusterError, Locked, ProviderRefused, UsageError
from fabfile.machines import Authorizing, Cluster, Event, Machine, MachineSpec, MachineState, Stoppable, silent
from fabfile.providers import local
from fabfile.providers.local import LocalProvider, privilege
from fabfile.providers.local.release import Platform
from fabfile.remote import Endpoint
from fabfile.settings import Settings
from fabfile.software import Software

PLATFORM = Platform("Linux", "debian", "bookworm", "3.11", "3.11", ("debian",))
CLUSTER = Cluster("ipython", "c1", "me@here", 1.0)
ANSWER = {
    "cluster": {"name": "ipython", "id": "c1", "owner": "me@here", "created": 1.0},
    "machines": [
        {
            "name": "controller",
            "id": "m1",
            "role": "controller",
            "index": 0,
            "state": "running",
            "detail": "",
            "address": "10.203.0.10",
            "host_key": "ssh-ed25519 AAAA",
            "created": 2.0,
        }
    ],
}
MACHINE = Machine(
    name="controller",
    id="m1",
    role="controller",
    index=0,
    state=MachineState.RUNNING,
    endpoint=Endpoint("10.203.0.10", "ipyfleet"),
    private_address="10.203.0.10",
    host_keys=("ssh-ed25519 AAAA",),
    created=2.0,
)


class Root:
    """A root program that remembers what it was asked, and answers from a dict."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.answers = dict(answers)
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, verb: str, request: Mapping[str, Any], *, timeout: float = 0.0) -> dict[str, Any]:
        self.calls.append((verb, dict(request)))
        answer = self.answers.get(verb, {})
        if isinstance(answer, ClusterError):
            raise answer
        return dict(answer)


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch) -> Root:
    healthy = {"missing": [], "free": 10**12, "refusals": []}
    root = Root({"find": ANSWER, "create": ANSWER, "start": ANSWER, "inspect": healthy})
    monkeypatch.setattr(local, "call", root)
    return root


def provider(*, platform: Platform = PLATFORM, bare: bool = True) -> LocalProvider:
    return LocalProvider(Settings(), bare=bare, platform=platform)


def test_it_is_the_default_provider_and_has_all_abilities(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)
    made = providers.get(Settings())
    assert isinstance(made, LocalProvider)
    assert isinstance(made, Stoppable)
    assert isinstance(made, Authorizing)
    assert made.engines_per_machine(7) == 1


def test_answers_become_machines(root: Root) -> None:
    found = provider().find("ipython")
    assert (found.cluster, found.machines) == (CLUSTER, (MACHINE,))
    assert root.calls == [("find", {"cluster": "ipython"})]


def test_a_cluster_whose_network_was_never_made_has_no_addresses(root: Root) -> None:
    machine = {**ANSWER["machines"][0], "address": "", "host_key": "", "state": "failed"}
    root.answers["find"] = {**ANSWER, "machines": [machine]}
    (seen,) = provider().find("ipython").machines
    assert (seen.endpoint, seen.private_address, seen.host_keys, seen.state) == (None, "", (), MachineState.FAILED)


def test_creating_sends_tags_image_and_keys_in_one_call(root: Root) -> None:
    heard: list[Event] = []
    made = provider().create(CLUSTER, [MachineSpec("controller", 0, ("ssh-ed25519 AAAA me",))], heard.append)
    assert made == (MACHINE,)
    ((verb, request),) = root.calls
    assert verb == "create"
    assert request["tags"] == {"id": "c1", "owner": "me@here", "created": 1.0}
    assert request["image"] == {"distribution": "debian", "suite": "bookworm", "software": ""}
    assert request["machines"] == [{"role": "controller", "index": 0, "authorized_keys": ["ssh-ed25519 AAAA me"]}]
    assert [event.what for event in heard] == ["1 machine launched"]


def test_nothing_to_do_asks_for_nothing(root: Root) -> None:
    assert provider().create(CLUSTER, [], silent) == ()
    assert provider().start("ipython", []) == ()
    provider().stop("ipython", [])
    provider().destroy("ipython", [])
    assert root.calls == []


def test_machines_are_named_with_their_ids(root: Root) -> None:
    provider().destroy("ipython", [MACHINE])
    assert root.calls == [("destroy", {"cluster": "ipython", "machines": [{"name": "controller", "id": "m1"}]})]


def test_preparing_builds_only_what_is_missing(root: Root, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(local, "software", lambda settings: Software("s1", "3.11", (), "x86_64"))
    monkeypatch.setattr(local, "wheelhouse", lambda software, on_event: tmp_path / f"{software.id}.tar")
    made = provider(bare=False)
    heard: list[Event] = []
    made.prepare(heard.append)
    assert (heard, [verb for verb, _ in root.calls]) == ([], ["inspect"])
    root.answers["inspect"]["missing"] = ["software-1"]
    made.prepare(heard.append)
    image = {"distribution": "debian", "suite": "bookworm", "software": "s1"}
    assert root.calls[-1] == ("image-build", {"image": image, "wheelhouse": str(tmp_path / "s1.tar")})
    root.answers["inspect"]["missing"] = ["software-1", "base-1"]
    made.prepare(heard.append)
    assert root.calls[-2] == ("image-build", {"image": {**image, "software": ""}})
    assert {event.what for event in heard if event.seconds is not None} == {
        "image: debian bookworm base",
        "image: debian bookworm with the software",
    }


class TestCheck:
    def texts(self, provider: LocalProvider, machines: int = 5) -> str:
        return "\n".join(finding.text for finding in provider.check(machines) if finding.level == "error")

    def test_a_healthy_computer_has_no_findings(self, root: Root) -> None:
        assert provider().check(5) == []
        assert [verb for verb, _ in root.calls] == ["inspect"]

    def test_everything_that_is_wrong_is_said_at_once(self, root: Root) -> None:
        refusal = {"message": "no free /24 network in 10.203.0.0/16", "hint": "set `subnets`"}
        root.answers["inspect"] = {"missing": ["base-1"], "free": 2_000_000_000, "refusals": [refusal]}
        platform = Platform("Linux", "debian", "bookworm", "3.11", "3.11", ("debian",), ("mmdebstrap",))
        texts = self.texts(provider(platform=platform), 300)
        for what in ("300 machines do not fit", "mmdebstrap", "no free /24", "63.0 GB are needed"):
            assert what in texts

    def test_every_finding_has_a_cure(self, root: Root) -> None:
        root.answers["inspect"]["free"] = 0
        platform = Platform("Linux", "debian", "bookworm", "3.11", "3.11", ("debian",), ("ip", "mmdebstrap"))
        findings = provider(platform=platform).check(300)
        assert len(findings) == 3
        assert all(finding.fix for finding in findings)
        assert any("bootscripts/here.sh" in finding.fix and "iproute2" in finding.fix for finding in findings)

    def test_a_python_that_no_release_has_is_a_finding(self, root: Root) -> None:
        platform = Platform("Linux", "debian", "bookworm", "3.11", "3.99", ("debian",))
        assert "Python 3.99" in self.texts(provider(platform=platform))

    def test_no_way_to_root_is_a_finding(self, root: Root) -> None:
        root.answers["inspect"] = UsageError("sudo wants a password", hint="sudo -v")
        assert "sudo wants a password" in self.texts(provider())

    def test_as_many_machines_as_fit_fit(self, root: Root) -> None:
        assert provider().check(245) == []
        assert "246 machines do not fit" in self.texts(provider(), 246)


class TestPrivilege:
    def test_a_program_started_by_sudo_is_refused_with_the_reason(self) -> None:
        with pytest.raises(UsageError, match=r"started with sudo.*ann could not use") as caught:
            privilege.refuse_sudo({"SUDO_UID": "1000", "SUDO_USER": "ann"}, 0)
        assert "as ann, without sudo" in caught.value.hint

    @pytest.mark.parametrize(
        ("environment", "euid"),
        [({}, 0), ({}, 1000), ({"SUDO_UID": "0", "SUDO_USER": "root"}, 0), ({"SUDO_UID": "1", "SUDO_USER": "a"}, 7)],
    )
    def test_everybody_else_may(self, environment: dict[str, str], euid: int) -> None:
        privilege.refuse_sudo(environment, euid)

    def test_the_providers_themselves_are_refused_to_sudo(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SUDO_UID", "1000")
        monkeypatch.setenv("SUDO_USER", "ann")
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        with pytest.raises(UsageError, match="started with sudo"):
            providers.get(Settings())

    def test_root_calls_the_program_directly_and_others_through_sudo(self) -> None:
        assert privilege.words("find", 0)[0] == sys.executable
        assert privilege.words("find", 1000)[:4] == ("sudo", "-n", "--", sys.executable)
        assert privilege.words("find", 1000)[4:] == (*privilege.INTERPRETER, str(privilege.PROGRAM), "find")

    @pytest.mark.parametrize(
        ("kind", "error"),
        [("usage", UsageError), ("refused", ProviderRefused), ("locked", Locked), ("failed", ClusterError)],
    )
    def test_errors_of_the_program_are_ours(self, kind: str, error: type[ClusterError]) -> None:
        told = {"message": "no", "kind": kind, "hint": "do this", "seen": "last line", "machine": "engine-0"}
        with pytest.raises(error, match="engine-0: no") as caught:
            privilege.result({"error": told})
        assert (type(caught.value), caught.value.hint, caught.value.seen) == (error, "do this", "last line")

    @pytest.fixture
    def sudo(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A sudo that lets commands through once there is a file, which `sudo -v` makes."""
        program = tmp_path / "sudo"
        ticket = tmp_path / "ticket"
        program.write_text(
            "#!/bin/sh\n"
            f'if [ "$1" = -v ]; then : >{ticket}; exit; fi\n'
            f"if [ ! -e {ticket} ]; then echo 'sudo: ein Passwort ist notwendig' >&2; exit 1; fi\n"
            'cat >/dev/null; echo \'{"through": "sudo"}\'\n'
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        return ticket

    def test_a_password_is_asked_for_once_when_sudo_wants_one(
        self, sudo: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        controlling, terminal = pty.openpty()
        with os.fdopen(terminal) as keyboard, os.fdopen(controlling):
            monkeypatch.setattr(sys, "stdin", keyboard)
            assert privilege.call("find", {}) == {"through": "sudo"}
        assert sudo.exists()
        with open(os.devnull) as nobody:
            monkeypatch.setattr(sys, "stdin", nobody)
            assert privilege.call("find", {}) == {"through": "sudo"}

    def test_without_a_terminal_the_error_says_what_to_do(self, sudo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with open(os.devnull) as nobody:
            monkeypatch.setattr(sys, "stdin", nobody)
            with pytest.raises(UsageError, match="no terminal") as caught:
                privilege.call("find", {})
        assert "sudo -v" in caught.value.hint

    def test_without_sudo_the_error_says_what_to_do(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        with pytest.raises(UsageError, match="no sudo here"):
            privilege.call("find", {})

    def test_a_program_that_breaks_is_shown_with_its_last_lines(self, monkeypatch: pytest.MonkeyPatch) -> None:
        broken = ("sh", "-c", "cat >/dev/null; echo \"KeyError: 'x'\" >&2; exit 1")
        monkeypatch.setattr(privilege, "words", lambda verb, euid: broken)
        with pytest.raises(ClusterError, match="KeyError"):
            privilege.call("find", {})

    def test_ctrl_c_waits_for_the_program_to_come_to_a_safe_point(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        begun, safe = tmp_path / "begun", tmp_path / "safe"
        careful = ("sh", "-c", f"trap '' INT; cat >/dev/null; : >{begun}; sleep 0.6; : >{safe}; echo '{{}}'")
        monkeypatch.setattr(privilege, "words", lambda verb, euid: careful)

        def interrupt() -> None:
            while not begun.exists():
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            privilege.call("create", {})
        assert safe.exists()
