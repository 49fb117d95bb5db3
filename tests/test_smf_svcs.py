"""The stand-in's svcs, byte for byte, from states as the restarter writes them. One case file each."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest

from tests.smf.contracts import Contract, members
from tests.smf.listing import process_lines
from tests.smf.playground import Playground
from tests.smf.repository import locked, set_property
from tests.smf.states import State, publish
from tests.smf_steps import Case, cases, names, service

NOW = 1795201202  # Fri Nov 20 19:00:02 2026


@pytest.fixture
def zone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Playground:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setattr("time.time", lambda: float(NOW))
    zone = Playground(tmp_path / "zone", smartos=False)
    zone.place.change({"log_folder": "/var/svc/log"})
    return zone


def prepare(zone: Playground, case: Case) -> None:
    states = case["states"]
    with locked(zone.place) as repository:
        if "svc:/milestone/network:default" not in states:
            repository.services.clear()
    given = {"service": {"tm_common_name/C": ["ustring", case["name"]]} if "name" in case else {}}
    for fmri in {**states, **dict.fromkeys(case.get("instances", ()))}:
        if "milestone" not in fmri:
            service(zone, fmri, given, enabled=fmri not in case.get("disabled", ()))
    with locked(zone.place) as repository:
        if "dependency" in case:
            groups = repository.services["site/ipyparallel"].instances["engine"].groups
            for name, value in (("grouping", "require_all"), ("restart_on", "error")):
                set_property(groups, f"needs/{name}", "dependency", "astring", value)
            set_property(groups, "needs/entities", "dependency", "fmri", case["dependency"])
        for fmri in case.get("temporarily", ()):
            instance = repository.instance(fmri)
            assert instance is not None
            set_property(instance.groups, "general_ovr/enabled", "framework", "boolean", "false")
    publish(zone.place, {fmri: State(**state) for fmri, state in states.items()})


@pytest.mark.parametrize(("name", "case"), cases("svcs"), ids=names("svcs"))
def test_svcs_prints_what_the_original_would(zone: Playground, name: str, case: Case) -> None:
    prepare(zone, case)
    done = zone.call("svcs", *case["argv"])
    assert (done.stdout, done.returncode) == (case.get("stdout", ""), case.get("rc", 0))
    if "stderr_begins" in case:
        assert done.stderr.startswith(case["stderr_begins"])
    else:
        assert done.stderr == case.get("stderr", "")


def test_processes_are_listed_below_their_instance(zone: Playground) -> None:
    fmri = "svc:/site/x:one"
    service(zone, fmri, {"start": "/bin/sleep 60"}, enabled=True)
    contract = Contract(1, lambda: os.execv("/bin/sleep", ["sleep", "60"]))
    try:
        publish(zone.place, {fmri: State("online", holder=contract.holder)})
        while True:
            listed = zone.call("svcs", "-Hpo", "STA,NSTA", fmri).stdout.splitlines()
            if listed[1:] and listed[1].endswith(" sleep"):
                break
        assert listed[0] == "ON   -"
        assert re.fullmatch(rf" {{15}}[ 12]\d:\d\d:\d\d   {contract.first:6} sleep", listed[1])
        assert members(contract.holder) == [contract.first]
    finally:
        contract.kill(9)
        while not contract.empty:
            contract.look()
    assert process_lines(State("online", holder=contract.holder)) == []
