"""The parts of the root program that need no machines: records, locks, processes, images, limits."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from fabfile.providers.local.root import apt, image, limits, network, nspawn, processes, store
from fabfile.providers.local.root.errors import Refused
from fabfile.providers.local.root.image import Image
from fabfile.providers.local.root.store import ClusterRecord, MachineRecord, Place, Process

CLUSTER = ClusterRecord(0, "ipython", "c1", "me@here", 1.0, "10.203.0.0/24")
MACHINE = MachineRecord("engine-0", "m1", "engine", 0, 2.0, ("base-0123456789abcdef",), ("ssh-ed25519 A",))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, 0, "ipython")


class TestStore:
    def test_records_come_back_as_they_were_written(self, place: Place) -> None:
        place.save_cluster(CLUSTER)
        running = place.save_machine(MACHINE, process=Process(1, 2, "boot"))
        assert place.cluster() == CLUSTER
        assert place.machine("engine-0") == running == replace(MACHINE, process=Process(1, 2, "boot"))
        assert place.records() == [running]

    def test_what_is_not_there_is_none(self, place: Place) -> None:
        assert (place.cluster(), place.machine("engine-0"), place.records()) == (None, None, [])

    def test_files_are_for_roots_eyes_only(self, place: Place) -> None:
        place.save_machine(MACHINE)
        for path in (place.machines / "engine-0").glob("**/*"):
            assert path.stat().st_mode & 0o077 == 0

    def test_a_record_that_cannot_be_written_leaves_the_old_one(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place.save_machine(MACHINE)

        def full(descriptor: int) -> None:
            raise OSError("No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            place.save_machine(MACHINE, off=True)
        assert place.machine("engine-0") == MACHINE

    def test_a_folder_without_a_record_is_no_machine(self, place: Place) -> None:
        (place.machines / "engine-3" / "upper").mkdir(parents=True)
        (place.machines / ".gone-engine-4").mkdir()
        assert place.records() == []

    def test_clusters_of_all_users_are_listed_by_user_and_name(self, tmp_path: Path) -> None:
        for uid, name in ((0, "a"), (1000, "a-b")):
            Place(tmp_path, uid, name).save_cluster(replace(CLUSTER, uid=uid, name=name))
        (tmp_path / "clusters" / "stray").mkdir()
        assert [(place.uid, place.name) for place in store.places(tmp_path)] == [(0, "a"), (1000, "a-b")]

    def test_a_second_command_on_a_cluster_is_told_to_wait(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(store, "LOCK_PATIENCE", 0.0)
        with place.alone():
            assert place.busy()
            with pytest.raises(Refused, match="another command") as caught, Place(place.root, 0, "ipython").alone():
                pass
            assert caught.value.kind == "locked"
        assert not place.busy()

    def test_the_lock_of_a_cluster_that_is_gone_is_gone(self, place: Place) -> None:
        with place.alone():
            pass
        assert list((place.root / "locks").iterdir()) == []

    def test_a_lock_file_removed_meanwhile_does_not_let_two_in(self, place: Place) -> None:
        place.save_cluster(CLUSTER)
        inside, both = threading.Event(), []

        def second() -> None:
            with place.alone():
                both.append(inside.is_set())

        with place.alone():
            inside.set()
            place.lock.unlink()
            with place.alone():  # a new file: the old lock says nothing of it
                waiting = threading.Thread(target=second)
                waiting.start()
                waiting.join(0.2)
                assert both == []
            inside.clear()
        waiting.join()
        assert both == [False]


class TestProcesses:
    def test_a_pid_used_again_is_another_process(self) -> None:
        me = processes.identify(os.getpid())
        assert me is not None
        assert processes.alive(me)
        assert not processes.alive(replace(me, start=me.start + 1))
        assert not processes.alive(replace(me, boot="another"))
        assert not processes.alive(None)

    def test_a_process_that_has_ended_is_not_alive_even_if_nobody_collected_it(self) -> None:
        with subprocess.Popen(["true"]) as ended:
            os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
            assert processes.identify(ended.pid) is None
        assert processes.identify(ended.pid) is None

    def test_waiting_ends_with_the_last_process_or_the_time(self) -> None:
        with subprocess.Popen(["sleep", "60"]) as sleeping:
            process = processes.identify(sleeping.pid)
            assert process is not None
            assert not processes.wait([process], 0.01)
            processes.send([process.pid], signal.SIGKILL)
            assert processes.wait([process, replace(process, start=1)], 10)
        processes.send([process.pid], signal.SIGKILL)


class TestApt:
    DUMP = """\
Dir "/";
Acquire "";
Acquire::http::Proxy "http://proxy:3128";
Acquire::https::CaInfo "/etc/ssl/private.pem";
Acquire::http::Proxy::mirror "DIRECT";
Acquire::https "";
Acquire::Check-Valid-Until "false";
Acquire::Retries "5";
Acquire::Languages:: "none";
Acquire::IndexTargets::deb::DEP-11 "";
APT::Update::Post-Invoke:: "rm -f /var/cache/apt/archives/*.deb";
APT::Install-Recommends "false";
"""
    TARGETS = """\
http://mirror/debian/|bookworm|main|Debian
http://mirror/debian/|bookworm|main|Debian
http://mirror/debian/|bookworm|contrib|Debian
http://mirror/debian-security/|bookworm-security|main|Debian
http://vendor/debian/|bookworm|main|Vendor
http://mirror/debian/|trixie|main|Debian
"""

    def test_ways_to_the_mirror_are_taken_over_and_nothing_else(self) -> None:
        assert apt.needed(self.DUMP).splitlines() == [
            'Acquire::http::Proxy "http://proxy:3128";',
            'Acquire::https::CaInfo "/etc/ssl/private.pem";',
            'Acquire::http::Proxy::mirror "DIRECT";',
            'Acquire::Check-Valid-Until "false";',
            'Acquire::Retries "5";',
        ]

    def test_the_computers_own_mirrors_of_the_suite_are_taken_over(self) -> None:
        assert apt.mirrors(self.TARGETS, "debian", "bookworm") == (
            "deb http://mirror/debian/ bookworm main",
            "deb http://mirror/debian-security/ bookworm-security main",
        )

    def test_a_suite_that_the_computer_has_no_mirror_of_gets_none(self) -> None:
        assert apt.mirrors(self.TARGETS, "ubuntu", "noble") == ()
        assert apt.mirrors("http://m/|bookworm-security|main|Debian", "debian", "bookworm") == ()


class TestImage:
    def test_an_image_is_named_by_all_that_makes_it(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        plain = Image("debian", "bookworm", "s1")
        others = [replace(plain, suite="trixie"), replace(plain, software="s2"), replace(plain, software="")]
        assert len({other.layers for other in (plain, *others)}) == 4
        before = plain.layers
        for name in ("host.sh", "software.sh"):
            (tmp_path / name).write_text((image.SCRIPTS / name).read_text() + "# changed\n")
        monkeypatch.setattr(image, "SCRIPTS", tmp_path)
        assert plain.layers[0] != before[0]
        assert plain.layers[1] == before[1]
        monkeypatch.setattr(image, "PACKAGES", [*image.PACKAGES, "vim"])
        assert plain.layers[1] != before[1]

    def test_a_build_that_breaks_leaves_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        wanted, real = Image("debian", "bookworm"), image.run

        def half(*words: str, **options: object) -> None:
            if "mmdebstrap" in words:
                target = next(Path(word) for word in words if word.endswith("/tree"))
                (target / "etc").mkdir(parents=True)
                raise Refused("mmdebstrap failed", seen="E: Unable to locate package")
            real(*words)

        monkeypatch.setattr(image, "run", half)
        monkeypatch.setattr(apt, "configuration", lambda: "")
        monkeypatch.setattr(apt, "sources", lambda distribution, suite: ())
        with pytest.raises(Refused, match="mmdebstrap failed"):
            image.build_base(tmp_path, wanted)
        assert list((tmp_path / "images").iterdir()) == []
        assert image.missing(tmp_path, wanted) == wanted.layers

    def test_a_build_that_breaks_takes_nothing_with_it_that_was_mounted_into_its_tree(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """mmdebstrap mounts the computer's /dev/shm, and does not unmount it when it is killed."""
        (tmp_path / "shm").mkdir()
        (tmp_path / "shm" / "precious").touch()
        script = f'mkdir -p "$1/dev/shm" && mount --bind {tmp_path}/shm "$1/dev/shm" && echo mounted; exit 9'

        def build(wanted: Image, target: Path, keyring: Path) -> tuple[str, ...]:
            return (*image.ASIDE, "sh", "-c", script, "sh", str(target))

        monkeypatch.setattr(image, "_mmdebstrap", build)
        monkeypatch.setattr(image, "_keyring", lambda wanted: tmp_path)
        with pytest.raises(Refused, match="exit code 9") as caught:
            image.build_base(tmp_path, Image("debian", "bookworm"))
        assert caught.value.seen == "mounted"
        assert (tmp_path / "shm" / "precious").exists()
        assert list((tmp_path / "images").iterdir()) == []

    def test_what_is_mounted_in_a_build_that_was_killed_is_not_removed_with_it(self, tmp_path: Path) -> None:
        """As a build left it whose mmdebstrap had no namespace of its own."""
        left = tmp_path / ".new-base-0123456789abcdef"
        (left / "tree" / "dev" / "shm").mkdir(parents=True)
        (left / "tree" / "file").touch()
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(left / "tree" / "dev" / "shm")], check=True)
        try:
            (left / "tree" / "dev" / "shm" / "precious").touch()
            image.discard(left)
            assert (left / "tree" / "dev" / "shm" / "precious").exists()
            assert not (left / "tree" / "file").exists()
        finally:
            subprocess.run(["umount", str(left / "tree" / "dev" / "shm")], check=True)
        image.discard(left)
        assert not left.exists()

    def test_no_build_outlives_the_program_that_began_it(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "open")
        words = (*image.ASIDE, "sh", "-c", 'exec 9>"$1"; sleep 600 & wait', "sh", str(tmp_path / "open"))
        code = f"from fabfile.providers.local.root.command import run; run(*{words!r}, timeout=600)"
        program = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[1])
        with (tmp_path / "open").open("rb") as held_by_the_build:
            program.kill()
            program.wait()
            assert select.select([held_by_the_build], [], [], 20)[0], "still running"
            assert held_by_the_build.read() == b""

    def test_no_password_of_a_mirror_or_proxy_is_among_the_words_of_a_command(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(apt, "configuration", lambda: 'Acquire::http::Proxy "http://me:secret@proxy";\n')
        monkeypatch.setattr(apt, "sources", lambda *wanted: ("deb http://me:secret@m/ bookworm main",))
        words = image._mmdebstrap(Image("debian", "bookworm"), tmp_path / "tree", tmp_path)
        assert "secret" not in " ".join(words)
        assert Path(words[-1]).read_text() == "deb http://me:secret@m/ bookworm main\n"

    def test_no_space_is_said_before_anything_is_built(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(image, "BASE_BYTES", 1 << 60)
        with pytest.raises(Refused, match=r"needs 1152921504\.6 GB .* free"):
            image.build_base(tmp_path, Image("debian", "bookworm"))
        assert list((tmp_path / "images").iterdir()) == []

    def test_missing_keys_are_said_before_anything_is_built(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(image, "KEYRINGS", tmp_path)
        with pytest.raises(Refused, match="cannot be verified") as caught:
            image.build_base(tmp_path, Image("ubuntu", "noble"))
        assert "ubuntu-keyring" in caught.value.hint

    def test_an_image_in_use_stays(self, tmp_path: Path) -> None:
        base, software = "base-0123456789abcdef", "software-0123456789abcdef"
        for name, below in ((base, {}), (software, {"base": base})):
            store.write(tmp_path / "images" / name / "layer.json", {"suite": "bookworm", **below})
        Place(tmp_path, 0, "ipython").save_machine(replace(MACHINE, layers=(software, base)))
        for name in (base, software):
            with pytest.raises(Refused, match="in use"):
                image.remove(tmp_path, name)
        (tmp_path / "clusters" / "0-ipython" / "machines" / "engine-0" / "machine.json").unlink()
        with pytest.raises(Refused, match="in use"):
            image.remove(tmp_path, base)
        image.remove(tmp_path, software)
        image.remove(tmp_path, software)
        image.remove(tmp_path, base)
        assert list((tmp_path / "images").iterdir()) == []

    def test_an_image_is_listed_with_its_size_and_use(self, tmp_path: Path) -> None:
        store.write(tmp_path / "images" / MACHINE.layers[0] / "layer.json", {"suite": "bookworm", "made": 1.0})
        (listed,) = image.listed(tmp_path)
        assert (listed["suite"], listed["used"]) == ("bookworm", False)
        assert listed["bytes"] > 0
        Place(tmp_path, 0, "ipython").save_machine(MACHINE)
        assert image.listed(tmp_path)[0]["used"]


class TestNspawn:
    def test_a_machine_is_launched_in_its_clusters_network_by_a_name_of_its_own(self, place: Place) -> None:
        words = nspawn.words(place, "engine-0", Path("/root-of-it"))
        name = network.namespace(place)
        assert words[:4] == ("nsenter", f"--net=/run/netns/{name}", "--", "systemd-nspawn")
        assert {"--boot", "--keep-unit", "--register=no", "--directory=/root-of-it", "--hostname=engine-0"} <= set(
            words
        )
        assert f"--machine={name}-engine-0" in words
        assert nspawn.words(Place(place.root, 0, "other"), "engine-0", Path("/")) != words


class TestLimits:
    @pytest.fixture
    def kernel(self, tmp_path: Path) -> Path:
        folder = tmp_path / "sys"
        (folder / "fs" / "inotify").mkdir(parents=True)
        (folder / "fs/inotify/max_user_instances").write_text("128\n")
        (folder / "fs/inotify/max_user_watches").write_text("2000000\n")
        return folder

    def instances(self, kernel: Path) -> int:
        return int((kernel / "fs/inotify/max_user_instances").read_text())

    def test_few_machines_need_no_more(self, tmp_path: Path, kernel: Path) -> None:
        limits.suffice(tmp_path, 8, kernel)
        assert self.instances(kernel) == 128

    def test_limits_are_raised_for_many_and_put_back(self, tmp_path: Path, kernel: Path) -> None:
        limits.suffice(tmp_path, 9, kernel)
        limits.suffice(tmp_path, 20, kernel)
        assert self.instances(kernel) == 8192
        limits.restore(tmp_path, kernel)
        assert self.instances(kernel) == 128
        assert (kernel / "fs/inotify/max_user_watches").read_text() == "2000000\n"
        limits.restore(tmp_path, kernel)

    def test_what_somebody_changed_since_stays(self, tmp_path: Path, kernel: Path) -> None:
        limits.suffice(tmp_path, 9, kernel)
        (kernel / "fs/inotify/max_user_instances").write_text("1024\n")
        limits.restore(tmp_path, kernel)
        assert self.instances(kernel) == 1024


def test_the_scripts_of_the_provider_pass_shellcheck() -> None:
    folder = Path(nspawn.__file__).parent
    scripts = sorted(map(str, folder.glob("*.sh")))
    assert len(scripts) == 2
    subprocess.run(["shellcheck", *scripts], check=True)


def test_no_module_of_the_root_program_has_the_name_of_one_of_pythons_own() -> None:
    names = {path.stem for path in Path(nspawn.__file__).parent.glob("*.py")}
    assert not names & sys.stdlib_module_names
