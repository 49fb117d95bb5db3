"""Commands and scripts on a host, over a real sshd."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from fabfile import ssh
from fabfile.errors import RemoteError
from fabfile.remote import each, values
from fabfile.ssh_host import SCRIPTS, SshHost
from tests.sshd import Sshd, over_ssh, serving
from tests.sshd import host as host
from tests.sshd import server as server

anything = some.text(some.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)


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
            # On a slow computer the end of the old connection may be noticed only while the command is under way.
            with pytest.raises(RemoteError, match=r"no SSH connection to .* refused|broke during"):
                host.run("true")
            host.close()

    def test_closing_twice_is_fine_and_a_closed_host_says_so(self, server: Sshd) -> None:
        host = ssh.connect(server.endpoint, "engine-0", server.credentials)
        host.close()
        host.close()
        with pytest.raises(RemoteError, match="it was closed"):
            host.run("true")
