"""bootscripts/smartos-boot.sh and smartos-wait.sh, run for real in a zone of the SMF stand-in, below a folder."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fabfile import boot
from tests.smf.places import read
from tests.smf.playground import Playground

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIL4kjbCeiaZNxcUH5gmURVFRf/GP4x9AvUbuWBCBqNrM"
EXECUTE = "svc:/smartdc/mdata:execute"


class Zone:
    """A machine's files below a folder, with its metadata."""

    def __init__(self, folder: Path, **metadata: str) -> None:
        self.folder = folder
        self.smf = Playground(folder / "smf", metadata={"ipyfleet.authorized_keys": f"{KEY} me\n", **metadata})
        (folder / "var/ssh").mkdir(parents=True)
        (folder / "root").mkdir()
        (folder / "bin").mkdir()
        (folder / "bin/poweroff").write_text(f"#!/bin/sh\n: >{folder}/off\n")
        (folder / "bin/poweroff").chmod(0o755)
        self.publish = folder / "var/ssh/ssh_host_ed25519_key.pub"
        self.publish.write_text(f"{KEY} root@zone\n")

    def script(self) -> Path:
        """The boot script with all its paths below the folder."""
        text = boot.script("smartos-boot.sh").read_text()
        for path in ("/var/db", "/var/run", "/var/ssh", "/etc/ssh", "/root", "/var/svc/manifest"):
            text = text.replace(path, f"{self.folder}{path}")
        text = text.replace("PATH=/usr/xpg4/bin:", f"PATH={self.folder}/bin:{self.smf.bin}:/usr/xpg4/bin:")
        path = self.folder / "boot.sh"
        path.write_text(text)
        path.chmod(0o755)
        return path

    def boot(self) -> subprocess.CompletedProcess[str]:
        """Run it as mdata:execute does: bare environment, cwd /."""
        environment = {"PATH": "/usr/sbin:/usr/bin", "SMF_STANDIN_STATE": str(self.smf.place.state)}
        return subprocess.run(
            [self.script()], env=environment, cwd="/", capture_output=True, text=True, timeout=60, check=False
        )

    def metadata(self) -> dict[str, str]:
        """What the machine's metadata is now."""
        return read(self.smf.place.metadata, {})


@pytest.fixture
def zone(tmp_path: Path) -> Iterator[Zone]:
    zone = Zone(tmp_path / "zone")
    yield zone
    zone.smf.close()


def put(zone: Zone, **metadata: str) -> None:
    for name, value in metadata.items():
        zone.smf.ok("mdata-put", f"ipyfleet.{name}", stdin=value)


def test_our_keys_are_let_in_beside_those_that_are_there_and_only_once(zone: Zone) -> None:
    there = zone.folder / "root/.ssh/authorized_keys"
    there.parent.mkdir()
    there.write_text("ssh-rsa AAAA theirs\n")
    for _ in range(2):
        done = zone.boot()
        assert done.returncode == 0, done.stderr
    assert there.read_text() == f"ssh-rsa AAAA theirs\n{KEY} me\n"
    assert there.parent.stat().st_mode & 0o077 == 0


def test_the_host_key_is_published_without_its_comment(zone: Zone) -> None:
    zone.boot()
    assert zone.metadata()["ipyfleet.host_key"].strip() == KEY


def test_a_host_key_that_comes_late_is_waited_for(zone: Zone) -> None:
    zone.publish.unlink()
    later = subprocess.Popen(["sh", "-c", f"sleep 1.5; echo '{KEY} x' >{zone.publish}"])
    assert zone.boot().returncode == 0
    later.wait()
    assert zone.metadata()["ipyfleet.host_key"].strip() == KEY


def test_the_users_script_runs_once_and_after_ours(zone: Zone) -> None:
    put(zone, userdata=f"#!/bin/sh\nmdata-get ipyfleet.host_key >>{zone.folder}/ran\n")
    zone.boot()
    zone.boot()
    assert (zone.folder / "ran").read_text().splitlines() == [KEY]


def test_a_users_script_that_fails_fails_the_boot_and_runs_again_at_the_next(zone: Zone) -> None:
    put(zone, userdata=f"#!/bin/sh\necho oh no >&2\necho x >>{zone.folder}/ran\nexit 3\n")
    done = zone.boot()
    assert done.returncode == 1
    assert "oh no" in done.stderr
    assert "`userdata` failed" in done.stderr
    zone.boot()
    assert (zone.folder / "ran").read_text() == "x\nx\n"


def test_a_machine_that_shall_join_by_itself_has_a_service_that_waits_for_its_kit(zone: Zone) -> None:
    put(zone, join_method="#!/bin/sh\nexit 0\n", join_manifest=(boot.ROOT / "smf/ipyfleet-join.xml").read_text())
    for _ in range(2):
        done = zone.boot()
        assert done.returncode == 0, done.stderr
    assert zone.smf.ok("svcs", "-Ho", "FMRI", "ipyfleet-join").strip() == "svc:/site/ipyfleet-join:default"
    assert (zone.folder / "var/db/ipyfleet/join-method").stat().st_mode & 0o777 == 0o700


def test_the_others_have_none(zone: Zone) -> None:
    zone.boot()
    assert "join" not in zone.smf.ok("svcs", "-aHo", "FMRI")


def test_metadata_that_cannot_be_read_is_a_failure_and_not_a_machine_without_a_lease(zone: Zone) -> None:
    (zone.folder / "bin/mdata-get").write_text("#!/bin/sh\nexit 2\n")
    (zone.folder / "bin/mdata-get").chmod(0o755)
    (zone.folder / "bin/sleep").write_text("#!/bin/sh\n")
    (zone.folder / "bin/sleep").chmod(0o755)
    done = zone.boot()
    assert done.returncode == 1
    assert "failed with 2" in done.stderr


def test_a_machine_made_of_an_image_of_another_one_is_a_new_one(zone: Zone) -> None:
    put(zone, userdata=f"#!/bin/sh\necho x >>{zone.folder}/ran\n")
    zone.smf.ok("mdata-put", "x", stdin="")
    zone.boot()
    (zone.folder / "var/db/ipyfleet/uuid").write_text("another\n")
    with (zone.folder / "root/.ssh/authorized_keys").open("a") as keys:
        keys.write("ssh-rsa AAAA old cluster\n")
    zone.boot()
    assert (zone.folder / "ran").read_text() == "x\nx\n"
    assert (zone.folder / "root/.ssh/authorized_keys").read_text() == f"{KEY} me\n"


def test_the_lease_ends_with_a_machine_that_is_off(zone: Zone) -> None:
    put(zone, lease="1")
    zone.boot()
    deadline = time.monotonic() + 10
    while not (zone.folder / "off").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def timer(zone: Zone) -> int:
    return int((zone.folder / "var/run/ipyfleet/lease.pid").read_text())


def end(pid: int) -> None:
    """End a timer with the sleep that it waits for, and wait until it is buried: until then its pid counts as alive."""
    subprocess.run(["pkill", "-KILL", "-P", str(pid)], check=False)
    with contextlib.suppress(ProcessLookupError):  # without its sleep it ends by itself
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_lease_is_armed_once_a_boot_also_when_the_script_runs_again(zone: Zone) -> None:
    put(zone, lease="500")
    zone.boot()
    first = timer(zone)
    try:
        zone.boot()
        assert timer(zone) == first
        os.kill(first, 0)
    finally:
        end(first)
    zone.boot()
    second = timer(zone)
    end(second)
    assert second != first


def test_who_takes_the_note_away_ends_the_timer(zone: Zone) -> None:
    put(zone, lease="2")
    zone.boot()
    pid = timer(zone)
    (zone.folder / "var/run/ipyfleet/lease.pid").unlink()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not (zone.folder / "off").exists()


class TestWaiting:
    """smartos-wait.sh."""

    def wait(self, zone: Playground, seconds: int) -> list[str]:
        words = ["sh", str(boot.script("smartos-wait.sh")), str(seconds)]
        return zone.run(*words, timeout=60).stdout.splitlines()

    @pytest.mark.parametrize(
        ("script", "verdict"), [("exit 0", "ended"), ("echo broken; exit 7", "failed"), ("sleep 30", "late")]
    )
    def test_what_became_of_the_script(self, tmp_path: Path, script: str, verdict: str) -> None:
        zone = Playground(tmp_path / "zone", metadata={"user-script": f"#!/bin/sh\n{script}\n"})
        try:
            zone.begin()
            said, *log = self.wait(zone, 5 if verdict == "late" else 20)
            assert said == verdict
            assert (verdict == "failed") == any("broken" in line for line in log)
        finally:
            zone.close()

    def test_a_machine_that_has_no_such_service_is_no_smartos(self, tmp_path: Path) -> None:
        zone = Playground(tmp_path / "zone", smartos=False)
        try:
            zone.begin()
            assert self.wait(zone, 30)[0] == "absent"
        finally:
            zone.close()
