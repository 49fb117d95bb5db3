"""What controller and engines wrote: the last lines, the new ones as they come, or all in one file for a bug report."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

from invoke.context import Context
from invoke.exceptions import Exit

from ..command_line import task
from ..errors import ClusterError, UsageError, raise_together
from .options import CLUSTER, ON, TEMPLATE

FEW = "20"


@task(
    help={
        "on": ON,
        "lines": "how many lines of each machine (default: 20; with --since all, with --follow none)",
        "since": "only lines of that time, like 10m, 2h or 1d",
        "follow": "go on with new lines as they come, until Ctrl-C",
        "bundle": "for a bug report: logs, states and versions, without secrets, into this new FILE.tar.gz",
        "cluster": CLUSTER,
        "template": TEMPLATE,
    }
)
def logs(
    c: Context,
    on: str = "all",
    lines: str = "",
    since: str = "",
    follow: bool = False,
    bundle: str = "",
    cluster: str = "",
    template: str = "",
) -> None:
    """The last lines that controller and engines wrote, machine by machine; or new ones as they come."""
    if lines and not (lines.isascii() and lines.isdigit() and int(lines)):
        raise UsageError(f"--lines {lines!r} is not a whole number above 0")
    seconds = _seconds(since) if since else None
    if follow and bundle:
        raise UsageError("--follow goes without --bundle", hint="a bundle is of what is there: make it afterwards")
    if bundle:
        _bundle(c, on, int(lines or 0), seconds, bundle, cluster, template)
    elif follow:
        _follow(c, on, int(lines) if lines else None if since else 0, seconds, cluster, template)
    else:
        _show(c, on, int(lines or (0 if since else FEW)), seconds, cluster, template)


def _seconds(since: str) -> float:
    from .. import kinds

    try:
        return kinds.duration("1s", "365d")(since)
    except ValueError as error:
        raise UsageError(f"--since {since!r} {error}", hint="say how long ago, as in --since 10m") from None


def _show(c: Context, on: str, lines: int, since: float | None, cluster: str, template: str) -> None:
    from .. import access, report, session
    from ..services import Stretch

    run = session.open_run(c, cluster=cluster, template=template)
    machines = access.chosen(access.machines_of(run), on)
    if since is None:
        outcomes = access.last_lines(run, machines, lines)
    else:
        outcomes = access.past_lines(run, machines, Stretch(lines or None, since))
    failures = []
    for one in outcomes:
        if isinstance(one.error, ClusterError):
            failures.append(one.error)
        elif one.error is not None:
            raise one.error
        else:
            report.say(f"== {one.item.name} ==\n{one.value or '(nothing)'}")
    raise_together(failures)


def _follow(c: Context, on: str, lines: int | None, since: float | None, cluster: str, template: str) -> None:
    from .. import access, following, report, session
    from ..services import Stretch

    try:
        run = session.open_run(c, cluster=cluster, template=template)
        found = access.machines_of(run)
        chosen = access.chosen(found, on)
        sources, failures = [], []
        for one in following.sources(run, found.machines, chosen, Stretch(lines, since)):
            if one.value is not None:
                sources.append(one.value)
            elif isinstance(one.error, ClusterError):
                failures.append(one.error)
            else:
                raise one.error or AssertionError(one.item.name)
        if not sources:
            raise_together(failures)
        for failure in failures:
            report.warn(str(failure))
        width = max(len(source.machine) for source in sources)
        with closing(following.listen(sources)) as heard:
            for said in heard:
                if said.ended:
                    report.warn(f"{said.machine} is no longer followed: {said.text}")
                else:
                    report.say(f"{said.machine:<{width}} | {said.text}")
    except KeyboardInterrupt:
        raise Exit(code=130) from None  # it is how this command ends, and nothing was begun that could be resumed
    raise ClusterError(
        "no machine is left to be followed", hint="`invoke status` says what became of them; then follow them again"
    )


def _bundle(c: Context, on: str, lines: int, since: float | None, named: str, cluster: str, template: str) -> None:
    from .. import access, bug_report, bundle, report, session
    from ..machines import Machine
    from ..services import Stretch

    path = bundle.wanted(named)
    run = session.open_run(c, cluster=cluster, template=template)
    machines: tuple[Machine, ...] = ()
    note = ""
    try:
        found = access.machines_of(run)
    except ClusterError as error:
        note = f"\nNo machine was asked: {error}\n"
        report.warn(f"no machine is asked: {error.message}")
    else:
        machines = access.chosen(found, on)
    resolved = session.resolved_of(c, cluster=cluster, template=template or run.record.template)
    if run.record.template and not template:
        resolved = replace(resolved, origins={**resolved.origins, "template": "what the cluster was made with"})
    gathered = bug_report.gather(run, machines, Stretch(lines or bug_report.LINES, since), resolved, note)
    name = path.name.removesuffix(".tgz").removesuffix(".tar.gz")
    data = bundle.packed(gathered.files, gathered.secrets, name)
    bundle.put(path, data)
    for silent in gathered.silent:
        report.warn(f"{silent} did not answer: the bundle says why")
    report.say(f"{path}: {max(1, round(len(data) / 1000))} kB; look through it before you send it")
