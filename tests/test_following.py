"""Following: lines of many processes as they come, the end of one and of all; over a real sshd nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from fabfile.following import Said, Source, listen
from fabfile.remote import quoted
from fabfile.ssh_config import ssh_config
from fabfile.ssh_host import sent
from tests.sshd import Sshd
from tests.sshd import server as server

ROOT = Path(__file__).resolve().parents[1]
FOLLOW = ROOT / "bootscripts" / "follow-journal.sh"


def source(name: str, line: str) -> Source:
    return Source(name, ("sh", "-c", line))


def heard(*sources: Source) -> list[tuple[str, str]]:
    with closing(listen(sources)) as said:
        return [(one.machine, one.text) for one in said if not one.ended]


def test_lines_come_whole_with_the_name_of_their_machine() -> None:
    one = source("one", "printf 'a\\r\\nb'; printf 'c\\n\\n'; printf 'last'")
    assert heard(one) == [("one", "a"), ("one", "bc"), ("one", ""), ("one", "last")]
    assert heard(source("odd", "printf '\\377x\\n'")) == [("odd", "\ufffdx")]
    assert set(heard(source("one", "echo 1"), source("two", "echo 2"))) == {("one", "1"), ("two", "2")}


def test_what_was_sent_is_read_first() -> None:
    assert heard(Source("one", ("head", "-n", "1"), b"hello\n")) == [("one", "hello")]


def test_one_that_ends_says_why_and_the_others_go_on(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    stays = source("stays", f"read x <{tmp_path}/go; echo $x")
    with closing(listen([source("gone", "echo broken >&2; exit 255"), stays])) as said:
        assert next(said) == Said("gone", "broken", ended=True)
        (tmp_path / "go").write_text("on\n")
        assert next(said) == Said("stays", "on")


def test_the_reason_of_one_that_says_nothing_is_its_exit_code() -> None:
    assert list(listen([source("mute", "exit 3")])) == [Said("mute", "the connection ended (exit code 3)", ended=True)]


def test_closing_ends_all_by_ending_their_input(tmp_path: Path) -> None:
    said = listen([source(name, f"echo up; cat; echo told >{tmp_path}/{name}") for name in ("one", "two")])
    assert {next(said).text, next(said).text} == {"up"}
    said.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_one_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fabfile.following.GRACE", 0.1)
    said = listen([source("stubborn", "echo $$; exec sleep 600")])
    pid = int(next(said).text)
    said.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_much_that_nobody_reads_does_not_keep_it_from_ending() -> None:
    said = listen([source("loud", "yes & cat >/dev/null; kill $!")])
    next(said)
    said.close()


@pytest.fixture
def journal(server: Sshd, tmp_path: Path) -> Source:
    """Follows a journal that is a program of our own, through a real sshd."""
    program = tmp_path / "journalctl"
    program.write_text(f'#!/bin/sh\necho $$ >{tmp_path}/pid\necho "$@"\nexec sleep 600\n')
    program.chmod(0o755)
    (tmp_path / "config").write_text(ssh_config(server.endpoint, server.credentials, "engine-0"))
    words, text = sent(FOLLOW, ["--unit=a b"])
    command = f"PATH={tmp_path}:$PATH {quoted(words)}"
    return Source("engine-0", ("ssh", "-F", str(tmp_path / "config"), "-T", "engine-0", command), text)


def journal_ends(folder: Path) -> bool:
    """Whether the journal's process is gone, within a second or so."""
    pid = (folder / "pid").read_text().strip()
    return subprocess.run(["timeout", "5", "tail", f"--pid={pid}", "-f", "/dev/null"], check=False).returncode == 0


def test_over_there_it_ends_with_the_listener(journal: Source, tmp_path: Path) -> None:
    with closing(listen([journal])) as said:
        assert next(said).text == "--follow --unit=a b"
    assert journal_ends(tmp_path)


def test_over_there_it_ends_also_when_this_program_is_killed(journal: Source, tmp_path: Path) -> None:
    program = "import sys; from fabfile.following import *; said = listen([Source(*eval(sys.argv[1]))]); "
    program += "print(next(said), flush=True); sys.stdin.read()"
    words = [sys.executable, "-c", program, repr((journal.machine, journal.words, journal.stdin))]
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert b"--follow" in child.stdout.readline()
        child.send_signal(signal.SIGKILL)
    assert journal_ends(tmp_path)


def test_a_journal_that_cannot_be_followed_is_no_reason_to_wait(journal: Source, tmp_path: Path) -> None:
    (tmp_path / "journalctl").write_text("#!/bin/sh\necho no journal >&2\nexit 1\n")
    assert list(listen([journal])) == [Said("engine-0", "no journal", ended=True)]
