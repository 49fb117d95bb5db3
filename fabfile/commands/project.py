"""The project's own checks and tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from invoke.context import Context
from invoke.exceptions import Exit

from ..command_line import task

ROOT = Path(__file__).resolve().parents[2]


@task(
    help={
        "unit": "leave out the tests that need root and make machines of their own",
        "only": "only the tests whose names fit this expression, like `settings and not template`",
    }
)
def test(c: Context, unit: bool = False, only: str = "") -> None:
    """Run the project's checks and tests; most of the time goes to those on real machines of this computer."""
    chosen = [*(("-m", "not e2e") if unit else ()), *(("-k", only) if only else ())]
    code = subprocess.run((sys.executable, "-m", "pytest", *chosen), cwd=ROOT, check=False).returncode
    if code:
        raise Exit(code=code)
