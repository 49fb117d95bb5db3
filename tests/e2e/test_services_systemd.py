"""Controller and engines as services of real systemd hosts: what brings them back, what they may do, how they end.

The settings make the patience short, so that what has to be waited for is soon over; 6 s still outlast a busy computer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from fabfile import hub
from fabfile.connection import make
from fabfile.engines import engine_values
from fabfile.errors import ServiceFailed
from fabfile.machines import Cluster, MachineSpec, silent
from fabfile.patience import patience
from fabfile.providers.local import LocalProvider
from fabfile.remote import File, Host
from fabfile.service_managers import detect
from fabfile.service_managers.systemd import seconds
from fabfile.service_managers.systemd import service_manager as systemd
from fabfile.services import CONTROLLER, LEASE, REPAIR, ServiceState, engine_service, wait_for_svc
from fabfile.settings import Settings
from tests.e2e.machines import remove
from tests.e2e.services import ENGINES, NAME, Services, deploy_controller, deploy_engines, main_pid, shell, until

pytestmark = pytest.mark.e2e

ENGINE_1 = engine_service([1])
ONE = "ipengine@1.service"


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Both machines with their services, started once."""
    settings = Settings(cluster=NAME, patience=6.0, stop_timeout=20.0, engine_env=(("MOTTO", "a=b  c "),))
    provider = LocalProvider(settings)
    provider.prepare(silent)
    folder = tmp_path_factory.mktemp(NAME)
    cluster = Cluster(NAME, "s1", "tests@here", time.time())
    placeholder, _ = make("127.0.0.1", settings)
    services = Services(folder, settings, provider, cluster, placeholder)
    try:
        services.launch(MachineSpec("controller", 0), MachineSpec("engine", 0))
        services.connection, secret = make(services.machines["controller"].private_address, settings)
        deploy_controller(services, secret)
        deploy_engines(services, services.engines, ENGINES)
        services.wait_for(2)
        yield services
    finally:
        remove(provider, NAME)


@pytest.fixture
def healthy(services: Services) -> Services:
    """Both engines are there before each test, whatever the one before did."""
    systemd.start(services.controller, CONTROLLER)
    systemd.start(services.engines, ENGINES)
    services.wait_for_those_that_run(2)
    return services


@pytest.fixture
def spare(services: Services) -> Iterator[Host]:
    """A third machine that may be spoiled."""
    services.launch(MachineSpec("engine", 7))
    try:
        yield services.hosts["engine-7"]
    finally:
        services.provider.destroy(NAME, [services.machines.pop("engine-7")])


def test_the_service_manager_of_a_host_is_systemd(healthy: Services) -> None:
    assert detect(healthy.engines) is systemd


def test_all_services_are_online_and_started_at_boot(healthy: Services) -> None:
    assert {look.state for look in systemd.state(healthy.engines, ENGINES).values()} == {ServiceState.ONLINE}
    assert systemd.state(healthy.engines, REPAIR)[""].state is ServiceState.ONLINE
    assert systemd.state(healthy.engines, engine_service(())).keys() == {"1", "2"}
    assert shell(healthy.engines, f"systemctl is-enabled {ONE}") == "enabled"
    assert shell(healthy.controller, "systemctl is-enabled ipcontroller") == "enabled"


def test_an_ident_says_machine_and_number(healthy: Services) -> None:
    assert {tuple(ident.rsplit("-", 2)[:2]) for ident in healthy.known()} == {("engine-0", "1"), ("engine-0", "2")}


def test_doing_everything_again_changes_and_restarts_nothing(healthy: Services) -> None:
    before = systemd.state(healthy.engines, ENGINES)
    assert not systemd.install(healthy.engines, ENGINES)
    assert not systemd.configure(healthy.engines, ENGINES, engine_values(healthy.settings, "engine-0"))
    systemd.start(healthy.engines, ENGINES)
    assert systemd.state(healthy.engines, ENGINES) == before


def test_the_users_variables_reach_the_engines_as_they_are(healthy: Services) -> None:
    environment = "print(json.dumps(view.apply_sync(lambda: __import__('os').environ['MOTTO'])))"
    assert healthy.compute(environment) == ["a=b  c "] * 2


def test_the_users_options_reach_engine_and_controller_as_single_words(healthy: Services) -> None:
    option = "--Application.log_datefmt=%H  %M "
    values = {**engine_values(healthy.settings, "engine-0"), "options": [option]}
    systemd.configure(healthy.engines, ENGINES, values)
    systemd.restart(healthy.engines, ENGINE_1)
    wait_for_svc(systemd, healthy.engines, ENGINE_1, timeout=30)
    systemd.configure(healthy.engines, ENGINES, engine_values(healthy.settings, "engine-0"))
    assert option in shell(healthy.engines, f"tr '\\0' '\\n' </proc/{main_pid(ONE)}/cmdline").splitlines()
    healthy.wait_for(2)


def test_the_limit_of_a_stop_is_taken_over_without_a_restart(healthy: Services) -> None:
    before = systemd.state(healthy.engines, ENGINES)
    for limit in ("77", "20"):
        values = {**engine_values(healthy.settings, "engine-0"), "stop_timeout": [limit]}
        assert systemd.configure(healthy.engines, ENGINES, values)
        systemd.start(healthy.engines, ENGINES)
        shown = shell(healthy.engines, f"systemctl show --property=TimeoutStopUSec --value {ONE}")
        assert shown in ("1min 17s", "20s")
        assert (shown == "20s") == (limit == "20")
    assert systemd.state(healthy.engines, ENGINES) == before


def test_a_killed_engine_is_back_within_ten_seconds(healthy: Services) -> None:
    old = healthy.known()
    shell(healthy.engines, f"kill -9 {main_pid(ONE)}")
    healthy.wait_for(1, without=old, timeout=10)
    healthy.every_engine_answers()


@pytest.mark.parametrize(
    "blow",
    [
        f"kill -9 {main_pid('ipcontroller')}",
        "systemctl kill --signal=KILL --kill-whom=all ipcontroller",
        "systemctl restart --no-block ipcontroller",
    ],
    ids=["main process killed", "all processes killed", "restarted"],
)
def test_all_engines_come_back_to_a_controller_that_was_gone(healthy: Services, blow: str) -> None:
    old, repairs, waits = healthy.known(), healthy.repairs(), healthy.waits()
    shell(healthy.controller, blow)
    healthy.wait_for(2, without=old)
    healthy.every_engine_answers()
    assert (healthy.repairs(), healthy.waits()) == (repairs, waits + 1)


def test_all_engines_come_back_after_a_power_cut_of_the_controllers_machine(healthy: Services) -> None:
    old, repairs = healthy.known(), healthy.repairs()
    healthy.cut_power("controller")
    healthy.boot("controller")
    healthy.wait_for(2, without=old)
    healthy.every_engine_answers()
    assert (healthy.repairs(), healthy.waits()) == (repairs, 1)


def test_all_engines_come_back_after_a_reboot_of_the_controllers_machine(healthy: Services) -> None:
    old, repairs = healthy.known(), healthy.repairs()
    healthy.provider.stop(NAME, [healthy.machines["controller"]])
    healthy.boot("controller")
    healthy.wait_for(2, without=old)
    healthy.every_engine_answers()
    assert healthy.repairs() == repairs


def test_engines_come_back_after_a_power_cut_of_their_machine(healthy: Services) -> None:
    old = healthy.known()
    healthy.cut_power("engine-0")
    healthy.boot("engine-0")
    healthy.wait_for(2, without=old)
    until(lambda: not healthy.known() & old, 30)
    healthy.every_engine_answers()


def test_a_controller_whose_engines_were_stopped_starts_without_waiting(healthy: Services) -> None:
    systemd.stop(healthy.engines, ENGINES)
    systemd.stop(healthy.controller, CONTROLLER)
    shell(healthy.controller, "/opt/ipyfleet/libexec/controller-spacing forget")
    begun = time.monotonic()
    systemd.start(healthy.controller, CONTROLLER)
    until(lambda: hub.registered(healthy.connection.engine_info, 0.2) is not None, 30)
    assert time.monotonic() - begun < patience(healthy.settings).spacing


def test_a_stop_lets_the_running_task_end_and_deliver(healthy: Services) -> None:
    results: list[object] = []
    program = "ar = view.apply_async(lambda: __import__('time').sleep(4) or 42); print('[]' and json.dumps(ar.get(30)))"
    client = threading.Thread(target=lambda: results.append(healthy.compute(program)))
    client.start()
    busy = "import sys; sys.exit(not any(q['queue'] for q in rc.queue_status().values() if isinstance(q, dict)))"
    until(lambda: healthy.succeeds(busy), 20)
    systemd.stop(healthy.engines, ENGINES)
    client.join(30)
    assert results == [[42, 42]]
    assert {look.state for look in systemd.state(healthy.engines, ENGINES).values()} == {ServiceState.DISABLED}
    assert healthy.known() == set()


def test_a_clean_stop_does_not_wait_for_the_nanny(healthy: Services) -> None:
    shell(healthy.engines, f"systemctl stop {ONE}")
    after = (
        "systemctl show --property=ExecMainExitTimestampMonotonic --property=InactiveEnterTimestampMonotonic --value"
    )
    ended, cleared = map(int, shell(healthy.engines, f"{after} {ONE}").split())
    assert abs(cleared - ended) < 2_000_000


def test_what_a_killed_engine_leaves_behind_is_cleared_away(healthy: Services) -> None:
    program = "import subprocess; [subprocess.Popen(['sleep', '4242']) for _ in range(3)]"
    healthy.compute(f"view.execute({program!r}, block=True); print('[]')")
    assert shell(healthy.engines, "pgrep -c -x -f 'sleep 4242'") == "6"
    old = healthy.known()
    shell(healthy.engines, f"kill -9 {main_pid(ONE)}")
    healthy.wait_for(1, without=old)
    assert shell(healthy.engines, "pgrep -c -x -f 'sleep 4242'") == "3"


def test_an_engine_that_was_suspended_too_long_is_repaired(healthy: Services) -> None:
    old = healthy.known()
    shell(healthy.engines, f"kill -STOP {main_pid(ONE)}")
    until(lambda: len(healthy.known()) == 1, 30)
    shell(healthy.engines, f"kill -CONT {main_pid(ONE)}")
    repair(healthy)
    healthy.wait_for(1, without=old)
    healthy.every_engine_answers()


def test_an_engine_that_was_signed_out_by_mistake_is_repaired(healthy: Services) -> None:
    old = healthy.known()
    with hub.Questions(healthy.connection.engine_info) as questions:
        number = next(iter(questions.registered() or {}))
        questions.ask("unregistration_request", {"id": number}, timeout=0.5)
    until(lambda: len(healthy.known()) == 1, 10)
    repair(healthy)
    healthy.wait_for(1, without=old)
    healthy.every_engine_answers()


def repair(services: Services) -> None:
    """Do what the timer does, with engines that are old enough."""
    shell(services.engines, "touch -d '1 minute ago' /run/ipyfleet/*.ident; systemctl start ipyfleet-repair.service")


def test_engines_that_the_hub_knows_and_those_just_started_are_left_alone(healthy: Services) -> None:
    before = systemd.state(healthy.engines, ENGINES)
    repair(healthy)
    assert systemd.state(healthy.engines, ENGINES) == before
    systemd.restart(healthy.engines, ENGINE_1)
    wait_for_svc(systemd, healthy.engines, ENGINE_1, timeout=30)
    before = systemd.state(healthy.engines, ENGINES)
    shell(healthy.engines, "systemctl start ipyfleet-repair.service")
    assert systemd.state(healthy.engines, ENGINES) == before


def test_root_restarts_nothing_but_numbered_engines(healthy: Services) -> None:
    before = systemd.state(healthy.engines, ENGINES)
    shell(
        healthy.engines,
        "systemctl stop ipengine@2; printf '2\\n1; reboot\\n../1\\n*\\n-1\\n1 2\\n\\n' >/run/ipyfleet/unknown-engines; "
        "/opt/ipyfleet/libexec/engine-repair restart",
    )
    after = systemd.state(healthy.engines, ENGINES)
    assert after["1"] == before["1"]
    assert after["2"].state is ServiceState.OFFLINE


def test_the_repair_timer_comes_round_within_a_minute(healthy: Services) -> None:
    property = "--property=NextElapseUSecMonotonic --value"
    shown = shell(healthy.engines, f"cat /proc/uptime; systemctl show {property} ipyfleet-repair.timer").splitlines()
    assert 0 < (seconds(shown[1]) or 0) - float(shown[0].split()[0]) <= 62


@pytest.mark.parametrize("unit", ["ipcontroller.service", ONE, "ipyfleet-repair.service"])
def test_a_sandbox_leaves_an_exposure_of_at_most_four(healthy: Services, unit: str) -> None:
    host = healthy.controller if unit == "ipcontroller.service" else healthy.engines
    line = shell(host, f"systemd-analyze security --no-pager {unit} | tail -n 1")
    assert float(line.partition(": ")[2].split()[0]) <= 4.0, line


def test_user_code_may_make_machine_code_pools_and_files_at_home(healthy: Services) -> None:
    program = """
def machine_code():  # as a compiler in the engine does it: both at once, and one after the other
    import ctypes, mmap
    mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    address = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    return ctypes.CDLL(None).mprotect(address, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC)

def pools():
    import multiprocessing
    with multiprocessing.get_context("fork").Pool(2) as forked, multiprocessing.get_context("spawn").Pool(2) as spawned:
        return forked.map(abs, [-1, -2]) + spawned.map(abs, [-3])

def home():
    import os, pathlib, tempfile
    file = pathlib.Path.home() / f"written-by-{os.getpid()}"
    file.write_text("at home")
    with tempfile.TemporaryFile() as temporary:
        temporary.write(b"elsewhere")
    return [str(pathlib.Path.home()), file.read_text()]

def who():
    import os, subprocess
    return [os.getuid() != 0, subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode != 0]

print(json.dumps([view.apply_sync(one)[1] for one in (machine_code, pools, home, who)]))
"""
    assert healthy.compute(program) == [0, [1, 2, 3], ["/var/lib/ipyparallel", "at home"], [True, True]]


def test_a_service_that_cannot_run_is_told_soon_with_its_own_words(healthy: Services) -> None:
    healthy.engines.place([File("/etc/ipyfleet/ipengine.values", b"machine engine-0\n")])
    try:
        systemd.restart(healthy.engines, ENGINE_1)
        with pytest.raises(ServiceFailed, match="ipengine@1 ends each time soon after its start") as error:
            wait_for_svc(systemd, healthy.engines, ENGINE_1, timeout=30)
        assert "lacks machine or heartbeat_misses" in error.value.seen
    finally:
        systemd.configure(healthy.engines, ENGINES, engine_values(healthy.settings, "engine-0"))


def test_a_controller_without_its_configuration_does_not_run_on_its_own_terms(services: Services, spare: Host) -> None:
    systemd.install(spare, CONTROLLER)
    systemd.configure(spare, CONTROLLER, {"spacing": ["1"]})
    systemd.start(spare, CONTROLLER)
    with pytest.raises(ServiceFailed) as error:
        wait_for_svc(systemd, spare, CONTROLLER, timeout=30)
    assert "ipcontroller_config.py is missing" in error.value.seen


def test_what_is_removed_is_gone(services: Services, spare: Host) -> None:
    before = shell(spare, "find /etc /opt/ipyfleet -xdev ! -path '*/env-*' ! -path '/etc/ipyfleet/engine.json' | sort")
    deploy_engines(services, spare, engine_service([1, 3]))
    systemd.remove(spare, engine_service(()))
    systemd.remove(spare, engine_service(()))
    shell(spare, "rm /etc/ipyfleet/engine.json; rmdir --ignore-fail-on-non-empty /etc/ipyfleet /opt/ipyfleet/libexec")
    after = shell(spare, "find /etc /opt/ipyfleet -xdev ! -path '*/env-*' ! -path '/etc/ipyfleet/engine.json' | sort")
    assert sorted(set(after.splitlines()) - set(before.splitlines())) == []
    looks = systemd.state(spare, engine_service([1, 3]))
    assert {look.state for look in looks.values()} == {ServiceState.ABSENT}
    assert shell(spare, "pgrep -c -u ipyparallel || :") == "0"


def test_a_lease_powers_its_machine_off_and_begins_anew_at_each_boot(services: Services, spare: Host) -> None:
    assert systemd.lease_left(spare) is None
    systemd.install(spare, LEASE)
    systemd.configure(spare, LEASE, {"seconds": ["3600"], "action": ["poweroff"]})
    systemd.start(spare, LEASE)
    assert systemd.lease_left(spare) == pytest.approx(3600, abs=10)
    systemd.configure(spare, LEASE, {"seconds": ["12"], "action": ["poweroff"]})
    systemd.restart(spare, LEASE)
    assert 0 < (systemd.lease_left(spare) or 0) < 13
    services.wait_until_off("engine-7")
    services.boot("engine-7")
    assert 0 < (systemd.lease_left(services.hosts["engine-7"]) or 0) < 13
    services.wait_until_off("engine-7")


def test_on_a_computer_that_is_somebodys_own_the_end_of_the_lease_stops_our_services_only(
    services: Services, spare: Host
) -> None:
    service = engine_service([1])
    deploy_engines(services, spare, service)
    systemd.install(spare, LEASE)
    systemd.configure(spare, LEASE, {"seconds": ["1"], "action": ["stop"]})
    systemd.start(spare, LEASE)
    until(lambda: systemd.state(spare, service)["1"].state is ServiceState.DISABLED, 30)
    until(lambda: systemd.state(spare, LEASE)[""].state is ServiceState.DISABLED, 10)
    assert systemd.state(spare, REPAIR)[""].words == "inactive/dead"
    assert systemd.lease_left(spare) is None
