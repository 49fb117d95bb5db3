"""A whole fleet in memory: machines with hosts on them, services, a hub that knows what a real one would.

Every change that the chain makes to the world outside goes through ``event``, so that a test can number the changes and
end the program at any of them. Engines behave as ipyparallel's do: one that meets another controller than the one it
registered with serves nobody until it is restarted.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fabfile import chain, client_file, hub, observation, remote, removal, run, service_managers, tunnel
from fabfile import deployment as deployment_link
from fabfile import engines as deployment
from fabfile.connection import FORWARDED
from fabfile.connection_files import CURVE, ENGINE, SERVICE_SECURITY
from fabfile.machines import Machine, MachineState
from fabfile.remote import File, Outcome, Result
from fabfile.services import Look, Service, ServiceState, Stretch
from fabfile.settings import Settings
from fabfile.software import Software
from fabfile.state import Store
from tests.fakes.provider import MemoryProvider, World

SOFTWARE = Software("s0ftware", "3.11", ("ipyparallel==9",), "x86_64")


MARKED = ("ipcontroller", "ipengine")


class Killed(BaseException):
    """The program ended here; nothing of it runs afterwards."""


@dataclass
class HostState:
    """What is on one machine: files, enabled and running services (by name and instance, with the start's number)."""

    files: dict[str, bytes] = field(default_factory=dict)
    running: dict[tuple[str, str], int] = field(default_factory=dict)
    started_with: dict[tuple[str, str], bytes] = field(default_factory=dict)  # the values it read at its start
    logs: dict[str, str] = field(default_factory=dict)  # by service
    met: dict[str, int] = field(default_factory=dict)  # engine number → the controller's start it registered with


class FakeFleet:
    """The world outside the program, and the program's ways into it."""

    def __init__(self) -> None:
        self.world = World()
        self.hosts: dict[str, HostState] = {}
        self.starts = itertools.count(1)
        self.busy: set[str] = set()
        self.unheard: dict[int, str] = {}  # engines that have ended and that the hub still lists, by id
        self.tunnels: set[int] = set()
        self.pids = itertools.count(1000)
        self.events: list[str] = []
        self.kill_at: int | None = None
        self.dead = False

    def event(self, what: str) -> None:
        """A change is about to be made, or was just made."""
        if self.dead:
            raise Killed
        self.events.append(what)
        if self.kill_at is not None and len(self.events) >= self.kill_at:
            self.dead = True
            raise Killed

    def live_again(self) -> None:
        """A new program on the same world."""
        self.dead, self.kill_at, self.events = False, None, []

    def provider(self, per_machine: int = 1) -> MemoryProvider:
        """A provider object as a new program would have it."""
        return MemoryProvider(self.world, per_machine=per_machine, on_call=self.event)

    def on(self, machine: Machine) -> HostState:
        """What is on that machine."""
        return self.hosts.setdefault(machine.id, HostState())

    def machine(self, name: str) -> Machine:
        """The machine of that name in whatever cluster there is."""
        return next(machine for (_, called), machine in self.world.machines.items() if called == name)

    def reboot(self, machine: Machine) -> None:
        """Enabled services start again, as on a machine that was off."""
        state = self.on(machine)
        state.running = {service: next(self.starts) for service in state.running}
        state.met = {}

    def registered(self) -> dict[int, str] | None:
        """What the hub knows, by id; None when there is none that answers."""
        try:
            controller = self.machine("controller")
        except StopIteration:
            return None
        state = self.on(controller)
        start = state.running.get(("ipcontroller", ""))
        if controller.state is not MachineState.RUNNING or start is None:
            return None
        wanted = state.files.get(f"{SERVICE_SECURITY}/ipcontroller-engine.json")
        pair = json.loads(state.files.get(CURVE, b"{}"))
        if wanted is None or json.loads(wanted)["curve_serverkey"] not in (None, pair.get("public")):
            return None
        idents = []
        for machine in self.world.machines.values():
            if machine.role != "engine" or machine.state is not MachineState.RUNNING:
                continue
            host = self.on(machine)
            for (name, number), nonce in host.running.items():
                connected = name == "ipengine" and host.files.get(ENGINE) == wanted
                if connected and host.met.setdefault(number, start) == start:
                    idents.append(f"{machine.name}-{number}-{nonce}")
        return dict(enumerate(sorted(idents))) | self.unheard


class FakeHost:
    """remote.Host on a HostState: only what the chain does on hosts, anything else fails."""

    def __init__(self, fleet: FakeFleet, machine: Machine) -> None:
        self.fleet, self.machine, self.state = fleet, machine, fleet.on(machine)
        self.name = machine.name
        self.address = str(machine.endpoint)

    def run(
        self, *words: str, sudo: bool = False, check: bool = True, timeout: float = 60.0, stdin: bytes = b""
    ) -> Result:
        """The few commands that the chain runs."""
        stdout = ""
        match words:
            case ("as", _, "mkdir", "-p", *_):
                self.fleet.event("run mkdir")
            case ("sed", "-n", _, path):
                stdout = json.loads(self.state.files.get(path, b"{}")).get("public", "")
            case (deployment.SPACING, "forget"):
                self.fleet.event("run forget")
            case _:
                raise AssertionError(f"a fake host does not know {words}")
        return Result(words, 0, stdout, "")

    def script(self, path: Path, *args: str, **options: Any) -> Result:
        """The survey, and who has logged in; the software is what it should be."""
        if path.name == "login-user.sh":
            return Result(args, 0, "ipyfleet\n1000:1000\n/home/ipyfleet\n", "")
        if path.name == "versions.sh":
            return Result(args, 0, "SunOS\n", "")
        if path.name == "secret-digest.sh":
            secret = json.loads(self.state.files.get(args[0], b"{}")).get("secret", "")
            return Result(args, 0, hashlib.sha256(secret.encode()).hexdigest() + "\n", "")
        assert path.name == "survey.sh", f"a fake host has its software already, yet {path.name} is run"
        marks = {name: self.state.files.get(f"{deployment.MARKS}/{name}.deployed", b"") for name in MARKED}
        facts = {"manager": "fake", "machine": "x86_64", "software": SOFTWARE.id} | {
            name: mark.decode() for name, mark in marks.items()
        }
        return Result(args, 0, "".join(f"{name}={value.strip()}\n" for name, value in facts.items()), "")

    def place(self, files: Sequence[File]) -> frozenset[str]:
        """Files are there, one after the other."""
        changed = set()
        for file in files:
            if self.state.files.get(file.path) != file.data:
                self.fleet.event(f"place {file.path}")
                self.state.files[file.path] = file.data
                self.fleet.event(f"placed {file.path}")
                changed.add(file.path)
        return frozenset(changed)

    def read(self, path: str) -> bytes | None:
        """A file of the host."""
        return self.state.files.get(path)

    def close(self) -> None:
        """Nothing is open."""


class FakeManager:
    """A ServiceManager whose services run at once."""

    name = "fake"
    run_folder = "/run/ipyfleet"

    def __init__(self, fleet: FakeFleet) -> None:
        self.fleet = fleet

    def run_as(self, user: str, seconds: float, *words: str) -> tuple[str, ...]:
        """As nothing but words."""
        return ("as", user, *words)

    def install(
        self,
        host: FakeHost,
        service: Service,
        values: Mapping[str, Sequence[str]] | None = None,
        files: Sequence[File] = (),
    ) -> bool:
        """As files on the host."""
        changed = bool(host.place([*files, File(f"/unit/{service.name}", b"unit")]))
        return self.configure(host, service, values) or changed if values is not None else changed

    def configure(self, host: FakeHost, service: Service, values: Mapping[str, Sequence[str]]) -> bool:
        """As a file on the host."""
        return bool(host.place([File(f"/values/{service.name}", repr(sorted(values.items())).encode())]))

    def bring_up(
        self,
        host: FakeHost,
        service: Service,
        values: Mapping[str, Sequence[str]],
        files: Sequence[File] = (),
        *,
        anew: Sequence[str] = (),
        mark: File | None = None,
    ) -> None:
        """One after the other; a kill may come between any two."""
        if self.install(host, service, values, files):
            self.restart(host, service)
        else:
            self.restart(host, Service(service.name, tuple(anew)))
            self.start(host, service)
        if mark:
            host.place([mark])

    def start(self, host: FakeHost, service: Service) -> None:
        """Instances that do not run begin to."""
        for instance in service.instances:
            if (service.name, instance) not in host.state.running:
                self._start(host, service.name, instance)

    def restart(self, host: FakeHost, service: Service) -> None:
        """Every instance begins anew."""
        for instance in service.instances:
            self._start(host, service.name, instance)

    def _start(self, host: FakeHost, name: str, instance: str) -> None:
        self.fleet.event(f"start {name} {instance} on {host.name}")
        host.state.running[name, instance] = next(self.fleet.starts)
        host.state.started_with[name, instance] = host.state.files.get(f"/values/{name}", b"")
        host.state.met.pop(instance, None)
        self.fleet.event(f"started {name} {instance} on {host.name}")

    def stop(self, host: FakeHost, service: Service) -> None:
        """Instances end."""
        for instance in service.instances:
            self.fleet.event(f"stop {service.name} {instance} on {host.name}")
            host.state.running.pop((service.name, instance), None)
            host.state.met.pop(instance, None)

    def clear(self, host: FakeHost, service: Service) -> None:
        """Nothing is ever in maintenance."""

    def remove(self, host: FakeHost, service: Service) -> None:
        """Stopped and taken away."""
        self.fleet.event(f"remove {service.name} on {host.name}")
        host.state.running = {key: start for key, start in host.state.running.items() if key[0] != service.name}

    def state(self, host: FakeHost, service: Service) -> dict[str, Look]:
        """Running or not there."""
        return {
            one: Look(ServiceState.ONLINE if (service.name, one) in host.state.running else ServiceState.OFFLINE)
            for one in service.instances
        }

    def logs(self, host: FakeHost, service: Service, lines: int = 50) -> str:
        """Nothing is logged."""
        return ""

    def past(self, host: FakeHost, service: Service, stretch: Stretch) -> str:
        """What a test has said."""
        return host.state.logs.get(service.name, "")

    def lease_left(self, host: FakeHost) -> float | None:
        """As long as it was set for."""
        return 60.0 if ("ipyfleet-lease", "") in host.state.running else None


class FakeQuestions:
    """hub.Questions to the fleet's hub."""

    def __init__(self, fleet: FakeFleet) -> None:
        self.fleet = fleet

    def __enter__(self) -> FakeQuestions:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def registered(self, timeout: float = 2.0) -> dict[int, str] | None:
        """The hub's answer."""
        return self.fleet.registered()

    def give_up(self, numbers: Iterable[int], timeout: float = 2.0) -> None:
        """The hub lists them no more."""
        for number in numbers:
            del self.fleet.unheard[number]

    def queues(self, timeout: float = 2.0) -> hub.Queues | None:
        """Engines in ``busy``, named by machine and number, have one task."""
        known = self.fleet.registered()
        if known is None:
            return None
        loads = {
            n: hub.EngineLoad(int(ident.rpartition("-")[0] in self.fleet.busy), 0, 0) for n, ident in known.items()
        }
        return hub.Queues(loads, 0)


def serial(items: Any, work: Callable[[Any], Any], limit: int = 32) -> tuple[Outcome[Any, Any], ...]:
    """remote.each one after the other, so that events have an order and a kill ends everything."""

    def outcome(item: Any) -> Outcome[Any, Any]:
        try:
            return Outcome(item, value=work(item))
        except Exception as error:
            return Outcome(item, error=error)

    return tuple(outcome(item) for item in items)


@contextmanager
def installed(fleet: FakeFleet, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[None]:
    """The program's ways out lead into the fleet."""

    def wait_for_engines(info: Any, missing: Callable[[Any], int], **options: Any) -> dict[int, str]:
        known = fleet.registered()
        if known is None:
            raise hub.HubSilent("the hub did not answer")
        missing(known.values())
        return known

    def ensure_tunnel(before: tunnel.Tunnel | None, endpoint: Any, *args: Any, **options: Any) -> tunnel.Tunnel:
        if before and before.pid in fleet.tunnels and before.endpoint == str(endpoint):
            return before
        fleet.event("open tunnel")
        pid = next(fleet.pids)
        fleet.tunnels.add(pid)
        opened = tunnel.Tunnel(pid, "then", tuple(range(20000, 20000 + len(FORWARDED))), str(endpoint), ())
        options["begun"](opened)
        fleet.event("tunnel is up")
        return opened

    def pin(path: Path, endpoint: Any, keys: Sequence[str]) -> None:
        fleet.event(f"pin {endpoint}")
        with path.open("a") as file:
            file.writelines(f"{endpoint.host} {key}\n" for key in keys)

    monkeypatch.setattr("os.fsync", lambda handle: None)  # hundreds of provisions, and no power cut is tested here
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))
    for module in (remote, deployment_link, run, observation):
        monkeypatch.setattr(module, "each", serial)
    monkeypatch.setattr(run, "wait_for_ssh", lambda machine, *args: FakeHost(fleet, machine))
    monkeypatch.setattr(run, "software", lambda settings, machine: SOFTWARE)
    at_once = partial(deployment.wait_for_svc, pause=lambda seconds: None)
    monkeypatch.setattr(deployment, "wait_for_svc", at_once)
    monkeypatch.setattr(deployment, "SHIPPED", ())
    monkeypatch.setattr(deployment_link, "PROOF", 0.0)  # nobody follows the hub: machines are dealt with one by one
    monkeypatch.setattr(service_managers, "detect", lambda host: FakeManager(fleet))
    monkeypatch.setattr(service_managers, "chosen", lambda seen, host: FakeManager(fleet))
    monkeypatch.setattr(hub, "Questions", lambda info: FakeQuestions(fleet))
    monkeypatch.setattr(hub, "wait_for_engines", wait_for_engines)
    monkeypatch.setattr(hub, "probe", lambda info, numbers, timeout: frozenset(numbers))
    monkeypatch.setattr(tunnel, "ensure_tunnel", ensure_tunnel)
    monkeypatch.setattr(tunnel, "close_tunnel", lambda old: fleet.tunnels.discard(old.pid))
    monkeypatch.setattr(run.host_keys, "pin", pin)
    for module in (chain, removal):
        for name in ("install_client_file", "remove_client_file"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, _numbered(fleet, getattr(client_file, name)))
    yield


def _numbered(fleet: FakeFleet, change: Callable[..., Any]) -> Callable[..., Any]:
    def numbered(*args: Any) -> Any:
        fleet.event(change.__name__)
        return change(*args)

    return numbered


def new_run(fleet: FakeFleet, folder: Path, settings: Settings, per_machine: int = 1) -> run.Run:
    """A run as a new program would begin it: everything it knows is read from the disk."""
    from fabfile import record

    store = Store(settings.cluster, folder / "state", on_write=lambda name: fleet.event(f"write {name}"))
    return run.Run(settings, fleet.provider(per_machine), store, record.load(store), doing="test")
