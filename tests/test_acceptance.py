"""The acceptance checks of tests/e2e on a cluster of plain processes: the checks themselves, and the examples."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.acceptance import check_first_steps, check_interactive_session, check_upstream_wave2d, check_wave2d
from tests.loopback_cluster import loopback_cluster

CLUSTER_ID = "ipython"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a user who has the client file of four engines in the place for it."""
    with loopback_cluster(tmp_path_factory.mktemp("cluster"), engines=4) as cluster:
        cluster.start(4)
        ipython = tmp_path_factory.mktemp("ipython")
        client_file = ipython / "profile_default" / "security" / f"ipcontroller-{CLUSTER_ID}-client.json"
        client_file.parent.mkdir(parents=True, mode=0o700)
        client_file.symlink_to(cluster.security / "ipcontroller-client.json")
        yield dict(os.environ) | {"IPYTHONDIR": str(ipython)}


def test_a_session_at_the_prompt_uses_the_engines_as_the_recipe_does(environment: dict[str, str]) -> None:
    check_interactive_session(CLUSTER_ID, environment)


def test_the_first_steps_give_what_python_gives(environment: dict[str, str]) -> None:
    check_first_steps(CLUSTER_ID, environment)


def test_the_wave_on_the_engines_is_the_wave_of_numpy_alone(environment: dict[str, str]) -> None:
    check_wave2d(CLUSTER_ID, environment)


def test_the_wave_of_ipyparallels_own_example_has_its_known_norm(environment: dict[str, str], tmp_path: Path) -> None:
    check_upstream_wave2d(CLUSTER_ID, environment, tmp_path)
