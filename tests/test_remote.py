"""What all ways of reaching hosts share: quoting for a shell, and the bounded fan-out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from fabfile.errors import RemoteError, Several
from fabfile.remote import Endpoint, each, quoted, values

words = some.lists(some.text(some.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1)


@settings(deadline=None)  # a process each time
@given(words)
def test_a_quoted_line_is_the_same_words_again_to_a_shell(given_words: list[str]) -> None:
    line = f"printf '%s\\0' x {quoted(given_words)}"
    said = subprocess.run(["sh", "-c", line], capture_output=True, check=True).stdout
    assert said.decode().split("\0")[1:-1] == given_words


@pytest.mark.parametrize("nothing", [(), ("a\0b",)])
def test_what_no_command_can_hold_is_refused(nothing: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="not a command"):
        quoted(nothing)


def test_an_endpoint_reads_as_a_person_types_it() -> None:
    assert str(Endpoint("h", "u")) == "u@h"
    assert str(Endpoint("h", "u", 2222)) == "u@h:2222"
    assert str(Endpoint("::1", "u", 2222)) == "u@[::1]:2222"


def test_outcomes_come_in_the_order_of_the_items_whatever_ends_first() -> None:
    last_is_done = threading.Event()

    def work(number: int) -> int:
        if number == 9:
            last_is_done.set()
        elif number == 0:
            assert last_is_done.wait(10)
        return number * number

    assert [outcome.value for outcome in each(range(10), work, limit=4)] == [n * n for n in range(10)]
    assert each([], work) == ()


def test_no_more_than_the_limit_run_at_once_and_as_many_do() -> None:
    together = threading.Barrier(3)
    lock = threading.Lock()
    running = most = 0

    def work(_: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        together.wait(10)
        with lock:
            running -= 1

    each(range(9), work, limit=3)
    assert most == 3


def test_one_failing_item_hides_no_other_and_every_failure_is_kept() -> None:
    def work(number: int) -> int:
        if number % 2:
            raise RemoteError(f"no {number}")
        return number

    outcomes = each(range(4), work)
    assert [outcome.value for outcome in outcomes] == [0, None, 2, None]
    assert [str(outcome.error) for outcome in outcomes if outcome.error] == ["no 1", "no 3"]
    with pytest.raises(Several, match="no 1\nno 3"):
        values(outcomes)
    assert values(each([0, 2], work)) == [0, 2]


def test_a_bug_in_the_work_is_raised_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        values(each([1, 0], lambda number: 1 // number))


INTERRUPTED = """
import os, threading
from fabfile.remote import each
go_on = threading.Event()
def work(number):
    os.write(1, f"{number}\\n".encode())
    go_on.wait()
try:
    each(range(100), work, limit=2)
except KeyboardInterrupt:
    os.write(1, b"interrupted\\n")
    if "released" in os.environ:
        go_on.set()
        for thread in threading.enumerate():
            thread is threading.current_thread() or thread.join()
"""


@pytest.mark.parametrize("workers", ["released", "held"])
def test_ctrl_c_begins_nothing_more_and_waits_for_nothing(workers: str) -> None:
    environment = {**os.environ, workers: ""}
    command = [sys.executable, "-c", INTERRUPTED]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert program.stdout is not None
    begun = {program.stdout.readline(), program.stdout.readline()}
    os.kill(program.pid, signal.SIGINT)
    rest = program.communicate(timeout=60)[0]
    assert begun == {"0\n", "1\n"}
    assert rest == "interrupted\n"
    assert program.returncode == 0


def test_listing_tasks_does_not_import_fabric() -> None:
    check = "import sys, fabfile.machines, fabfile.named_hosts; print({'fabric', 'paramiko'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", check], text=True) == "set()\n"
