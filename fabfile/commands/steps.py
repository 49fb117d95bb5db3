"""Each link of the chain as a task of its own, for a person who wants to run or repeat one step.

A step looks at the cluster afresh, so it needs nothing from the step before but what that has left in the record and on
the machines; it does what ``provision`` would do at that point, and nothing where nothing is to be done.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from invoke.context import Context

from ..command_line import task
from .options import CLUSTER, TEMPLATE

if TYPE_CHECKING:
    from ..plan import Plan
    from ..run import Run
    from ..status import Observed

OPTIONS = {"engines": "how many engines the cluster shall have", "cluster": CLUSTER, "template": TEMPLATE}


@contextmanager
def planned(c: Context, doing: str, engines: str, cluster: str, template: str) -> Iterator[tuple[Run, Observed, Plan]]:
    """The run of one step, with what there is and what is to do; disturbing engines at work needs `provision`."""
    from .. import chain, observation, session

    with session.changing(c, doing, engines=engines, cluster=cluster, template=template) as run:
        observed = observation.observe(run)
        todo = chain.plan(run, observed)
        session.check(run, todo)
        session.agree(todo.disturbs, yes=False)
        with session.showing(run):
            yield run, observed, todo


@task(help=OPTIONS)
def check(c: Context, engines: str = "", cluster: str = "", template: str = "") -> None:
    """1. Read the settings, ask the provider whether it can, and print the plan; changes nothing."""
    from .. import chain, observation, report, session

    run = session.open_run(c, engines=engines, cluster=cluster, template=template)
    todo = chain.plan(run, observation.observe(run))
    session.check(run, todo)
    report.say("\n".join(report.plan_lines(todo)))


@task(help=OPTIONS)
def machines(c: Context, engines: str = "", cluster: str = "", template: str = "") -> None:
    """2. Create or start the machines, and wait until they answer SSH."""
    from .. import chain

    with planned(c, "step.machines", engines, cluster, template) as (run, observed, todo):
        chain.wait_for_machines(run, chain.create(run, observed, todo))


@task(help=OPTIONS)
def deploy(c: Context, engines: str = "", cluster: str = "", template: str = "") -> None:
    """3. Put software, files and services on the machines, start them, and wait_for_svc."""
    from .. import chain

    with planned(c, "step.deploy", engines, cluster, template) as (run, observed, todo):
        found = chain.create(run, observed, todo)
        connection, secret = chain.connect(run, found, todo)
        chain.deploy(run, observed, found, todo, connection, secret)


@task(help=OPTIONS)
def connection(c: Context, engines: str = "", cluster: str = "", template: str = "") -> None:
    """4. Fetch the controller's JSON files and compare them with the record."""
    from .. import chain, observation, report, session

    run = session.open_run(c, engines=engines, cluster=cluster, template=template)
    observed = session.known(run, observation.observe(run))
    chain.compare_connection(run, observed.found)
    report.say("the controller's connection files are those of the record")


@task(help={"cluster": CLUSTER, "template": TEMPLATE})
def tunnel(c: Context, cluster: str = "", template: str = "") -> None:
    """5. Open the tunnel, or open it again, and write the client file that leads through it."""
    from .. import chain, observation, report, session

    with session.changing(c, "step.tunnel", cluster=cluster, template=template) as run:
        observed = session.known(run, observation.observe(run))
        chain.hand_over(run, observed.found, chain.connection_of(run))
        report.say(report.snippet(run.settings.cluster))


@task(help=OPTIONS)
def engines(c: Context, engines: str = "", cluster: str = "", template: str = "") -> None:
    """6. Wait until the hub knows every engine."""
    from .. import chain, report

    with planned(c, "step.engines", engines, cluster, template) as (run, observed, todo):
        answering = chain.count(run, observed, observed.found, todo, chain.connection_of(run))
    report.say(f"{answering} engines answer")
