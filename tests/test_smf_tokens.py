"""Method tokens: what startd makes of a command, and what arguments a POSIX shell makes of that. One case file each."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.smf.methods import shell
from tests.smf.repository import Groups, set_property
from tests.smf.tokens import Unexpandable, expanded
from tests.smf_steps import Case, cases, names

PRINT = "import sys; sys.stdout.write('\\0'.join(sys.argv[1:]))"


def groups(given: Mapping[str, list[str]]) -> Groups:
    found: Groups = {}
    for path, values in given.items():
        set_property(found, path, "application", "astring", *values)
    return found


@pytest.mark.parametrize(("name", "case"), cases("tokens"), ids=names("tokens"))
def test_a_command_is_expanded_and_split(name: str, case: Case, tmp_path: Path) -> None:
    program = tmp_path / "print"
    program.write_text(f"#!{sys.executable} -IS\n{PRINT}\n")
    program.chmod(0o755)
    given = groups(case.get("properties", {}))
    running = {} if case.get("where") == "editing" else given
    editing = groups(case["edited"]) if "edited" in case else given
    command = f"PRINT {case['exec']}"
    if "error" in case:
        with pytest.raises(Unexpandable) as error:
            expanded(command, running, editing, "svc:/site/x:one", "start")
        assert str(error.value) == case["error"]
        return
    text = expanded(command, running, editing, "svc:/site/x:one", "start")
    assert text == f"PRINT {case['expansion']}"
    line = f"exec {text.replace('PRINT', str(program), 1)}"
    done = subprocess.run([shell(), "-c", line], capture_output=True, text=True, env={"PATH": "/usr/bin"}, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (done.stdout.split("\0") if done.stdout else []) == case["arguments"]
