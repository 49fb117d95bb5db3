"""Other programs, run as words with a clean environment."""

from __future__ import annotations

import os
import shlex
import subprocess

from .errors import Refused

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy")


def run(*words: str, stdin: str = "", check: bool = True, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; ``timeout`` in seconds.

    Raises Refused with the program's last lines when it is missing, takes too long or, with ``check``, fails.
    """
    try:
        done = subprocess.run(
            words,
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env=environment(),
            cwd="/",
            check=False,
        )
    except FileNotFoundError:
        raise Refused(f"{words[0]} is not installed", hint="run bootscripts/here.sh") from None
    except subprocess.TimeoutExpired:
        raise Refused(f"`{shlex.join(words)}` has not ended in {timeout:.0f} s", kind="failed") from None
    if check and done.returncode:
        raise Refused(
            f"`{shlex.join(words)}` failed with exit code {done.returncode}",
            kind="failed",
            seen="\n".join((done.stdout + done.stderr).splitlines()[-15:]),
        )
    return done


def environment() -> dict[str, str]:
    """What programs get of our environment: proxies, and nothing else that a caller could set."""
    proxies = {name: os.environ[name] for name in PROXIES if name in os.environ}
    return {**ENVIRONMENT, **proxies}
