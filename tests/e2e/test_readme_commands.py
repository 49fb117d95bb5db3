"""The README's two commands, word for word, on a fresh Debian 12 with nothing but python3: systemd is its process 1."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import readme
from tests.e2e.fresh_debian import Debian, fresh_debian

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]
ACTIVE = ". .venv/bin/activate && "
NOTHING_LEFT = """
ls /run/netns
ls /var/lib/ipyfleet/clusters
systemctl list-units --plain --no-legend 'ipyf-*'
ls /root/.local/state/ipyfleet
find /root/.ipython -name '*.json'
grep /var/lib/ipyfleet /proc/self/mounts || true
"""


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Debian]:
    with fresh_debian(tmp_path_factory.mktemp("fresh"), "readme") as machine:
        yield machine


def snippet(text: str) -> str:
    """The lines of Python that provision prints for its user."""
    return textwrap.dedent(text[text.index("    import ipyparallel") :])


def test_the_first_command_ends_with_a_cluster_that_answers_and_teardown_leaves_nothing(debian: Debian) -> None:
    printed = debian.run(readme.marked("provision"))
    assert "4 engines on 5 machines in" in printed
    assert "4 of 4 engines · healthy" in debian.run(f"{ACTIVE} invoke status")

    program = snippet(printed).rstrip().replace("rc[:]", "print(rc.ids, rc[:]") + ")"
    Path(f"/proc/{debian.pid}/root/root/snippet.py").write_text(program)
    answers = [x**30 for x in range(8)]
    assert debian.run(f"{ACTIVE} python /root/snippet.py").strip() == f"[0, 1, 2, 3] {answers}"

    assert "nothing to do" in debian.run(f"{ACTIVE} invoke provision --engines 4")
    debian.run(f"{ACTIVE} invoke teardown --yes")
    assert debian.run(NOTHING_LEFT).split() == []


def test_clusters_of_one_name_come_and_go_under_systemd(debian: Debian) -> None:
    """A scope that systemd does not let go of keeps the next machine of that name from being launched."""
    for _ in range(3):
        assert "3 engines on 4 machines in" in debian.run(f"{ACTIVE} invoke provision --engines 3")
        debian.run(f"{ACTIVE} invoke teardown --yes")
        assert debian.run(NOTHING_LEFT).split() == []


def test_the_second_command_sets_up_all_that_the_tests_need(debian: Debian) -> None:
    """The same words but for the last: here go the tests without machines, or this test would run itself.

    Those of the stand-ins for clouds and SMF need nothing of the computer, and have run on it as well.
    """
    command = readme.marked("test")
    assert command.endswith("invoke test")
    # Upstream's wave2D calls itself by the computer's name, which this container's network does not know.
    here = "not (known_norm or cloud or ec2 or triton or smf)"
    assert " passed" in debian.run(f"{command} --unit --only '{here}'", timeout=1500)
