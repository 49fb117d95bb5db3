"""The life of an instance: its states in EC2's order, taken from and given to the machine behind it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .machines import Machine, PaperMachine

CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}


@dataclass
class Pace:
    """How long EC2 takes for what it does, in seconds."""

    boot: float = 0.02
    stop: float = 0.02
    end: float = 0.05


class Life:
    """One instance with its machine; every change of state runs in a thread of its own, one at a time."""

    def __init__(
        self, instance: Any, machine: Machine, pace: Pace, over: threading.Event, on_end: Callable[[Life], None]
    ) -> None:
        """``over`` is set when the cloud closes: then nothing happens any more. ``on_end``: it was terminated."""
        self.instance = instance
        self.machine = machine
        self.pace = pace
        self.over = over
        self.on_end = on_end
        self.power_off: Callable[[], None] = lambda: None  # what the instance does when its machine went off by itself
        self.error: BaseException | None = None
        self._lock = threading.Lock()
        self._turn = 0
        self._threads: list[threading.Thread] = []
        self._enter("pending")

    @property
    def state(self) -> str:
        """The state as EC2 shows it."""
        return str(self.instance.state)

    def begin(self) -> None:
        """Boot, some time from now."""
        self._enter("pending")
        self._later(self._boot)

    def stop(self) -> None:
        """Switch off, keeping the disk."""
        self._enter("stopping")
        self._later(self._stop)

    def terminate(self) -> None:
        """Switch off and throw away."""
        self._enter("shutting-down")
        self._later(self._end)

    def reboot(self) -> None:
        """Off and on; the state stays what it is, as on EC2."""
        self._later(self._reboot)

    def capture(self, image: str, *, off: bool, done: Callable[[], None]) -> None:
        """Make an image of its disk, ``off`` while it is switched off; ``done`` is called when there is one."""

        def change(turn: int) -> None:
            with self._lock:
                if off:
                    self.machine.halt(orderly=True)
                self.machine.capture(image)
                if self.over.wait(self.pace.boot):
                    return
                done()
                if off and self.state == "running":
                    self.machine.boot()
            if off:
                self._watch(turn)

        self._later(change, new_turn=off)

    def close(self) -> None:
        """End the machine and all that goes on with it, when ``over`` is set."""
        self.machine.halt()
        for thread in self._threads:
            thread.join()
        self.machine.halt()  # it may have booted meanwhile
        self.machine.scrap()

    def _enter(self, state: str) -> None:
        self.instance._state.name, self.instance._state.code = state, CODES[state]

    def _later(self, change: Callable[[int], None], new_turn: bool = True) -> None:
        self._turn += new_turn
        thread = threading.Thread(target=self._guarded, args=(change, self._turn), daemon=True)
        self._threads = [one for one in self._threads if one.is_alive()] + [thread]
        thread.start()

    def _guarded(self, change: Callable[[int], None], turn: int) -> None:
        try:
            change(turn)
        except Exception as error:  # shown by the cloud when the test ends
            self.error = error

    def _boot(self, turn: int) -> None:
        if self.over.wait(self.pace.boot):
            return
        with self._lock:
            if turn != self._turn or self.over.is_set():
                return
            self._enter("running")
            self.machine.boot()
        self._watch(turn)

    def _watch(self, turn: int) -> None:
        # One that booted while all was over is halted by who waits for this thread to end.
        if isinstance(self.machine, PaperMachine) or self.over.is_set():
            return
        self.machine.wait()
        with self._lock:
            if turn != self._turn or self.over.is_set():
                return
            self.machine.halt()
        self.power_off()

    def _stop(self, turn: int) -> None:
        with self._lock:
            self.machine.halt(orderly=True)
            if self.over.wait(self.pace.stop) or turn != self._turn:
                return
            self._enter("stopped")

    def _end(self, turn: int) -> None:
        with self._lock:
            self.machine.halt()
            if self.over.wait(self.pace.end):
                return
            self.machine.scrap()
            self._enter("terminated")
            self.on_end(self)

    def _reboot(self, turn: int) -> None:
        with self._lock:
            self.machine.halt()
            if turn != self._turn or self.over.is_set():
                return
            self.machine.boot()
        self._watch(turn)
