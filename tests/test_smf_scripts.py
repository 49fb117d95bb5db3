"""The scripts that run under SMF, with contracts, clock and sleep of our own."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBEXEC = "/opt/ipyfleet/libexec"
FMRI = "svc:/site/ipengine:engine-1"


class Zone:
    """A folder with our scripts and programs of our own; ``log`` is what those were asked to do.

    ``pgrep`` finds the processes that stand in ``members-CONTRACT``, as long as they are there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.log.touch()
        self.run_folder = folder / "run"
        self.run_folder.mkdir()
        for path in [*(ROOT / "smf").glob("*.sh"), *(ROOT / "bootscripts").glob("*.sh")]:
            self.program(path.stem, path.read_text().replace(LIBEXEC, str(folder)))
        self.program("sleep", f'echo "sleep $1" >>{self.log}')
        self.program("date", "echo 1000")
        self.program("kstat", f'echo "unix:0:system_misc:boot_time $(cat {folder}/boot)"')
        self.program("ps", f"cat {folder}/own")
        self.program("pgrep", f'grep . "{folder}/members-$2"')
        self.program("pkill", f'echo "pkill $*" >>{self.log}; : >"{folder}/members-$3"')
        self.program("kill", f'echo "kill $*" >>{self.log}')
        self.program(
            "svcprop", f'case "$*" in *-p\\ config*) cat {folder}/config ;; *) cat "{folder}/${{2##*/}}" ;; esac'
        )
        self.write("boot", "77\n")
        self.write("own", " 500\n")
        self.write("config", "")

    def program(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def __call__(
        self, name: str, *words: str, check: bool = True, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": f"{self.folder}:/usr/bin:/bin",
            "SMF_FMRI": FMRI,
            "IPYFLEET_RUN": str(self.run_folder),
            **variables,
        }
        command = [str(self.folder / name), *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=check, timeout=30)

    @property
    def done(self) -> list[str]:
        return self.log.read_text().splitlines()


@pytest.fixture
def zone(tmp_path: Path) -> Zone:
    return Zone(tmp_path)


class TestContracts:
    def test_what_ends_by_itself_is_not_killed(self, zone: Zone) -> None:
        zone.write("members-7", "4711\n")
        zone.program("sleep", f'echo "sleep $1" >>{zone.log}; : >{zone.folder}/members-7')
        zone("smf-contract", "clear", "7", "3")
        assert zone.done == ["sleep 0.2"]

    def test_an_empty_one_takes_no_time(self, zone: Zone) -> None:
        zone("smf-contract", "clear", "7", "3")
        assert zone.done == []

    def test_what_stays_is_killed_after_its_time(self, zone: Zone) -> None:
        zone.write("members-7", "4711\n4712\n")
        zone("smf-contract", "clear", "7", "3")
        assert zone.done == ["sleep 0.2"] * 15 + ["pkill -KILL -c 7", "sleep 0.2"]

    def test_what_cannot_be_killed_is_given_up(self, zone: Zone) -> None:
        zone.write("members-7", "4711\n")
        zone.program("pkill", f'echo "pkill $*" >>{zone.log}')
        assert zone("smf-contract", "clear", "7", "0", check=False).returncode == 1

    def test_a_start_ends_what_the_last_one_left(self, zone: Zone) -> None:
        zone("smf-contract", "succeed", "note", "0")
        zone.write("members-500", "4711\n")
        zone.write("own", "501\n")
        zone("smf-contract", "succeed", "note", "0")
        assert zone.done == ["pkill -KILL -c 500", "sleep 0.2"]

    def test_its_own_is_never_ended(self, zone: Zone) -> None:
        zone.write("members-500", "4711\n")
        for _ in range(2):
            zone("smf-contract", "succeed", "note", "0")
        assert zone.done == []

    @pytest.mark.parametrize(("name", "text"), [("boot", "78\n"), ("boot", ""), ("own", "")])
    def test_numbers_of_another_boot_are_somebody_elses(self, zone: Zone, name: str, text: str) -> None:
        zone("smf-contract", "succeed", "note", "0")
        zone.write("members-500", "4711\n")
        zone.write("own", "501\n")
        zone.write(name, text)
        zone("smf-contract", "succeed", "note", "0")
        assert zone.done == []

    @pytest.fixture(autouse=True)
    def beside(self, zone: Zone, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(zone.folder)


class TestTheLease:
    @pytest.fixture(autouse=True)
    def lease(self, zone: Zone) -> None:
        self.note = zone.folder / "note"
        zone.write("config", "config/seconds astring 130\nconfig/action astring poweroff\n")
        zone.program("lease-end", f'echo "lease-end $(cat "$IPYFLEET_VALUES")" >>{zone.log}')
        zone.program("sleep", f'echo "sleep $1 $(cat {self.note})" >>{zone.log}')

    def run(self, zone: Zone, verb: str) -> int:
        return zone("lease-method", verb, check=False, IPYFLEET_LEASE_NOTE=str(self.note)).returncode

    def test_counts_down_in_pieces_and_then_does_what_was_agreed(self, zone: Zone) -> None:
        assert self.run(zone, "start") == 0
        assert zone.done[:3] == ["sleep 60 130 1000", "sleep 60 70 1000", "sleep 10 10 1000"]
        assert zone.done[3:5] == ["lease-end action poweroff", "seconds 130"]

    def test_goes_on_where_it_was_when_it_was_killed(self, zone: Zone) -> None:
        self.note.write_text("20 900\n")
        self.run(zone, "start")
        assert zone.done[0] == "sleep 20 20 1000"

    def test_a_stop_forgets_where_it_was(self, zone: Zone) -> None:
        self.note.write_text("20 900\n")
        zone.write("contract", "9\n")
        assert self.run(zone, "stop") == 0
        assert zone.done == ["pkill -TERM -c 9"]
        assert not self.note.exists()

    @pytest.mark.parametrize("text", ["", "config/seconds astring 1.5\n"])
    def test_what_is_no_number_is_an_error_that_no_retry_mends(self, zone: Zone, text: str) -> None:
        zone.write("config", text)
        assert self.run(zone, "start") == 96
        assert zone.done == []

    def test_a_failure_at_its_end_is_tried_again_at_the_next_start(self, zone: Zone) -> None:
        zone.program("lease-end", "exit 1")
        assert self.run(zone, "start") == 1
        assert self.note.read_text() == "10 1000\n"


class TestTheEndOfALease:
    @pytest.fixture(autouse=True)
    def smf(self, zone: Zone) -> None:
        zone.program("svcadm", f'echo "svcadm $*" >>{zone.log}; [ "$2" != "svc:/site/ipcontroller:*" ]')
        zone.program("poweroff", f"echo poweroff >>{zone.log}")

    def test_powers_off(self, zone: Zone) -> None:
        zone.write("values", "action poweroff\n")
        zone("lease-end", IPYFLEET_VALUES=str(zone.folder / "values"))
        assert zone.done == ["poweroff"]

    def test_takes_our_services_out_of_use_its_own_last(self, zone: Zone) -> None:
        zone.write("values", "action stop\n")
        zone("lease-end", IPYFLEET_VALUES=str(zone.folder / "values"))
        names = ("ipyfleet-repair", "ipengine", "ipcontroller", "ipyfleet-lease")
        assert zone.done == [f"svcadm disable svc:/site/{name}:*" for name in names]

    def test_without_an_action_is_an_error(self, zone: Zone) -> None:
        zone.write("values", "")
        assert zone("lease-end", check=False, IPYFLEET_VALUES=str(zone.folder / "values")).returncode == 1


class TestTheRepair:
    def test_restarts_engines_by_their_numbers_and_believes_nothing_else(self, zone: Zone) -> None:
        zone.program("svcadm", f'echo "svcadm $*" >>{zone.log}')
        (zone.run_folder / "unknown-engines").write_text("2\n../x\n\n12\n3 4\n*\n")
        zone("engine-repair", "restart")
        assert zone.done == [
            "svcadm restart svc:/site/ipengine:engine-2",
            "svcadm restart svc:/site/ipengine:engine-12",
        ]

    def test_asks_as_the_service_user_and_restarts_only_when_there_was_an_answer(self, zone: Zone) -> None:
        rounds = zone.folder / "rounds"
        text = (
            (zone.folder / "repair-method").read_text().replace("/opt/ipyfleet/env/bin/python", f"{zone.folder}/python")
        )
        zone.program("repair-method", text)
        zone.program("python", f'echo "python $*" >>{zone.log}; [ ! -e {rounds} ]')
        zone.program("engine-repair", f'echo "repair $*" >>{zone.log}; : >{rounds}')
        zone.program("od", "echo 31")
        zone.program(
            "sleep", f'echo "sleep $1" >>{zone.log}; [ "$(grep -c sleep {zone.log})" -lt 3 ] || /bin/kill $PPID'
        )
        zone("repair-method", check=False)
        ask = f"python -I {zone.folder}/run-as.py ipyparallel 60 {zone.folder}/engine-repair ask"
        assert zone.done == ["sleep 30", ask, "repair restart", "sleep 30", ask, "sleep 30"]


class TestTheHost:
    def prepare(self, zone: Zone, known: str) -> None:
        text = (zone.folder / "host").read_text()
        for path in ("/var/lib/ipyparallel", "/etc/ipyfleet", "/opt/ipyfleet"):
            text = text.replace(path, f"{zone.folder}{path}")
        zone.program("host", text)
        zone.program("uname", "echo SunOS")
        zone.program("id", "case $1 in -u) echo 0;; *) echo ipyparallel;; esac")
        zone.program("getent", f'[ "$1" = "{known}" ] && echo "ipyparallel:x:1:1::{zone.folder}/var/lib/ipyparallel:"')
        for name in ("groupadd", "useradd", "chown"):
            zone.program(name, f'echo "{name} $*" >>{zone.log}')

    def test_gets_a_user_by_illumos_own_means(self, zone: Zone) -> None:
        self.prepare(zone, "")
        zone("host")
        home = f"{zone.folder}/var/lib/ipyparallel"
        assert zone.done == [
            "groupadd ipyparallel",
            f"useradd -g ipyparallel -d {home} -s /usr/bin/false ipyparallel",
            f"chown ipyparallel:ipyparallel {home}",
        ]
        assert Path(home).stat().st_mode & 0o777 == 0o750
        assert (zone.folder / "etc/ipyfleet/user-made").exists()

    def test_keeps_a_user_that_it_has(self, zone: Zone) -> None:
        self.prepare(zone, "passwd")
        zone("host")
        assert [line.split()[0] for line in zone.done] == ["chown"]


class TestAnotherUser:
    @pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
    def test_runs_the_command_as_him_with_his_home(self) -> None:
        entry = pwd.getpwnam("daemon")
        words = [sys.executable, "-I", str(ROOT / "bootscripts" / "run-as.py"), "daemon", "9"]
        done = subprocess.run(
            [*words, "sh", "-c", "id -u; id -G; echo $HOME $USER; umask"], capture_output=True, text=True
        )
        user, groups, names, mask = done.stdout.splitlines()
        assert (user, names, mask) == (str(entry.pw_uid), f"{entry.pw_dir} daemon", "0077")
        assert "0" not in groups.split()

    def test_ends_what_takes_too_long(self) -> None:
        me = pwd.getpwuid(os.geteuid()).pw_name
        words = [sys.executable, "-I", str(ROOT / "bootscripts" / "run-as.py"), me, "1", "sleep", "30"]
        assert subprocess.run(words, timeout=20).returncode == -14
