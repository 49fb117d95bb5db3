"""The systemd manager: what it reads from recorded answers, and what it says to a host that records it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fabfile.errors import UsageError
from fabfile.remote import File, Result
from fabfile.service_managers.systemd import parse_show, seconds, service_manager, value_files
from fabfile.services import CONTROLLER, LEASE, REPAIR, Service, ServiceState, engine_service

CASES = Path(__file__).parent / "cases" / "systemd"
ENGINES = engine_service([1, 2])
ENGINE_VALUES = {
    "machine": ["engine-0"],
    "heartbeat_misses": ["25"],
    "stop_timeout": ["120"],
    "options": ["--IPEngine.x=a b ", "--no-banner"],
    "environment": ["OMP_NUM_THREADS=1", "MOTTO=a=b c"],
}


@dataclass
class RecordingHost:
    """Answers ``run`` from a list, remembers everything else."""

    answers: list[str] = field(default_factory=list)
    changed: bool = True
    name: str = "engine-0"
    address: str = "ipyfleet@10.0.0.2"
    commands: list[str] = field(default_factory=list)
    timeouts: list[float] = field(default_factory=list)
    files: dict[str, File] = field(default_factory=dict)

    def run(self, *words: str, sudo: bool = False, check: bool = True, timeout: float = 60.0) -> Result:
        self.commands.append(("sudo " if sudo else "") + " ".join(words))
        return Result(words, 0, self.answers.pop(0) if self.answers else "", "")

    def script(self, path: Path, *args: str, sudo: bool = False, timeout: float = 60.0) -> Result:
        self.timeouts.append(timeout)
        return self.run(path.name, *(arg and f"[{arg}]" if " " in arg or not arg else arg for arg in args), sudo=sudo)

    def place(self, files: Sequence[File]) -> frozenset[str]:
        self.files |= {file.path: file for file in files}
        return frozenset(self.files) if self.changed else frozenset()


@pytest.mark.parametrize(
    ("case", "unit", "state", "words"),
    [
        ("running", "ipengine@2.service", ServiceState.ONLINE, "active/running"),
        ("timer-waiting", "ipyfleet-repair.timer", ServiceState.ONLINE, "active/waiting"),
        ("start-pre", "ipcontroller.service", ServiceState.STARTING, "activating/start-pre"),
        (
            "auto-restart",
            "ipengine@1.service",
            ServiceState.STARTING,
            "activating/auto-restart, restarted 4 times",
        ),
        ("failed", "ipengine@1.service", ServiceState.MAINTENANCE, "failed/failed"),
        ("bad-setting", "bad.service", ServiceState.MAINTENANCE, "bad-setting"),
        ("inactive-enabled", "ipengine@2.service", ServiceState.OFFLINE, "inactive/dead"),
        ("inactive-disabled-and-not-found", "ipengine@9.service", ServiceState.DISABLED, "inactive/dead"),
        ("inactive-disabled-and-not-found", "nosuch.service", ServiceState.ABSENT, "not-found"),
        ("masked", "ipengine@2.service", ServiceState.ABSENT, "masked"),
        ("stopping", "ipengine@1.service", ServiceState.STARTING, "deactivating/stop-sigterm"),
    ],
)
def test_a_recorded_answer_of_systemctl_is_read(case: str, unit: str, state: ServiceState, words: str) -> None:
    look = parse_show((CASES / f"{case}.txt").read_text())[unit]
    assert (look.state, look.words) == (state, words)


def test_two_starts_of_one_unit_have_different_marks() -> None:
    marks = {look.mark for look in parse_show((CASES / "running.txt").read_text()).values()}
    assert len(marks) == 2
    assert "" not in marks


def test_no_answer_holds_no_unit() -> None:
    assert parse_show("\n") == {}


def test_state_asks_once_for_all_instances() -> None:
    host = RecordingHost([(CASES / "running.txt").read_text()])
    looks = service_manager.state(host, ENGINES)
    assert [look.state for look in looks.values()] == [ServiceState.ONLINE] * 2
    assert list(looks) == ["1", "2"]
    assert len(host.commands) == 1
    assert host.commands[0].endswith("ipengine@1.service ipengine@2.service")


def test_state_without_instances_shows_those_that_the_host_has() -> None:
    host = RecordingHost([(CASES / "running.txt").read_text()])
    assert service_manager.state(host, engine_service(())).keys() == {"1", "2"}
    assert host.commands[0].endswith(" ipengine@*.service")


def test_install_places_units_and_scripts_and_tells_whether_anything_changed() -> None:
    host = RecordingHost()
    assert service_manager.install(host, ENGINES)
    assert {path for path in host.files if "systemd" in path} == {
        "/etc/systemd/system/ipengine@.service",
        "/etc/systemd/system/ipyfleet-repair.service",
        "/etc/systemd/system/ipyfleet-repair.timer",
    }
    assert {path: oct(file.mode) for path, file in host.files.items() if "libexec" in path} == {
        "/opt/ipyfleet/libexec/engine-start": "0o755",
        "/opt/ipyfleet/libexec/engine-program.py": "0o755",
        "/opt/ipyfleet/libexec/engine-stopped": "0o755",
        "/opt/ipyfleet/libexec/engine-repair": "0o755",
        "/opt/ipyfleet/libexec/unknown-engines.py": "0o755",
        "/opt/ipyfleet/libexec/registered-engines.py": "0o755",
    }
    assert host.commands == []
    assert not service_manager.install(RecordingHost(changed=False), ENGINES)


@pytest.mark.parametrize("service", [CONTROLLER, ENGINES, REPAIR, LEASE])
def test_everything_that_a_unit_runs_is_installed_with_it(service: Service) -> None:
    host = RecordingHost()
    service_manager.install(host, service)
    programs = {
        word
        for path, file in host.files.items()
        for word in file.data.decode().replace("=+", "=").replace("=", " ").split()
        if word.startswith("/opt/ipyfleet/libexec/") and not path.endswith(".values")
    }
    assert programs <= set(host.files)


def test_values_are_written_one_a_line_and_stay_as_they_are() -> None:
    values, dropin = value_files(ENGINES, ENGINE_VALUES)
    assert values.path == "/etc/ipyfleet/ipengine.values"
    assert values.data.decode().splitlines() == [
        "machine engine-0",
        "heartbeat_misses 25",
        "options --IPEngine.x=a b ",
        "options --no-banner",
        "environment OMP_NUM_THREADS=1",
        "environment MOTTO=a=b c",
    ]
    assert dropin.path == "/etc/systemd/system/ipengine@.service.d/ipyfleet.conf"
    assert dropin.data == b"[Service]\nTimeoutStopSec=120.000\n"


def test_a_long_lease_is_a_plain_number_for_systemd() -> None:
    values, dropin = value_files(LEASE, {"seconds": ["1e+06"], "action": ["poweroff"]})
    assert values.data == b"action poweroff\n"
    assert dropin.data == b"[Timer]\nOnActiveSec=\nOnActiveSec=1000000.000\n"


@pytest.mark.parametrize("value", ["a\nenvironment PATH=/evil", "a\rb", "a\0b"])
def test_a_value_that_is_no_single_line_is_refused(value: str) -> None:
    with pytest.raises(UsageError, match="ipengine cannot be given"):
        value_files(ENGINES, ENGINE_VALUES | {"options": [value]})


def test_a_key_that_a_service_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="patience"):
        value_files(CONTROLLER, {"spacing": ["17"], "patience": ["20"]})


def test_configure_tells_whether_anything_changed() -> None:
    assert service_manager.configure(RecordingHost(), CONTROLLER, {"spacing": ["17"]})
    assert not service_manager.configure(RecordingHost(changed=False), CONTROLLER, {"spacing": ["17"]})


def test_start_and_restart_are_one_command_each_for_all_instances() -> None:
    host = RecordingHost()
    service_manager.start(host, ENGINES)
    service_manager.restart(host, CONTROLLER)
    assert host.commands == [
        "sudo units.sh start [ipyfleet-repair.service ipyfleet-repair.timer] ipengine@1.service ipengine@2.service",
        "sudo units.sh restart  ipcontroller.service",
    ]


def test_a_stop_may_take_as_long_as_the_units_let_a_task_go_on() -> None:
    host = RecordingHost(["TimeoutStopUSec=10min\n\nTimeoutStopUSec=1h 1min\n"])
    service_manager.stop(host, ENGINES)
    assert host.commands[1].startswith("sudo units.sh stop [ipengine@1.service ipengine@2.service] ipengine@1")
    assert host.timeouts == [3660 + 60]


def test_a_stop_without_instances_takes_all() -> None:
    host = RecordingHost(["TimeoutStopUSec=infinity\n"])
    service_manager.stop(host, engine_service(()))
    assert host.commands[1] == "sudo units.sh stop ipengine@.service ipengine@*.service"
    assert host.timeouts == [86400 + 60]


def test_remove_takes_units_dropins_scripts_and_values_away() -> None:
    host = RecordingHost()
    service_manager.remove(host, ENGINES)
    command = host.commands[1]
    assert command.startswith(
        "sudo units.sh remove [ipengine@.service ipyfleet-repair.service ipyfleet-repair.timer] "
        "[ipengine@*.service ipyfleet-repair.service ipyfleet-repair.timer] /etc/systemd/system/ipengine@.service "
    )
    removed = command.rpartition("] ")[2].split()
    placed = RecordingHost()
    service_manager.install(placed, ENGINES)
    service_manager.configure(placed, ENGINES, ENGINE_VALUES)
    assert {path.removesuffix("/ipyfleet.conf") for path in placed.files} | {"/run/ipyfleet"} == set(removed)


def test_logs_of_a_timer_are_those_of_its_service() -> None:
    host = RecordingHost(["a line"])
    assert service_manager.logs(host, LEASE, 7) == "a line"
    assert "--lines=7" in host.commands[0]
    assert "--unit=ipyfleet-lease.service" in host.commands[0]


def test_what_is_left_of_a_lease_is_counted_from_the_start_of_the_system() -> None:
    armed = RecordingHost(["1000.50 3000.00\n", "NextElapseUSecMonotonic=1h 10min 1.500s\n"])
    assert service_manager.lease_left(armed) == pytest.approx(3201.0)


@pytest.mark.parametrize("end", ["infinity", ""])
def test_a_timer_that_does_not_run_is_no_lease(end: str) -> None:
    assert service_manager.lease_left(RecordingHost(["9.50 9.00\n", f"NextElapseUSecMonotonic={end}\n"])) is None


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        ("1w 4d 14h 25min 1.491511s", 1002301.491511),
        ("2min", 120),
        ("500ms", 0.5),
        ("30us", 3e-05),
        ("1month 1y", 34187616),
        ("infinity", None),
        ("", None),
    ],
)
def test_a_time_span_as_systemd_prints_it_is_read(span: str, expected: float | None) -> None:
    assert seconds(span) == (pytest.approx(expected) if expected is not None else None)
