"""Files placed on a host and read from it, over a real sshd."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from fabfile.errors import RemoteError
from fabfile.remote import File, Then
from fabfile.ssh_host import SCRIPTS, SshHost, archive
from tests.sshd import host as host
from tests.sshd import over_ssh
from tests.sshd import server as server


def about(path: Path) -> tuple[bytes, int, str]:
    return path.read_bytes(), stat.S_IMODE(path.stat().st_mode), f"{path.owner()}:{path.group()}"


class TestPlace:
    def test_files_are_there_with_content_mode_and_owner(self, host: SshHost, tmp_path: Path) -> None:
        files = [
            File(f"{tmp_path}/plain", b"plain\n"),
            File(f"{tmp_path}/secret", b"\0\xff" * 1000, 0o600, "nobody:nogroup"),
            File(f"{tmp_path}/deep/er/program", b"", 0o755, "root:daemon"),
        ]
        assert host.place(files) == {file.path for file in files}
        assert about(tmp_path / "plain") == (b"plain\n", 0o644, "root:root")
        assert about(tmp_path / "secret") == (b"\0\xff" * 1000, 0o600, "nobody:nogroup")
        assert about(tmp_path / "deep/er/program") == (b"", 0o755, "root:daemon")
        assert abs((tmp_path / "plain").stat().st_mtime - time.time()) < 60
        for made in (tmp_path / "deep", tmp_path / "deep/er"):
            assert (stat.S_IMODE(made.stat().st_mode), made.owner()) == (0o755, "root")
        assert sorted(os.listdir(tmp_path)) == ["deep", "plain", "secret"], "nothing else is left behind"

    def test_what_is_right_already_stays_untouched(self, host: SshHost, tmp_path: Path) -> None:
        files = [File(f"{tmp_path}/{name}", b"x", 0o640, "nobody:nogroup") for name in "ab"]
        host.place(files)

        def touched() -> list[tuple[int, int]]:  # not when they were read: they are compared
            return [(seen.st_ino, seen.st_ctime_ns) for seen in ((tmp_path / name).stat() for name in "ab")]

        before = touched()
        assert host.place(files) == frozenset()
        assert touched() == before

    @pytest.mark.parametrize(
        "change", [{"data": b"y"}, {"data": b"xx"}, {"mode": 0o600}, {"owner": "root:root"}, {"owner": "nobody:root"}]
    )
    def test_a_difference_in_content_mode_or_owner_replaces_just_that_file(
        self, host: SshHost, tmp_path: Path, change: dict[str, object]
    ) -> None:
        files = [File(f"{tmp_path}/{name}", b"x", 0o640, "nobody:nogroup") for name in "abc"]
        host.place(files)
        files[1] = replace(files[1], **change)  # type: ignore[arg-type]  # the right types are in the table above
        assert host.place(files) == {f"{tmp_path}/b"}
        assert about(tmp_path / "b") == (files[1].data, files[1].mode, files[1].owner)

    def test_a_file_is_replaced_by_a_rename(self, host: SshHost, tmp_path: Path) -> None:
        host.place([File(f"{tmp_path}/file", b"old")])
        with (tmp_path / "file").open("rb") as reader:
            host.place([File(f"{tmp_path}/file", b"new and longer")])
            assert reader.read() == b"old", "who reads the old file reads it to its end"
        assert (tmp_path / "file").read_bytes() == b"new and longer"

    def test_a_link_is_replaced_and_not_followed(self, host: SshHost, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").write_bytes(b"mine")
        (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
        assert host.place([File(f"{tmp_path}/link", b"mine")]) == {f"{tmp_path}/link"}
        assert not (tmp_path / "link").is_symlink()
        assert (tmp_path / "elsewhere").read_bytes() == b"mine"

    def test_a_link_in_a_folder_of_somebodys_own_does_not_lead_to_where_he_is_not_at_home(
        self, host: SshHost, tmp_path: Path
    ) -> None:
        elsewhere, link = tmp_path / "elsewhere", tmp_path / "link"
        elsewhere.mkdir()
        link.symlink_to(elsewhere)
        theirs = File(f"{link}/file", b"x", 0o600, "nobody:nogroup")
        with pytest.raises(RemoteError, match=f"leads to {elsewhere}, where nobody:nogroup is not at home"):
            host.place([theirs])
        assert os.listdir(elsewhere) == []
        shutil.chown(elsewhere, "nobody")
        assert host.place([theirs]) == {theirs.path}
        assert about(elsewhere / "file") == (b"x", 0o600, "nobody:nogroup")

    def test_a_directory_in_the_way_is_an_error(self, host: SshHost, tmp_path: Path) -> None:
        (tmp_path / "directory").mkdir()
        with pytest.raises(RemoteError, match="is a directory"):
            host.place([File(f"{tmp_path}/directory", b"x")])
        assert os.listdir(tmp_path / "directory") == []

    def test_an_owner_that_is_not_there_is_an_error_and_nothing_is_placed(self, host: SshHost, tmp_path: Path) -> None:
        with pytest.raises(RemoteError, match="nobody-at-all"):
            host.place([File(f"{tmp_path}/file", b"x", owner="nobody-at-all:root")])
        assert os.listdir(tmp_path) == []

    names = some.text(some.characters(exclude_characters="\0\n/", exclude_categories=["Cs"]), min_size=1, max_size=40)

    @settings(over_ssh, max_examples=25)
    @given(names.filter(lambda name: name not in (".", "..") and len(name.encode()) < 200))
    def test_any_name_will_do(self, host: SshHost, tmp_path: Path, name: str) -> None:
        path = str(tmp_path / "names" / name)
        assert host.place([File(path, name.encode())]) == {path}
        assert host.place([File(path, name.encode())]) == frozenset()
        assert host.read(path) == name.encode()
        os.unlink(path)

    @pytest.mark.parametrize("path", ["relative", "/ends/", "/two\nlines", "/nul\0", ""])
    def test_what_is_no_path_of_a_file_is_refused(self, host: SshHost, path: str) -> None:
        with pytest.raises(ValueError, match="not an absolute path"):
            host.place([File(path, b"")])

    def test_nobody_else_can_read_a_secret_while_it_arrives(self, tmp_path: Path) -> None:
        """By hand, the archive held up in the middle; umask 0 as the worst case."""
        secret = File(f"{tmp_path}/secret", b"the secret\n" * 100_000, 0o600, "nobody:nogroup")
        pieces = list(archive([secret]))
        command = ["sh", "-c", f"umask 0; exec sh {SCRIPTS / 'place.sh'}"]
        stage = {**os.environ, "TMPDIR": str(tmp_path)}
        program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=stage)
        assert program.stdin is not None
        half = len(pieces) // 2
        program.stdin.write(b"".join(pieces[:half]))
        program.stdin.flush()
        while not (arriving := [*tmp_path.glob("ipyfleet.*/0")]):
            time.sleep(0.01)
        assert stat.S_IMODE(arriving[0].parent.stat().st_mode) == 0o700
        program.stdin.write(b"".join(pieces[half:]))
        program.stdin.close()
        assert program.wait(20) == 0
        assert about(tmp_path / "secret") == (secret.data, 0o600, "nobody:nogroup")

    @pytest.mark.parametrize("stage", ["", "/dev/shm"])
    def test_a_file_has_its_mode_and_owner_before_it_leaves_the_hidden_folder(self, tmp_path: Path, stage: str) -> None:
        """From another file system it takes two steps, of which the last one is a rename again."""
        tools, log = tmp_path / "tools", tmp_path / "log"
        tools.mkdir()
        # What is moved, the device that it is on, and that of the folder that it goes to.
        move = f"""#!/bin/sh
            for folder; do :; done
            for file; do
                [ -f "$file" ] || continue
                echo "$(stat -c '%a %U:%G %d' "$file") $(stat -c %d "$folder")" >>{log}
            done
            exec {shutil.which("mv")} "$@"
        """
        (tools / "mv").write_text(move)
        (tools / "mv").chmod(0o755)
        files = [File(f"{tmp_path}/there/a", b"x", 0o600, "nobody:nogroup"), File(f"{tmp_path}/there/b", b"y", 0o640)]
        environment = {"PATH": f"{tools}:{os.environ['PATH']}", "TMPDIR": stage or str(tmp_path)}
        command = ["sh", str(SCRIPTS / "place.sh")]
        subprocess.run(command, input=b"".join(archive(files)), env=environment, check=True, capture_output=True)
        moves = [line.split() for line in log.read_text().splitlines()]
        seen = [f"{mode} {owner}" for mode, owner, _, _ in moves]
        steps = 2 if stage else 1
        assert seen == ["600 nobody:nogroup", "640 root:root"] * steps
        renames = [device == target for _, _, device, target in moves]
        assert renames == ([False, False, True, True] if stage else [True, True])
        assert not list(tmp_path.glob("ipyfleet.*"))

    @pytest.mark.parametrize("stage", ["", "/dev/shm"])
    def test_files_of_several_folders_arrive_from_another_file_system_too(self, tmp_path: Path, stage: str) -> None:
        files = [File(f"{tmp_path}/{name}", name.encode()) for name in ("a", ".b", "c/d e", "c/f", "g/h/i")]
        command = ["sh", str(SCRIPTS / "place.sh")]
        environment = {**os.environ, "TMPDIR": stage or str(tmp_path)}
        for changed in ({file.path for file in files}, set()):
            done = subprocess.run(
                command, input=b"".join(archive(files)), env=environment, check=True, capture_output=True
            )
            assert {*done.stdout.decode().splitlines()} == changed
        assert {path: Path(path).read_bytes() for path in (file.path for file in files)} == {
            file.path: file.data for file in files
        }
        assert sorted(os.listdir(tmp_path)) == [".b", "a", "c", "g"]

    def test_what_is_to_be_done_then_knows_whether_anything_changed_and_comes_before_the_last_files(
        self, host: SshHost, tmp_path: Path
    ) -> None:
        script, log = tmp_path / "then.sh", tmp_path / "log"
        script.write_text('[ -f "$2/first" ] && [ ! -e "$2/last" ] && echo "$1 ${CHANGED:-no}" | tee -a "$2/log"')
        file, last = File(f"{tmp_path}/first", b"1"), File(f"{tmp_path}/last", b"2")
        then = Then(script, ("a b", str(tmp_path)), (last,))
        assert host.place([file], then) == {file.path, last.path}
        assert log.read_text() == "a b yes\n"
        (tmp_path / "last").unlink()
        assert host.place([file], then) == {last.path}
        assert log.read_text() == "a b yes\na b no\n"

    def test_the_last_files_are_not_placed_when_what_comes_before_them_fails(
        self, host: SshHost, tmp_path: Path
    ) -> None:
        script = tmp_path / "then.sh"
        script.write_text("echo too bad >&2; exit 3")
        with pytest.raises(RemoteError, match="exited with 3") as error:
            host.place([File(f"{tmp_path}/first", b"1")], Then(script, (), (File(f"{tmp_path}/last", b"2"),)))
        assert "too bad" in error.value.seen
        assert sorted(os.listdir(tmp_path)) == ["first", "then.sh"]

    def test_when_the_archive_breaks_off_nothing_is_placed_and_nothing_left(self, tmp_path: Path) -> None:
        broken = b"".join(archive([File(f"{tmp_path}/file", bytes(100_000))]))[:50_000]
        command = ["sh", str(SCRIPTS / "place.sh")]
        stage = {**os.environ, "TMPDIR": str(tmp_path)}
        assert subprocess.run(command, input=broken, check=False, capture_output=True, env=stage).returncode
        assert os.listdir(tmp_path) == []

    def test_an_umask_of_the_host_that_is_too_wide_or_narrow_changes_nothing(self, tmp_path: Path) -> None:
        for umask in ("0", "077", "0777"):
            files = [File(f"{tmp_path}/{umask}/new/file", b"x", 0o644)]
            command = ["sh", "-c", f"umask {umask}; exec sh {SCRIPTS / 'place.sh'}"]
            subprocess.run(command, input=b"".join(archive(files)), check=True, capture_output=True)
            assert about(tmp_path / umask / "new/file") == (b"x", 0o644, "root:root")
            assert stat.S_IMODE((tmp_path / umask).stat().st_mode) == 0o755


class TestRead:
    def test_bytes_come_back_as_they_are(self, host: SshHost, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(bytes(range(256)) * 9)
        assert host.read(f"{tmp_path}/file") == bytes(range(256)) * 9

    def test_no_file_is_none_and_not_an_error(self, host: SshHost, tmp_path: Path) -> None:
        assert host.read(f"{tmp_path}/none") is None

    def test_what_is_there_and_cannot_be_read_is_an_error(self, host: SshHost, tmp_path: Path) -> None:
        with pytest.raises(RemoteError, match="Is a directory"):
            host.read(str(tmp_path))
