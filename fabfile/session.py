"""One command of the user's: settings read, sudo asked, the record locked, progress shown, questions put.

What the commands of tasks.py and commands/ have in common, and nothing about what they do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from invoke.exceptions import Exit

from . import hooks, providers, record, report
from .diagnosis import Diagnosis
from .errors import ClusterError, NoSuchCluster, ProviderRefused, UsageError, addressed
from .kinds import merged
from .machines import Finding, Machine, Provider
from .observation import foreign
from .plan import Plan, Slot
from .run import Run
from .settings import Resolved, Settings, resolve
from .state import Store
from .status import Observed, Status

if TYPE_CHECKING:
    from invoke.context import Context


def settings_of(c: Context, **options: str) -> Settings:
    """The settings with these command-line options on top; an option that was not given is ""."""
    return resolved_of(c, **options).settings


def resolved_of(c: Context, **options: str) -> Resolved:
    """The same settings, each with where it is said."""
    return resolve(options, runtime_file=str(c.config._runtime_path or ""))


def resolved_for(c: Context, **options: str) -> Resolved:
    """The settings that a command on the cluster of the options would have, with what its record decides."""
    resolved = resolved_of(c, **options)
    store = Store(resolved.settings.cluster)
    kept = _kept(record.load(store), resolved, options)
    if not kept:
        return resolved
    resolved = resolved_of(c, **{**options, **kept})
    where = str(store.path(f"{record.DOCUMENT}.json"))
    return Resolved(resolved.settings, {**resolved.origins, **dict.fromkeys(kept, where)})


def _kept(known: record.Record, resolved: Resolved, options: Mapping[str, str]) -> dict[str, str]:
    """The template and the number of engines that a cluster has, unless others were asked for."""
    kept = {}
    if known.template and not options.get("template"):
        kept["template"] = known.template
    if known.assigned and not resolved.origins["engines"].startswith(("--", "IPYFLEET_")):
        kept["engines"] = str(len(known.assigned))
    return kept


def open_run(c: Context, doing: str = "", **options: str) -> Run:
    """A run on the cluster that the options name, with its own template and number of engines unless they say others.

    A number in a variable is as good as one in an option: files hold what new clusters get. Raises UsageError when the
    template is of another provider than the cluster: there it would neither be found nor removed.
    """
    resolved = resolved_of(c, **options)
    store = Store(resolved.settings.cluster)
    known = record.load(store)
    settings = settings_of(c, **{**options, **_kept(known, resolved, options)})
    if known.provider not in ("", settings.provider):
        raise UsageError(
            f"the cluster {settings.cluster!r} is on provider {known.provider}, not on {settings.provider}",
            hint=f"choose another name with --cluster, or a template of provider {known.provider} with --template",
        )
    settings = replace(settings, packages=merged(settings.packages, known.packages))
    return Run(settings, providers.get(settings), store, known, doing=doing)


def account(c: Context, template: str = "") -> Provider:
    """The provider of a template, for what is about its account and about no cluster.

    Without a template it is the one that the cluster of the settings was made with, as for every other command. With
    one, the record is not even read: clusters that are elsewhere, or a record that is broken, are in nobody's way.
    """
    settings = settings_of(c, template=template)
    known = "" if template else record.load(Store(settings.cluster)).template
    return providers.get(settings_of(c, template=known) if known else settings)


@contextmanager
def changing(c: Context, doing: str, patience: float = 0.0, /, **options: str) -> Iterator[Run]:
    """A run that may change the cluster, alone at it; ``patience`` seconds are waited for another one to end."""
    run = open_run(c, doing, **options)
    with run.store.lock(doing, patience):
        run.record = record.load(run.store)
        yield run


@contextmanager
def showing(run: Run) -> Iterator[None]:
    """Show what the run tells as it happens, and keep the times for ``status --timings``."""
    with report.Progress(run.settings.cluster) as progress:
        run.listener = progress
        try:
            yield
        finally:
            run.close()


def check(run: Run, todo: Plan) -> None:
    """The provider's preflight for the plan: warnings are shown, all errors together refused."""
    findings = [Finding("error", text) for text in hooks.complaints(run.settings)]
    findings += run.provider.check(len(todo.create)) if todo.create else []
    report.findings(findings)
    errors = [finding for finding in findings if finding.level == "error"]
    if errors:
        raise ProviderRefused(
            "\n".join(_sentence(finding) for finding in errors), hint="nothing was made; mend this and run it again"
        )


def _sentence(finding: Finding) -> str:
    return finding.text + (f": {finding.fix}" if finding.fix else "")


def agree(disturbed: Sequence[Slot], *, yes: bool) -> None:
    """Have the user agree to disturb engines at work; without a terminal and without --yes that is refused."""
    if not disturbed or yes:
        return
    named = ", ".join(str(slot) for slot in disturbed)
    if not report.can_ask():
        raise UsageError(
            f"{named}: at work, and would be disturbed",
            hint="wait until they are idle, or give --yes to do it all the same",
        )
    if not report.confirm(f"{named}: at work, and would be disturbed. Go on?"):
        raise UsageError("nothing was changed")


def agree_to(what: str, *, yes: bool) -> None:
    """Have the user agree to do ``what``; without a terminal and without --yes that is refused."""
    if yes:
        return
    if not report.can_ask():
        raise UsageError(f"this would {what}", hint="without a terminal, --yes is needed")
    if not report.confirm(f"{what[0].upper()}{what[1:]}?"):
        raise UsageError("nothing was changed")


def agree_to_lose(machines: Sequence[Machine], *, yes: bool) -> None:
    """Have the user agree that switching off ends those of the machines that their provider does not keep then."""
    lost = ", ".join(machine.name for machine in machines if machine.interruptible)
    if not lost:
        return
    what = f"{lost}: on spare capacity (spot), which is not kept: switching off ends them, disks included"
    if yes:
        report.warn(f"{what}; `invoke start` makes new ones")
    elif not report.can_ask():
        raise UsageError(what, hint="--yes does it all the same; `invoke start` makes new ones")
    elif not report.confirm(f"{what}. Go on?"):
        raise UsageError("nothing was changed")


def agree_to_remove(run: Run, *, yes: bool, adopt: bool) -> None:
    """Have the user agree that the cluster goes; one that is not in the record needs more than --yes.

    Raises NoSuchCluster when there is none, neither at the provider nor in the record.
    """
    found = run.provider.find(run.settings.cluster)
    cluster = found.cluster or run.record.cluster
    if cluster is None:
        raise none_such(run)
    ours = run.record.cluster is not None and run.record.cluster.id == cluster.id
    what = f"{cluster.name} ({len(found.machines)} machines, made by {cluster.owner} {report.since(cluster.created)})"
    if not ours and yes and not adopt:
        raise UsageError(
            f"{what} is not in your record", hint="`invoke teardown --adopt --yes` if it is yours to remove"
        )
    if yes or not found.machines:
        return
    if not report.can_ask():
        raise UsageError(f"{what} would be removed", hint="without a terminal, --yes is needed")
    if not report.confirm(f"Remove {what}?"):
        raise UsageError("nothing was removed")


def known(run: Run, observed: Observed) -> Observed:
    """The observation of a cluster that exists and is ours; raises NoSuchCluster or UsageError for any other."""
    if observed.found.cluster is None:
        raise none_such(run)
    if not observed.ours:
        raise foreign(observed.found.cluster)
    return observed


def watching(look: Callable[[], Status], *, json: bool, watch: bool, cluster: str = "", template: str = "") -> Status:
    """Show the status; with ``watch`` again every two seconds until Ctrl-C. The last one.

    ``cluster`` and ``template`` are what the command was given, so that what is advised is meant for that cluster.
    """

    def meant() -> Status:
        seen = look()
        return replace(seen, problems=tuple(addressed(problem, cluster, template) for problem in seen.problems))

    seen = meant()
    with suppress(KeyboardInterrupt):
        while watch:
            report.redraw([report.status_json(seen)] if json else report.status_lines(seen))
            time.sleep(2)
            seen = meant()
    if not watch:
        report.say(report.status_json(seen) if json else "\n".join(report.status_lines(seen)))
    return seen


def leave_with(seen: Status | Diagnosis) -> None:
    """End the command with the exit code of what was seen, when that is not 0."""
    if seen.exit_code:
        raise Exit(code=seen.exit_code)


def none_such(run: Run) -> NoSuchCluster:
    """There is no cluster of that name."""
    return NoSuchCluster(
        f"no cluster {run.settings.cluster!r} on provider {run.provider.name}",
        hint="`invoke provision --engines 4` makes one",
    )


def known_failures(errors: Iterable[Exception | None]) -> list[ClusterError]:
    """Those of the errors that are ours; any other is a bug and raised as it is."""
    failures = []
    for error in errors:
        if isinstance(error, ClusterError):
            failures.append(error)
        elif error is not None:
            raise error
    return failures
