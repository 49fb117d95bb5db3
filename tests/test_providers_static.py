"""Hosts that you have: who becomes which machine, and what a host that cannot be had leads to."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from pathlib import Path

import pytest

from fabfile.errors import HostKeyError, ProviderRefused, RemoteError
from fabfile.machines import Cluster, Machine, MachineState, silent
from fabfile.providers import get
from fabfile.providers.static import Static
from fabfile.providers.static.owner import Owner
from fabfile.providers.static.places import Look
from fabfile.record import Record
from fabfile.remote import Endpoint
from fabfile.run import Run
from fabfile.settings import Settings
from fabfile.state import Store
from tests.contract.static import StaticContract
from tests.fakes.places import CONTROLLER, OURS, Hosts, engines, lab, names
from tests.sshd import Sshd, make_host_key, serving


class TestContract(StaticContract):
    @pytest.fixture(autouse=True)
    def hosts(self) -> None:
        self.in_memory = Hosts("head", "a", "bb")

    def new_provider(self) -> Static:
        return lab(self.in_memory, "a", "bb", cluster="contract", controller_host="head", engines=2)

    def leftovers(self) -> list[str]:
        return [host for host, owner in self.in_memory.owners.items() if owner]


class TestWhoBecomesWhat:
    def test_the_first_host_is_the_controller_and_the_first_engine_machine_at_one_endpoint(self) -> None:
        static = lab(Hosts("a", "bb"), "a", "bb")
        made = static.create(OURS, [CONTROLLER, *engines(0, 1)], silent)
        assert [(machine.name, machine.id) for machine in made] == [
            ("controller", "a"),
            ("engine-0", "a"),
            ("engine-1", "bb"),
        ]
        assert made[0].endpoint == made[1].endpoint == Endpoint("a", "me")
        assert (made[0].private_address, made[2].private_address) == ("192.0.2.1", "192.0.2.2")

    def test_a_controller_host_that_is_not_among_the_hosts_carries_the_controller_alone(self) -> None:
        static = lab(Hosts("a", "bb", "head"), "a", "bb", controller_host="head")
        static.create(OURS, [CONTROLLER, *engines(0, 1)], silent)
        assert names(static) == {"controller": "head", "engine-0": "a", "engine-1": "bb"}

    def test_a_controller_host_among_the_hosts_carries_both(self) -> None:
        static = lab(Hosts("a", "bb"), "a", "bb", controller_host="bb")
        static.create(OURS, [CONTROLLER, *engines(0, 1)], silent)
        assert names(static) == {"controller": "bb", "engine-0": "a", "engine-1": "bb"}

    def test_engines_are_spread_over_all_hosts(self) -> None:
        static = lab(Hosts(), "a", "bb", "ccc")
        assert [static.engines_per_machine(engines) for engines in (1, 3, 4, 7)] == [1, 1, 2, 3]

    def test_a_host_that_left_the_list_keeps_its_machine_and_a_new_one_takes_a_free_place(self) -> None:
        hosts = Hosts("a", "bb", "ccc", "dddd")
        lab(hosts, "a", "bb", "ccc").create(OURS, [CONTROLLER, *engines(0, 1, 2)], silent)
        shorter = lab(hosts, "a", "ccc", "dddd")
        assert names(shorter) == {"controller": "a", "engine-0": "a", "engine-1": "bb", "engine-2": "ccc"}
        shorter.destroy("lab", [shorter.find("lab").machines[2]])
        shorter.create(OURS, engines(1), silent)
        assert names(shorter)["engine-1"] == "dddd"

    def test_more_machines_than_hosts_are_refused(self) -> None:
        with pytest.raises(ProviderRefused, match="no host is left for engine-1: 1 are listed"):
            lab(Hosts("a"), "a").create(OURS, engines(0, 1), silent)

    def test_what_exists_is_returned_as_it_is(self) -> None:
        static = lab(Hosts("a", "bb"), "a", "bb")
        first = static.create(OURS, [CONTROLLER, *engines(0, 1)], silent)
        assert static.create(OURS, [CONTROLLER, *engines(0, 1)], silent) == first

    def test_a_machine_was_created_when_its_host_was_claimed(self) -> None:
        hosts = Hosts("a", owners={"a": Owner(OURS, {"engine-0": 1234.5}, {"engine-0": "a"})})
        assert lab(hosts, "a").find("lab").machines[0].created == 1234.5


class TestHostsThatDoNotAnswer:
    def test_one_that_is_known_to_be_the_clusters_has_failed(self) -> None:
        hosts = Hosts("a", "bb")
        static = lab(hosts, "a", "bb")
        static.create(OURS, [CONTROLLER, *engines(0, 1)], silent)
        hosts.silent = {"bb"}
        failed = static.find("lab").by_name("engine-1")
        assert failed is not None
        assert failed.state is MachineState.FAILED
        assert "no answer" in failed.detail

    def test_one_that_is_not_the_clusters_is_no_machine_of_it(self) -> None:
        hosts = Hosts("a", "bb")
        static = lab(hosts, "a", "bb")
        static.create(OURS, [CONTROLLER, *engines(0)], silent)
        hosts.silent = {"bb"}
        assert names(static) == {"controller": "a", "engine-0": "a"}

    def test_when_none_answers_none_is_passed_over(self) -> None:
        hosts = Hosts("a", "bb")
        hosts.silent = {"a", "bb"}
        found = lab(hosts, "a", "bb").find("lab")
        assert found.cluster is None
        assert {(machine.name, machine.state) for machine in found.machines} == {
            ("controller", MachineState.FAILED),
            ("engine-0", MachineState.FAILED),
            ("engine-1", MachineState.FAILED),
        }

    def test_letting_go_of_one_that_worked_a_moment_ago_is_an_error(self) -> None:
        hosts = Hosts("a")
        static = lab(hosts, "a")
        made = static.create(OURS, [CONTROLLER], silent)
        hosts.silent = {"a"}
        with pytest.raises(RemoteError, match="no answer"):
            static.destroy("lab", made)

    def test_letting_go_of_one_that_had_failed_passes_it_over(self) -> None:
        hosts = Hosts("a", "bb")
        static = lab(hosts, "a", "bb")
        static.create(OURS, [CONTROLLER, *engines(0, 1)], silent)
        hosts.silent = {"bb"}
        static.destroy("lab", static.find("lab").machines)
        assert hosts.cleared == ["a"]

    def test_claiming_one_is_an_error_of_that_host(self) -> None:
        hosts = Hosts("a", "bb")
        hosts.silent = {"bb"}
        with pytest.raises(RemoteError, match="no SSH connection to bb"):
            lab(hosts, "a", "bb").create(OURS, [CONTROLLER, *engines(0, 1)], silent)


class TestPreflight:
    def test_fit_hosts_leave_nothing_to_say(self) -> None:
        assert lab(Hosts("a", "bb"), "a", "bb").check(3) == []

    def test_no_hosts_say_what_to_write_where(self) -> None:
        (finding,) = lab(Hosts()).check(3)
        assert finding.level == "error"
        assert "hosts: [user@host" in finding.fix

    def test_too_few_hosts_for_the_engines(self) -> None:
        findings = lab(Hosts("a", "bb"), "a", "bb", engines=5, engines_per_machine=2).check(3)
        assert [one.text for one in findings] == ["5 engines do not fit on 2 hosts with 2 each"]

    def test_hosts_that_are_not_needed_are_not_asked(self) -> None:
        hosts = Hosts("a", "bb", "ccc")
        hosts.silent = {"ccc"}
        assert lab(hosts, "a", "bb", "ccc", engines=2).check(3) == []
        assert "ccc" not in hosts.asked

    def test_everything_that_stops_it_is_said_at_once(self) -> None:
        other = Owner(Cluster("other", "33cc", "you@there", 3.0), {"engine-0": 1.0}, {})
        hosts = Hosts("a", "bb", owners={"bb": other})
        hosts.silent = {"a"}
        texts = [one.text for one in lab(hosts, "a", "bb").check(3)]
        assert len(texts) == 2
        assert "no SSH connection to a" in texts[0]
        assert texts[1].startswith("bb belongs to the cluster 'other' that you@there made on ")

    def test_our_own_mark_is_no_obstacle(self) -> None:
        hosts = Hosts("a", "bb")
        static = lab(hosts, "a", "bb")
        static.create(OURS, [CONTROLLER, *engines(0)], silent)
        assert static.check(1) == []


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    """A real SSH server that the user's ssh knows by an ssh_config and a known_hosts of the user's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with serving(tmp_path / "sshd") as server:
        (tmp_path / "config").write_text(
            f"Host *\n IdentityFile {server.credentials.key_file}\n IdentitiesOnly yes\n"
            f" UserKnownHostsFile {server.credentials.known_hosts}\n GlobalKnownHostsFile /dev/null\n"
        )
        yield server


def reaching(server: Sshd, *hosts: str) -> Static:
    here = (f"{getpass.getuser()}@127.0.0.1:{server.endpoint.port}", *hosts)
    config = str(server.folder.parent / "config")
    static = get(Settings(provider="static", cluster="lab", hosts=here, engines=len(here), ssh_config=config))
    assert isinstance(static, Static)
    return static


class TestOverSsh:
    def test_a_host_is_reached_as_the_users_ssh_would_and_held_to_its_keys(self, server: Sshd) -> None:
        static = reaching(server)
        assert static.find("lab").machines == ()
        findings = static.check(1)
        static.close()
        assert not [one for one in findings if "SSH" in one.text or "host key" in one.text]

    def test_a_loopback_controller_is_refused_when_others_must_reach_it(self, server: Sshd, tmp_path: Path) -> None:
        with serving(tmp_path / "second") as second:
            port = second.endpoint.port
            known = server.credentials.known_hosts
            known.write_text(known.read_text() + second.credentials.known_hosts.read_text())
            (second.folder / "authorized_keys").write_text((server.folder / "authorized_keys").read_text())
            static = reaching(server, f"{getpass.getuser()}@127.0.0.1:{port}")
            findings = static.check(2)
            static.close()
        assert any("was reached at 127.0.0.1, where no other host reaches it" in one.text for one in findings)

    def test_a_host_that_nothing_answers_for_is_a_finding(self, server: Sshd) -> None:
        server.stop()
        static = reaching(server)
        (finding,) = static.check(1)
        assert finding.level == "error"
        assert "connection refused" in finding.text
        assert finding.fix

    def test_an_unknown_host_key_is_shown_and_nothing_is_run(self, server: Sshd) -> None:
        server.credentials.known_hosts.write_text("")
        static = reaching(server)
        (finding,) = static.check(1)
        static.close()
        assert "SHA256:" in finding.text
        assert "log in once with `ssh " in finding.fix
        assert "Accepted publickey" not in server.log.read_text()

    def test_a_changed_host_key_is_an_error_wherever_it_shows(self, server: Sshd) -> None:
        server.stop()
        make_host_key(server.folder / "host_key")
        server.start()
        static = reaching(server)
        (finding,) = static.check(1)
        assert "is not the pinned one" in finding.text
        with pytest.raises(HostKeyError):
            static.create(OURS, [CONTROLLER], silent)
        static.close()

    def test_a_host_without_ssh_is_a_failed_machine_and_no_exception(self, server: Sshd) -> None:
        server.stop()
        machines = reaching(server).find("lab").machines
        assert [machine.state for machine in machines] == [MachineState.FAILED, MachineState.FAILED]

    def test_a_missing_ssh_config_is_named(self, server: Sshd) -> None:
        (server.folder.parent / "config").unlink()
        (finding,) = reaching(server).check(1)
        assert "ssh -G" in finding.text


class TestOneLook:
    """A provision asks each host once, over one connection."""

    def test_what_find_has_seen_is_not_asked_again_by_check_and_create(self) -> None:
        hosts = Hosts("a", "bb")
        static = lab(hosts, "a", "bb", engines=2)
        static.find("lab")
        static.check(3)
        static.create(OURS, [CONTROLLER, *engines(0, 1)], silent)
        assert sorted(hosts.asked) == ["a", "bb"]

    def test_find_asks_every_time(self) -> None:
        hosts = Hosts("a")
        static = lab(hosts, "a")
        static.find("lab")
        static.find("lab")
        assert hosts.asked == ["a", "a"]

    def test_what_was_let_go_since_is_free_to_be_claimed(self) -> None:
        hosts = Hosts("a", "bb")
        static = lab(hosts, "a", "bb")
        static.create(OURS, [CONTROLLER, *engines(0, 1)], silent)
        machines = static.find("lab").machines
        static.destroy("lab", [machine for machine in machines if machine.name == "engine-1"])
        static.create(OURS, engines(1), silent)
        assert hosts.owners["bb"] is not None

    def test_a_run_opens_no_second_connection(self, server: Sshd, tmp_path: Path) -> None:
        static = reaching(server)
        static.check(1)
        place = static._settings.hosts[0]
        run = Run(static._settings, static, Store("lab", tmp_path), Record())
        machine = Machine("engine-0", place, "engine", 0, MachineState.RUNNING, server.endpoint)
        for _ in range(2):  # it stays open for the next one
            with run.open(machine) as host:
                assert host.run("true").exit_code == 0
        assert len(server.sessions()) == 1
        static.close()


def test_a_bug_is_not_taken_for_a_host_that_failed() -> None:
    class Broken(Hosts):
        def look(self, place: str) -> Look:
            raise KeyError(place)

    with pytest.raises(KeyError):
        lab(Broken("a"), "a").find("lab")
