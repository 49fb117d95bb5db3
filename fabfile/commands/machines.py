"""Machines off and on again: their disks are kept, what ran on them comes back."""

from __future__ import annotations

from invoke.context import Context

from ..command_line import task
from ..errors import ClusterError, UsageError, addressed
from .options import CLUSTER, MACHINE, TEMPLATE, YES

WHAT = ("engines", "controller", "all")


@task(help={"machine": MACHINE, "cluster": CLUSTER, "template": TEMPLATE, "yes": YES})
def stop(c: Context, machine: str = "", cluster: str = "", template: str = "", yes: bool = False) -> None:
    """Switch machines off, keeping their disks."""
    from .. import observation, power, report, session

    with session.changing(c, "stop", cluster=cluster, template=template) as run:
        power.stoppable(run)
        observed = session.known(run, observation.observe(run))
        machines = power.chosen(observed.found, machine)
        session.agree(power.at_work(observed, machines), yes=yes)
        session.agree_to_lose(machines, yes=yes)
        with session.showing(run):
            power.stop(run, machines)
        report.say(addressed("`invoke start` starts them again", cluster, template))


@task(help={"machine": MACHINE, "cluster": CLUSTER, "template": TEMPLATE, "yes": YES})
def start(c: Context, machine: str = "", cluster: str = "", template: str = "", yes: bool = False) -> None:
    """Switch machines on again, and see to it that their engines answer."""
    from .. import chain, observation, power, report, session

    with session.changing(c, "start", cluster=cluster, template=template) as run:
        power.stoppable(run)
        observed = session.known(run, observation.observe(run))
        observed = power.as_if_only(observed, power.chosen(observed.found, machine))
        power.settle_for(run, observed)
        todo = chain.plan(run, observed)
        session.agree(todo.disturbs, yes=yes)
        with session.showing(run):
            found = chain.create(run, observed, todo)
            connection, secret = chain.connect(run, found, todo)
            chain.deploy(run, observed, found, todo, connection, secret)
            answering = chain.count(run, observed, found, todo, connection)
            chain.hand_over(run, found, connection)
            chain.announce(run, found, todo)
        report.say(report.done(answering, len(todo.target), run.timings, run.elapsed, changed=not todo.empty))


@task(
    help={
        "what": "engines (default), or controller or all: engines start anew with their controller",
        "on": "the engines of which machines: names with commas between them (default: all)",
        "drain": "wait until running tasks have ended before anything is stopped",
        "timeout": "seconds to wait for them at most (default: the setting stop_timeout)",
        "cluster": CLUSTER,
        "template": TEMPLATE,
        "yes": YES,
    }
)
def restart(
    c: Context,
    what: str = "engines",
    on: str = "engines",
    drain: bool = False,
    timeout: str = "",
    cluster: str = "",
    template: str = "",
    yes: bool = False,
) -> None:
    """Start engines, or controller and engines, anew on machines that stay on; ends when every one of them answers."""
    from .. import access, observation, report, restarting, session
    from ..kinds import nearest

    if what not in WHAT:
        raise UsageError(f"--what {what!r} is none of {', '.join(WHAT)}{nearest(what, WHAT)}")
    if what != "engines" and on != "engines":
        raise UsageError("with the controller all engines start anew", hint="leave --on out")
    if timeout and not (drain and timeout.isascii() and timeout.isdigit()):
        raise UsageError(f"--timeout {timeout!r} must be whole seconds, and goes with --drain")
    with session.changing(c, "restart", cluster=cluster, template=template) as run:
        observed = session.known(run, observation.observe(run))
        machines = [one for one in access.chosen(observed.found, on) if one.role == "engine"]
        todo = restarting.plan(run, observed, machines, controller=what != "engines")
        with session.showing(run):
            if drain:
                limit = float(timeout or run.settings.stop_timeout)
                restarting.drain(run, observed.found, todo.fresh, limit, report.heartbeat)
            else:
                session.agree(todo.disturbs, yes=yes)
            count = restarting.restart(run, observed, todo)
        report.say(f"{report.engines(count)} restarted in {run.elapsed:.1f} s")
        if what != "engines":
            report.say("the controller is a new one: clients that were open must be made again")
        off = [one.name for one in machines if one.name not in {done.name for done in todo.deploy}]
        if off:
            raise ClusterError(f"not restarted, because they are off: {', '.join(off)}", hint="`invoke start`")
