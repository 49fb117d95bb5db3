"""The SMF manager: what it reads from answers, and what it says to a host that records it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fabfile.remote import File, Result, Then
from fabfile.service_managers.smf import fmris, parse_look, service_manager
from fabfile.services import CONTROLLER, LEASE, REPAIR, Service, ServiceState, engine_service

CASES = Path(__file__).parent / "cases" / "smf"
ENGINES = engine_service([1, 2])
ENGINE_VALUES = {"machine": ["engine-0"], "heartbeat_misses": ["25"], "stop_timeout": ["120"]}
STAMP = "/etc/ipyfleet/ipengine.configured"


@dataclass
class RecordingHost:
    """Answers from a list, remembers everything else."""

    answers: list[str] = field(default_factory=list)
    changed: bool = True
    name: str = "engine-0"
    commands: list[str] = field(default_factory=list)
    timeouts: list[float] = field(default_factory=list)
    files: dict[str, File] = field(default_factory=dict)
    last: tuple[str, ...] = ()

    def run(self, *words: str, sudo: bool = False, check: bool = True, timeout: float = 60.0) -> Result:
        shown = " ".join(word and f"[{word}]" if " " in word or not word else word for word in words)
        self.commands.append(("sudo " if sudo else "") + shown)
        return Result(words, 0, self.answers.pop(0) if self.answers else "", "")

    def script(self, path: Path, *args: str, sudo: bool = False, timeout: float = 60.0) -> Result:
        self.timeouts.append(timeout)
        return self.run(path.name, *args, sudo=sudo)

    def place(self, files: Sequence[File], then: Then | None = None) -> frozenset[str]:
        self.files |= {file.path: file for file in files}
        if then:
            self.run(then.script.name, *then.arguments)
            self.last = tuple(file.path for file in then.last)
        return frozenset(self.files) if self.changed else frozenset()


@pytest.mark.parametrize(
    ("case", "number", "state", "words"),
    [
        ("running", "2", ServiceState.ONLINE, "ON -"),
        ("starting", "1", ServiceState.STARTING, "OFF ON"),
        ("starting", "2", ServiceState.STARTING, "? ?"),
        ("starting", "3", ServiceState.STARTING, "UN -"),
        ("starting", "4", ServiceState.STARTING, "MNT UN"),
        ("starting", "5", ServiceState.STARTING, "ON OFF"),
        ("starting", "6", ServiceState.STARTING, "UN OFF"),
        ("starting", "7", ServiceState.STARTING, "DIS OFF"),
        ("not-running", "1", ServiceState.OFFLINE, "OFF -"),
        ("not-running", "2", ServiceState.DISABLED, "DIS -"),
        ("not-running", "3", ServiceState.DISABLED, "ON DIS"),
        ("not-running", "4", ServiceState.MAINTENANCE, "MNT -"),
        ("not-running", "5", ServiceState.ONLINE, "DGD -"),
    ],
)
def test_a_pair_of_states_is_read(case: str, number: str, state: ServiceState, words: str) -> None:
    look = parse_look((CASES / f"{case}.txt").read_text())[f"svc:/site/ipengine:engine-{number}"]
    assert (look.state, look.words) == (state, words)


def test_the_mark_is_the_contract_which_each_start_has_its_own_of() -> None:
    looks = parse_look((CASES / "running.txt").read_text()).values()
    assert [look.mark for look in looks] == ["4711", "4712"]
    assert parse_look("OFF  ON   -      svc:/site/ipengine:engine-1\n")["svc:/site/ipengine:engine-1"].mark == ""


def test_a_controller_that_keeps_its_distance_is_not_online_yet() -> None:
    (look,) = parse_look((CASES / "controller-waiting.txt").read_text()).values()
    assert look.state is ServiceState.STARTING
    assert "keeping its distance" in look.words
    (look,) = parse_look((CASES / "controller-stopped-while-waiting.txt").read_text()).values()
    assert look.state is ServiceState.DISABLED


def test_state_asks_once_for_all_instances_and_says_which_are_absent() -> None:
    host = RecordingHost(["ON   -    17     svc:/site/ipengine:engine-2\n"])
    looks = service_manager.state(host, ENGINES)
    assert [look.state for look in looks.values()] == [ServiceState.ABSENT, ServiceState.ONLINE]
    assert list(looks) == ["1", "2"]
    assert host.commands == ["sudo services.sh look  svc:/site/ipengine:engine-1 svc:/site/ipengine:engine-2"]


def test_state_without_instances_shows_those_that_are_in_use() -> None:
    host = RecordingHost([(CASES / "not-running.txt").read_text()])
    assert service_manager.state(host, engine_service(())).keys() == {"1", "4", "5"}
    assert host.commands[0].endswith(" svc:/site/ipengine:*")
    assert service_manager.state(RecordingHost([""]), engine_service(())) == {}


def test_the_only_instance_is_the_default_one() -> None:
    host = RecordingHost([(CASES / "controller-waiting.txt").read_text()])
    assert list(service_manager.state(host, CONTROLLER)) == [""]
    assert host.commands[0].endswith("look /var/lib/ipyparallel/ipcontroller/waiting svc:/site/ipcontroller:default")
    assert fmris(LEASE) == ("svc:/site/ipyfleet-lease:default",)


def test_install_places_manifests_and_scripts_and_tells_whether_anything_changed() -> None:
    host = RecordingHost()
    assert service_manager.install(host, ENGINES)
    assert {path for path in host.files if path.endswith(".xml")} == {
        "/var/svc/manifest/site/ipengine.xml",
        "/var/svc/manifest/site/ipyfleet-repair.xml",
    }
    assert {path for path, file in host.files.items() if file.mode == 0o755} == {
        f"/opt/ipyfleet/libexec/{name}"
        for name in (
            *("engine-method", "engine-start", "engine-program.py", "smf-values", "smf-contract", "repair-method"),
            *("engine-repair", "run-as.py", "unknown-engines.py", "registered-engines.py"),
        )
    }
    assert host.commands == ["services.sh install [ipengine ipyfleet-repair]"]
    assert host.last == ()
    assert not service_manager.install(RecordingHost(changed=False), ENGINES)


@pytest.mark.parametrize("service", [CONTROLLER, ENGINES, REPAIR, LEASE])
def test_everything_that_a_manifest_or_script_runs_is_installed_with_it(service: Service) -> None:
    host = RecordingHost()
    service_manager.install(host, service)
    texts = [file.data.decode() for path, file in host.files.items() if not path.endswith(".py")]
    named = {
        name for text in texts for name in re.findall(r"""(?:/opt/ipyfleet/libexec|\$libexec"?)/([\w.-]+)""", text)
    }
    assert named
    assert {f"/opt/ipyfleet/libexec/{name}" for name in named} <= set(host.files)


def test_values_that_come_along_are_part_of_the_same_round_trip() -> None:
    host = RecordingHost()
    further = File("/etc/ipyfleet/engine.json", b"{}", 0o600)
    assert service_manager.install(host, ENGINES, ENGINE_VALUES, (further,))
    assert {"/etc/ipyfleet/ipengine.svccfg", "/etc/ipyfleet/engine.json"} < set(host.files)
    assert len(host.commands) == 1
    assert host.last == (STAMP,)


def test_bring_up_is_one_round_trip_and_its_mark_comes_last() -> None:
    host = RecordingHost()
    mark = File("/etc/ipyfleet/ipengine.deployed", b"x 1 2\n")
    service_manager.bring_up(host, ENGINES, ENGINE_VALUES, anew=("2",), mark=mark)
    assert host.commands == ["services.sh up engine-2 [ipengine ipyfleet-repair] engine-1 engine-2"]
    assert host.last == (STAMP, mark.path)
    service_manager.bring_up(host, CONTROLLER, {"spacing": ["17"]}, anew=("",))
    assert host.commands[1:] == ["services.sh up default ipcontroller default"]


def test_configure_hands_over_and_tells_whether_anything_changed() -> None:
    host = RecordingHost()
    assert service_manager.configure(host, CONTROLLER, {"spacing": ["17"]})
    assert host.commands == ["services.sh configure ipcontroller"]
    assert host.last == ("/etc/ipyfleet/ipcontroller.configured",)
    assert not service_manager.configure(RecordingHost(changed=False), CONTROLLER, {"spacing": ["17"]})


def test_start_restart_and_clear_are_one_command_each_for_all_instances() -> None:
    host = RecordingHost()
    service_manager.start(host, ENGINES)
    service_manager.restart(host, CONTROLLER)
    service_manager.clear(host, engine_service(()))
    assert host.commands == [
        "sudo services.sh start [ipengine ipyfleet-repair] engine-1 engine-2",
        "sudo services.sh restart ipcontroller default",
        "sudo services.sh clear svc:/site/ipengine:*",
    ]


@pytest.mark.parametrize(("shown", "limit"), [("630\n", 630 + 60), ("0\n", 86400 + 60), ("", 60)])
def test_a_stop_may_take_as_long_as_the_service_lets_a_task_go_on(shown: str, limit: float) -> None:
    host = RecordingHost([shown])
    service_manager.stop(host, ENGINES)
    assert host.commands == [
        "svcprop -c -p stop/timeout_seconds svc:/site/ipengine",
        "sudo services.sh stop svc:/site/ipengine:engine-1 svc:/site/ipengine:engine-2",
    ]
    assert host.timeouts == [limit]


def test_remove_takes_away_all_but_what_other_services_may_run() -> None:
    host = RecordingHost()
    service_manager.remove(host, ENGINES)
    assert host.commands[1].startswith("sudo services.sh remove [ipengine ipyfleet-repair] /var/svc/manifest/site/")
    removed = set(host.commands[1].rpartition("] ")[2].split())
    placed = RecordingHost()
    service_manager.install(placed, ENGINES, ENGINE_VALUES)
    shared = {f"/opt/ipyfleet/libexec/{name}" for name in ("smf-values", "smf-contract", "run-as.py")}
    assert {*placed.files, *placed.last} - shared == removed - {"/var/lib/ipyparallel/ipengine"}


def test_logs_are_asked_for_in_one_round_trip() -> None:
    host = RecordingHost(["a line"])
    assert service_manager.logs(host, LEASE, 7) == "a line"
    assert host.commands == ["sudo services.sh logs 7 svc:/site/ipyfleet-lease:default"]


@pytest.mark.parametrize(
    ("shown", "left"),
    [
        ("3600 1000 1059\n", 3541.0),
        ("3600 1000 900\n", 3600.0),  # the clock was set back
        ("60 1000 90000\n", 0.0),  # and forward
        ("", None),
    ],
)
def test_what_is_left_of_a_lease_is_never_negative_whatever_the_clock_does(shown: str, left: float | None) -> None:
    assert service_manager.lease_left(RecordingHost([shown])) == left
