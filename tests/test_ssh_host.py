"""Commands, scripts and files on a host, over a real sshd."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from fabfile import ssh
from fabfile.errors import RemoteError
from fabfile.remote import File, each, values
from fabfile.ssh_host import SCRIPTS, SshHost, _archive
from tests.sshd import Sshd, serving

anything = some.text(some.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
over_ssh = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with serving(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def host(server: Sshd) -> Iterator[SshHost]:
    opened = ssh.connect(server.endpoint, "engine-0", server.credentials)
    yield opened
    opened.close()


@pytest.fixture
def script(tmp_path: Path) -> Path:
    return tmp_path / "trial.sh"


class TestRun:
    @over_ssh
    @given(some.lists(anything))
    def test_words_arrive_as_they_were_given(self, host: SshHost, words: list[str]) -> None:
        said = host.run("printf", "%s\\0", "first", *words).stdout
        assert said.split("\0")[1:-1] == words

    @pytest.mark.parametrize(
        "word", ["", " ", "'", '"', "$HOME", "`id`", "a\nb", "\\", "*", "~", "-n", "é☃", "!x", "#"]
    )
    def test_words_that_mean_something_to_a_shell_mean_nothing(self, host: SshHost, word: str) -> None:
        assert host.run("printf", "<%s>", word).stdout == f"<{word}>"

    def test_exit_code_and_both_streams_come_back(self, host: SshHost) -> None:
        result = host.run("sh", "-c", "echo out; echo err >&2; exit 3", check=False)
        assert (result.exit_code, result.stdout, result.stderr) == (3, "out\n", "err\n")
        assert result.words == ("sh", "-c", "echo out; echo err >&2; exit 3")

    def test_a_failure_tells_machine_command_code_and_last_lines_but_no_input(self, host: SshHost) -> None:
        noisy = "cat >/dev/null; seq 100; seq 200 300 >&2; exit 7"
        with pytest.raises(RemoteError) as caught:
            host.run("sh", "-c", noisy, stdin=b"the secret")
        told = str(caught.value)
        assert told.startswith(f"engine-0: `sh -c '{noisy}'` exited with 7")
        assert "| 100\n" in told
        assert "| 300\n" in told
        assert "next: " in told
        assert "the secret" not in told
        assert "| 50\n" not in told

    def test_a_command_that_is_not_there_is_an_error(self, host: SshHost) -> None:
        with pytest.raises(RemoteError, match="no-such-command"):
            host.run("no-such-command")

    def test_a_command_killed_by_a_signal_is_told_as_such(self, host: SshHost) -> None:
        with pytest.raises(RemoteError, match=r"was killed by a signal|exited with 137|exited with 124"):
            host.run("sh", "-c", "kill -9 $$")

    def test_without_input_a_reader_sees_the_end_at_once(self, host: SshHost) -> None:
        assert host.run("cat", timeout=10).stdout == ""

    def test_much_input_and_output_pass_at_the_same_time(self, host: SshHost) -> None:
        data = os.urandom(1 << 20) * 8
        script = "tee /dev/stderr | sha256sum"
        result = host.run("sh", "-c", script, stdin=data)
        assert result.stdout.split()[0] == hashlib.sha256(data).hexdigest()

    def test_much_on_one_stream_does_not_hold_up_the_other(self, host: SshHost) -> None:
        flood = "head -c 8000000 /dev/zero >&2; head -c 8000000 /dev/zero; head -c 8000000 /dev/zero >&2"
        result = host.run("sh", "-c", flood)
        assert (len(result.stdout), len(result.stderr)) == (8_000_000, 16_000_000)

    def test_input_that_nobody_reads_does_no_harm(self, host: SshHost) -> None:
        assert host.run("true", stdin=bytes(4 << 20)).exit_code == 0

    def test_bytes_that_are_no_text_do_no_harm(self, host: SshHost) -> None:
        assert host.run("printf", "\\377ok").stdout == "\ufffdok"

    def test_a_command_that_hangs_is_ended_here_and_there(self, host: SshHost, tmp_path: Path) -> None:
        note = tmp_path / "pid"
        begun = time.monotonic()
        with pytest.raises(RemoteError, match="took longer than 1 s and was ended") as caught:
            host.run("sh", "-c", f"echo $$ >{note}; echo so far; sleep 300", timeout=1)
        assert time.monotonic() - begun < 10
        assert "so far" in str(caught.value)
        assert not Path(f"/proc/{note.read_text().strip()}").exists()
        assert host.run("echo", "usable").stdout == "usable\n"

    def test_a_command_that_talks_for_ever_is_ended_as_well(self, host: SshHost) -> None:
        with pytest.raises(RemoteError, match="took longer than 1 s"):
            host.run("sh", "-c", "while :; do echo again; sleep 0.05; done", timeout=1)

    def test_many_commands_that_read_nothing_of_their_input_leave_the_connection_alive(
        self, host: SshHost, server: Sshd
    ) -> None:
        logins = server.log.read_text().count("Accepted publickey")
        values(each(range(100), lambda number: host.run("true", stdin=bytes(number * 1000))))
        assert server.log.read_text().count("Accepted publickey") == logins

    def test_many_threads_share_one_connection(self, host: SshHost, server: Sshd) -> None:
        said = values(each(range(200), lambda number: host.run("echo", str(number)).stdout))
        assert said == [f"{number}\n" for number in range(200)]
        assert server.log.read_text().count("Accepted publickey") == 1


class TestWithoutTools:
    @pytest.fixture
    def bare(self, tmp_path: Path) -> Iterator[SshHost]:
        """A host with few tools, no `timeout` among them, and a stand-in for sudo that says how it was called."""
        tools = tmp_path / "tools"
        tools.mkdir()
        for tool in ("sh", "cat", "sleep", "test", "env"):
            (tools / tool).symlink_to(shutil.which(tool) or "")
        (tools / "sudo").write_text('#!/bin/sh\n[ "$1" = -n ] && shift && SUDO=yes exec env "$@"\n')
        (tools / "sudo").chmod(0o755)
        with serving(tmp_path / "server", environment={"PATH": str(tools)}) as server:
            opened = ssh.connect(server.endpoint, "engine-0", server.credentials)
            yield opened
            opened.close()

    def test_a_command_that_hangs_is_given_up_without_timeout_on_the_host(
        self, bare: SshHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("fabfile.ssh_host.GRACE", 0.0)
        assert bare._limiter == ()
        with pytest.raises(RemoteError, match="`sleep 300` took longer than"):
            bare.run("sleep", "300", timeout=1)

    def test_root_needs_no_sudo_and_others_get_it_without_a_question(self, bare: SshHost) -> None:
        words = ("sh", "-c", "echo ${SUDO-no}")
        assert bare.run(*words, sudo=True).stdout == "no\n"
        bare._root = False
        assert bare.run(*words, sudo=True).stdout == "yes\n"
        assert bare.run(*words).stdout == "no\n"

    def test_a_missing_sudo_is_told_with_its_cure(self, bare: SshHost, tmp_path: Path) -> None:
        bare._root = False
        (tmp_path / "tools" / "sudo").unlink()
        with pytest.raises(RemoteError, match="sudo without a password"):
            bare.run("cat", "/dev/null", sudo=True)


class TestScript:
    @over_ssh
    @given(some.lists(anything), some.binary(max_size=200))
    def test_arguments_and_input_arrive_as_they_were_given(
        self, host: SshHost, script: Path, words: list[str], data: bytes
    ) -> None:
        script.write_text("""printf '%s\\0' "$@"; od -An -v -tx1 | tr -d ' \\n'\n""")
        *said, rest = host.script(script, "first", *words, stdin=data).stdout.split("\0")
        assert said[1:] == words
        assert bytes.fromhex(rest) == data

    def test_its_text_may_hold_anything(self, host: SshHost, script: Path) -> None:
        everything = "".join(map(chr, range(0xA0, 0x300))) + "☃ 'quotes' \\ \\n $x"
        script.write_text(f"#!/bin/sh\ncat <<'END'\n{everything}\nEND\nif :; then\n\techo 'done'\nfi")
        assert host.script(script).stdout == f"{everything}\ndone\n"

    def test_its_length_does_not_matter(self, host: SshHost, script: Path) -> None:
        script.write_text(": " + "x" * 3000 + "\n" + ": line\n" * 10_000 + "echo reached\n")
        assert host.script(script).stdout == "reached\n"

    def test_it_stops_by_its_own_rules_and_is_named_in_the_error(self, host: SshHost, script: Path) -> None:
        script.write_text("set -eu\necho before\nfalse\necho after\n")
        with pytest.raises(RemoteError, match=r"`trial.sh 'one word'` exited with 1") as caught:
            host.script(script, "one word")
        assert "before" in caught.value.seen
        assert "after" not in caught.value.seen

    def test_its_text_is_in_no_list_of_processes(self, host: SshHost, script: Path) -> None:
        script.write_text("secret=in-the-script\ntr '\\0' ' ' </proc/$$/cmdline\necho \"${0##*/}\"\n")
        said = host.script(script, "word").stdout
        assert "in-the-script" not in said
        assert said.endswith("trial.sh\n")

    def test_half_a_script_does_not_run(self, tmp_path: Path) -> None:
        command = ["sh", str(SCRIPTS / "from-stdin.sh"), "THE END"]
        half = f"touch {tmp_path / 'ran'}\n".encode()
        assert subprocess.run(command, input=half, check=False).returncode == 70
        assert not (tmp_path / "ran").exists()
        assert subprocess.run(command, input=half + b"THE END\n", check=False).returncode == 0
        assert (tmp_path / "ran").exists()


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
        before = [(tmp_path / name).stat() for name in "ab"]
        assert host.place(files) == frozenset()
        assert [(tmp_path / name).stat() for name in "ab"] == before

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
        pieces = list(_archive([secret]))
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
            echo "$(stat -c '%a %U:%G %d' "$2") $(stat -c %d "${{3%/*}}")" >>{log}
            exec {shutil.which("mv")} "$@"
        """
        (tools / "mv").write_text(move)
        (tools / "mv").chmod(0o755)
        files = [File(f"{tmp_path}/there/a", b"x", 0o600, "nobody:nogroup"), File(f"{tmp_path}/there/b", b"y", 0o640)]
        environment = {"PATH": f"{tools}:{os.environ['PATH']}", "TMPDIR": stage or str(tmp_path)}
        command = ["sh", str(SCRIPTS / "place.sh")]
        subprocess.run(command, input=b"".join(_archive(files)), env=environment, check=True, capture_output=True)
        moves = [line.split() for line in log.read_text().splitlines()]
        seen = [f"{mode} {owner}" for mode, owner, _, _ in moves]
        steps = 2 if stage else 1
        assert seen == ["600 nobody:nogroup"] * steps + ["640 root:root"] * steps
        renames = [device == target for _, _, device, target in moves]
        assert renames == ([False, True] * 2 if stage else [True] * 2)
        assert not list(tmp_path.glob("ipyfleet.*"))

    def test_when_the_archive_breaks_off_nothing_is_placed_and_nothing_left(self, tmp_path: Path) -> None:
        broken = b"".join(_archive([File(f"{tmp_path}/file", bytes(100_000))]))[:50_000]
        command = ["sh", str(SCRIPTS / "place.sh")]
        stage = {**os.environ, "TMPDIR": str(tmp_path)}
        assert subprocess.run(command, input=broken, check=False, capture_output=True, env=stage).returncode
        assert os.listdir(tmp_path) == []

    def test_an_umask_of_the_host_that_is_too_wide_or_narrow_changes_nothing(self, tmp_path: Path) -> None:
        for umask in ("0", "077", "0777"):
            files = [File(f"{tmp_path}/{umask}/new/file", b"x", 0o644)]
            command = ["sh", "-c", f"umask {umask}; exec sh {SCRIPTS / 'place.sh'}"]
            subprocess.run(command, input=b"".join(_archive(files)), check=True, capture_output=True)
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


class TestBrokenConnections:
    def test_a_connection_that_dies_during_a_command_is_told_and_the_next_command_opens_it_anew(
        self, tmp_path: Path
    ) -> None:
        with serving(tmp_path / "server") as server:
            host = ssh.connect(server.endpoint, "engine-0", server.credentials)
            waiting = tmp_path / "waiting"

            def cut() -> None:
                while not waiting.exists():
                    time.sleep(0.01)
                for session in server.sessions():
                    os.kill(session, 9)

            cutter = threading.Thread(target=cut)
            cutter.start()
            with pytest.raises(
                RemoteError, match=r"the SSH connection to root@127.0.0.1:\d+ broke during `.*sleep 5"
            ) as caught:
                host.run("sh", "-c", f"touch {waiting}; sleep 5", timeout=60)
            cutter.join()
            assert caught.value.machine == "engine-0"
            assert host.run("echo", "again").stdout == "again\n"
            server.stop()
            with pytest.raises(RemoteError, match=r"no SSH connection to .* refused"):
                host.run("true")
            host.close()

    def test_closing_twice_is_fine_and_a_closed_host_says_so(self, server: Sshd) -> None:
        host = ssh.connect(server.endpoint, "engine-0", server.credentials)
        host.close()
        host.close()
        with pytest.raises(RemoteError, match="it was closed"):
            host.run("true")
