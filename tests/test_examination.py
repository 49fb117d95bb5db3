"""examination.py: what a machine's words are read as; bootscripts/examine.sh run for real, here and with SMF."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fabfile.boot import script
from fabfile.examination import Disk, Facts, asked, parse
from fabfile.service_managers import smf, systemd
from fabfile.services import CONTROLLER, REPAIR, ServiceState, engine_service
from tests.smf_zone import Zone

CASES = Path(__file__).parent / "cases" / "examine"
SERVICES = (engine_service([1, 2]), REPAIR)
ENV = Path(sys.executable).parents[1]


def case(name: str, sent: float = 1000.0, received: float = 1000.5) -> Facts:
    return parse((CASES / f"{name}.txt").read_text(), SERVICES, sent, received)


def test_a_machine_with_systemd_is_read() -> None:
    facts = case("linux")
    assert (facts.manager, facts.machine, facts.software, facts.python) == (
        *("systemd", "x86_64", "2ffdec4d0df6", "3.11.2"),
    )
    assert [(one.name, one.own, str(one.look.state)) for one in facts.services] == [
        ("ipengine@1", "ipengine@1.service", "online"),
        ("ipengine@2", "ipengine@2.service", "offline"),
        ("ipyfleet-repair", "ipyfleet-repair.timer", "online"),
    ]
    assert facts.services[1].look.words == "inactive/dead, restarted 2 times"
    assert facts.memory == 23631028 * 1024
    assert facts.closed == {10103: "Connection refused", 10104: "timed out"}


def test_a_machine_with_smf_is_read() -> None:
    facts = case("smartos")
    assert [(one.name, one.own, str(one.look.state)) for one in facts.services] == [
        ("ipengine@1", "svc:/site/ipengine:engine-1", "online"),
        ("ipengine@2", "svc:/site/ipengine:engine-2", "maintenance"),
        ("ipyfleet-repair", "svc:/site/ipyfleet-repair:default", "online"),
    ]
    assert (facts.files, facts.memory) == ((65536, 65536), 1572864 * 1024)


def test_packages_go_by_the_one_name_that_pins_have() -> None:
    assert case("linux").packages == {
        "jinja2": "3.1.6",
        "ipyparallel": "9.2.0",
        "jupyter-client": "8.6.3",
        "numpy": "2.4.6",
        "pyzmq": "27.3.0",
    }


def test_paths_on_one_file_system_are_one_disk() -> None:
    assert case("linux").disks == (
        Disk("/", ("/", "/var/lib/ipyparallel"), 30103556 * 1024, 76287372 * 1024),
        Disk("/tmp", ("/tmp",), 0, 2468412 * 1024),
    )


def test_the_least_limit_of_several_processes_counts() -> None:
    assert case("linux").files == (512, 20000)


@pytest.mark.parametrize(
    ("sent", "received", "ahead"),
    [
        (1000.0, 1000.5, (-0.25, 0.125)),  # it may be right: what it says lies between
        (990.0, 990.5, (9.75, 10.125)),
        (980.0, 1000.5, (-0.25, 20.125)),  # slow to begin: it may be, and nobody knows
    ],
)
def test_the_way_there_and_back_makes_the_clock_uncertain_and_never_wrong(sent, received, ahead) -> None:
    assert case("linux", sent, received).ahead == ahead


def test_a_machine_that_says_nothing_has_no_facts_and_services_that_are_not_there() -> None:
    assert parse("", SERVICES, 0.0, 1.0) == Facts()
    silent = parse("manager=systemd\n", SERVICES, 0.0, 1.0)
    assert {one.look.state for one in silent.services} == {ServiceState.ABSENT}


def test_what_a_python_that_does_not_run_says_is_kept() -> None:
    said = "manager=\nbroken=Traceback\nbroken=ModuleNotFoundError: No module named 'encodings'\n"
    assert parse(said, (), 0.0, 1.0).broken == "ModuleNotFoundError: No module named 'encodings'"


def test_services_are_named_for_every_service_manager_that_a_machine_may_have() -> None:
    assert asked((engine_service([1, 2]), REPAIR)) == (
        "ipengine@1.service ipengine@2.service ipyfleet-repair.timer",
        "svc:/site/ipengine:engine-1 svc:/site/ipengine:engine-2 svc:/site/ipyfleet-repair:default",
    )
    assert asked(()) == ("", "")


def test_the_script_shows_what_the_service_managers_read() -> None:
    text = script("examine.sh").read_text()
    assert f"--property={','.join(systemd.PROPERTIES)} " in text
    assert smf.WAITING in text


def examined(*words: str, **environment: str) -> Facts:
    """What the script says of this computer."""
    sent = time.time()
    done = subprocess.run(
        ["sh", script("examine.sh"), *words],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return parse(done.stdout, (), sent, time.time())


def test_the_script_tells_of_this_computer_what_python_knows_of_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_server(("127.0.0.1", 0)) as other:
        there, gone = server.getsockname()[1], other.getsockname()[1]
        other.close()
        facts = examined("", "", "127.0.0.1", str(there), str(gone), IPYFLEET_ENV=str(ENV))
    assert facts.python == sys.version.split()[0]
    assert {"ipyparallel", "pyzmq", "numpy"} <= set(facts.packages)
    assert facts.ahead is not None
    assert facts.ahead[0] <= 0.0 <= facts.ahead[1]
    assert facts.closed == {gone: "Connection refused"}
    assert facts.memory is not None
    assert facts.disks[0].mount == "/"


def test_without_an_environment_the_script_tells_the_rest(tmp_path: Path) -> None:
    facts = examined("", "", "127.0.0.1", "1", IPYFLEET_ENV=str(tmp_path))
    assert "not found" in facts.broken
    assert (facts.python, facts.packages, facts.ahead) == ("", {}, None)
    assert facts.disks


def test_the_script_looks_at_services_under_smf(tmp_path: Path) -> None:
    zone = Zone(tmp_path, lifetime=60.0)
    try:
        smf.service_manager.bring_up(
            zone,
            engine_service([1]),
            {"machine": ["engine-0"], "heartbeat_misses": ["25"], "stop_timeout": ["5"]},
        )
        zone.online(smf.service_manager, engine_service([1]))
        services = (engine_service([1, 2]), CONTROLLER)
        words = asked(services)
        waiting = zone.path(smf.WAITING)
        waiting.parent.mkdir(parents=True, exist_ok=True)
        waiting.touch()
        moved = tmp_path / "moved" / "examine.sh"
        moved.parent.mkdir()
        moved.write_text(script("examine.sh").read_text().replace("/usr/bin/svcs", str(zone.smf.bin / "svcs")))
        facts = parse(zone.script(moved, *words).stdout, services, 0.0, 1.0)
    finally:
        zone.smf.close()
    assert facts.manager == "smf"
    states = {one.own: one.look.state for one in facts.services}
    assert states == {
        "svc:/site/ipengine:engine-1": ServiceState.STARTING,  # the controller keeps its distance, see parse_look
        "svc:/site/ipengine:engine-2": ServiceState.ABSENT,
        "svc:/site/ipcontroller:default": ServiceState.ABSENT,
    }
    assert facts.files is not None
    assert facts.files[0] >= 4096
