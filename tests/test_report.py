"""report.py: what is printed."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest

from fabfile import report
from fabfile.machines import Event
from fabfile.plan import Seen, Wanted, make_plan
from fabfile.record import PastRun, Record, Timing
from tests.test_plan import healthy, wanted
from tests.test_status import NOW, observed, summarise


def test_piped_progress_is_one_line_an_event():
    stream = io.StringIO()
    with report.Progress("lab", stream) as progress:
        progress(Event("ssh answers", "engine-0"))
        progress(Event("all 2 answer"))
    assert [line.split("s  ")[1] for line in stream.getvalue().splitlines()] == [
        "engine-0     ssh answers",
        "lab          all 2 answer",
    ]


@pytest.mark.parametrize(
    ("typed", "default", "heard"),
    [("8\n", "4", "8"), (" lab \n", "", "lab"), ("\n", "4", "4"), ("\n", "", ""), ("", "4", None)],
)
def test_a_question_is_answered_by_a_line_or_its_default(monkeypatch, capsys, typed, default, heard):
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    assert report.ask("How many", default) == heard
    assert capsys.readouterr().out == ("How many [4]: " if default else "How many: ")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_progress_is_a_live_table_that_leaves_nothing_behind(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with report.Progress("lab", stream) as progress:
        progress(Event("ssh answers", "engine-10"))
        progress(Event("[odd] markup", "engine-2"))
    shown = stream.getvalue()
    assert shown.index("engine-2") < shown.index("engine-10")
    assert "[odd] markup" in shown


def test_a_plan_names_each_machine_and_what_happens_to_it():
    grow = report.plan_lines(make_plan(wanted(3), healthy(2)))
    assert grow == ["create   engine-2  1 engine"]
    shrink = report.plan_lines(make_plan(wanted(1), healthy(2, busy=frozenset({0, 1}))))
    assert shrink == ["remove   engine-1", "disturbs engine-1 engine 1: it is at work"]
    assert report.plan_lines(make_plan(wanted(2), healthy(2))) == ["nothing to do"]
    anew = report.plan_lines(make_plan(Wanted(1, 1, "newer", "e"), healthy(1)))
    assert anew[-1].startswith("restart  the controller")
    assert len(report.plan_lines(make_plan(wanted(2), Seen()))) == 3


TIMINGS = (
    Timing(0.1, "engine-0", "creating"),
    Timing(2.0, "engine-0", "ssh answers"),
    Timing(3.5, "engine-0", "online"),
    Timing(5.0, "", "all 1 answer"),
)


def test_the_last_line_says_what_is_there_and_where_the_time_went():
    assert (
        report.done(1, 2, TIMINGS, 5.2) == "1 engine on 2 machines in 5.2 s (machines 2.0, services 1.5, engines 1.5)"
    )
    assert report.done(4, 5, (), 0.3, changed=False) == "4 engines on 5 machines: nothing to do (0.3 s)"


def test_the_waterfall_shows_each_phase_with_its_length():
    lines = report.waterfall(Record(runs=(PastRun("provision", 0.0, TIMINGS),)))
    assert [line.split()[:2] for line in lines[1:]] == [
        ["engine-0", "0.10"],
        ["engine-0", "1.90"],
        ["engine-0", "1.50"],
        ["cluster", "5.00"],
    ]
    assert report.waterfall(Record()) == ["no run is recorded"]


def test_the_status_is_readable_and_as_json_one_object():
    status = summarise("lab", "local", observed(others=("lab7-1-abc",)), NOW)
    text = "\n".join(report.status_lines(status))
    assert text.startswith("lab · local · 2 of 2 engines · healthy · up 1 min · no lease")
    assert "further engines in the hub: lab7-1-abc" in text
    shown = json.loads(report.status_json(status))
    assert (shown["state"], shown["engines"], shown["machines"][2]["busy"]) == ("healthy", 2, 1)


def test_the_status_says_what_it_costs_as_far_as_that_is_known():
    status = summarise("lab", "ec2", observed(), NOW)
    assert "USD" not in report.status_lines(status)[0]
    assert "about 0.31 USD an hour, 1.25 so far" in report.status_lines(replace(status, hourly=0.31, cost=1.25))[0]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h 0 min"), (90000, "1 d 1 h"), (-5, "0 s")],
)
def test_a_length_of_time_is_said_as_a_person_says_it(seconds, text):
    assert report.duration(seconds) == text
