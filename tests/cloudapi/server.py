"""The server: CloudAPI for one account of one data center, on the loopback address of this process."""

from __future__ import annotations

import socket
import threading
import time
import uuid
from collections.abc import Callable
from email.utils import formatdate
from http.client import responses
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from . import versions
from .answers import Answer
from .asked import Asked
from .faults import Faults, Pace, Stale
from .gateway import Gateway
from .jobs import Jobs
from .machines import Machine
from .throttle import Throttle
from .vms import Vm
from .world import Key, World

SERVER = "cloudapi/9.20.0"


class CloudApi:
    """A running CloudAPI. ``reset`` makes it new; what a test may turn is in the attributes.

    ``world`` (the account with all that is in it), ``faults``, ``pace``, ``stale``, ``throttle``, ``calls`` (what was
    asked), ``complaints`` (what the real server would take to nobody's good), ``machine`` (what stands behind one).
    """

    def __init__(self, keys: list[Key]) -> None:
        """``keys`` are the account's public keys, also after a reset."""
        self._keys = keys
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.cloudapi = self
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._begin()
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def _begin(self) -> None:
        self.jobs = Jobs()
        self.world = World(self.jobs, keys=list(self._keys))
        self.gateway = Gateway(self.world)

    @property
    def calls(self) -> list[Asked]:
        """Every request since the last reset."""
        return self.gateway.calls

    @property
    def faults(self) -> Faults:
        """What goes wrong, and how much room there is."""
        return self.world.faults

    @property
    def pace(self) -> Pace:
        """How long things take."""
        return self.world.pace

    @property
    def stale(self) -> Stale:
        """For how long things are not seen."""
        return self.world.stale

    @property
    def throttle(self) -> Throttle:
        """How many calls are allowed."""
        return self.gateway.throttle

    @property
    def complaints(self) -> list[str]:
        """What a client did that it should not; a test that means it empties the list."""
        return self.world.complaints

    @property
    def machine(self) -> Callable[[Vm], Machine]:
        """How the machine behind an instance is made."""
        return self.world.machine

    @machine.setter
    def machine(self, machine: Callable[[Vm], Machine]) -> None:
        self.world.machine = machine

    def called(self, name: str) -> list[Asked]:
        """The requests of this method and route, ``POST /my/machines``."""
        return [one for one in self.calls if one.name == name]

    def went_off(self, id: str) -> None:
        """Note that a machine switched itself off, which keeps its disk."""
        self.world.machines[id].state = "installed"

    def reset(self) -> None:
        """End all machines and forget everything; raises what went wrong in jobs."""
        self.jobs.close()
        errors = list(self.jobs.errors)
        for vm in self.world.machines.values():
            vm.machine.destroy()
        self._begin()
        if errors:
            raise errors[0]

    def close(self) -> None:
        """End it all."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self.jobs.close()
        for vm in self.world.machines.values():
            vm.machine.destroy()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    cloudapi: CloudApi

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nothing; anything else is a bug that the test shall show."""
        import sys

        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, OSError):
            self.cloudapi.jobs.errors.append(error)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def handle_one_request(self) -> None:
        """Read a request, whatever its method, and answer it."""
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request():
            self.close_connection = True
            return
        begun = time.monotonic()
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = self.server.cloudapi.gateway.answer(Asked(self.command, self.path, self.headers, data))
        if answer is None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.wfile.write(self._bytes(answer, begun))

    def _bytes(self, answer: Answer, begun: float) -> bytes:
        """The whole answer, sent at once."""
        data = answer.data()
        headers = {"Date": formatdate(usegmt=True)}
        if answer.status != 204:
            headers["Content-Length"] = str(len(data))
        if data:
            headers["Content-Type"] = answer.content_type
        if not answer.bare:
            headers |= {"Server": SERVER, "Api-Version": versions.NEWEST, "Request-Id": str(uuid.uuid4())}
            headers |= {"Response-Time": str(int(1000 * (time.monotonic() - begun)))}
        headers |= answer.headers
        lines = [f"HTTP/1.1 {int(answer.status)} {responses.get(answer.status, 'Other')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        return head if self.command == "HEAD" or answer.status == 204 else head + data

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""
