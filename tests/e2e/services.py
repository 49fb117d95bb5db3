"""Machines with the services of a cluster on them: how tests make them, ask them, and take their power away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from pathlib import Path

from fabfile import hub
from fabfile.connection import Connection
from fabfile.connection_files import controller_files, engine_files, security_folders
from fabfile.engines import controller_values, engine_values
from fabfile.machines import Cluster, Machine, MachineSpec, MachineState, silent
from fabfile.providers.local import LocalProvider
from fabfile.remote import Credentials, Host, Result
from fabfile.service_managers.systemd import service_manager as systemd
from fabfile.services import CONTROLLER, REPAIR, Service, engine_service, wait_for_svc
from fabfile.settings import Settings
from fabfile.ssh import connect
from tests.e2e.machines import new_key, pin, root_folder, wait_for_ssh_banner

NAME = "services"
ENGINES = engine_service([1, 2])
PYTHON = "/opt/ipyfleet/env/bin/python"
CLIENT = """
import json, sys
import ipyparallel as ipp
rc = ipp.Client("/var/lib/ipyparallel/.ipython/profile_default/security/ipcontroller-client.json", timeout=10)
view = rc[:]
"""
PIDS = "print(json.dumps(view.apply_sync(lambda: __import__('os').getpid())))"


@dataclass
class Services:
    """A controller's machine and one with two engines; further machines on demand."""

    folder: Path
    settings: Settings
    provider: LocalProvider
    cluster: Cluster
    connection: Connection
    machines: dict[str, Machine] = field(default_factory=dict)
    hosts: dict[str, Host] = field(default_factory=dict)

    @property
    def controller(self) -> Host:
        return self.hosts["controller"]

    @property
    def engines(self) -> Host:
        return self.hosts["engine-0"]

    def launch(self, *specs: MachineSpec) -> None:
        """Make machines and connect to them."""
        public = new_key(self.folder / "key")
        keyed = [replace(spec, authorized_keys=(public,)) for spec in specs]
        self._reach(self.provider.create(self.cluster, keyed, silent))

    def boot(self, name: str) -> None:
        """Start a machine that is off and connect to it."""
        self._reach(self.provider.start(NAME, [self.machines[name]]))

    def _reach(self, machines: Collection[Machine]) -> None:
        self.machines |= {machine.name: machine for machine in machines}
        credentials = Credentials(self.folder / "key", pin(tuple(self.machines.values()), self.folder / "known_hosts"))
        for machine in machines:
            assert machine.endpoint is not None
            wait_for_ssh_banner(machine.endpoint)
            self.hosts[machine.name] = connect(machine.endpoint, machine.name, credentials)

    def cut_power(self, name: str) -> None:
        """Kill a machine's first process: the kernel ends all others at once."""
        where = f"--directory={root_folder()}/clusters/.*-{NAME}/machines/{name}/root"
        nspawn = subprocess.run(["pgrep", "--full", "--", where], capture_output=True, text=True, check=True).stdout
        init = subprocess.run(["pgrep", "--parent", nspawn.strip()], capture_output=True, text=True, check=True).stdout
        os.kill(int(init), signal.SIGKILL)
        self.wait_until_off(name)

    def wait_until_off(self, name: str, timeout: float = 30.0) -> None:
        """Wait until the provider says that a machine has stopped."""
        until(lambda: self.found(name).state is MachineState.STOPPED, timeout)

    def found(self, name: str) -> Machine:
        machine = self.provider.find(NAME).by_name(name)
        assert machine is not None
        return machine

    def known(self) -> set[str]:
        """The idents of the engines that the hub knows; none when it does not answer."""
        return set((hub.registered(self.connection.engine_info, 1.0) or {}).values())

    def wait_for(self, count: int, without: Collection[str] = (), timeout: float = 60.0) -> set[str]:
        """Wait until the hub knows so many engines beside those named; all that it knows."""
        until(lambda: len(self.known() - set(without)) >= count, timeout)
        return self.known()

    def wait_for_those_that_run(self, count: int, timeout: float = 60.0) -> None:
        """Wait until the hub knows so many engines and all of them run: a client might wait for a dead one."""

        def known() -> bool:
            running = {*shell(self.engines, "cat /run/ipyfleet/*.ident 2>/dev/null || true").split()}
            return len(running) == count and self.known() == running

        until(known, timeout)

    def compute(self, program: str, timeout: float = 60.0) -> object:
        """What a client's program, which has ``rc`` and ``view`` on all engines, prints as JSON."""
        return json.loads(self._client(program, timeout).stdout)

    def succeeds(self, program: str) -> bool:
        """Whether a client's program ends with exit code 0."""
        return self._client(program, check=False).exit_code == 0

    def _client(self, program: str, timeout: float = 60.0, check: bool = True) -> Result:
        words = ("sudo", "-u", "ipyparallel", "env", "IPYTHONDIR=/var/lib/ipyparallel/.ipython", PYTHON, "-")
        return self.controller.run(*words, check=check, timeout=timeout, stdin=(CLIENT + program).encode())

    def repairs(self) -> int:
        """How often an engine was restarted because the hub did not know it."""
        return systemd.logs(self.engines, REPAIR, 10_000).count("the hub does not know it")

    def waits(self) -> int:
        """How often since its machine's boot a controller has waited until engines of the one before had left."""
        log = shell(self.controller, "journalctl --quiet --boot --unit=ipcontroller.service")
        return log.count("until the last controller's engines have left")

    def every_engine_answers(self, count: int = 2) -> None:
        """Each engine answers through a DirectView."""
        pids = self.compute(PIDS)
        assert isinstance(pids, list)
        assert len(set(pids)) == count


def until(condition: Callable[[], bool], timeout: float) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout:.0f} s in vain"
        time.sleep(0.05)


def shell(host: Host, line: str, timeout: float = 60.0) -> str:
    """What a command line prints when root runs it."""
    return host.run("sh", "-c", line, sudo=True, timeout=timeout).stdout.rstrip("\n")


def main_pid(unit: str) -> str:
    """A word for a command line: the pid of a unit's main process."""
    return f"$(systemctl show --property=MainPID --value {unit})"


def deploy_controller(services: Services, secret: str | None) -> None:
    host = services.controller
    host.run(*systemd.run_as("ipyparallel", 60, *security_folders("/var/lib/ipyparallel")), sudo=True)
    host.place(controller_files(services.connection, secret, services.settings))
    systemd.install(host, CONTROLLER)
    systemd.configure(host, CONTROLLER, controller_values(services.settings))
    systemd.start(host, CONTROLLER)
    wait_for_svc(systemd, host, CONTROLLER, timeout=30)


def deploy_engines(services: Services, host: Host, service: Service) -> None:
    host.place(engine_files(services.connection))
    systemd.install(host, service)
    systemd.configure(host, service, engine_values(services.settings, host.name))
    systemd.start(host, service)
    wait_for_svc(systemd, host, service, timeout=30)
