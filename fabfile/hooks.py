"""The user's own scripts and fab tasks, called when a machine has come up, before it goes, and once all engines answer.

An item of ``hooks:`` is the path of a script, which is run as root on the machine, or ``FABFILE:TASK``, the path of a
Python file and the name of a task in it, which is called here with a verified Fabric connection to the machine.
What they do is the user's affair; what they are told is the machine's name, its role and the cluster's name.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .errors import ClusterError, UsageError
from .kinds import nearest
from .machines import Event, Machine, OnEvent
from .paths import expanded
from .remote import File, Host
from .settings import Settings

if TYPE_CHECKING:
    from invoke.tasks import Task

FOLDER = "/opt/ipyfleet/hooks"
LONGEST = 3600.0  # s that a script may take, and each command of a task
AGAIN = {
    "machine_up": "mend it and run the same command again: it is called once more",
    "machine_down": "mend it and run the same command again: it is called once more",
    "cluster_up": "the cluster is up all the same; mend it, it is called when something is deployed the next time",
}


def call(settings: Settings, event: str, host: Host, machine: Machine, on_event: OnEvent) -> None:
    """Call what the settings have for this event, one after the other, on one machine.

    Raises ClusterError, with the last lines of what failed; those after it are not called.
    """
    for item in dict(settings.hooks).get(event, ()):
        on_event(Event(f"hook {Path(item).name}", machine.name))
        told = {"cluster": settings.cluster, "machine": machine.name, "role": machine.role}
        if ":" in item:
            _call_task(item, host, told, AGAIN[event])
        else:
            _run_script(item, host, told, AGAIN[event])


def complaints(settings: Settings) -> Iterator[str]:
    """What is wrong with the items of ``hooks:``, as far as that can be seen here: each in one sentence."""
    for event, items in settings.hooks:
        for item in items:
            try:
                _task(item) if ":" in item else _script(item)
            except UsageError as error:
                yield f"hooks: {event}: {error.message}"


def _run_script(item: str, host: Host, told: dict[str, str], hint: str) -> None:
    script = _script(item)
    path = f"{FOLDER}/{script.name}"
    host.place((File(path, script.read_bytes(), 0o700),))
    words = ["env", *(f"IPYFLEET_{name.upper()}={value}" for name, value in told.items()), path]
    answer = host.run(*words, sudo=True, check=False, timeout=LONGEST)
    if answer.exit_code:
        raise ClusterError(
            f"your hook {item} ended with {answer.exit_code}",
            machine=host.name,
            seen=f"{answer.stdout}\n{answer.stderr}",
            hint=hint,
        )


def _call_task(item: str, host: Host, told: dict[str, str], hint: str) -> None:
    from invoke.exceptions import UnexpectedExit

    task = _task(item)
    connection: Any = host.fabric()
    connection.config.ipyfleet = told
    connection.config.timeouts.command = LONGEST
    try:
        task.body(connection)
    except UnexpectedExit as error:
        seen = f"{error.result.stdout}\n{error.result.stderr}"
        ended = f"ended with {error.result.exited}"
        if error.result.exited < 0:  # no exit code came back; Invoke does not always know that it was its own timer
            ended = f"was ended, as what takes longer than {LONGEST:.0f} s is"
        raise ClusterError(
            f"your hook {item} failed: `{error.result.command}` {ended}",
            machine=host.name,
            seen=seen,
            hint=hint,
        ) from error
    except (Exception, SystemExit) as error:  # in a thread, SystemExit would end just that, and nobody would hear
        if isinstance(error, SystemExit) and not error.code:
            return
        raise ClusterError(
            f"your hook {item} failed: {type(error).__name__}: {error}", machine=host.name, hint=hint
        ) from error


def _script(item: str) -> Path:
    path = expanded(item)
    try:
        begin = path.read_bytes()[:2]
    except OSError as error:
        raise UsageError(f"{item} cannot be read: {error.strerror}", hint="correct its path") from None
    if begin != b"#!":
        raise UsageError(f"{item} is no script: it does not begin with #!", hint="begin it with a line like #!/bin/sh")
    return path


def _task(item: str) -> Task[Any]:
    from invoke.tasks import Task

    file, _, name = item.rpartition(":")
    module = _module(expanded(file))
    tasks = {one.name: one for one in vars(module).values() if isinstance(one, Task)}
    tasks |= {label: one for label, one in vars(module).items() if isinstance(one, Task)}
    found = tasks.get(name) or tasks.get(name.replace("-", "_"))
    if found is None:
        raise UsageError(
            f"{file} has no task {name}{nearest(name, tasks)}", hint="name one of its tasks after the colon"
        )
    return found


def _module(path: Path) -> ModuleType:
    name = f"ipyfleet_hooks_{abs(hash(path.resolve()))}"
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UsageError(f"{path} is no Python file that can be read", hint="correct its path")
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise UsageError(f"{path} cannot be imported: {type(error).__name__}: {error}", hint="mend it") from error
    sys.modules[name] = module
    return module
