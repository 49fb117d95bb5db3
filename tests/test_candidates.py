"""candidates.py: what each word of a command line can become."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from invoke.program import Program

import tasks
from fabfile import candidates, record
from fabfile.candidates import FILES, Candidate
from fabfile.cloud_kinds import EVENTS
from fabfile.machines import Cluster
from fabfile.plan import Slot
from fabfile.record import Record
from fabfile.settings import PROVIDERS
from fabfile.state import Store
from tests.settings_file import own_home as own_home
from tests.settings_file import users_file as users_file


@pytest.fixture(autouse=True)
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The records of two clusters; that of the second is broken."""
    root = tmp_path / "records"
    monkeypatch.setenv("IPYFLEET_HOME", str(root))
    store = Store("lab")
    digests = dict.fromkeys(("engine-2", "engine-10", "controller"), "d")
    with store.lock("test"):
        Record(Cluster("lab", "c0ffee", "ada@desk", 0.0), assigned=(Slot(11, 1),), digests=digests).save(store)
    broken = root / "old" / "record.json"
    broken.parent.mkdir()
    broken.write_text("{")
    (root / "$(touch x)").mkdir()
    (root / "$(touch x)" / "record.json").write_text("{}")
    return root


def offered(line: str) -> list[Candidate]:
    """What is offered at the end of this line, whose words have one space between them."""
    namespace = copy.deepcopy(tasks.ns)  # reading it uses up the help texts
    core = Program().initial_context
    return candidates.candidates(line.split(" ")[1:], namespace, core, {})


def words(line: str) -> list[str]:
    return [one.word for one in offered(line)]


MACHINES = ["controller", "engine-2", "engine-10", "engine-11"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ipyfleet status --cluster ", ["lab", "old"]),
        ("ipyfleet status --cluster=", ["--cluster=lab", "--cluster=old"]),
        ("ipyfleet status --cluster = ", ["lab", "old"]),  # as bash takes it apart
        ("ipyfleet status --cluster =", ["lab", "old"]),
        ("ipyfleet provision --template ", ["local", "static", "ec2", "triton"]),
        ("ipyfleet init --provider ", list(PROVIDERS)),
        ("ipyfleet completion --shell ", ["bash", "zsh", "fish"]),
        ("ipyfleet ssh --cluster lab --machine ", MACHINES),
        ("ipyfleet ssh --cluster=lab --machine ", MACHINES),
        ("ipyfleet ssh --cluster = lab --machine ", MACHINES),
        ("ipyfleet ssh --machine ", ["controller"]),  # no record of the cluster that is meant by default
        ("ipyfleet ssh --cluster old --machine ", ["controller"]),
        ("ipyfleet ssh --cluster ../lab --machine ", ["controller"]),
        ("ipyfleet logs --cluster lab --on ", ["controller", "engines", "all", *MACHINES[1:]]),
        (
            "ipyfleet logs --cluster lab --on engine-2,engines,",
            [f"engine-2,engines,{one}" for one in ("controller", "all", "engine-10", "engine-11")],
        ),
        ("ipyfleet status --json ssh --cluster lab --machine ", MACHINES),
        ("ipyfleet init --file ", [FILES]),
        ("ipyfleet -f ", [FILES]),
        ("ipyfleet init --file=x", [FILES]),
        ("ipyfleet provision --engines ", []),
        ("ipyfleet provision --engines=", []),
        ("ipyfleet run -- ls -", []),
        ("ipyfleet --list ", ["hooks", "images", "keys", "packages", "step"]),
        ("ipyfleet restart --what ", ["engines", "controller", "all"]),
        ("ipyfleet hooks.run --event ", list(EVENTS)),
        ("ipyfleet put --path ", [FILES]),
    ],
)
def test_the_values_of_a_flag_are_those_that_are_known_here(line: str, expected: list[str]) -> None:
    assert words(line) == expected


def test_the_cluster_of_the_settings_is_meant_when_none_is_named(users_file: Callable[[str], Path]) -> None:
    users_file("cluster: lab\n")
    assert words("ipyfleet ssh --machine ") == MACHINES


def test_a_file_given_with_f_is_the_one_that_counts(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("cluster: lab\ntemplates: {big: {extends: local}}\n")
    assert words(f"ipyfleet -f {path} ssh --machine ") == MACHINES
    assert words(f"invoke --config={path} provision --template ")[-1] == "big"


@pytest.mark.parametrize("text", ["templates: [", "templates: {big: 3}", "templates: {'$(x)': {}}"])
def test_a_broken_file_takes_nothing_else_away(text: str, users_file: Callable[[str], Path]) -> None:
    users_file(text)
    assert words("ipyfleet provision --template ") == ["local", "static", "ec2", "triton"]
    assert words("ipyfleet ssh --machine ") == ["controller"]


def test_tasks_are_offered_with_what_they_do() -> None:
    found = offered("ipyfleet ")
    assert {one.word for one in found} == set(tasks.ns.task_names)
    assert Candidate("teardown", "Remove everything of the cluster, and make sure that nothing is left.") in found
    assert found == offered("ipyfleet sta") == offered("ipyfleet status --json sto")  # the shell chooses


def test_the_flags_of_a_task_are_offered_with_what_they_mean_until_they_are_used() -> None:
    found = offered("ipyfleet ssh -")
    assert [one.word for one in found] == ["--machine", "--command", "--cluster", "--template", "--help"]
    assert Candidate("--cluster", "name of the cluster (default: ipython)") in found
    assert words("ipyfleet ssh --machine all --") == ["--command", "--cluster", "--template", "--help"]
    assert words("ipyfleet ssh ") == ["--machine", "--command", "--cluster", "--template"]
    assert words("ipyfleet logs --on all ssh --") == ["--machine", "--command", "--cluster", "--template", "--help"]


def test_the_programs_own_flags_are_offered_before_a_task() -> None:
    found = words("invoke --")
    assert {"--list", "--help", "--search-root"} <= set(found)
    assert "--complete" not in found
    assert set(words("invoke --help ")) == set(tasks.ns.task_names)
    assert "--cluster" in words("invoke --search-root /tmp --echo status --")


def test_a_word_that_is_unknown_is_no_obstacle() -> None:
    assert words("ipyfleet stauts --nothing --cluster ") == words("ipyfleet ")
    assert words("ipyfleet stauts status --nothing x --cluster ") == ["lab", "old"]


def test_machines_are_ordered_as_people_count() -> None:
    assert record.load(Store("lab")).machines == tuple(MACHINES)


def test_records_that_cannot_be_read_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setitem(os.environ, "IPYFLEET_HOME", str(tmp_path / "file"))
    assert words("ipyfleet status --cluster ") == []
    assert words("ipyfleet ssh --cluster lab --machine ") == ["controller"]
