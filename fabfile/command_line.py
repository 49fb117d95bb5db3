"""What every command has in common: the ``task`` decorator, and the words after ``--``.

Knows Invoke and the errors of the project; what a command does is its own matter.
"""

from __future__ import annotations

import errno
import functools
import inspect
import io
import os
import sys
from collections.abc import Callable
from typing import Any

from invoke.context import Context
from invoke.exceptions import Exit, Failure
from invoke.tasks import task as invoke_task

from .errors import ClusterError, addressed

Body = Callable[..., Any]
CLOSED_PIPE = 128 + 13  # what a shell reports of a program that a closed pipe ended
CORE_FLAGS = {
    *("collection", "command_timeout", "complete", "config", "debug", "dry", "echo", "help", "hide", "list"),
    *("list_depth", "list_format", "no_dedupe", "print_completion_script", "prompt_for_sudo_password", "pty"),
    *("search_root", "version", "warn_only", "write_pyc", "connect_timeout", "identity", "ssh_config"),
}
INTERRUPTED = "interrupted; `invoke status` shows what exists, and the same command goes on from there"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
ROOM = "\n  next: see that there is room where that is, and that it may be written; then run the same command again"
REPORT = "This is a mistake in ipyfleet. Please report it, with the command and all of the above."


def task(**options: Any) -> Callable[[Body], Any]:
    """Invoke's ``@task`` with long flags only, and each error as a message on standard error and an exit code.

    A ClusterError ends the program with its own exit code, Ctrl-C with 130; any other exception keeps its traceback
    and says that it should be reported. Options are given to Invoke as they are. Flags are texts or switches: a
    parameter of another type, or one that Invoke would confuse with a flag of its own, raises TypeError at import.
    """

    def decorate(body: Body) -> Any:
        _check(body, options.get("iterable", ()))

        @functools.wraps(body)
        def run(c: Context, *args: Any, **kwargs: Any) -> Any:
            sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115  # `>&-`: nobody wants to read it
            if isinstance(sys.stdout, io.TextIOWrapper):
                sys.stdout.reconfigure(errors="backslashreplace")  # file names are not always text that it can show
            meant = kwargs.get("cluster"), kwargs.get("template")
            try:
                return body(c, *args, **kwargs)
            except ClusterError as error:
                raise Exit(addressed(str(error), *meant), code=error.exit_code) from error
            except KeyboardInterrupt as error:
                raise Exit(addressed(INTERRUPTED, *meant), code=130) from error
            except BrokenPipeError as error:  # `| head` has read enough; Python would complain again at its end
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise Exit(code=CLOSED_PIPE) from error
            except (Exit, Failure):
                raise
            except Exception as error:
                if isinstance(error, OSError) and error.errno in FULL:
                    raise Exit(f"{error.filename or 'a file of this computer'}: {error.strerror}{ROOM}") from error
                error.add_note(REPORT)
                raise

        return invoke_task(auto_shortflags=False, **options)(run)

    return decorate


def trailing_words() -> tuple[str, ...]:
    """The words after ``--`` on the command line, which Invoke passes over: ``ls``, ``-l`` of `run -- ls -l`."""
    return tuple(sys.argv[sys.argv.index("--") + 1 :]) if "--" in sys.argv else ()


def _check(body: Body, iterable: Any) -> None:
    """Raise TypeError for a parameter that Invoke's parser would make something surprising of."""
    for name, parameter in list(inspect.signature(body).parameters.items())[1:]:
        fits = parameter.default is parameter.empty or isinstance(parameter.default, str | bool)
        if parameter.kind is not parameter.POSITIONAL_OR_KEYWORD:
            problem = "Invoke does not see it"
        elif not (fits or (name in iterable and parameter.default is None)):
            problem = "its default must be a text or a bool, or a wrong value ends in a traceback"
        elif name in CORE_FLAGS or name.startswith("no_") or len(name) == 1:
            problem = "Invoke has a meaning of its own for that flag"
        else:
            continue
        raise TypeError(f"parameter {name} of task {getattr(body, '__name__', body)}: {problem}")
