"""Everything that is printed: progress, plans, status, timings, the client snippet.

The only module that writes to the terminal. It is given values and events and asks nothing of any machine.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from .errors import ClusterError
from .machines import Event, Finding
from .plan import Plan
from .record import Record, Timing
from .status import Status

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table


class Progress:
    """A listener for events that shows them: a live table on a terminal, one line an event otherwise.

    Used as a context manager around the work; what is said goes to standard output, as the results do.
    """

    def __init__(self, title: str, stream: TextIO | None = None) -> None:
        self.title = title
        self.stream = stream or sys.stdout
        self.begun = time.monotonic()
        self.rows: dict[str, tuple[str, float]] = {}
        self.lock = threading.Lock()
        self.live: Live | None = None

    def __enter__(self) -> Progress:
        if self.stream.isatty():
            from rich.console import Console
            from rich.live import Live

            self.live = Live(
                console=Console(file=self.stream), get_renderable=self._table, refresh_per_second=8, transient=True
            )
            self.live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.live.__exit__(kind, error, trace)

    def __call__(self, event: Event) -> None:
        """Show one event."""
        at = time.monotonic() - self.begun
        with self.lock:
            self.rows[event.machine] = (event.what, at)
            if not self.live:
                where = event.machine or self.title
                print(f"{at:6.1f} s  {where:<12} {event.what}", file=self.stream, flush=True)

    def _table(self) -> Table:
        from rich.markup import escape
        from rich.table import Table

        table = Table.grid(padding=(0, 2))
        now = time.monotonic() - self.begun
        with self.lock:
            rows = sorted(self.rows.items(), key=lambda row: _natural(row[0]))
        table.add_row(f"[bold]{escape(self.title)}[/]", "", f"{now:.1f} s")
        for machine, (what, at) in rows:
            table.add_row(f"  {machine}", escape(what), f"[dim]{at:.1f}[/]")
        return table


def _natural(name: str) -> tuple[bool, str, int]:
    """``controller``, ``engine-2``, ``engine-10``; the whole cluster's own line last."""
    stem, _, number = name.rpartition("-")
    return (name == "", stem, int(number)) if number.isdigit() else (name == "", name, 0)


def say(text: str) -> None:
    """One line or paragraph for the user, on standard output, in place of a heartbeat."""
    try:
        print(("\r\x1b[K" if sys.stdout.isatty() else "") + text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python would complain again at its end
        raise ClusterError(
            f"the output cannot be written: {error.strerror}", hint="send it where there is room"
        ) from error


def heartbeat(text: str) -> None:
    """A sign of life while something is waited for, in one place of the terminal; nothing elsewhere."""
    if sys.stdout.isatty():
        print(f"\r\x1b[K{text}", end="", flush=True)


def line(machine: str, text: str, wrong: bool) -> None:
    """A line that a command on a machine wrote; what is ``wrong`` goes to standard error, as it did there."""
    if wrong:
        print(f"{machine} | {text}", file=sys.stderr, flush=True)
    else:
        say(f"{machine} | {text}")


def progress(done: int, total: int) -> None:
    """How far a transfer has come, in bytes; nothing where nobody looks."""
    share = f" of {_size(total)}, {100 * done // total} %" if total else ""
    heartbeat(f"{_size(done)}{share}")


def files(count: int) -> str:
    """So many files."""
    return _count(count, "file")


def engines(count: int) -> str:
    """So many engines."""
    return _count(count, "engine")


def _size(count: int) -> str:
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.3g} {unit}"


def warn(text: str) -> None:
    """Something the user should know but that stops nothing, on standard error."""
    print(f"note: {text}", file=sys.stderr, flush=True)


def findings(found: Sequence[Finding]) -> None:
    """The warnings of a preflight; its errors are raised, not printed."""
    for finding in found:
        if finding.level == "warning":
            warn(finding.text + (f"; {finding.fix}" if finding.fix else ""))


def confirm(question: str) -> bool:
    """Ask a yes-or-no question on the terminal; no answer means no."""
    try:
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def ask(question: str, default: str = "") -> str | None:
    """The answer to a question on the terminal, ``default`` for an empty one; None when nobody answers any more."""
    try:
        return input(f"{question} [{default}]: " if default else f"{question}: ").strip() or default
    except EOFError:
        return None


def can_ask() -> bool:
    """Whether somebody sits there to answer."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def plan_lines(plan: Plan) -> list[str]:
    """What would change, one line a machine."""
    if plan.empty:
        return ["nothing to do"]
    lines = [f"replace  {machine.name}  ({machine.detail or machine.state})" for machine in plan.discard]
    created, started = {one.name for one in plan.create}, {machine.name for machine in plan.start}
    for one in plan.deploy:
        verb = "create " if one.name in created else "start  " if one.name in started else "deploy "
        engines = f"  {_count(len(one.numbers), 'engine')}" if one.role == "engine" else ""
        lines.append(f"{verb}  {one.name}{engines}")
    lines += [f"stop     {slot}" for slot in plan.drop]
    lines += [f"remove   {machine.name}" for machine in plan.remove]
    if plan.restart_controller:
        lines.append("restart  the controller: all engines register anew, open clients must be made again")
    lines += [f"disturbs {slot}: it is at work" for slot in plan.disturbs]
    return lines


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def done(engines: int, machines: int, timings: Sequence[Timing], total: float, *, changed: bool = True) -> str:
    """The last line of a provision: what is there, how long it took (s) and where the time went."""
    text = f"{_count(engines, 'engine')} on {_count(machines, 'machine')}"
    if not changed:
        return f"{text}: nothing to do ({total:.1f} s)"
    milestones = {"machines": "ssh answers", "services": "online", "engines": "answer"}
    parts, before = [], 0.0
    for name, what in milestones.items():
        at = max((timing.at for timing in timings if timing.what.endswith(what)), default=before)
        if at > before:
            parts.append(f"{name} {at - before:.1f}")
            before = at
    return f"{text} in {total:.1f} s" + (f" ({', '.join(parts)})" if parts else "")


def snippet(cluster: str) -> str:
    """What to paste into Python to use the cluster."""
    return "\n".join(
        (
            "In Python, from any terminal of this computer:",
            "",
            "    import ipyparallel as ipp",
            f'    rc = ipp.Client(cluster_id="{cluster}")',
            "    rc[:].map_sync(lambda x: x**30, range(8))",
        )
    )


def waterfall(record: Record, width: int = 40) -> list[str]:
    """The phases of the last run by machine, each with its start, its length in seconds and a bar."""
    if not record.runs:
        return ["no run is recorded"]
    timings = record.runs[-1].timings
    total = max((timing.at for timing in timings), default=0.0) or 1.0
    lines = [f"{record.runs[-1].doing}, {since(record.runs[-1].begun)}"]
    for machine in sorted({timing.machine for timing in timings}, key=_natural):
        before = 0.0
        for timing in sorted((t for t in timings if t.machine == machine), key=lambda t: t.at):
            start, length = round(before / total * width), max(1, round((timing.at - before) / total * width))
            bar = " " * min(start, width - 1) + "▇" * min(length, width - min(start, width - 1))
            lines.append(f"{machine or 'cluster':<12} {timing.at - before:6.2f} s  {bar:<{width}}  {timing.what}")
            before = timing.at
    return lines


def since(moment: float) -> str:
    """How long ago a moment (epoch seconds) was."""
    return f"{duration(time.time() - moment)} ago"


def redraw(lines: Sequence[str]) -> None:
    """Show lines in place of the last ones on a terminal, below them elsewhere."""
    clear = "\x1b[2J\x1b[H" if sys.stdout.isatty() else ""
    print(clear + "\n".join(lines), flush=True)


def status_json(status: Status) -> str:
    """The status as one JSON object; times are seconds since the epoch, ages and leases seconds."""
    return as_json(asdict(status))


def as_json(value: Mapping[str, Any]) -> str:
    """A value of plain fields as one JSON object."""
    return json.dumps(_plain(value), indent=2)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return value if isinstance(value, int | float | bool | None) else str(value)


def status_lines(status: Status) -> list[str]:
    """The status as a person reads it."""
    if status.state == "none":
        return [f"no cluster {status.name!r} on provider {status.provider}"]
    head = [status.name, status.provider, f"{status.engines} of {status.expected} engines", status.state]
    if status.age is not None:
        head.append(f"up {duration(status.age)}")
    head.append("no lease" if status.lease_left is None else f"lease ends in {duration(status.lease_left)}")
    prices = [f"{status.hourly:.2f} USD an hour"] if status.hourly is not None else []
    prices += [f"{status.cost:.2f} so far"] if status.cost is not None else []
    if prices:
        head.append(f"about {', '.join(prices)}")
    rows = [("machine", "state", "service", "engines", "busy", "address")]
    for one in status.machines:
        engines = "" if one.role == "controller" else f"{one.engines}/{one.expected}"
        rows.append((one.name, one.state, one.service, engines, str(one.busy or ""), one.address))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [" · ".join(head), ""]
    lines += ["  ".join(word.ljust(size) for word, size in zip(row, widths, strict=True)).rstrip() for row in rows]
    if status.others:
        lines += ["", f"further engines in the hub: {', '.join(status.others)}"]
    if status.problems:
        lines += ["", *(f"! {problem}" for problem in status.problems)]
    return lines


def duration(seconds: float) -> str:
    """A length of time as a person says it: ``42 s``, ``5 min``, ``3 h 20 min``, ``2 d 4 h``."""
    whole = int(max(0, seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if hours == 0:
        return f"{minutes} min"
    if days == 0:
        return f"{hours} h {minutes % 60} min"
    return f"{days} d {hours % 24} h"
