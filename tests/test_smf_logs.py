"""What is in the logs of SMF's services: how old lines are, as far as that can be known; and following them."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from fabfile.following import Source, listen
from fabfile.service_managers.smf import LOG_LINES_SH
from tests.loopback_cluster import wait_until

ENGINE = "svc:/site/ipengine:engine-1"
MINUTE, HOUR, DAY = 60, 3600, 86400


def stamp(age: float) -> str:
    """startd's own time."""
    local = time.localtime(time.time() - age)
    return time.strftime("[ %b ", local) + f"{local.tm_mday:2} " + time.strftime("%H:%M:%S ", local)


def iso(age: float) -> str:
    """ipyparallel's time."""
    return time.strftime("%Y-%m-%d %H:%M:%S.123", time.localtime(time.time() - age))


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The log of the one engine that svcs tells of."""
    log = tmp_path / "site-ipengine:engine-1.log"
    svcs = tmp_path / "bin" / "svcs"
    svcs.parent.mkdir()
    svcs.write_text(
        f"#!/bin/sh\ncase $1 in\n-H) [ ! -e {log} ] || echo {ENGINE} ;;\n-L) echo {log} ;;\n-x) echo why ;;\nesac\n"
    )
    svcs.chmod(0o755)
    monkeypatch.setenv("PATH", f"{svcs.parent}:{os.environ['PATH']}")
    return log


def past(lines: str = "all", since: str = "") -> list[str]:
    words = ["sh", str(LOG_LINES_SH), "past", lines, since, "svc:/site/ipengine:*"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()


def write(log: Path, lines: Sequence[str]) -> None:
    log.write_text("".join(f"{line}\n" for line in lines))


def test_all_lines_or_the_last(log: Path) -> None:
    write(log, ["one", "two", "three"])
    assert past() == [f"{log}:", "one", "two", "three"]
    assert past("2") == [f"{log}:", "two", "three"]


def test_lines_that_are_young_enough_with_those_that_follow_them(log: Path) -> None:
    young = [f"{iso(5 * MINUTE)} [IPEngine] an error", "Traceback", "  in a file", f"{stamp(MINUTE)}Enabled. ]"]
    write(log, ["early", f"{stamp(2 * HOUR)}Enabled. ]", f"{iso(HOUR)} [IPEngine] x", "its trace", *young])
    assert past(since="600") == [f"{log}:", *young]
    assert past("1", since="600") == [f"{log}:", young[-1]]
    assert past(since=str(90 * MINUTE))[1:3] == [f"{iso(HOUR)} [IPEngine] x", "its trace"]


def test_a_time_without_a_year_is_never_in_the_future(log: Path) -> None:
    write(log, [f"{stamp(-3 * DAY)}Enabled. ]", f"{stamp(200 * DAY)}Disabled. ]", f"{stamp(0)}Enabled. ]"])
    assert past(since=str(DAY)) == [f"{log}:", f"{stamp(0)}Enabled. ]"]
    assert len(past(since=str(250 * DAY))) == 3


def test_it_is_said_what_cannot_be_known(log: Path) -> None:
    write(log, ["no time", "nor here"])
    assert past(since="60")[1:] == [
        "(how old the lines up to the next remark are cannot be known: they have no time)",
        "no time",
        "nor here",
    ]
    write(log, ["no time", f"{iso(1)} x"])
    assert past(since="60")[2:] == ["no time", "(from here on lines have a time)", f"{iso(1)} x"]
    write(log, ["no time", f"{iso(HOUR)} x"])
    assert past(since="60") == [f"{log}:"]


def test_it_is_said_that_older_lines_were_put_away(log: Path) -> None:
    log.with_name(log.name + ".0").write_text("old\n")
    write(log, [f"{iso(10)} x"])
    assert past(since="60")[1] == f"(lines before these may be in {log}.0, which is not looked at)"


def test_without_a_service_smf_itself_is_asked(log: Path) -> None:
    assert past() == ["why"]


def follow(lines: str, since: str = "") -> Source:
    text = LOG_LINES_SH.read_text()
    return Source("engine-0", ("sh", str(LOG_LINES_SH), "follow", lines, since, ENGINE), text.encode())


def test_following_begins_where_it_is_told_and_goes_on(log: Path) -> None:
    write(log, ["old", f"{iso(10)} young"])
    with log.open("a") as file:
        file.write("un")
    with closing(listen([follow("all")])) as said:
        assert [next(said).text, next(said).text] == ["old", f"{iso(10)} young"]
        with log.open("a") as file:
            file.write("finished\nnew\n")
        assert [next(said).text, next(said).text] == ["unfinished", "new"]


def test_following_from_now_on(log: Path) -> None:
    write(log, ["old"])
    with closing(listen([follow("0")])) as said, ThreadPoolExecutor() as pool:
        first = pool.submit(lambda: next(said).text)
        while not follows(log):
            assert not first.done()
        with log.open("a") as file:
            file.write("new\n")
        assert first.result(10) == "new"


def follows(log: Path) -> bool:
    """Whether anything follows that log."""
    return subprocess.run(["pgrep", "-f", f"tail .*{log}"], check=False, capture_output=True).returncode == 0


def test_following_leaves_nothing(log: Path) -> None:
    write(log, ["old"])
    with closing(listen([follow("1")])) as said:
        assert next(said).text == "old"
        wait_until(lambda: follows(log))  # after what there is already
    wait_until(lambda: not follows(log), timeout=5.0)


def test_nothing_to_follow_is_said(log: Path) -> None:
    said = list(listen([follow("0")]))
    assert [one.text for one in said] == ["why", "no service of these has a log"]
