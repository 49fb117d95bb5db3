"""on_machine.py: archives that are packed and unpacked, and what it does when it runs on a machine, here as oneself."""

from __future__ import annotations

import getpass
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import pytest

from fabfile import on_machine
from fabfile.errands import LOADER
from fabfile.on_machine import contents, pack, unpack

ME = getpass.getuser()
TEXT = Path(on_machine.__file__).read_bytes()


def packed(source: Path, there: on_machine.Contents | None = None) -> io.BytesIO:
    into = io.BytesIO()
    pack(source, into, there or {})
    into.seek(0)
    return into


def tree(folder: Path) -> dict[str, bytes | str]:
    """What is in a folder: bytes of files, "->" of links."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        below = str(path.relative_to(folder))
        found[below] = f"->{os.readlink(path)}" if path.is_symlink() else path.read_bytes() if path.is_file() else "/"
    return found


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "a source"
    (folder / "ünder/empty").mkdir(parents=True)
    (folder / "ünder/new\nline").write_bytes(b"1")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o750)
    (folder / "link").symlink_to("ünder")
    os.link(folder / "run.sh", folder / "same.sh")
    (folder / "__pycache__").mkdir()
    return folder


def test_a_folder_arrives_as_it_was(source: Path, tmp_path: Path) -> None:
    assert unpack(packed(source), tmp_path / "target") == 4
    (source / "__pycache__").rmdir()
    assert tree(tmp_path / "target") == tree(source)
    assert (tmp_path / "target/run.sh").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "target/run.sh").stat().st_mtime == pytest.approx((source / "run.sh").stat().st_mtime, abs=1e-3)


def test_a_file_whose_name_is_no_text_arrives(source: Path, tmp_path: Path) -> None:
    odd = os.fsdecode(os.fsencode(source) + b"/\xff\xfe")
    Path(odd).write_bytes(b"x")
    unpack(packed(source), tmp_path / "target")
    assert b"\xff\xfe" in os.listdir(os.fsencode(tmp_path / "target"))


def test_what_is_there_is_not_sent_again_and_what_changed_is(source: Path, tmp_path: Path) -> None:
    unpack(packed(source), tmp_path / "target")
    (source / "run.sh").write_text("#!/bin/bash\n")
    (tmp_path / "target/mine").write_text("stays")
    assert unpack(packed(source, contents(tmp_path / "target")), tmp_path / "target") == 3  # with a link and same.sh
    assert (tmp_path / "target/run.sh").read_text() == "#!/bin/bash\n"
    assert (tmp_path / "target/mine").read_text() == "stays"


def test_a_link_that_is_named_stands_for_what_it_leads_to(source: Path, tmp_path: Path) -> None:
    """On both sides, since data often lies on another disk; links in a folder stay links."""
    (tmp_path / "there").symlink_to(source)
    (tmp_path / "large disk").mkdir()
    (tmp_path / "target").symlink_to("large disk")
    assert unpack(packed(tmp_path / "there"), tmp_path / "target") == 4
    (source / "__pycache__").rmdir()
    assert tree(tmp_path / "large disk") == tree(source)
    assert contents(tmp_path / "there") == contents(source)
    (tmp_path / "one").symlink_to(source / "run.sh")
    unpack(packed(tmp_path / "one"), tmp_path / "two")
    assert (tmp_path / "two").read_text() == "#!/bin/sh\n"
    assert not (tmp_path / "two").is_symlink()


def test_a_file_replaces_a_file_and_no_folder(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("new")
    (tmp_path / "two").write_text("old")
    unpack(packed(tmp_path / "one"), tmp_path / "two")
    assert (tmp_path / "two").read_text() == "new"
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        unpack(packed(tmp_path / "one"), tmp_path / "folder")
    assert os.listdir(tmp_path / "folder") == []


def archive(*members: tarfile.TarInfo) -> io.BytesIO:
    into = io.BytesIO()
    with tarfile.open(fileobj=into, mode="w") as made:
        for member in members:
            made.addfile(member, io.BytesIO(b"x" * member.size))
    into.seek(0)
    return into


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    one = tarfile.TarInfo(name)
    one.type, one.linkname, one.size = kind, link, 1 if kind == tarfile.REGTYPE else 0
    return one


@pytest.mark.parametrize("name", ["/etc/evil", "it/../evil", "evil", "../evil", "it//evil"])
def test_no_name_leads_out_of_the_target(name: str, tmp_path: Path) -> None:
    with pytest.raises(tarfile.TarError, match="leads elsewhere"):
        unpack(archive(member(name)), tmp_path / "target")
    assert not (tmp_path / "evil").exists()


def test_no_link_leads_out_of_the_target(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    trap = archive(
        member("it", tarfile.DIRTYPE),
        member("it/out", tarfile.SYMTYPE, str(tmp_path / "outside")),
        member("it/out/evil"),
    )
    with pytest.raises(tarfile.TarError, match="leads out of"):
        unpack(trap, tmp_path / "target")
    assert os.listdir(tmp_path / "outside") == []


def test_no_folder_is_made_where_a_link_leads(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "target").mkdir()
    (tmp_path / "target/out").symlink_to("../outside")
    with pytest.raises(tarfile.TarError, match="leads out of"):
        unpack(archive(member("it/out/made/evil")), tmp_path / "target")
    assert os.listdir(tmp_path / "outside") == []


def test_a_folder_that_is_there_keeps_its_mode(source: Path, tmp_path: Path) -> None:
    source.chmod(0o700)
    (tmp_path / "target").mkdir()
    (tmp_path / "target").chmod(0o1777)
    unpack(packed(source), tmp_path / "target")
    assert (tmp_path / "target").stat().st_mode & 0o7777 == 0o1777
    unpack(packed(source), tmp_path / "new")
    assert (tmp_path / "new").stat().st_mode & 0o7777 == 0o700


def test_an_archive_that_breaks_off_leaves_no_half_file(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(3_000_000))
    cut = io.BytesIO(packed(tmp_path / "large").read()[:2_000_000])
    with pytest.raises((tarfile.TarError, OSError)):
        unpack(cut, tmp_path / "target")
    assert not (tmp_path / "target").exists()
    assert [name for name in os.listdir(tmp_path) if name.startswith(".target")] == []


@contextmanager
def begun(*words: str) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes], IO[bytes]]]:
    """The errand as a machine runs it, as the user that we are; with its standard input and output."""
    pipe = subprocess.PIPE
    start = [sys.executable, "-I", "-c", LOADER, str(len(TEXT)), ME, *words]
    with subprocess.Popen(start, stdin=pipe, stdout=pipe, stderr=pipe) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(TEXT)
        child.stdin.flush()
        yield child, child.stdin, child.stdout


def test_a_command_runs_and_its_exit_code_comes_back() -> None:
    with begun("run", "0", "", "sh", "-c", "echo out; echo err >&2; exit 5") as (child, _, out):
        assert out.read() == b"out\n"
        assert child.stderr is not None
        assert child.stderr.read() == b"err\n"
        assert child.wait(30) == 5


def test_a_script_runs_with_its_words_and_is_gone_afterwards() -> None:
    script = b'#!/bin/sh\necho "$0" "$@"\n'
    with begun("run", str(len(script)), "fit it", "one two", "three") as (child, into, out):
        into.write(script)
        into.flush()
        path, words = out.read().decode().strip().split("/fit it ")
        assert child.wait(30) == 0
    assert words == "one two three"
    assert not Path(path).exists()


def test_a_script_that_did_not_arrive_whole_is_not_begun(tmp_path: Path) -> None:
    script = f"echo begun >{tmp_path}/mark\nsleep 60\n".encode()
    with begun("run", str(len(script) + 1), "fit") as (child, _, _):
        said = child.communicate(script, timeout=30)[1]
    assert (child.returncode, said) == (1, b"fit did not arrive whole, and was not begun\n")
    assert not (tmp_path / "mark").exists()


def test_it_ends_with_whoever_started_it() -> None:
    with begun("run", "0", "", "sh", "-c", "echo $$; exec sleep 300") as (child, into, out):
        pid = int(out.readline())
        into.close()
        child.wait(30)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_it_has_begun_and_does_not_listen_ends_as_well() -> None:
    with begun("run", "0", "", "sh", "-c", "(trap '' TERM; exec sleep 300) & echo $!; wait") as (child, into, out):
        pid = int(out.readline())
        into.close()
        assert child.wait(30) == 128 + signal.SIGTERM
    try:
        assert not Path(f"/proc/{pid}").exists()
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_what_is_not_there_is_said_in_one_line() -> None:
    with begun("give", "/no/such/thing") as (child, _, _):
        said = child.communicate(json.dumps({}).encode() + b"\n", timeout=30)[1]
    assert (child.returncode, said) == (1, b"/no/such/thing: there is no such file or folder\n")
