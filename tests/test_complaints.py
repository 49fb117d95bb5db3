"""complaints.py: what a machine has to complain of, and the cure of each complaint."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import pytest

from fabfile.complaints import GB, Examined, Finding, of, works
from fabfile.examination import Disk, Facts, Watched
from fabfile.services import Look, ServiceState
from fabfile.software import Software

PINS = ("ipyparallel==9.2.0", "numpy==2.4.6", "pip==26.0", "pyzmq==27.3.0", "tornado==6.6.1")
SOFTWARE = Software("s0ftware", "3.11", PINS, "x86_64", ("ipyparallel==9.2.0", "numpy==2.4.6", "pip==26.0"))
RENEWED = "`invoke ssh --machine engine-0 --command 'sudo rm -f /opt/ipyfleet/env/ipyfleet-software-id; "


def watched(state: str = "online", name: str = "ipengine@1", own: str = "ipengine@1.service") -> Watched:
    return Watched(name, own, Look(ServiceState(state), words="inactive/dead" if state != "online" else ""))


WELL = Facts(
    manager="systemd",
    machine="x86_64",
    software="s0ftware",
    python="3.11.2",
    packages=dict(pin.split("==") for pin in PINS),
    services=(watched(), watched(name="ipyfleet-repair", own="ipyfleet-repair.timer")),
    files=(1024, 524288),
    disks=(Disk("/", ("/", "/var/lib/ipyparallel", "/tmp"), 20 * GB, 50 * GB),),
    memory=2 * GB,
    ahead=(-0.1, 0.1),
)


def examined(role: str = "engine", outdated: bool = False, **changes: Any) -> Examined:
    name = "controller" if role == "controller" else "engine-0"
    return Examined(name, role, replace(WELL, **changes), SOFTWARE, outdated)


def wrong(one: Examined, *, serving: bool = True) -> list[Finding]:
    """What is not well, each on that machine and with a cure."""
    found = [finding for finding in of(one, serving=serving) if finding.level != "ok"]
    assert all(finding.machine == one.name and finding.cure for finding in found)
    return found


def only(one: Examined) -> tuple[str, str, str]:
    """The level, text and cure of the only fault."""
    (found,) = wrong(one)
    return found.level, found.found, found.cure


def test_a_machine_that_is_well_has_no_complaints_and_everything_was_looked_at():
    assert wrong(examined()) == []
    assert [finding.found for finding in of(examined(), serving=True)] == [
        "Python 3.11.2",
        "all 5 packages are those of this computer",
        "ipengine@1 is online",
        "ipyfleet-repair is online",
        "its clock is this computer's",
        "50.0 GB of disk free",
        "2.0 GB of memory available",
        "its engine may open 524288 files",
        "it reaches the controller's ports",
    ]


def test_a_machine_that_was_not_reached_is_an_error_with_the_next_step():
    unreached = Examined("engine-0", "engine", None, unreached="no SSH connection", hint="see that it is up")
    assert only(unreached) == ("error", "it cannot be examined: no SSH connection", "see that it is up")
    assert "`invoke console --machine engine-0`" in only(replace(unreached, hint=""))[2]


class TestTheEnvironment:
    @pytest.mark.parametrize("python", ["3.13.1", "3.1.10", "3.10.14", "4.11.0"])
    def test_another_minor_version_of_python_is_an_error_also_while_engines_run(self, python):
        level, found, cure = only(examined(python=python))
        assert level == "error"
        assert found.startswith(f"it has Python {python}, this computer's ipyfleet runs under 3.11: functions that are")
        assert f"under Python {'.'.join(python.split('.')[:2])}, or `invoke teardown` and" in cure

    def test_another_patch_of_the_same_minor_version_is_well(self):
        assert wrong(examined(python="3.11.19rc1")) == []

    def test_a_python_that_does_not_run_is_one_error_whatever_else_it_could_not_tell(self):
        level, found, cure = only(examined(python="", packages={}, ahead=None, software="", broken="python: not found"))
        assert (level, found) == ("error", "the Python of its environment does not run: python: not found")
        assert cure.startswith(f"{RENEWED}sudo systemctl stop ipengine@1.service'`, then `invoke provision`")

    @pytest.mark.parametrize(
        ("name", "has", "level"),
        [("ipyparallel", "9.1.0", "error"), ("pyzmq", "26.0.3", "warning"), ("tornado", "6.4", "warning")],
    )
    def test_another_version_of_a_package_names_both(self, name, has, level):
        seen = only(examined(packages={**WELL.packages, name: has}))
        assert seen[0] == level
        assert f"{name} {has} (here {WELL.packages[name]})" in seen[1]

    @pytest.mark.parametrize(
        ("name", "level"),
        [
            ("ipyparallel", "error"),
            ("pyzmq", "error"),
            ("numpy", "error"),
            ("tornado", "warning"),
            ("pip", "warning"),
        ],
    )
    def test_a_package_that_is_not_there_is_named(self, name, level):
        packages = {other: version for other, version in WELL.packages.items() if other != name}
        seen = only(examined(packages=packages))
        assert seen[:2] == (level, f"its environment lacks {name}")
        assert seen[2].startswith(RENEWED)

    def test_packages_beyond_those_of_this_computer_are_nobodys_affair(self):
        assert wrong(examined(packages={**WELL.packages, "setuptools": "70"})) == []

    def test_other_software_is_a_warning_that_provision_cures_where_it_would_deploy_anew(self):
        assert only(examined(software="other", outdated=True)) == (
            "warning",
            "it has software other, this computer would deploy s0ftware now",
            "`invoke provision` installs what it should have",
        )
        assert only(examined(software=""))[2].startswith(RENEWED)

    def test_versions_that_pkgsrc_decides_are_cured_on_this_computer(self):
        facts = {"manager": "smf", "machine": "i86pc", "packages": {**WELL.packages, "pyzmq": "26.0.3"}}
        assert only(examined(**facts)) == (
            "warning",
            "it has other versions: pyzmq 26.0.3 (here 27.3.0)",
            "its pkgsrc decides; for the same here: `pip install pyzmq==26.0.3`",
        )

    def test_what_only_newer_versions_need_is_not_missed_where_pkgsrc_decides(self):
        packages = {name: version for name, version in WELL.packages.items() if name != "tornado"}
        assert wrong(examined(manager="smf", machine="i86pc", packages=packages)) == []
        packages.pop("numpy")
        seen = only(examined(manager="smf", machine="i86pc", packages=packages))
        assert seen[:2] == ("error", "its environment lacks numpy")


class TestServices:
    @pytest.mark.parametrize(
        ("state", "cure"),
        [
            ("offline", "`invoke provision` starts it"),
            ("disabled", "`invoke provision` starts it"),
            ("absent", "`invoke provision` starts it"),
            ("maintenance", "`invoke logs --on engine-0` shows why; then `invoke provision` starts it"),
            ("starting", "`invoke doctor` again in a moment; `invoke logs --on engine-0` shows what it does"),
        ],
    )
    def test_anything_but_online_is_an_error_with_its_cure(self, state, cure):
        one = examined(services=(watched(), watched(state, "ipengine@2", "ipengine@2.service")))
        assert only(one) == ("error", f"ipengine@2 is {state} (inactive/dead)", cure)
        assert not works(one)

    @pytest.mark.parametrize(
        ("manager", "own", "state", "cure"),
        [
            ("systemd", "ipyfleet-repair.timer", "disabled", "sudo systemctl start ipyfleet-repair.timer"),
            ("systemd", "ipyfleet-lease.timer", "disabled", "sudo systemctl enable --now ipyfleet-lease.timer"),
            ("smf", "svc:/site/ipyfleet-repair:default", "disabled", "svcadm enable svc:/site/ipyfleet-repair:default"),
            ("smf", "svc:/site/ipyfleet-repair:default", "maintenance", "svcadm clear svc:/site/ipyfleet-repair:defau"),
        ],
    )
    def test_what_provision_does_not_miss_is_started_by_hand(self, manager, own, state, cure):
        name = "ipyfleet-lease" if "lease" in own else "ipyfleet-repair"
        one = examined(manager=manager, services=(watched(), watched(state, name, own)))
        assert f"`invoke ssh --machine engine-0 --command '{cure}" in only(one)[2]

    def test_a_machine_without_a_service_manager_says_so(self):
        assert "no service manager" in only(examined(manager="", services=()))[1]


class TestRoom:
    @pytest.mark.parametrize(
        ("used", "free", "full"),
        [
            (20.0, 50.0, False),
            (20.0, 0.9, True),
            (980.0, 20.0, True),  # more than 95 %
            (940.0, 60.0, False),
            (0.1, 0.4, False),  # a small one in memory that is empty
            (0.3, 0.2, True),
            (0.0, 0.0, False),  # of no size: nothing can be told
        ],
    )
    def test_a_full_disk_is_a_warning(self, used, free, full):
        disk = Disk("/tmp", ("/tmp",), int(used * GB), int(free * GB))
        assert bool(wrong(examined(disks=(*WELL.disks, disk)))) == full

    def test_a_full_disk_names_what_lies_on_it_and_how_to_find_what_fills_it(self):
        level, found, cure = only(examined(disks=(Disk("/", ("/", "/tmp"), 99 * GB, GB // 2),)))
        assert (level, found) == ("warning", "/, /tmp: 500.0 MB free of 99.5 GB")
        assert cure == "`invoke ssh --machine engine-0 --command 'sudo du -akx / | sort -n | tail'`"

    def test_little_memory_is_a_warning(self):
        assert only(examined(memory=199 * 10**6))[:2] == ("warning", "only 199.0 MB of memory available")
        assert wrong(examined(memory=None)) == []

    @pytest.mark.parametrize(
        ("role", "files", "few"),
        [
            ("controller", (1024, 524288), True),  # it never raises it
            ("controller", (65536, 65536), False),
            ("engine", (1024, 524288), False),
            ("engine", (1024, 4095), True),
        ],
    )
    def test_few_files_are_a_warning(self, role, files, few):
        assert [finding.level for finding in wrong(examined(role, files=files))] == ["warning"] * few


class TestTheClock:
    @pytest.mark.parametrize(
        ("ahead", "found"),
        [
            ((2.1, 2.3), "its clock is 2.2 s ahead of this computer's"),
            ((-7201.0, -7199.0), "its clock is 7200.0 s behind this computer's"),
            ((1.9, 30.0), ""),  # it may be right: the answer took its time
            ((-30.0, 0.1), ""),
        ],
    )
    def test_a_difference_that_is_certain_is_a_warning(self, ahead, found):
        assert [finding.found for finding in wrong(examined(ahead=ahead))] == [found] * bool(found)


class TestPorts:
    CLOSED: ClassVar = {10103: "timed out", 10101: "Connection refused"}

    def test_ports_that_an_engine_does_not_reach_are_named_with_the_reason(self):
        level, found, cure = only(examined(closed=self.CLOSED))
        assert (level, found) == (
            "error",
            "it does not reach the controller's ports 10101 (Connection refused), 10103 (timed out)",
        )
        assert "`invoke logs --on controller`" in cure

    def test_where_no_controller_serves_nobody_can_reach_its_ports(self):
        assert wrong(examined(closed=self.CLOSED), serving=False) == []

    def test_a_controller_is_not_asked_about_its_own_ports(self):
        files = (65536, 65536)
        assert "ports" not in str([finding.found for finding in of(examined("controller", files=files), serving=True)])
