"""The settings file of a user of the tests' own, and what is said about what stands in it or on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from fabfile.errors import UsageError
from fabfile.settings import load


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees this user's own file."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def users_file(tmp_path: Path) -> Callable[[str], Path]:
    """Writes this text as the user's settings file and says where."""

    def write(text: str) -> Path:
        path = tmp_path / "config" / "ipyfleet" / "config.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


def complaint(overrides: dict[str, str] | None = None, **kwargs: object) -> str:
    """What the usage error says that these options, variables or files lead to."""
    with pytest.raises(UsageError) as caught:
        load(overrides, **{"environ": {}, **kwargs})  # type: ignore[arg-type]  # a test's shorthand
    assert caught.value.exit_code == 2
    assert "invoke.yaml" in str(caught.value)
    return str(caught.value)
