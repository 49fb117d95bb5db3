"""Python packages: put onto all machines of a cluster, and compared."""

from __future__ import annotations

import re
from dataclasses import replace

from invoke.context import Context

from ..command_line import task
from ..errors import UsageError
from ..paths import expanded
from .options import CLUSTER, TEMPLATE, YES


@task(
    help={
        "names": "packages as pip names them, with commas or blanks between them: 'scipy, pandas>=2'",
        "requirements": "a file with one of them a line",
        "cluster": CLUSTER,
        "template": TEMPLATE,
        "yes": YES,
    }
)
def add(
    c: Context, names: str = "", requirements: str = "", cluster: str = "", template: str = "", yes: bool = False
) -> None:
    """Put Python packages onto all machines, in this computer's versions; machines that are made later get them too."""
    from .. import chain, observation, power, report, session
    from ..kinds import merged
    from ..software import wheelhouse

    wanted = _named(names, requirements)
    with session.changing(c, "packages.add", cluster=cluster, template=template) as run:
        observed = session.known(run, observation.observe(run))
        run.settings = replace(run.settings, packages=merged(run.settings.packages, wanted))
        power.settle_for(run, observed)
        todo = chain.plan(run, observed)  # has pip find them: what cannot be had ends it here
        session.agree(todo.disturbs, yes=yes)
        wheelhouse(run.software, run)  # what cannot be fetched is not remembered either
        run.save(packages=merged(run.record.packages, wanted))
        with session.showing(run):
            found = chain.create(run, observed, todo)
            connection, secret = chain.connect(run, found, todo)
            todo = chain.deploy(run, observed, found, todo, connection, secret)
            answering = chain.count(run, observed, found, todo, connection)
            chain.hand_over(run, found, connection)
        report.say(report.done(answering, len(todo.target), run.timings, run.elapsed, changed=not todo.empty))


@task(name="list", help={"cluster": CLUSTER, "template": TEMPLATE})
def list_(c: Context, cluster: str = "", template: str = "") -> None:
    """The packages that the cluster was given: the versions that it shall have, and those on the machines."""
    from .. import access, host_software, listings, report, session
    from ..errors import raise_together

    run = session.open_run(c, cluster=cluster, template=template)
    machines = access.machines_of(run).machines
    outcomes = access.on_each(run, machines, lambda host, machine: host_software.packages(host))
    there = {one.item.name: one.value for one in outcomes if one.value is not None}
    report.say("\n".join(listings.packages(run.software, there)))
    raise_together(session.known_failures(one.error for one in outcomes))


def _named(names: str, requirements: str) -> list[str]:
    """The packages that are named, checked; raises UsageError with all that cannot be meant."""
    from ..kinds import requirement

    texts = [text for text in re.split(r",(?![^\[]*\])|\s+(?![<>=!~])", names) if text.strip()]
    if requirements:
        try:
            lines = expanded(requirements).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{requirements} cannot be read: {getattr(error, 'strerror', error)}") from error
        texts += [text for line in lines if (text := re.sub(r"(^|\s)#.*", "", line).strip())]
    if not texts:
        raise UsageError("which packages?", hint="`invoke packages.add --names 'scipy, pandas>=2'`")
    wanted, misfits = [], []
    for text in texts:
        try:
            name, condition, rest = text.partition(";")  # in which blanks stand between words
            wanted.append(requirement("".join(name.split()) + condition + rest.strip()))
        except ValueError as misfit:
            misfits.append(f"it {misfit}")
    if misfits:
        raise UsageError(
            "\n".join(misfits), hint="name packages as pip does; options of pip's belong into its settings"
        )
    return list(dict.fromkeys(wanted))
