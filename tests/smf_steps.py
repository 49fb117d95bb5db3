"""Case files for the SMF stand-in: how they are found, and how their steps are carried out."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.smf.contracts import members
from tests.smf.playground import Playground
from tests.smf.repository import Service, locked, set_property
from tests.smf.requests import ask
from tests.smf.states import states

CASES = Path(__file__).parent / "cases" / "smf"
Case = Mapping[str, Any]


def cases(folder: str) -> list[tuple[str, Case]]:
    """The cases of a folder by name."""
    return [(path.stem, yaml.safe_load(path.read_text())) for path in sorted((CASES / folder).glob("*.yaml"))]


def names(folder: str) -> list[str]:
    """What pytest calls them."""
    return [name for name, _ in cases(folder)]


def service(zone: Playground, fmri: str, given: Case, *, enabled: bool | None = False) -> None:
    """Make an instance: ``start``, ``stop`` (:kill), ``timeout`` of both (60), ``duration``, further ``properties``.

    ``properties`` are ``group/name: [type, value, ...]``; those of ``service`` belong to the service instead.
    """
    name, _, one = fmri.removeprefix("svc:/").partition(":")
    with locked(zone.place) as repository:
        entity = repository.services.setdefault(name, Service(name))
        instance = repository.add_instance(entity, one)
        groups = instance.groups
        for method in ("start", "stop", "refresh"):
            command = given.get(method, ":kill" if method == "stop" else None)
            if command is not None:
                set_property(groups, f"{method}/exec", "method", "astring", command)
                seconds = str(given.get(f"{method}_timeout", 60))
                set_property(groups, f"{method}/timeout_seconds", "method", "count", seconds)
                set_property(groups, f"{method}/type", "method", "astring", "method")
        if "duration" in given:
            set_property(groups, "startd/duration", "framework", "astring", given["duration"])
        for target, chosen in ((groups, given.get("properties", {})), (entity.groups, given.get("service", {}))):
            for path, (kind, *values) in chosen.items():
                group = "dependency" if path.startswith("dep") else "application"
                set_property(target, path, group, kind, *values)
        if enabled is not None:
            set_property(groups, "general/enabled", "framework", "boolean", "true" if enabled else "false")
    ask(zone.place, "", "look")


class Steps:
    """The steps of a case, carried out one by one on its instance."""

    def __init__(self, zone: Playground, fmri: str, folder: Path) -> None:
        """``$F`` is the instance's name, ``$N`` its log's, ``$D`` a folder of its own, ``$L`` the folder of logs."""
        self.zone = zone
        self.fmri = fmri
        name = fmri.removeprefix("svc:/").replace("/", "-")
        self._words = {"$F": fmri, "$N": name, "$D": str(folder), "$L": str(zone.place.logs)}
        self._pids: dict[str, list[int]] = {}
        self._where = ""

    def carry_out(self, steps: list[dict[str, Any]]) -> None:
        """Carry out all steps. What a step waits for must come within some seconds."""
        for number, step in enumerate(self.filled(steps)):
            self._where = f"step {number + 1} of {self.fmri}: {step}"
            what = next(iter(step))
            getattr(self, f"_{what}")(step[what], step)

    def filled(self, value: Any) -> Any:
        """A value with its abbreviations written out."""
        if isinstance(value, str):
            for short, long in self._words.items():
                value = value.replace(short, long)
            return value
        if isinstance(value, list):
            return [self.filled(one) for one in value]
        if isinstance(value, dict):
            return {self.filled(key): self.filled(one) for key, one in value.items()}
        return value

    def _until(self, good: Callable[[], bool], seconds: float = 10.0) -> None:
        deadline = time.monotonic() + seconds
        while not good():
            seen = f"{self._where}\n{self.zone.state(self.fmri)}\n{self.zone.log(self.fmri)}"
            assert time.monotonic() < deadline, seen
            time.sleep(0.01)

    def _members(self) -> list[int]:
        return members(states(self.zone.place)[self.fmri].holder)

    def _run(self, words: list[str], step: Case) -> None:
        done = self.zone.call(*words, stdin=step.get("stdin", ""))
        assert done.returncode == step.get("rc", 0), f"{self._where}\n{done}"
        for stream in ("stdout", "stderr"):
            if stream in step:
                assert getattr(done, stream) == step[stream], f"{self._where}\n{done}"

    def _wait(self, state: str, step: Case) -> None:
        self._until(lambda: self.zone.state(self.fmri) == state)

    def _stays(self, given: tuple[str, float], step: Case) -> None:
        state, seconds = given
        self._until(lambda: self.zone.state(self.fmri) == state)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.zone.state(self.fmri) == state, f"{self._where}\n{self.zone.log(self.fmri)}"
            time.sleep(0.01)

    def _notes(self, lines: list[str], step: Case) -> None:
        """These lines of startd's, one after the other."""
        size = len(lines)

        def found() -> bool:
            notes = self.zone.notes(self.fmri)
            return any(notes[place : place + size] == lines for place in range(len(notes) - size + 1))

        self._until(found)

    def _noted(self, line: str, step: Case) -> None:
        self._until(lambda: line in self.zone.notes(self.fmri))

    def _notedlike(self, form: str, step: Case) -> None:
        self._until(lambda: any(re.fullmatch(form, line) for line in self.zone.notes(self.fmri)))

    def _like(self, form: str, step: Case) -> None:
        assert any(re.fullmatch(form, line) for line in self.zone.log(self.fmri).splitlines()), self._where

    def _count(self, given: tuple[str, int], step: Case) -> None:
        assert self.zone.notes(self.fmri).count(given[0]) == given[1], self.zone.log(self.fmri)

    def _logged(self, line: str, step: Case) -> None:
        self._until(lambda: line in self.zone.log(self.fmri).splitlines())

    def _unlogged(self, beginnings: list[str], step: Case) -> None:
        lines = self.zone.log(self.fmri).splitlines()
        assert not [line for line in lines if line.startswith(tuple(beginnings))], self.zone.log(self.fmri)

    def _set(self, changes: Case, step: Case) -> None:
        self.zone.place.change(changes)

    def _pause(self, seconds: float, step: Case) -> None:
        time.sleep(seconds)

    def _kill(self, number: int, step: Case) -> None:
        os.kill(states(self.zone.place)[self.fmri].start_pid, number)

    def _killall(self, number: int, step: Case) -> None:
        for pid in self._members():
            os.kill(pid, number)

    def _remember(self, name: str, step: Case) -> None:
        self._pids[name] = self._members()
        assert self._pids[name], self._where

    def _alive(self, name: str, step: Case) -> None:
        assert all(Path(f"/proc/{pid}").exists() for pid in self._pids[name]), self._where

    def _dead(self, name: str, step: Case) -> None:
        self._until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in self._pids[name]))

    def _mode(self, mode: int, step: Case) -> None:
        path = self.zone.place.logs / f"{self._words['$N']}.log"
        assert path.stat().st_mode & 0o777 == mode

    def _nolog(self, given: bool, step: Case) -> None:
        assert not (self.zone.place.logs / f"{self._words['$N']}.log").exists()
