"""For all tests: none of them sees how this user has set up the project for daily work."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cloud.fixtures import cloud, cloud_server, paper
from tests.cloudapi.fixtures import cloudapi, cloudapi_server
from tests.fakes.fleet import FakeFleet, installed

__all__ = ["cloud", "cloud_server", "cloudapi", "cloudapi_server", "paper"]  # fixtures

KEPT = ("IPYFLEET_ROOT", "IPYFLEET_TEST_DATA")  # said to the tests themselves

for name in [name for name in os.environ if name.startswith("IPYFLEET_") and name not in KEPT]:
    del os.environ[name]


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeFleet]:
    """A fleet in memory that the program's ways out lead into."""
    fleet = FakeFleet()
    with installed(fleet, monkeypatch, tmp_path):
        yield fleet
