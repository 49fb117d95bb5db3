"""The verdict of CI on a run: end-to-end tests must have run, none of them skipped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
RAN = '<testcase classname="tests.e2e.test_chain" name="test_map" time="1.0"/>'
FAILED = '<testcase classname="tests.e2e.test_chain" name="test_map"><failure message="no"/></testcase>'
UNIT = (
    '<testcase classname="tests.test_plan" name="test_empty"><skipped type="pytest.skip" message="no git"/></testcase>'
)
SKIPPED = (
    '<testcase classname="tests.e2e.test_chain" name="test_grow">'
    '<skipped type="pytest.skip" message="not root"/></testcase>'
)
MODULE = '<testcase classname="" name="tests.e2e.test_chain"><skipped type="pytest.skip" message="x"/></testcase>'


def verdict(tmp_path: Path, *cases: str) -> tuple[int, str]:
    path = tmp_path / "tests.xml"
    path.write_text(f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>")
    return _run(path)


def _run(path: Path) -> tuple[int, str]:
    words = (sys.executable, "-I", str(ROOT / ".ci" / "verdict.py"), str(path))
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_end_to_end_tests_that_ran_are_enough(tmp_path: Path) -> None:
    assert verdict(tmp_path, RAN, FAILED, UNIT) == (0, "2 end-to-end tests ran, 0 were skipped\n")


@pytest.mark.parametrize("case", [SKIPPED, MODULE], ids=["a test", "a module"])
def test_a_skipped_end_to_end_test_fails_the_run_by_name(tmp_path: Path, case: str) -> None:
    code, text = verdict(tmp_path, RAN, case)
    assert code == 1
    assert "skipped: tests.e2e.test_chain" in text


def test_a_run_without_end_to_end_tests_fails(tmp_path: Path) -> None:
    assert verdict(tmp_path, UNIT)[0] == 1


def test_a_run_that_never_came_to_its_tests_fails(tmp_path: Path) -> None:
    assert _run(tmp_path / "none.xml") == (1, "no tests were run\n")


def test_pytest_writes_what_the_verdict_reads(tmp_path: Path) -> None:
    """Tried with pytest 9.2: the class name is made from the file's path below the root folder."""
    folder = tmp_path / "tests" / "e2e"
    folder.mkdir(parents=True)
    (folder / "test_one.py").write_text(
        "import pytest\ndef test_runs(): pass\n@pytest.mark.skip(reason='why')\ndef test_skips(): pass\n"
    )
    (folder / "test_two.py").write_text("import pytest\npytest.skip('whole', allow_module_level=True)\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    words = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml=results.xml")
    plain = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    subprocess.run(words, cwd=tmp_path, env=plain, capture_output=True, check=False)
    code, text = _run(tmp_path / "results.xml")
    assert code == 1
    assert text.startswith("1 end-to-end tests ran, 2 were skipped")
