"""bootscripts/unknown-engines.py against a real hub, and against one that says nothing."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback_cluster import LoopbackCluster, free_block, loopback_cluster

from fabfile.connection import engine_file, make
from fabfile.settings import Settings

PROGRAM = Path(__file__).resolve().parents[1] / "bootscripts" / "unknown-engines.py"


def note(folder: Path, number: str, ident: str, age: float = 60.0) -> None:
    """What engine-start leaves for a running engine."""
    path = folder / f"ipengine@{number}.ident"
    path.write_text(f"{ident}\n")
    started = time.time() - age
    os.utime(path, (started, started))


def ask(engine: Path, folder: Path, grace: float = 10.0, pause: float = 0.1) -> list[str]:
    """Run the program; what it prints."""
    words = [sys.executable, "-I", PROGRAM, engine, folder, str(grace), str(pause)]
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=30).stdout.split()


@pytest.fixture(scope="module", params=["curve", "hmac"])
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackCluster]:
    with loopback_cluster(tmp_path_factory.mktemp(request.param), encryption=request.param) as cluster:
        cluster.start(1)
        yield cluster


def test_only_engines_that_the_hub_does_not_know_are_named(cluster: LoopbackCluster, tmp_path: Path) -> None:
    note(tmp_path, "1", "engine-0-1-a")
    note(tmp_path, "2", "engine-0-2-a")
    note(tmp_path, "10", "engine-0-10-a")
    assert ask(cluster.folder / "engine.json", tmp_path) == ["2", "10"]


def test_an_engine_that_has_just_started_is_left_alone(cluster: LoopbackCluster, tmp_path: Path) -> None:
    note(tmp_path, "2", "engine-0-2-a", age=5)
    assert ask(cluster.folder / "engine.json", tmp_path) == []
    assert ask(cluster.folder / "engine.json", tmp_path, grace=1) == ["2"]


def test_an_engine_that_starts_anew_between_the_questions_is_left_alone(
    cluster: LoopbackCluster, tmp_path: Path
) -> None:
    note(tmp_path, "2", "engine-0-2-a")
    program = load()
    asked = []

    def known(info: dict[str, object]) -> set[str]:
        asked.append(info)
        note(tmp_path, "2", "engine-0-2-b", age=0)
        return set()

    program.known = known
    assert program.unknown(cluster.folder / "engine.json", tmp_path, 10.0, 0.0) == []
    assert len(asked) == 1


def test_a_silent_hub_says_nothing_about_engines(tmp_path: Path) -> None:
    connection, _ = make("127.0.0.1", Settings(first_port=free_block()))
    engine = tmp_path / "engine.json"
    engine.write_bytes(engine_file(connection))
    note(tmp_path, "1", "engine-0-1-a")
    program = load()
    program.ANSWER_S = 0.2
    assert program.unknown(engine, tmp_path, 10.0, 0.0) == []


def test_a_hub_with_another_key_says_nothing_about_engines(cluster: LoopbackCluster, tmp_path: Path) -> None:
    info = json.loads((cluster.folder / "engine.json").read_text())
    if info["key"]:
        info["key"] = "0" * 64
    else:
        info["curve_serverkey"] = json.loads(engine_file(make("127.0.0.2", Settings())[0]))["curve_serverkey"]
    engine = tmp_path / "engine.json"
    engine.write_text(json.dumps(info))
    note(tmp_path, "1", "engine-0-1-z")
    program = load()
    program.ANSWER_S = 0.5
    assert program.unknown(engine, tmp_path, 10.0, 0.0) == []


def test_nothing_is_asked_where_no_engine_runs(tmp_path: Path) -> None:
    assert ask(tmp_path / "no such file", tmp_path) == []


def test_names_that_are_no_numbers_are_never_told(cluster: LoopbackCluster, tmp_path: Path) -> None:
    note(tmp_path, "1;reboot", "engine-0-1-b")
    assert ask(cluster.folder / "engine.json", tmp_path) == []


def load():  # type: ignore[no-untyped-def] # a module
    """The program as a module of its own."""
    spec = importlib.util.spec_from_file_location("unknown_engines", PROGRAM)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
