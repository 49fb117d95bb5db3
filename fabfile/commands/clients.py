"""Clients: the tunnel opened and closed, an IPython shell and JupyterLab with the cluster in them."""

from __future__ import annotations

import os
import shutil
import sys

from invoke.context import Context

from ..command_line import task
from ..errors import UsageError
from .options import CLUSTER, TEMPLATE


@task(help={"cluster": CLUSTER, "template": TEMPLATE})
def connect(c: Context, cluster: str = "", template: str = "") -> None:
    """Open the tunnel to the cluster and keep it open, through network breaks and sleep; say how to use it."""
    from .. import clients, report, session

    with session.changing(c, "connect", clients.PATIENCE, cluster=cluster, template=template) as run:
        run.listener = lambda event: report.heartbeat(event.what)
        engines = clients.connect(run)
        report.say(f"{run.settings.cluster}: connected, {report.engines(engines)}")
        report.say(report.snippet(run.settings.cluster))


@task(help={"cluster": CLUSTER, "template": TEMPLATE})
def disconnect(c: Context, cluster: str = "", template: str = "") -> None:
    """Close the tunnel and remove the client file; the cluster goes on."""
    from .. import clients, report, session

    with session.changing(c, "disconnect", cluster=cluster, template=template) as run:
        if run.record.cluster is None:
            raise session.none_such(run)
        was = clients.disconnect(run)
        report.say(f"{run.settings.cluster}: {'disconnected' if was else 'was not connected'}")


@task(
    help={
        "command": "lines of Python to run in it instead, its last value printed; then it ends",
        "cluster": CLUSTER,
        "template": TEMPLATE,
    }
)
def shell(c: Context, command: str = "", cluster: str = "", template: str = "") -> None:
    """IPython with the cluster in it: rc (client), dview (all engines), lview (balanced), and %px for all engines."""
    from IPython import start_ipython
    from traitlets.config import Config

    from .. import clients, report

    rc = clients.client(cluster, template)
    names = {"rc": rc, "dview": rc[:], "lview": rc.load_balanced_view()}
    config = Config()
    config.TerminalInteractiveShell.confirm_exit = False
    config.InteractiveShellApp.exec_lines = ["_px = rc.activate()"]  # %px waits for its output; dview does not
    config.TerminalIPythonApp.display_banner = False
    words = ["--", "-c", command] if command else []
    if not command:
        report.say(f"rc: {report.engines(len(rc.ids))} · dview: all of them · lview: balanced · %px runs on all")
    try:
        start_ipython(argv=words[1:], user_ns=names, config=config)
    finally:
        rc.close()


@task(help={"cluster": CLUSTER, "template": TEMPLATE})
def notebook(c: Context, cluster: str = "", template: str = "") -> None:
    """Start JupyterLab in this directory, the cluster connected; it must be installed beside ipyfleet."""
    from .. import clients, report, session

    beside = os.path.join(os.path.dirname(sys.executable), "jupyter-lab")
    program = beside if os.path.exists(beside) else shutil.which("jupyter-lab")
    if not program:
        raise UsageError("JupyterLab is not installed here", hint=f"`{sys.executable} -m pip install jupyterlab`")
    with session.changing(c, "connect", clients.PATIENCE, cluster=cluster, template=template) as run:
        clients.connect(run)
        report.say(report.snippet(run.settings.cluster))
    sys.stdout.flush()
    os.execv(program, [program])  # noqa: S606  # from here on this is JupyterLab
