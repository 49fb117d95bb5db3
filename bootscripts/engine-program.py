"""Run ``ipengine``, its nanny forked from it rather than started as a second Python.

    engine-program.py OPTION...         the options are those of ipengine

An engine of ipyparallel starts a helper process, the nanny, which relays signals to it and tells the hub of its end.
Upstream's imports everything that the engine has just imported: 0.35 of the 0.8 s of processor time that an engine
takes to start, and 25 MB. Here it is a copy of the engine before that did anything. Tried with ipyparallel 9.2
(tests/test_engine_program.py); of any other version that does not have the same seam, upstream's own nanny is started.
It sees to it, too, that processes which user code forks can be ended.
"""

from __future__ import annotations

import gc
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

Start = Callable[..., tuple[str, Any]]


def fork_nanny() -> Start | None:
    """Fork the nanny now; what has it begin its work, in place of ipyparallel's ``start_nanny``.

    None when a copy of this process would not do: it runs threads already, or ipyparallel has no such seam.
    """
    from ipyparallel.engine import app, nanny

    if threading.active_count() > 1 or getattr(app, "start_nanny", None) is not nanny.start_nanny:
        return None
    told, tell = os.pipe()
    hear, say = os.pipe()
    gc.freeze()  # what is there by now stays shared between the two
    if os.fork():
        os.close(told)
        os.close(say)
        return starter(tell, hear)
    os.close(tell)
    os.close(hear)
    be_nanny(nanny, told, say)
    os._exit(0)


def starter(tell: int, hear: int) -> Start:
    """What gives the waiting nanny its arguments by one pipe and hears from the other where it listens."""

    def start_nanny(**arguments: Any) -> tuple[str, Any]:
        with open(tell, "wb") as pipe:
            pipe.write(pickle.dumps({**arguments, "pid": os.getpid()}))
        answers = open(hear)  # noqa: SIM115  (open as long as the engine lives: its end is how the nanny knows of ours)
        url = answers.readline().strip()
        if not url:
            raise RuntimeError("the nanny ended before it listened")
        return url, answers

    return start_nanny


def be_nanny(nanny: Any, told: int, say: int) -> None:
    """Wait for the arguments, then be the nanny; without any the engine has ended, and so does this."""
    os.setsid()  # a signal to the engine's group is not for its nanny
    with open(told, "rb") as pipe:
        written = pipe.read()
    if not written:
        return
    os.dup2(say, 1)
    os.close(say)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115  (for as long as it lives)
    nanny.KernelNanny.main(**pickle.loads(written), pipe=sys.stdout)  # noqa: S301  (the engine wrote it)


def spare_children_the_handler(engine: type) -> None:
    """Have SIGTERM end a process that user code forks, as it does elsewhere, unless user code handles it.

    The engine's handler is inherited, and stops nothing there: the end of ``with multiprocessing.Pool() as pool`` would
    now and then wait for a worker for ever.
    """
    own = getattr(engine, "_signal_stop", None)

    def reset() -> None:
        if own and getattr(signal.getsignal(signal.SIGTERM), "__func__", None) is own:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    os.register_at_fork(after_in_child=reset)


if __name__ == "__main__":
    sys.path.pop(0)  # this file's folder: user code finds what it would find in ipengine
    start = fork_nanny()
    from ipyparallel.engine import app

    if start:
        app.start_nanny = start
    spare_children_the_handler(app.IPEngine)
    sys.argv[0] = "ipengine"
    app.main()
