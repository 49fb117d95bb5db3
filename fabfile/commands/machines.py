"""Machines off and on again: their disks are kept, what ran on them comes back."""

from __future__ import annotations

from invoke.context import Context

from ..command_line import task
from ..errors import addressed
from .options import CLUSTER, MACHINE, TEMPLATE, YES


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
