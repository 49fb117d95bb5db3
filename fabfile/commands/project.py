"""The project's own checks and tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from invoke.context import Context
from invoke.exceptions import Exit

from ..command_line import task

ROOT = Path(__file__).resolve().parents[2]
STATIC = (
    (sys.executable, "-m", "ruff", "check"),
    (sys.executable, "-m", "ruff", "format", "--check"),
    (sys.executable, "-m", "mypy"),
    (str(Path(sys.executable).with_name("lint-imports")),),
)


@task(help={"unit": "leave out the tests that need root and make machines"})
def test(c: Context, unit: bool = False) -> None:
    """Run the project's own checks and tests, the real thing on machines of this computer included."""
    shell = sorted(str(path) for folder in ("bootscripts", "systemd", ".ci") for path in (ROOT / folder).glob("*.sh"))
    chosen = ("-m", "not e2e") if unit else ()
    for words in (*STATIC, ("shellcheck", *shell), (sys.executable, "-m", "pytest", *chosen)):
        print(f"$ {' '.join(words[:6])}", flush=True)  # the project's own checks print, no cluster is reported here
        code = subprocess.run(words, cwd=ROOT, check=False).returncode
        if code:
            raise Exit(f"{words[0] if words[0] != sys.executable else words[2]} failed", code=code)
