"""Settings and shell: the first file of one's own, what holds and why, and completion."""

from __future__ import annotations

import json as to_json
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.context import Context

from ..command_line import task
from ..errors import UsageError
from ..kinds import nearest
from .options import CLUSTER, TEMPLATE

if TYPE_CHECKING:
    from ..own_settings import Question

SCRIPTS = Path(__file__).resolve().parents[2] / "completion"


@task(
    help={
        "provider": "local, static, ec2 or triton; then nothing is asked",
        "file": "write it there (default: where settings are read from)",
        "force": "replace a file that is there",
    }
)
def init(c: Context, provider: str = "", file: str = "", force: bool = False) -> None:
    """Write a settings file of your own, with what a beginner needs and all the rest as comments."""
    from .. import own_settings, report
    from ..settings import PROVIDERS

    path = own_settings.destination(file)
    if provider:
        own_settings.provider_named(provider)
    elif not report.can_ask():
        raise UsageError(
            f"without a terminal, --provider is needed: one of {', '.join(PROVIDERS)}",
            hint="as in `invoke init --provider local`",
        )
    own_settings.refuse_taken(path, force=force)
    answers: dict[str, str] = {}
    if not provider:
        provider = _chosen_provider()
        answers = {one.key: _answer(one) for one in own_settings.questions(provider)}
    text = own_settings.composed(provider, answers)
    own_settings.place(path, text, force=force)
    report.say(f"{path}: written, for provider {provider}")
    own = path == own_settings.destination("")
    report.say(_next(own_settings.PLACEHOLDER in text, "" if own else f"IPYFLEET_CONFIG={shlex.quote(str(path))} "))


def _chosen_provider() -> str:
    from .. import reference, report
    from ..settings import PROVIDERS

    shipped = reference.templates()
    report.say("\n".join(f"  {name:<8}{shipped[name].comment}" for name in PROVIDERS))
    while True:
        name = _heard(report.ask("Which provider", PROVIDERS[0]))
        if name in PROVIDERS:
            return name
        report.say(f"there is no provider {name!r}{nearest(name, PROVIDERS)}")


def _answer(question: Question) -> str:
    from .. import own_settings, report

    while True:
        answer = _heard(report.ask(question.text, question.default))
        wrong = own_settings.misfit(question, answer)
        if not wrong:
            return answer
        report.say(wrong)


def _heard(answer: str | None) -> str:
    if answer is None:
        raise UsageError("nothing was written")
    return answer


def _next(placeholder: bool, variable: str) -> str:
    """What to do with a file that was just written; ``variable`` is what makes commands read it."""
    lines = ["next: put the hosts that you have into its line `hosts:`"] if placeholder else []
    lines.append(f"{'then' if lines else 'next'}: `{variable}invoke provision --plan` says what it would make")
    lines.append(f"      `{variable}invoke provision` makes it")
    return "\n".join(lines)


@task(
    help={
        "cluster": CLUSTER,
        "template": TEMPLATE,
        "changed": "only what is not a default",
        "json": "print one JSON object and nothing else",
    }
)
def config(c: Context, cluster: str = "", template: str = "", changed: bool = False, json: bool = False) -> None:
    """The settings that hold for a cluster, and where each comes from."""
    from .. import origins, report, session

    found = origins.origins(session.resolved_for(c, cluster=cluster, template=template))
    if changed:
        found = origins.changed(found)
    if json:
        report.say(to_json.dumps(origins.document(found), indent=2, ensure_ascii=False))
    elif found:
        report.say("\n".join(origins.table(found)))
    else:
        report.say("everything is as invoke.yaml has it; `invoke init` writes a file for what you want differently")


@task(help={"shell": "bash, zsh or fish (default: the one that $SHELL names)"})
def completion(c: Context, shell: str = "") -> None:
    """Print what makes a shell complete commands, flags, clusters, templates and machines at the TAB key."""
    from .. import candidates, report

    name = shell or Path(os.environ.get("SHELL", "")).name
    if name not in candidates.SHELLS:
        said = f"there is no completion for the shell {name!r}{nearest(name, candidates.SHELLS)}"
        raise UsageError(said if name else "for which shell?", hint=f"--shell is one of {', '.join(candidates.SHELLS)}")
    report.say((SCRIPTS / f"ipyfleet.{name}").read_text(encoding="utf-8").rstrip("\n"))
