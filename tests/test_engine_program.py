"""The engine whose nanny is forked: it does all that ipyparallel's own does, for less."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import ipyparallel
import psutil
import pytest

from tests.loopback_cluster import ENGINE_PROGRAM, LoopbackCluster, loopback_cluster, running, wait_until


@pytest.fixture(scope="module", params=["curve", "hmac"])
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackCluster]:
    with loopback_cluster(tmp_path_factory.mktemp("cluster"), encryption=request.param) as cluster:
        cluster.start(1)
        yield cluster


@pytest.fixture
def engine(cluster: LoopbackCluster) -> Iterator[SimpleNamespace]:
    """A fresh engine: the client, its id, its process and its nanny's."""
    ident = f"engine-9-1-{os.urandom(4).hex()}"
    process = cluster.start_engine(ident)
    known = cluster.wait(2)
    number = next(number for number, name in known.items() if name == ident)
    client = ipyparallel.Client(cluster.info)
    main = psutil.Process(process.pid)
    (nanny,) = main.children(recursive=True)
    yield SimpleNamespace(client=client, id=number, view=client[number], process=process, main=main, nanny=nanny)
    client.close(linger=0)
    process.kill()
    process.wait()
    wait_until(lambda: not running(nanny))
    wait_until(lambda: len(cluster.wait(1)) == 1)


def test_the_nanny_is_a_copy_of_the_engine_and_no_second_python(engine: SimpleNamespace) -> None:
    assert engine.nanny.cmdline() == engine.main.cmdline()
    assert engine.view.apply_sync(os.getpid) == engine.main.pid


def test_a_signal_reaches_the_engine_through_its_nanny(engine: SimpleNamespace, tmp_path: Path) -> None:
    begun = tmp_path / "begun"  # the hub knows of a task before the engine runs it, which until then ignores SIGINT
    asked = engine.view.apply_async(eval, f"(open({str(begun)!r}, 'w'), __import__('signal').pause())")
    wait_until(begun.exists)
    engine.client.send_signal(signal.SIGINT, targets=engine.id, block=True)
    with pytest.raises(ipyparallel.RemoteError, match="KeyboardInterrupt"):
        asked.get(timeout=10)
    assert engine.view.apply_sync(os.getpid) == engine.main.pid


@pytest.mark.parametrize(("handler", "code"), [("", -signal.SIGTERM), ("lambda *_: os._exit(7)", 7)])
def test_a_process_that_user_code_forks_ends_by_a_signal(engine: SimpleNamespace, handler: str, code: int) -> None:
    program = f"""
import os, signal, time
before = signal.getsignal(signal.SIGTERM)
signal.signal(signal.SIGTERM, {handler or "before"})
child = os.fork()
if not child:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)
    os._exit(0)
signal.signal(signal.SIGTERM, before)
end = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""
    engine.view.apply_async(exec, program).get(timeout=20)
    assert engine.view.apply_async(eval, "end").get(timeout=20) == code


def test_the_hub_hears_of_the_engines_end_at_once_and_the_nanny_ends_too(engine: SimpleNamespace) -> None:
    engine.process.kill()
    engine.process.wait()
    # Heartbeats would take the whole patience of 20 s to tell.
    wait_until(lambda: engine.id not in engine.client.ids, timeout=5.0)
    wait_until(lambda: not running(engine.nanny), timeout=5.0)


def test_a_signal_to_the_engines_group_is_not_for_the_nanny(engine: SimpleNamespace) -> None:
    assert os.getsid(engine.nanny.pid) == engine.nanny.pid != os.getsid(engine.main.pid)


def test_user_code_finds_nothing_of_the_program(engine: SimpleNamespace) -> None:
    # Not by execute(block=True): it waits for the first output of a new client, which may be lost, for ever.
    names = engine.view.apply_sync(eval, "sorted(globals())")
    path, argv = engine.view.apply_sync(eval, "(__import__('sys').path, __import__('sys').argv[0])")
    assert not {"fork_nanny", "be_nanny", "starter", "Start"} & {*names}
    assert str(ENGINE_PROGRAM.parent) not in path
    assert argv == "ipengine"


def test_the_nanny_of_an_engine_that_never_came_up_ends_with_it() -> None:
    process = subprocess.Popen(
        (sys.executable, ENGINE_PROGRAM, "--file=/nowhere/engine.json", "--IPEngine.wait_for_url_file=0.1"),
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: psutil.Process(process.pid).children())
    (nanny,) = psutil.Process(process.pid).children()
    assert process.wait(30) == 1
    wait_until(lambda: not running(nanny), timeout=5.0)


def test_without_the_seam_upstreams_own_nanny_is_left_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    code = f"""
import runpy
from ipyparallel.engine import app
program = runpy.run_path({str(ENGINE_PROGRAM)!r})
app.start_nanny = print
print(program["fork_nanny"]())
"""
    done = subprocess.run((sys.executable, "-c", code), capture_output=True, text=True, check=True)
    assert done.stdout == "None\n"
