"""The cloud: one account of EC2 and what belongs to it, answered on the loopback address of this process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from moto.core.base_backend import BackendDict
from moto.core.model_instances import reset_model_data
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from . import hooks, images, network
from .answers import Answers
from .calls import Call
from .faults import Faults
from .gateway import Gateway
from .launching import Tokens
from .life import Life, Pace
from .machines import Machine, PaperMachine, SshdMachine
from .room import Room

REGION = "eu-central-1"
NewMachine = Callable[[Any], Machine]


class Quiet(MotoRequestHandler):
    """A request handler that writes no log."""

    def log(self, type: str, message: str, *args: Any) -> None:
        """Nothing."""


class Cloud:
    """A running cloud. ``reset`` makes it new; what a test may turn is in the attributes.

    ``faults``, ``answers`` (prices, quotas, placement groups), ``pace``, ``machine`` (how a machine is made),
    ``machines_obey`` (whether they carry out their user-data, or take keys from it only), ``calls`` (what was asked),
    ``network``, ``lives`` (instances with their machines, by id).
    """

    def __init__(self, folder: Path, region: str = REGION) -> None:
        """``folder`` is an empty folder of the test run's."""
        self.region = region
        self.lock = threading.RLock()
        self.gateway = Gateway(DomainDispatcherApplication(create_backend_app))
        self._patches = pytest.MonkeyPatch()
        hooks.install(self, self._patches)
        self._range = network.Range()
        self._folder = folder
        self._room: Room | None = None
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self.lives: dict[str, Life] = {}
        self.machine: NewMachine = self.with_sshd
        self.machines_obey = False
        self.reset()
        self._server = make_server("127.0.0.1", 0, self.gateway, threaded=True, request_handler=Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @property
    def calls(self) -> list[Call]:
        """Every call since the last reset, in its order."""
        return self.gateway.calls

    @property
    def faults(self) -> Faults:
        """What goes wrong, and how much room there is."""
        return self.gateway.faults

    @property
    def answers(self) -> Answers:
        """Prices, quotas, placement groups."""
        return self.gateway.answers

    @property
    def backend(self) -> Any:
        """moto's own account of what there is in the region."""
        return ec2_backends[DEFAULT_ACCOUNT_ID][self.region]

    def called(self, *actions: str) -> list[Call]:
        """The calls of these actions."""
        return [call for call in self.calls if call.action in actions]

    def instances(self, *states: str) -> list[Any]:
        """moto's instances in these states; all but terminated ones when none is named."""
        found = [life.instance for life in self.lives.values()]
        return [one for one in found if (one.state in states if states else one.state != "terminated")]

    def machine_of(self, instance_id: str) -> Any:
        """The machine behind an instance."""
        return self.lives[instance_id].machine

    def interrupt(self, instance_id: str) -> None:
        """Take a spot instance away, as EC2 does when it needs the room."""
        hooks.interrupt(self.lives[instance_id].instance)

    def on_paper(self) -> None:
        """From now on no real machine stands behind an instance."""
        self.machine = PaperMachine

    def with_sshd(self, instance: Any) -> SshdMachine:
        """A machine with an sshd, ailing as planned."""
        if self._room is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._room = Room(self._folder, self._range.network)
        return SshdMachine(instance, self._room, self.faults.ailing, self.machines_obey)

    def born(self, instance: Any) -> None:
        """An instance came to be: give it a machine and a life that has not begun."""
        life = Life(instance, self.machine(instance), self.pace, self._over, self._ended)
        life.power_off = lambda: hooks.power_off(instance)
        self.lives[instance.id] = life

    def _ended(self, life: Life) -> None:
        """What EC2 gives back when an instance is terminated: its interfaces and their addresses."""
        instance = life.instance
        with self.lock:
            for interface in instance.nics.values():
                self.backend.enis.pop(interface.id, None)

    def later(self, seconds: float, change: Callable[[], None]) -> None:
        """Do something after so many seconds, unless the cloud closes before."""

        def wait() -> None:
            if not over.wait(seconds):
                change()

        over = self._over
        thread = threading.Thread(target=wait, daemon=True)
        self._threads.append(thread)
        thread.start()

    def reset(self, blocks: network.Blocks | None = None) -> None:
        """End all machines and forget everything; raises what went wrong in the lives of machines.

        ``blocks`` are the networks of the new account; the loopback address's without.
        """
        blocks = blocks or self._range.blocks
        errors = self._close_lives()
        self._over, self.lives, self._threads = threading.Event(), {}, []
        self.tokens, self.pace = Tokens(), Pace()
        self.machine, self.machines_obey = self.with_sshd, False
        if self._room:
            self._room.clear()
        BackendDict.reset()
        reset_model_data()
        self.addresses = network.Addresses(blocks.public)
        self.network = network.lay_out(self.backend, blocks)
        images.publish_parameters(DEFAULT_ACCOUNT_ID, self.region)
        self.gateway.forget()
        if errors:
            raise errors[0]

    def _close_lives(self) -> list[BaseException]:
        self._over.set()
        for life in self.lives.values():
            life.close()
        for thread in self._threads:
            thread.join()
        return [life.error for life in self.lives.values() if life.error]

    def close(self) -> None:
        """End it all."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._close_lives()
        if self._room:
            self._room.close()
        self._patches.undo()
        self._range.close()
        BackendDict.reset()
