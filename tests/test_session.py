"""session.py: which cluster, template and provider a command works on."""

from __future__ import annotations

from pathlib import Path

import pytest
from invoke.context import Context

from fabfile import session
from fabfile.errors import UsageError
from fabfile.machines import Cluster, Machine, MachineState
from fabfile.plan import Slot
from fabfile.record import Record
from fabfile.state import Store
from fabfile.status import Status


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Context:
    """A command of a user who has hosts, and a cluster lab on this computer in the record."""
    monkeypatch.setenv("IPYFLEET_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("IPYFLEET_HOSTS", "ada@one.example.org")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    store = Store("lab")
    with store.lock("provision"):
        cluster = Cluster("lab", "c0ffee", "ada@desk", 1000.0)
        Record(cluster, "local", "local", assigned=(Slot(0, 1), Slot(1, 1), Slot(2, 1))).save(store)
    return Context()


def test_another_provider_than_the_clusters_own_is_refused(context):
    with pytest.raises(UsageError, match="'lab' is on provider local, not on static"):
        session.open_run(context, cluster="lab", template="static")
    assert session.open_run(context, cluster="lab").provider.name == "local"
    assert session.open_run(context, cluster="other", template="static").provider.name == "static"


def test_an_account_is_that_of_the_template_or_else_of_the_clusters_own(context, monkeypatch):
    assert session.account(context, "static").name == "static"
    assert session.account(context).name == "local"
    monkeypatch.setenv("IPYFLEET_CLUSTER", "lab")
    assert session.account(context, "static").name == "static"
    assert session.account(context).name == "local"


def test_a_cluster_keeps_its_size_unless_the_command_or_a_variable_says_another(context, monkeypatch):
    assert session.open_run(context, cluster="lab").settings.engines == 3
    assert session.open_run(context, cluster="lab", engines="5").settings.engines == 5
    assert session.open_run(context, cluster="other").settings.engines == 4
    monkeypatch.setenv("IPYFLEET_ENGINES", "6")
    assert session.open_run(context, cluster="lab").settings.engines == 6


@pytest.mark.parametrize(("given", "advice"), [("", "`invoke start`"), ("lab", "`invoke start --cluster lab`")])
def test_what_status_advises_is_meant_for_the_cluster_that_was_named(capsys, given, advice):
    seen = Status("lab", "local", "degraded", problems=("engine-1 is stopped: `invoke start` starts it",))
    shown = session.watching(lambda: seen, json=False, watch=False, cluster=given)
    assert advice in shown.problems[0]
    assert advice in capsys.readouterr().out


def test_machines_that_are_not_kept_when_they_are_off_are_asked_for(capsys):
    kept = Machine("controller", "c", "controller", 0, MachineState.RUNNING)
    spot = Machine("engine-0", "e", "engine", 0, MachineState.RUNNING, interruptible=True)
    session.agree_to_lose([kept], yes=False)
    with pytest.raises(UsageError, match="engine-0: on spare capacity"):
        session.agree_to_lose([kept, spot], yes=False)
    session.agree_to_lose([kept, spot], yes=True)
    assert "`invoke start` makes new ones" in capsys.readouterr().err
