"""Onto the machines: a shell, a line of shell, and a configuration for OpenSSH's own programs."""

from __future__ import annotations

import os
import sys

from invoke.context import Context

from ..command_line import task
from ..errors import UsageError
from .options import CLUSTER, TEMPLATE


@task(
    help={
        "machine": "which machine, by the name that status shows (default: the controller)",
        "command": "a line of shell to run there; its exit code is this command's",
        "cluster": CLUSTER,
        "template": TEMPLATE,
    }
)
def ssh(c: Context, machine: str = "controller", command: str = "", cluster: str = "", template: str = "") -> None:
    """Log in to a machine, as the user that has sudo there, or run one line of shell on it."""
    from .. import access, session

    run = session.open_run(c, cluster=cluster, template=template)
    named = access.chosen(access.machines_of(run), machine)
    if len(named) != 1:
        raise UsageError(f"--machine {machine} names {len(named)} machines", hint="name one, as in --machine engine-0")
    words = access.login(run, named[0], command)
    sys.stdout.flush()
    os.execvp(words[0], words)  # noqa: S606  # from here on this is ssh, with its terminal and its exit code


@task(help={"file": "write it there instead (0600)", "cluster": CLUSTER, "template": TEMPLATE})
def ssh_config(c: Context, file: str = "", cluster: str = "", template: str = "") -> None:
    """Print what lets ssh, scp and editors reach the machines as CLUSTER-MACHINE, like ipython-controller."""
    from .. import access, report, session

    run = session.open_run(c, cluster=cluster, template=template)
    text = access.configuration(run, access.machines_of(run).machines)
    if not file:
        report.say(text.rstrip("\n"))
        return
    path = access.export(text, file, run.settings.cluster)
    shown = f'"{path}"' if " " in str(path) else path
    report.say(f"{path}: put `Include {shown}` first into ~/.ssh/config, then `ssh {run.settings.cluster}-controller`")
