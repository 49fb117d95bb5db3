"""Fixtures for tests on the test cloud; tests/conftest.py has them for all tests, so none needs to import them.

def test_something(cloud: Cloud) -> None:
    provider = ec2.provider(cloud_settings(cloud, engines=2))
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from fabfile.settings import Settings

if TYPE_CHECKING:
    from .server import Cloud


@pytest.fixture(scope="session")
def cloud_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """The cloud of this test run, used by one test after the other."""
    import botocore.session  # these two take half a second

    from .server import Cloud

    server = Cloud(tmp_path_factory.mktemp("cloud"))
    with pytest.MonkeyPatch.context() as patch:
        # Every new SDK session would read its description of EC2 anew, for a quarter of a second.
        patch.setattr(botocore.session, "create_loader", cache(botocore.session.create_loader))
        yield server
    server.close()


@pytest.fixture
def cloud(cloud_server: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """A new account in the cloud, with the environment that leads every AWS client to it, child processes included."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in environment(cloud_server).items():
        monkeypatch.setenv(name, value)
    yield cloud_server
    cloud_server.reset()


@pytest.fixture
def paper(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """A cloud of machines that nobody can reach, looked at without patience."""
    from .paper import hurry  # which imports all of the provider

    cloud.on_paper()
    hurry(monkeypatch)
    return cloud


def environment(cloud: Cloud) -> dict[str, str]:
    """The variables that lead to the cloud; nothing else says where it is."""
    return {
        "AWS_ENDPOINT_URL": cloud.url,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


def cloud_settings(cloud: Cloud, **changes: Any) -> Settings:
    """Settings for the provider ec2 on that cloud; ``changes`` are further settings."""
    given = {
        "provider": "ec2",
        "template": "ec2",
        "cluster": "lab",
        "region": cloud.region,
        "ssh_from": ("198.18.0.0/15",),
        "address_service": f"{cloud.url}/checkip",
        "login_user": "root",
        "boot_timeout": 20.0,
    }
    return Settings(**{**given, **changes})
