"""Files to the machines and from them, and commands and scripts run there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from invoke.context import Context
from invoke.exceptions import Exit

from ..command_line import task, trailing_words
from ..errors import UsageError
from ..paths import expanded
from .options import CLUSTER, ON, TEMPLATE

if TYPE_CHECKING:
    from ..labour import Work

ROOT = "as root, and not as the user that engines run as"
HERE = "the folder that engines work in"


@task(
    help={
        "command": "a line of shell; `ipyfleet run -- ls -l` takes the words after -- for one",
        "script": "a script of this computer: .py is run by the engines' Python, others by their first line or sh",
        "args": "words for the script, quoted as in a shell",
        "on": "controller, engines, all, or names of machines with commas between them (default: controller)",
        "root": ROOT,
        "cluster": CLUSTER,
        "template": TEMPLATE,
    }
)
def run(
    c: Context,
    command: str = "",
    script: str = "",
    args: str = "",
    on: str = "controller",
    root: bool = False,
    cluster: str = "",
    template: str = "",
) -> None:
    """Run a command or a script of yours on the machines, in the folder that engines work in.

    Its output comes as it is written; from several machines each line has its machine's name before it. The exit code
    is the command's own; of several machines 0 when all ended with 0, else 1.
    """
    from .. import access, labour, report, session

    work = _work(command, script, args)
    run = session.open_run(c, cluster=cluster, template=template)
    machines = access.chosen(access.machines_of(run), on)
    if len(machines) == 1:
        code = labour.alone(run, machines[0], work, root=root)
        if code:
            raise Exit(code=code)
        return
    width = max(len(one.name) for one in machines)
    done = labour.everywhere(
        run, machines, work, lambda one, line, wrong: report.line(one.name.ljust(width), line, wrong), root=root
    )
    failed = [str(one) for one in done if not one.well]
    if failed:
        report.warn("\n".join([f"{len(failed)} of {len(done)} machines failed", *failed]))
        raise Exit(code=1)


def _work(command: str, script: str, args: str) -> Work:
    """What is to be run; exactly one of the ways to say it must be used."""
    import shlex

    from .. import labour
    from ..remote import quoted

    words = trailing_words()
    said = [name for name, given in (("--command", command), ("--script", script), ("--", words)) if given]
    if len(said) != 1 and set(said) != {"--script", "--"}:
        raise UsageError(
            "nothing to run" if not said else f"{' and '.join(said)} are two answers to one question",
            hint="`invoke run --command 'uptime'`, `invoke run --script fit.py --args '--steps 9'`, or "
            "`ipyfleet run -- uptime`",
        )
    if args and not script:
        raise UsageError("--args are for a --script", hint="write them into the --command itself")
    if script:
        try:
            return labour.script(script, [*shlex.split(args), *words])
        except ValueError as error:
            raise UsageError(f"--args {args!r}: {error}", hint="quote them as in a shell") from None
    return labour.Work((*labour.SHELL, command or quoted(words)))


@task(
    help={
        "path": "a file or folder of this computer",
        "to": f"where to: a path, relative to {HERE}; ending with / a folder to put it into (default: there, as named)",
        "package": "a Python package of this computer, a folder or one file, for every engine's path",
        "on": ON,
        "root": ROOT,
        "cluster": CLUSTER,
        "template": TEMPLATE,
    }
)
def put(
    c: Context,
    path: str = "",
    to: str = "",
    package: str = "",
    on: str = "all",
    root: bool = False,
    cluster: str = "",
    template: str = "",
) -> None:
    """Put a file or folder onto the machines; what is there in the same size and of the same time is not sent again."""
    from .. import access, report, session, transfer
    from ..errors import raise_together

    if bool(path) == bool(package):
        raise UsageError(
            "what is to be put there?" if not path else "--path and --package are two answers to one question",
            hint="`invoke put --path data.csv`, or `invoke put --package mytools`",
        )
    if package and to:
        raise UsageError("--package goes into a folder of every engine's path; --to is for --path")
    what = transfer.package(package) if package else transfer.source(path)
    target = f"{transfer.PACKAGES}/{what.name}" if package else transfer.destination(to, what.name)
    run = session.open_run(c, cluster=cluster, template=template)
    machines = access.chosen(access.machines_of(run), on)
    done = transfer.send(
        run, machines, what, target, report.progress, root=root or bool(package), everybody=bool(package)
    )
    failures = []
    for one in done:
        if one.error is None:
            report.say(f"{one.item.name}: {report.files(one.value or 0)} written to {target}")
        failures += session.known_failures([one.error])
    raise_together(failures)
    if package and any(one.value for one in done):
        report.say("engines that have imported it already know it as it was: `invoke restart` makes them forget")


@task(
    help={
        "path": f"a file or folder on the machines, relative to {HERE}",
        "to": "where to, here: a path; ending with / a folder to put it into (default: ., as named)",
        "on": "controller, engines, all, or names of machines with commas between them (default: controller)",
        "root": ROOT,
        "cluster": CLUSTER,
        "template": TEMPLATE,
    }
)
def get(
    c: Context,
    path: str = "",
    to: str = "",
    on: str = "controller",
    root: bool = False,
    cluster: str = "",
    template: str = "",
) -> None:
    """Get a file or folder from the machines; from several, each into a folder of its machine's name."""
    from .. import access, report, session, transfer
    from ..errors import raise_together

    name = Path(path.rstrip("/")).name
    if not name or name in (".", ".."):
        raise UsageError("what is to be fetched?", hint="`invoke get --path results.npz --to results/`")
    if name.startswith("~") and (not to or to.endswith("/")):
        raise UsageError(f"what shall {path} be called here?", hint="say it with --to, like `--to home-of-engines`")
    run = session.open_run(c, cluster=cluster, template=template)
    machines = access.chosen(access.machines_of(run), on)
    target = expanded(to) / name if to.endswith("/") else expanded(to or name)
    several = len(machines) > 1 or "," in on or on in ("engines", "all")
    wanted = [(one, target.parent / one.name / target.name if several else target) for one in machines]
    failures = []
    for one in transfer.fetch(run, wanted, path, report.progress, root=root):
        if one.error is None:
            report.say(f"{one.item[0].name}: {report.files(one.value or 0)} written to {one.item[1]}")
        failures += session.known_failures([one.error])
    raise_together(failures)
