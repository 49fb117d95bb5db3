"""Say how many tests of a run were end-to-end tests, from pytest's JUnit file; fail when one was skipped or none ran.

Needs nothing but Python, so that it also works where the set-up of the environment failed.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree  # the file is pytest's own
from pathlib import Path

END_TO_END = "tests.e2e"


def main(path: Path) -> int:
    """The exit code for the run whose results are in this file."""
    if not path.is_file():
        print("no tests were run")
        return 1
    ran, skipped = results(path)
    print(f"{ran} end-to-end tests ran, {len(skipped)} were skipped")
    for name in skipped:
        print(f"  skipped: {name}")
    return int(bool(skipped) or not ran)


def results(path: Path) -> tuple[int, list[str]]:
    """How many end-to-end tests ran, and the names of those that were skipped; a skipped module counts as one."""
    ran, skipped = 0, []
    for case in ElementTree.parse(path).iter("testcase"):
        name = ".".join(part for part in (case.get("classname"), case.get("name")) if part)
        if not name.startswith(END_TO_END):
            continue
        mark = case.find("skipped")
        if mark is None:
            ran += 1
        elif mark.get("type") != "pytest.xfail":
            skipped.append(f"{name}: {mark.get('message', '')}")
    return ran, skipped


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
