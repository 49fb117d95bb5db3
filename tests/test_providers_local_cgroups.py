"""A machine's own control groups, for the layouts that computers have (recorded /proc/self/mounts)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from fabfile.providers.local.root import cgroups
from fabfile.providers.local.root.cgroups import Hierarchy, Layout
from fabfile.providers.local.root.errors import Refused

CASES = Path(__file__).parent / "cases" / "cgroups"
WORDS = ("systemd-nspawn", "--boot")
NAME = "ipyf-0123456789-engine-0"


def recorded(case: str, *, systemd: bool) -> Layout:
    return cgroups.layout((CASES / f"{case}.mounts").read_text(), systemd)


def test_a_single_tree_of_version_2_gets_one_group() -> None:
    layout = recorded("v2-systemd", systemd=False)
    assert cgroups.groups(layout, NAME) == (Path("/sys/fs/cgroup/ipyfleet") / NAME,)


def test_a_hybrid_layout_gets_a_group_in_every_tree() -> None:
    layout = recorded("hybrid", systemd=False)
    trees = [str(group).removeprefix("/sys/fs/cgroup/") for group in cgroups.groups(layout, NAME)]
    assert trees == [f"{tree}/ipyfleet/{NAME}" for tree in ("cpu,cpuacct", "cpuset", "memory", "systemd", "unified")]


def test_trees_that_a_container_may_only_read_are_left_alone() -> None:
    groups = cgroups.groups(recorded("container", systemd=False), NAME)
    assert [str(group) for group in groups] == [
        f"/sys/fs/cgroup/unified/ipyfleet/{NAME}",
        f"/sys/fs/cgroup/systemd/ipyfleet/{NAME}",
    ]


def test_without_systemd_the_command_joins_the_groups_itself() -> None:
    words = cgroups.joined(recorded("v1", systemd=False), NAME, WORDS)
    groups = (f"/sys/fs/cgroup/systemd/ipyfleet/{NAME}", f"/sys/fs/cgroup/memory/ipyfleet/{NAME}")
    assert words == ("sh", str(cgroups.JOIN), *groups, "--", *WORDS)


@pytest.mark.parametrize(
    ("case", "tree"),
    [("v2-systemd", "/sys/fs/cgroup"), ("hybrid", "/sys/fs/cgroup/unified"), ("v1", "/sys/fs/cgroup/systemd")],
)
def test_where_systemd_runs_the_computer_a_machine_is_a_scope_that_systemd_leaves_alone(case: str, tree: str) -> None:
    layout = recorded(case, systemd=True)
    words = cgroups.joined(layout, NAME, WORDS)
    assert words[:2] == ("systemd-run", "--scope")
    assert {f"--unit={NAME}", "--slice=ipyfleet.slice", "--property=Delegate=yes"} <= set(words)
    assert words[-3:] == ("--", *WORDS)
    assert cgroups.groups(layout, NAME) == (Path(tree) / "ipyfleet.slice" / f"{NAME}.scope",)


def test_where_systemd_runs_the_computer_no_group_is_made_by_hand(tmp_path: Path) -> None:
    layout = Layout((Hierarchy(tmp_path, frozenset(), 2),), systemd=True)
    cgroups.make(layout, NAME)
    assert list(tmp_path.iterdir()) == []


def test_a_new_group_of_version_1_gets_the_processors_of_its_parent(tmp_path: Path) -> None:
    for file, value in (("cpuset.cpus", "0-1"), ("cpuset.mems", "0")):
        (tmp_path / file).write_text(value)
    cgroups.make(Layout((Hierarchy(tmp_path, frozenset({"cpuset"}), 1),), systemd=False), NAME)
    assert (tmp_path / "ipyfleet" / NAME / "cpuset.cpus").read_text() == "0-1"
    assert (tmp_path / "ipyfleet" / NAME / "cpuset.mems").read_text() == "0"


def test_making_groups_twice_is_fine_and_removing_leaves_nothing(tmp_path: Path) -> None:
    layout = Layout((Hierarchy(tmp_path, frozenset(), 2),), systemd=False)
    cgroups.make(layout, NAME)
    cgroups.make(layout, NAME)
    (tmp_path / "ipyfleet" / NAME / "payload" / "system.slice").mkdir(parents=True)
    cgroups.remove(cgroups.groups(layout, NAME))
    cgroups.remove(cgroups.groups(layout, NAME))
    assert list(tmp_path.iterdir()) == []


def test_a_group_still_in_use_is_an_error_and_other_machines_groups_stay(tmp_path: Path) -> None:
    layout = Layout((Hierarchy(tmp_path, frozenset(), 2),), systemd=False)
    cgroups.make(layout, NAME)
    (group,) = cgroups.groups(layout, NAME)
    (group / "cgroup.procs").write_text("4711\n")  # in a plain folder a file stands in the way of rmdir
    with pytest.raises(Refused, match="in use"):
        cgroups.remove([group], patience=0)
    assert group.exists()


def test_members_are_those_of_all_groups_below(tmp_path: Path) -> None:
    for folder, pids in ((tmp_path, "1\n2\n"), (tmp_path / "a", "3\n"), (tmp_path / "a" / "b", "")):
        folder.mkdir(exist_ok=True)
        (folder / "cgroup.procs").write_text(pids)
    assert cgroups.members([tmp_path, tmp_path / "gone"]) == {1, 2, 3}


def test_the_joining_script_becomes_the_command_and_keeps_its_process(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    words = ("sh", str(cgroups.JOIN), str(tmp_path / "one"), str(tmp_path / "two"), "--", "sh", "-c", "echo $$ $0 $1")
    with subprocess.Popen([*words, "a b", "c"], stdout=subprocess.PIPE, text=True) as started:
        out = started.communicate()[0]
    assert out == f"{started.pid} a b c\n"
    assert (tmp_path / "one" / "cgroup.procs").read_text() == f"{started.pid}\n"
    assert (tmp_path / "two" / "cgroup.procs").read_text() == f"{started.pid}\n"


def test_this_computer_has_a_layout() -> None:
    layout = cgroups.observe()
    assert all(os.path.ismount(one.path) for one in layout.hierarchies)
