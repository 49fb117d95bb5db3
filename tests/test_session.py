"""session.py: which cluster, template and provider a command works on."""

from __future__ import annotations

from pathlib import Path

import pytest
from invoke.context import Context

from fabfile import session
from fabfile.errors import UsageError
from fabfile.machines import Cluster
from fabfile.record import Record
from fabfile.state import Store


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Context:
    """A command of a user who has hosts, and a cluster lab on this computer in the record."""
    monkeypatch.setenv("IPYFLEET_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("IPYFLEET_HOSTS", "ada@one.example.org")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    store = Store("lab")
    with store.lock("provision"):
        Record(Cluster("lab", "c0ffee", "ada@desk", 1000.0), "local", "local").save(store)
    return Context()


def test_another_provider_than_the_clusters_own_is_refused(context):
    with pytest.raises(UsageError, match="'lab' is on provider local, not on static"):
        session.open_run(context, cluster="lab", template="static")
    assert session.open_run(context, cluster="lab").provider.name == "local"
    assert session.open_run(context, cluster="other", template="static").provider.name == "static"
