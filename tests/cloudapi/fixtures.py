"""Fixtures for tests on this CloudAPI; tests/conftest.py has them for all tests, so none needs to import them.

def test_something(cloudapi: CloudApi) -> None:
    api = client(cloudapi)
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from fabfile.providers.triton.api import Api

    from .server import CloudApi


@pytest.fixture(scope="session")
def cloudapi_server() -> Iterator[CloudApi]:
    """The CloudAPI of this test run, used by one test after the other."""
    from . import signing
    from .server import CloudApi

    server = CloudApi([signing.public_key(name) for name in signing.KINDS])
    yield server
    server.close()


@pytest.fixture
def cloudapi(cloudapi_server: CloudApi, monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudApi]:
    """A new account; in the end nobody may have asked for what the real server would take to nobody's good."""
    for name in [name for name in os.environ if name.startswith(("TRITON_", "SDC_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("no_proxy", raising=False)
    yield cloudapi_server
    complaints = list(cloudapi_server.complaints)
    cloudapi_server.reset()
    assert not complaints


def environment(cloudapi: CloudApi, home: Path, key: str = "id_ed25519") -> dict[str, str]:
    """The variables that lead to it, for child processes too; the key that signs is put into that home."""
    from . import signing

    (home / ".ssh").mkdir(mode=0o700, exist_ok=True)
    path = home / ".ssh" / key
    path.write_bytes(signing.private_file(key))
    path.chmod(0o600)
    path.with_name(f"{key}.pub").write_text(f"{signing.public_key(key).line}\n")
    return {
        "HOME": str(home),
        "TRITON_PROFILE": "env",
        "TRITON_URL": cloudapi.url,
        "TRITON_ACCOUNT": cloudapi.world.login,
        "TRITON_KEY_ID": signing.public_key(key).fingerprint,
    }


def client(cloudapi: CloudApi, key: str = "id_ed25519", **waits: float) -> Api:
    """A client that loses no time; ``waits`` are further fields of Waits."""
    from fabfile.providers.triton.api import Api, Waits
    from fabfile.providers.triton.identity import Identity
    from fabfile.providers.triton.signing import FileSigner

    from . import signing

    found = signing.public_key(key)
    quick: dict[str, Any] = {"overall": 5.0, "throttled": 0.05, "failed": 0.02, "look": 0.1}
    identity = Identity(cloudapi.url, cloudapi.world.login, found.fingerprint)
    signer = FileSigner(found.fingerprint, signing.private_key(key))
    return Api(identity, signer, Waits(**{**quick, **waits}))
