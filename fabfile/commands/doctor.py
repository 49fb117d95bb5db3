"""What is wrong with a cluster, and what cures it."""

from __future__ import annotations

from dataclasses import asdict

from invoke.context import Context

from ..command_line import task
from .options import CLUSTER, TEMPLATE


@task(help={"cluster": CLUSTER, "template": TEMPLATE, "json": "print one JSON object and nothing else"})
def doctor(c: Context, cluster: str = "", template: str = "", json: bool = False) -> None:
    """Compare this computer with every machine, and say what is wrong and what cures it; exit code 1 for an error."""
    from .. import checkup, listings, observation, report, session

    run = session.open_run(c, cluster=cluster, template=template)
    before = run.record.tunnel
    observed = session.known(run, observation.observe(run))
    seen = checkup.meant_for(checkup.examine(run, observed, before), cluster, template)
    report.say(report.as_json({"well": seen.well, **asdict(seen)}) if json else "\n".join(listings.diagnosis(seen)))
    session.leave_with(seen)
