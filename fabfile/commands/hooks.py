"""The user's own hooks, shown and run by name, also long after a machine has come up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from invoke.context import Context

from ..cloud_kinds import EVENTS
from ..command_line import task
from ..errors import UsageError, raise_together
from ..kinds import nearest
from .options import CLUSTER, ON, TEMPLATE


@task(name="list", help={"cluster": CLUSTER, "template": TEMPLATE})
def list_(c: Context, cluster: str = "", template: str = "") -> None:
    """The hooks of the settings, by what they are for."""
    from .. import report, session

    run = session.open_run(c, cluster=cluster, template=template)
    lines = [f"{event:<12}  {item}" for event, items in run.settings.hooks for item in items]
    report.say("\n".join(lines) or "there are none; the setting `hooks` names them")


@task(
    help={
        "event": "machine_up, machine_down or cluster_up: what they are for",
        "name": "only this one, as hooks.list shows it, or the last part of its path (default: all of the event)",
        "on": f"{ON}; of cluster_up the controller",
        "cluster": CLUSTER,
        "template": TEMPLATE,
    }
)
def run(c: Context, event: str = "", name: str = "", on: str = "", cluster: str = "", template: str = "") -> None:
    """Run hooks of the settings now, on machines that run."""
    from .. import access, hooks, report, session

    if event not in EVENTS:
        what = f"no event {event!r}{nearest(event, EVENTS)}" if event else "the hooks of which event?"
        raise UsageError(what, hint=f"`invoke hooks.run --event machine_up`; there are {', '.join(EVENTS)}")
    run = session.open_run(c, cluster=cluster, template=template)
    items = dict(run.settings.hooks).get(event, ())
    if name:
        named = tuple(one for one in items if name in (one, Path(one).name))
        if not named:
            known = [Path(one).name for one in items]
            raise UsageError(
                f"no hook {name!r} of {event}{nearest(name, known)}", hint="`invoke hooks.list` shows them"
            )
        items = named
    if not items:
        raise UsageError(f"there are no hooks of {event}", hint="the setting `hooks` names them")
    settings = replace(run.settings, hooks=((event, items),))
    if wrong := list(hooks.complaints(settings)):
        raise UsageError("\n".join(wrong))
    machines = access.chosen(access.machines_of(run), on or ("controller" if event == "cluster_up" else "all"))
    outcomes = access.on_each(
        run,
        machines,
        lambda host, machine: hooks.call(
            settings, event, host, machine, lambda told: report.line(told.machine, told.what, False)
        ),
    )
    for one in outcomes:
        if one.error is None:
            report.line(one.item.name, "done", False)
    raise_together(session.known_failures(one.error for one in outcomes))
