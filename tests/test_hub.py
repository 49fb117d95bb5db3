from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import ipyparallel
import numpy
import pytest
import zmq

from fabfile import connection, hub
from fabfile.errors import HubSilent
from fabfile.hub import EngineLoad
from fabfile.patience import patience
from tests.loopback_cluster import LoopbackCluster, end, family, loopback_cluster, running, wait_until


@pytest.fixture(scope="module", params=["curve", "hmac"])
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackCluster]:
    """A running controller with two engines, the same for all tests that change nothing."""
    with loopback_cluster(tmp_path_factory.mktemp(request.param), encryption=request.param) as running:
        running.start(2)
        yield running


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_the_hub_names_its_engines(cluster):
    found = hub.registered(cluster.info)
    assert sorted(found) == [0, 1]
    assert sorted(found.values()) == ["engine-0-1-a", "engine-1-1-a"]


def test_a_controller_leaves_the_files_that_it_was_given_as_they_are(cluster):
    assert (cluster.security / "ipcontroller-engine.json").read_bytes() == connection.engine_file(cluster.connection)
    assert (cluster.security / "ipcontroller-client.json").read_bytes() == connection.client_file(cluster.connection)


def test_engines_that_answer_on_all_channels_are_named_and_need_not_import_numpy_for_it(cluster):
    assert hub.probe(cluster.info, [0, 1]) == {0, 1}
    client = ipyparallel.Client(cluster.info)
    assert client[:].apply_sync(eval, "'numpy' in __import__('sys').modules") == [False, False]
    client.close(linger=0)


def test_a_client_of_this_process_still_sends_arrays_afterwards(cluster):
    hub.probe(cluster.info, [0])
    client = ipyparallel.Client(cluster.info)
    client[0].push({"array": numpy.arange(3)}, block=True)
    assert client[0].pull("array", block=True).tolist() == [0, 1, 2]
    client.close(linger=0)


def test_an_engine_that_the_hub_does_not_know_has_no_answer(cluster):
    assert hub.probe(cluster.info, [1, 7]) == {1}


def test_a_probe_whose_time_is_over_once_it_is_connected_does_not_wait_for_ever(cluster):
    with ipyparallel.Client(cluster.info) as client:
        task = client[0].apply_async(time.sleep, 5.0)
        assert hub.probe(cluster.info, [0], timeout=0.0001) == frozenset()
        assert not task.ready()
        task.get(timeout=20)


def test_nothing_stays_open_after_questions_and_probes(cluster, capfd):
    hub.probe(cluster.info, [0])
    threads, files = threading.active_count(), open_files()
    hub.probe(cluster.info, [0, 1])
    hub.registered(cluster.info)
    hub.queues(cluster.info)
    assert (threading.active_count(), open_files()) == (threads, files)
    assert capfd.readouterr() == ("", "")


def test_a_running_task_makes_its_engine_busy_and_only_that(cluster):
    with ipyparallel.Client(cluster.info) as client:
        before = hub.queues(cluster.info).engines
        task = client[0].apply_async(time.sleep, 1.0)
        wait_until(lambda: hub.queues(cluster.info).engines[0].busy)
        assert hub.queues(cluster.info).engines[1] == before[1]
        assert not before[1].busy
        task.get(timeout=10)
        wait_until(lambda: not hub.queues(cluster.info).engines[0].busy)


def test_a_wrong_key_gets_no_answer_within_the_timeout(cluster):
    other, _ = connection.make("127.0.0.2", cluster.settings)
    wrong = cluster.info | {name: other.client_info[name] for name in ("key", "curve_serverkey")}
    begun = time.monotonic()
    assert hub.registered(wrong, timeout=0.5) is None
    assert hub.queues(wrong, timeout=0.5) is None
    assert 1.0 <= time.monotonic() - begun < 5.0


def test_a_hub_that_is_down_gives_none_and_waiting_for_its_engines_fails_by_name(tmp_path):
    with loopback_cluster(tmp_path) as nobody:
        assert hub.registered(nobody.info, timeout=0.2) is None
        assert hub.probe(nobody.info, [0], timeout=0.5) == frozenset()
        with pytest.raises(HubSilent, match="did not answer"):
            hub.wait_for_engines(nobody.info, lambda idents: 1 - len(idents), timeout=0.3)


def test_waiting_returns_what_there_is_when_the_time_is_over(cluster):
    heard: list[int] = []
    found = hub.wait_for_engines(
        cluster.info,
        lambda idents: 2 - sum(ident.startswith("engine-1-") for ident in idents),
        timeout=0.3,
        beat=heard.append,
    )
    assert "engine-1-1-a" in found.values()
    assert heard == [1]


@pytest.mark.parametrize("encryption", ["curve", "hmac"])
def test_engines_may_start_before_the_controller(tmp_path, encryption):
    with loopback_cluster(tmp_path, encryption=encryption) as cluster:
        cluster.write_files()
        engine = cluster.start_engine("engine-0-1-a")
        wait_until(lambda: "Registering with controller" in (tmp_path / "engine-0-1-a.log").read_text())
        cluster.start_controller()
        assert list(cluster.wait(1).values()) == ["engine-0-1-a"]
        assert engine.poll() is None


@pytest.mark.parametrize("encryption", ["curve", "hmac"])
def test_a_controller_killed_and_started_again_from_the_same_files_serves_every_channel(tmp_path, encryption):
    with loopback_cluster(tmp_path, encryption=encryption, patience=4.0) as cluster:
        cluster.start(2)
        old = [member for engine in cluster.engines for member in family(engine)]
        cluster.kill_controller()
        begun = time.monotonic()
        wait_until(lambda: not any(map(running, old)))  # engines and nannies leave by themselves
        assert time.monotonic() - begun < patience(cluster.settings).spacing
        cluster.start_controller()
        for name in ("b", "c"):
            cluster.start_engine(f"engine-0-1-{name}")
        found = cluster.wait(2)
        assert hub.probe(cluster.info, found) == set(found)
        assert (cluster.security / "ipcontroller-engine.json").read_text() == cluster.connection.engine


def test_the_hub_drops_an_engine_that_is_silent_for_longer_than_its_patience(tmp_path):
    with loopback_cluster(tmp_path, patience=2.0) as cluster:
        cluster.start(1)
        cluster.engines[0].send_signal(signal.SIGSTOP)
        wait_until(lambda: hub.registered(cluster.info) == {})
        assert "hearts stopped" in cluster.log()
        assert "heartbeat::missed" not in cluster.log()  # a line a beat and engine would bury all others


def test_probing_an_engine_that_hangs_is_bounded_and_does_not_spoil_the_others(tmp_path):
    with loopback_cluster(tmp_path, patience=60.0) as cluster:
        found = cluster.start(2)
        hung = next(number for number, ident in found.items() if ident == "engine-0-1-a")
        cluster.engines[0].send_signal(signal.SIGSTOP)
        begun = time.monotonic()
        answers = hub.probe(cluster.info, found, timeout=2.0)
        assert time.monotonic() - begun < 10.0
        assert answers == {1 - hung}


def test_waiting_pauses_shortly_however_slow_the_first_answer_was(tmp_path):
    with loopback_cluster(tmp_path) as cluster:
        cluster.write_files()
        cluster.start_controller()
        pauses: list[float] = []
        hub.wait_for_engines(cluster.info, lambda idents: 3 - len(pauses), timeout=30.0, pause=pauses.append)
        assert pauses == [hub.POLL] * 3


class FakeHub:
    """Answers each question with the frames that ``answers`` makes of its header, in a thread of its own."""

    def __init__(self, folder: Path, answers) -> None:
        self.info = {"interface": f"ipc://{folder}/hub", "key": "k", "signature_scheme": "hmac-sha256"}
        self.info |= {"registration": 1, "curve_serverkey": None}
        self.answers = answers
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.ROUTER)
        self.socket.linger = 0
        self.socket.bind(f"ipc://{folder}/hub:1")
        self.thread = threading.Thread(target=self.serve)

    def __enter__(self) -> FakeHub:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.thread.join()
        self.socket.close()
        self.context.term()

    def serve(self) -> None:
        assert self.socket.poll(5000)
        client, _, _, header, *_ = self.socket.recv_multipart()
        for frames in self.answers(json.loads(header)):
            self.socket.send_multipart([client, hub.DELIMITER, *frames])


def signed(parent: dict[str, str], content: dict[str, str], key: bytes = b"k") -> list[bytes]:
    import hashlib
    import hmac

    parts = [json.dumps(part).encode() for part in ({}, parent, {}, content)]
    return [hmac.new(key, b"".join(parts), hashlib.sha256).hexdigest().encode(), *parts]


def test_answers_to_other_questions_and_answers_signed_with_another_key_are_passed_over(tmp_path):
    def answers(header):
        yield signed({"msg_id": "an earlier one"}, {"status": "late"})
        yield signed(header, {"status": "forged"}, key=b"other")
        yield signed(header, {"status": "ok"})

    with FakeHub(tmp_path, answers) as fake:
        assert hub.ask(fake.info, "connection_request", timeout=5.0) == {"status": "ok"}


def test_an_engine_load_is_busy_by_direct_and_by_load_balanced_tasks():
    assert EngineLoad(queue=1, tasks=0, completed=5).busy
    assert EngineLoad(queue=0, tasks=1, completed=5).busy
    assert not EngineLoad(queue=0, tasks=0, completed=5).busy


def test_a_question_asked_before_the_hub_listens_is_answered_once_it_does(tmp_path):
    with loopback_cluster(tmp_path) as cluster:
        cluster.write_files()
        with hub.Questions(cluster.info) as questions:
            assert questions.registered(timeout=0.1) is None
            cluster.start_controller()
            assert questions.registered(timeout=20.0) == {}


def test_an_engine_that_has_ended_unheard_is_given_up_at_once_when_the_hub_is_told(tmp_path):
    with loopback_cluster(tmp_path) as lab:
        known = lab.start(2)
        (number,) = [one for one, ident in known.items() if ident == "engine-0-1-a"]
        end(lab.engines[0])  # its nanny with it, which would have told
        begun = time.monotonic()
        assert number in hub.registered(lab.info)
        with hub.Questions(lab.info) as questions:
            questions.give_up([number])
            questions.give_up([number, 99])  # what is gone already is nothing to speak of
        assert sorted(hub.registered(lab.info).values()) == ["engine-1-1-a"]
        assert time.monotonic() - begun < patience(lab.settings).hub_misses * 0.25
        with ipyparallel.Client(lab.info) as client:
            assert client[:].apply_sync(pow, 2, 10) == [1024]
        lab.start_engine("engine-0-1-b")
        again = lab.wait(2)
        assert number not in again
        assert hub.probe(lab.info, again) == again.keys()
