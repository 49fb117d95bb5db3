"""What machines run at their first boot: the scripts with stand-ins for what they call, and the files of the lease."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from fabfile import boot
from fabfile.engines import lease_values
from fabfile.errors import UsageError
from fabfile.remote import File
from fabfile.service_managers.systemd import service_manager
from fabfile.services import LEASE
from fabfile.settings import Settings


@dataclass
class Tools:
    """Stand-ins that come first on the PATH; each call is noted in ``calls``."""

    folder: Path

    def add(self, name: str, body: str = "") -> None:
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\necho "{name} $*" >>{self.folder}/calls\n{body}\n')
        path.chmod(0o755)

    def run(self, script: str, *words: str, check: bool = True, **environment: str) -> str:
        """What the script prints; standard error is shown when it fails."""
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        done = subprocess.run(
            ["sh", str(boot.script(script)), *words],
            env={"PATH": path, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    @property
    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    return Tools(tmp_path)


class TestLease:
    @pytest.mark.parametrize("lease", [60.0, 8 * 3600.0, 90061.5])
    def test_its_files_are_those_of_a_deployment_to_the_byte(self, lease: float) -> None:
        placed: list[File] = []

        class Recording:
            def place(self, files: Sequence[File]) -> frozenset[str]:
                placed.extend(files)
                return frozenset()

        settings = Settings(lease=lease)
        service_manager.install(Recording(), LEASE)
        service_manager.configure(Recording(), LEASE, lease_values(settings, "poweroff"))
        assert {file.path: file for file in boot.lease_files(lease)} == {file.path: file for file in placed}

    def test_arming_puts_every_file_in_place_and_waits_for_nothing(self, tools: Tools, tmp_path: Path) -> None:
        tools.add("systemctl")
        files = boot.lease_files(3600)
        words = [word for one in files for word in (f"{one.mode:04o}", f"{tmp_path}/root{one.path}", one.data.decode())]
        for _ in range(2):
            tools.run("arm-lease.sh", *words)
            for file in files:
                there = tmp_path / "root" / file.path[1:]
                assert there.read_bytes() == file.data
                assert there.stat().st_mode & 0o7777 == file.mode
                assert there.parent.stat().st_mode & 0o7777 == 0o755
        left = [path for path in (tmp_path / "root").rglob("*") if path.is_file()]
        assert len(left) == len(files)
        assert tools.calls[-3:] == [
            "systemctl daemon-reload",
            "systemctl enable --quiet --no-reload ipyfleet-lease.timer",
            "systemctl restart --no-block ipyfleet-lease.timer",
        ]


class TestUsersScript:
    def test_it_is_read_as_it_is_from_below_the_home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / "mine.sh").write_bytes(b"#!/bin/sh\n\xff\x00")
        assert boot.users_script("~/mine.sh") == b"#!/bin/sh\n\xff\x00"

    def test_without_one_there_is_nothing(self) -> None:
        assert boot.users_script("") == b""

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (None, "cannot be read: No such file or directory"),
            (b"", "first line"),
            (b"echo hello\n", "first line"),
            (b"\x7fELF", "first line"),
            (b"#!/bin/sh\r\necho\r\n", "line ends of Windows"),
        ],
    )
    def test_what_could_not_be_run_is_refused_with_the_reason(
        self, tmp_path: Path, content: bytes | None, says: str
    ) -> None:
        path = tmp_path / "mine"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UsageError, match=says) as caught:
            boot.users_script(str(path))
        assert str(path) in caught.value.message
        assert caught.value.hint

    def test_a_folder_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="Is a directory"):
            boot.users_script(str(tmp_path))


class TestFirstBoot:
    """first-boot.sh in a folder where host.sh and software.sh are stand-ins."""

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path, tools: Tools) -> None:
        self.folder, self.tools = tmp_path / "boot", tools
        self.folder.mkdir()
        for name in ("host.sh", "software.sh"):
            self.put(name, f'echo "{name} $*" >>{tmp_path}/calls')
        tools.add("apt-get")

    def put(self, name: str, body: str) -> None:
        (self.folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (self.folder / name).chmod(0o755)

    def boot(self, software: str = "", *packages: str) -> list[str]:
        self.tools.run("first-boot.sh", str(self.folder), software, "90", *packages, check=False)
        return (self.folder / "steps").read_text().splitlines()

    def test_with_nothing_wanted_the_host_is_made_ready(self) -> None:
        assert self.boot() == ["host running", "host done", "end done"]
        assert self.tools.calls == ["host.sh "]

    def test_all_steps_come_in_their_order_and_the_users_script_last(self, tmp_path: Path) -> None:
        self.put("userdata", f'echo "userdata $HOME" >>{tmp_path}/calls')
        steps = self.boot("1d", "git", "g++")
        assert [step for step in steps if step.endswith("done")] == [
            "host done",
            "packages done",
            "software done",
            "userdata done",
            "end done",
        ]
        names = [call.split()[0] for call in self.tools.calls]
        assert names == ["host.sh", "apt-get", "apt-get", "software.sh", "userdata"]
        assert self.tools.calls[2].endswith(" install --no-install-recommends git g++")
        assert self.tools.calls[3] == f"software.sh {self.folder} 1d"
        assert self.tools.calls[4] == "userdata /root"

    def test_apt_asks_nobody_and_does_not_wait_for_ever(self) -> None:
        self.tools.add("apt-get", f'echo "$DEBIAN_FRONTEND" >>{self.tools.folder}/calls')
        self.tools.add("timeout", 'shift; exec "$@"')
        self.boot("", "git")
        assert "noninteractive" in self.tools.calls
        bounded = [call for call in self.tools.calls if call.startswith("timeout")]
        assert len(bounded) == 2
        assert all("Timeout=10" in call and "DPkg::Lock::Timeout" in call for call in bounded)

    def test_a_pip_is_installed_where_there_is_none(self) -> None:
        self.tools.add("ls", "exit 2")
        assert "software done" in self.boot("1d")
        assert self.tools.calls[3].endswith(" install --no-install-recommends python3-pip-whl")
        assert self.tools.calls[4].startswith("software.sh")

    def test_the_software_has_its_time_and_no_more(self) -> None:
        self.tools.add("ls", "exit 2")
        self.tools.add("timeout", 'shift; exec "$@"')
        self.boot("1d")
        limits = [int(call.split()[1]) for call in self.tools.calls if call.startswith("timeout")]
        assert limits[:2] == [30, 30]
        assert 85 <= limits[2] <= 90
        self.put("software.sh", "sleep 60")
        self.tools.add("timeout", 'shift; exec /usr/bin/timeout 0.1 "$@"')
        assert "software failed 124" in self.boot("1d")

    def test_software_that_cannot_be_had_is_noted_and_the_rest_goes_on(self) -> None:
        self.put("software.sh", "exit 3")
        self.put("userdata", "true")
        assert self.boot("1d")[2:] == [
            "software running",
            "software failed 3",
            "userdata running",
            "userdata done",
            "end done",
        ]

    def test_without_a_network_there_is_no_pip_and_that_is_no_end(self) -> None:
        self.tools.add("ls", "exit 2")
        self.tools.add("apt-get", "exit 100")
        assert self.boot("1d")[2:] == ["software running", "software failed 100", "end done"]

    @pytest.mark.parametrize("verb", ["update", "install"])
    def test_packages_that_cannot_be_installed_end_it(self, verb: str) -> None:
        self.tools.add("apt-get", f'case " $* " in *" {verb} "*) exit 100 ;; esac')
        self.put("userdata", "true")
        assert self.boot("1d", "git")[2:] == ["packages running", "packages failed 100"]

    def test_a_failing_script_of_the_user_ends_it_with_its_own_exit_code(self) -> None:
        self.put("userdata", "exit 7")
        assert self.boot()[2:] == ["userdata running", "userdata failed 7"]

    def test_a_second_run_forgets_what_the_first_one_noted(self) -> None:
        self.put("userdata", "exit 7")
        self.boot()
        self.put("userdata", "true")
        assert self.boot()[-3:] == ["userdata running", "userdata done", "end done"]


class TestBootWait:
    """boot-wait.sh on a machine with this run folder and log."""

    @pytest.fixture(autouse=True)
    def _machine(self, tmp_path: Path, tools: Tools) -> None:
        self.folder, self.tools = tmp_path, tools
        tools.add("cloud-init")
        (tmp_path / "log").write_text("".join(f"line {number}\n" for number in range(100)))

    def wait(self, seconds: int = 0, *steps: str) -> str:
        if steps:
            (self.folder / "steps").write_text("".join(f"{step}\n" for step in steps))
        environment = {"IPYFLEET_CLOUD_RUN": str(self.folder), "IPYFLEET_CLOUD_LOG": str(self.folder / "log")}
        return self.tools.run("boot-wait.sh", str(self.folder), str(seconds), **environment)

    def end(self) -> None:
        (self.folder / "result.json").touch()

    def test_a_boot_that_went_well_needs_no_log_and_no_second_program(self) -> None:
        self.end()
        assert self.wait(60, "host done", "end done") == "cloud-init ended\nhost done\nend done\n"
        assert self.tools.calls == []

    def test_after_a_failure_the_last_lines_of_the_log_follow(self) -> None:
        self.end()
        said = self.wait(60, "host done", "userdata failed 7")
        assert said.startswith("cloud-init ended\nhost done\nuserdata failed 7\nlog\nline 60\n")
        assert said.endswith("line 99\n")

    def test_the_end_is_waited_for(self) -> None:
        self.tools.add("sleep", f"touch {self.folder}/result.json")
        assert self.wait(60, "end done").startswith("cloud-init ended\n")
        assert self.tools.calls == ["sleep 0.2"]

    def test_it_is_not_waited_for_longer_than_was_said(self) -> None:
        assert self.wait(0, "host running").startswith("cloud-init late\nhost running\nlog\nline 60\n")

    def test_where_cloud_init_is_switched_off_nothing_is_waited_for(self) -> None:
        (self.folder / "disabled").touch()
        assert self.wait(60).startswith("cloud-init off\n")
