"""The chain: from nothing to a working, encrypted IPython Parallel cluster in one command, and back in another.

``provision`` looks at what there is and runs the links of fabfile/chain.py over it, each taking the value of the link
before; a link does nothing where nothing has to be done, so a task may be repeated, resumed and interrupted.
"""

from __future__ import annotations

from invoke.collection import Collection
from invoke.context import Context

from fabfile.command_line import task
from fabfile.commands import (
    access,
    account,
    clients,
    configuration,
    doctor,
    files,
    hooks,
    images,
    keys,
    logs,
    machines,
    packages,
    project,
    steps,
)
from fabfile.commands.options import ADOPT, CLUSTER, TEMPLATE, YES
from fabfile.errors import UsageError


@task(
    help={
        "engines": "how many engines the cluster shall have (default: as many as it has, 4 for a new one)",
        "cluster": CLUSTER,
        "template": TEMPLATE,
        "min-engines": "be content with so many engines when some machines fail",
        "plan": "only print what would change",
        "rollback": "on failure, remove the machines that this run made",
        "adopt": ADOPT,
        "host-key": "fingerprint (SHA256:…) of a new machine's host key, where its provider cannot know it",
        "yes": YES,
    }
)
def provision(
    c: Context,
    engines: str = "",
    cluster: str = "",
    template: str = "",
    min_engines: str = "",
    plan: bool = False,
    rollback: bool = False,
    adopt: bool = False,
    host_key: str = "",
    yes: bool = False,
) -> None:
    """Bring the cluster to N engines that answer, from whatever there is now."""
    from fabfile import chain, observation, power, removal, report, session

    options = {"engines": engines, "cluster": cluster, "template": template, "min_engines": min_engines}
    options["host_keys"] = host_key
    if plan and adopt:
        raise UsageError("--plan changes nothing, but --adopt does", hint="run it with --adopt first, then with --plan")
    with session.changing(c, "provision", **options) as run:
        observed = observation.adopt(run) if adopt else observation.observe(run)
        if adopt and not engines and observed.seen.assigned:
            power.settle_for(run, observed)
        todo = chain.plan(run, observed)
        if plan:
            report.say("\n".join(report.plan_lines(todo)))
            return
        session.check(run, todo)
        session.agree(todo.disturbs, yes=yes)
        with session.showing(run), removal.rolling_back(run, observed, todo, wanted=rollback):
            found = chain.create(run, observed, todo)
            connection, secret = chain.connect(run, found, todo)
            todo = chain.deploy(run, observed, found, todo, connection, secret)
            chain.arm(run, found, todo)
            answering = chain.count(run, observed, found, todo, connection)
            removal.retire(run, observed, todo)
            chain.hand_over(run, found, connection)
            chain.announce(run, found, todo)
        report.say(report.done(answering, len(todo.target), run.timings, run.elapsed, changed=not todo.empty))
        report.say(report.snippet(run.settings.cluster))


@task(
    help={
        "cluster": CLUSTER,
        "template": TEMPLATE,
        "json": "print one JSON object and nothing else",
        "watch": "look again every two seconds, until Ctrl-C",
        "timings": "print the phases of the last run, machine by machine",
    }
)
def status(
    c: Context, cluster: str = "", template: str = "", json: bool = False, watch: bool = False, timings: bool = False
) -> None:
    """Machines, services and the engines that the hub knows; exit code 0 healthy, 1 degraded, 3 none."""
    from fabfile import observation, report, session

    if timings and (json or watch):
        raise UsageError("--timings goes without --json and --watch", hint="they show what is, --timings what was")
    run = session.open_run(c, cluster=cluster, template=template)
    if timings:
        report.say("\n".join(report.waterfall(run.record)))
        return
    seen = session.watching(lambda: observation.look(run), json=json, watch=watch, cluster=cluster, template=template)
    session.leave_with(seen)


@task(
    help={
        "cluster": CLUSTER,
        "template": TEMPLATE,
        "forget": "do not insist on reaching hosts of yours to take the services off them",
        "adopt": ADOPT,
        "yes": YES,
    }
)
def teardown(
    c: Context, cluster: str = "", template: str = "", forget: bool = False, adopt: bool = False, yes: bool = False
) -> None:
    """Remove everything of the cluster, and make sure that nothing is left."""
    from fabfile import removal, report, session

    with session.changing(c, "teardown", cluster=cluster, template=template) as run:
        session.agree_to_remove(run, yes=yes, adopt=adopt)
        with session.showing(run):
            removal.take_down(run, forget=forget)
        report.say(f"{run.settings.cluster} is gone")


ns = Collection(provision, status, teardown, machines.stop, machines.start, machines.restart, project.test)
for one in (configuration.init, configuration.config, configuration.completion):
    ns.add_task(one)
for one in (clients.connect, clients.disconnect, clients.shell, clients.notebook):
    ns.add_task(one)
for one in (access.ssh, access.ssh_config, logs.logs, doctor.doctor, files.run, files.put, files.get):
    ns.add_task(one)
for one in (account.clusters, account.sweep, account.renew, account.console):
    ns.add_task(one)
for one in (account.regions, account.zones, account.types, account.prices):
    ns.add_task(one)
ns.add_collection(Collection.from_module(steps, name="step"))
ns.add_collection(Collection.from_module(keys, name="keys"))
ns.add_collection(Collection.from_module(images, name="images"))
ns.add_collection(Collection.from_module(packages, name="packages"))
ns.add_collection(Collection.from_module(hooks, name="hooks"))
