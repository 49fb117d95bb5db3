"""removal.py with the chain, on a fleet in memory: shrinking, rolling back, tearing down."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from fabfile import chain, observation, removal, session
from fabfile.client_file import client_file_path
from fabfile.errors import ClusterError, HubSilent, ProviderRefused, UsageError
from fabfile.settings import Settings
from tests.fakes.commands import (
    SETTINGS,
    assert_nothing_left,
    engines_known,
    provision,
    take_down,
)
from tests.fakes.fleet import FakeQuestions, new_run
from tests.fakes.provider import MemoryProvider, World


def test_shrinking_asks_before_an_engine_at_work_goes(fleet, tmp_path, monkeypatch):
    provision(fleet, tmp_path, 3)
    fleet.busy = {"engine-0-1", "engine-1-1", "engine-2-1"}
    monkeypatch.setattr(session.report, "can_ask", lambda: False)
    with pytest.raises(UsageError, match="engine-1 engine 1, engine-2 engine 1: at work"):
        provision(fleet, tmp_path, 1)
    assert len(engines_known(fleet)) == 3
    provision(fleet, tmp_path, 1, yes=True)
    assert engines_known(fleet) == ["engine-0-1"]


def test_an_engine_that_got_work_after_the_plan_is_spared(fleet, tmp_path):
    provision(fleet, tmp_path, 3)
    run = new_run(fleet, tmp_path, Settings(cluster="lab", provider="memory", engines=1))
    with run.store.lock("provision"):
        observed = observation.observe(run)
        todo = chain.plan(run, observed)
        fleet.busy = {"engine-2-1"}
        with pytest.raises(UsageError, match="engine-2 got work"):
            removal.retire(run, observed, todo)
    assert engines_known(fleet) == ["engine-0-1", "engine-2-1"]


def test_an_engine_at_work_goes_when_that_was_agreed_to(fleet, tmp_path, monkeypatch):
    provision(fleet, tmp_path, 2)
    fleet.busy = {"engine-0-1", "engine-1-1"}
    monkeypatch.setattr(session.report, "can_ask", lambda: True)
    monkeypatch.setattr(session.report, "confirm", lambda question: True)
    provision(fleet, tmp_path, 1)
    assert engines_known(fleet) == ["engine-0-1"]


def test_no_machine_goes_when_the_hub_does_not_say_what_is_at_work(fleet, tmp_path, monkeypatch):
    provision(fleet, tmp_path, 2)
    run = new_run(fleet, tmp_path, Settings(cluster="lab", provider="memory", engines=1))
    with run.store.lock("provision"):
        observed = observation.observe(run)
        todo = chain.plan(run, observed)
        monkeypatch.setattr(FakeQuestions, "queues", lambda *args: None)
        with pytest.raises(HubSilent, match="no machine was removed"):
            removal.retire(run, observed, todo)
        assert observation.observe(run).hub == "silent"
    assert len(engines_known(fleet)) == 2


def test_a_cluster_whose_record_is_lost_can_be_taken_down(fleet, tmp_path):
    provision(fleet, tmp_path, 2)
    elsewhere = tmp_path / "elsewhere"
    take_down(fleet, elsewhere)
    assert fleet.world.empty


def test_a_teardown_leaves_no_client_file_of_a_cluster_that_was_there_before(fleet, tmp_path):
    provision(fleet, tmp_path, 1)
    fleet.world = World()
    there = client_file_path("lab").read_bytes()
    client_file_path("lab").unlink()
    provision(fleet, tmp_path / "elsewhere", 1)
    client_file_path("lab").write_bytes(there)
    take_down(fleet, tmp_path)
    assert not client_file_path("lab").exists()


def test_rolling_back_removes_a_new_cluster_whole_and_of_an_old_one_only_what_was_made(fleet, tmp_path):
    def failing(engines: int) -> None:
        run = new_run(fleet, tmp_path, Settings(cluster="lab", provider="memory", engines=engines))
        with run.store.lock("provision"):
            observed = observation.observe(run)
            todo = chain.plan(run, observed)
            with suppress(ZeroDivisionError), removal.rolling_back(run, observed, todo, wanted=True):
                chain.create(run, observed, todo)
                raise ZeroDivisionError

    failing(2)
    assert_nothing_left(fleet, tmp_path)
    provision(fleet, tmp_path, 2)
    failing(4)
    assert engines_known(fleet) == ["engine-0-1", "engine-1-1"]
    assert provision(fleet, tmp_path, 2).empty


def test_a_rollback_that_fails_does_not_hide_why_it_was_made(fleet, tmp_path, monkeypatch):
    run = new_run(fleet, tmp_path, replace(SETTINGS, engines=1))

    def refuse(*args: object) -> None:
        raise ProviderRefused("cannot remove")

    monkeypatch.setattr(run.provider, "destroy", refuse)
    with run.store.lock("provision"):
        observed = observation.observe(run)
        todo = chain.plan(run, observed)
        chain.create(run, observed, todo)
        rolling_back = removal.rolling_back(run, observed, todo, wanted=True)
        with pytest.raises(ClusterError, match="no room\ncannot remove"), rolling_back:
            raise ClusterError("no room")


def test_hosts_that_stay_lose_their_services_when_a_new_cluster_is_rolled_back(fleet, tmp_path, monkeypatch):
    monkeypatch.setattr(MemoryProvider, "owns_machines", False)
    run = new_run(fleet, tmp_path, replace(SETTINGS, engines=1))
    with run.store.lock("provision"):
        observed = observation.observe(run)
        todo = chain.plan(run, observed)
        with suppress(ZeroDivisionError), removal.rolling_back(run, observed, todo, wanted=True):
            found = chain.create(run, observed, todo)
            connection, secret = chain.connect(run, found, todo)
            chain.deploy(run, observed, found, todo, connection, secret)
            raise ZeroDivisionError
    assert [state.running for state in fleet.hosts.values()] == [{}, {}]


def test_a_client_file_that_cannot_be_removed_keeps_no_machine(fleet, tmp_path, monkeypatch):
    provision(fleet, tmp_path, 2)
    with monkeypatch.context() as context:
        context.setattr(Path, "unlink", refuse_to_unlink)
        with pytest.raises(ClusterError, match=r"client file .* cannot be written or removed: Read-only file system"):
            take_down(fleet, tmp_path)
    assert fleet.world.empty
    take_down(fleet, tmp_path)
    assert_nothing_left(fleet, tmp_path)


def refuse_to_unlink(path, missing_ok=False):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))
