"""What a bug report is made of, on a fleet in memory: logs with every secret in them, and none in the bundle."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from fabfile import access, bug_report, bundle, known_secrets, settings
from fabfile.connection_files import CURVE
from fabfile.errors import RemoteError
from fabfile.redaction import Redaction
from fabfile.run import Run
from fabfile.services import Stretch
from tests.fakes.commands import SETTINGS, provision
from tests.fakes.fleet import FakeFleet, FakeHost, new_run, serial

AWS = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"


@pytest.fixture
def run(fleet: FakeFleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    (tmp_path / "aws").write_text(f"[default]\naws_secret_access_key = {AWS}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session-token-of-this-shell")
    monkeypatch.setattr(access, "each", serial)
    provision(fleet, tmp_path, 2)
    return new_run(fleet, tmp_path, SETTINGS)


def secrets_of(fleet: FakeFleet, run: Run) -> list[str]:
    """Every secret that this cluster and its user have."""
    pair = json.loads(fleet.on(fleet.machine("controller")).files[CURVE])
    key = run.store.path("id_ed25519").read_text().splitlines()[2]
    return [pair["secret"], pair["public"], key, AWS, "session-token-of-this-shell"]


def gathered(run: Run) -> bug_report.Gathered:
    found = access.machines_of(run)
    return bug_report.gather(run, found.machines, Stretch(2000), settings.resolve(environ={}))


def test_every_secret_in_a_log_is_taken_out(fleet: FakeFleet, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = secrets_of(fleet, run)
    assert all(len(one) > 20 for one in secrets)
    for name, service in (("controller", "ipcontroller"), ("engine-0", "ipengine")):
        fleet.on(fleet.machine(name)).logs[service] = "".join(f"see {one} here\n" for one in secrets)
    found = gathered(run)
    data = gzip.decompress(bundle.packed(found.files, found.secrets, "report"))
    assert b"see [secret removed] here" in data
    assert [one for one in secrets if one.encode() in data] == []
    monkeypatch.setattr(Redaction, "__call__", lambda self, text: (text, 0))
    data = gzip.decompress(bundle.packed(found.files, found.secrets, "report"))
    assert [one for one in secrets if one.encode() not in data] == []


def test_it_has_machines_and_this_computer(run: Run) -> None:
    files = gathered(run).files
    assert json.loads(files["this-computer/status.json"])["state"] == "healthy"
    assert "engines = 4  (" in files["this-computer/settings.txt"]
    assert "Python 3" in files["this-computer/versions.txt"]
    assert "manager = fake" in files["machines/engine-1/survey.txt"]
    assert "ipengine 1: online" in files["machines/engine-1/services.txt"]
    assert files["machines/controller/versions.txt"] == "SunOS\n"
    assert {"machines/controller/ipcontroller.log", "machines/engine-0/ipengine.log"} <= files.keys()


def test_a_machine_that_does_not_answer_has_a_file_that_says_why(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = FakeHost.script

    def script(self: FakeHost, path: Path, *args: str, **options: object) -> object:
        if self.name == "engine-1" and path.name == "survey.sh":
            raise RemoteError("no SSH connection", machine=self.name)
        return answer(self, path, *args, **options)

    monkeypatch.setattr(FakeHost, "script", script)
    found = gathered(run)
    assert found.silent == ("engine-1",)
    assert found.files["machines/engine-1/no-answer.txt"] == "engine-1: no SSH connection\n"
    assert "machines/engine-0/ipengine.log" in found.files


def test_logs_of_a_controller_that_keeps_its_digest_to_itself_are_left_out(
    fleet: FakeFleet, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(host: object) -> None:
        raise RemoteError("no digest", machine="controller")

    monkeypatch.setattr(known_secrets, "on_controller", refuse)
    names = [name for name in gathered(run).files if "controller" in name]
    assert names == ["machines/controller/no-answer.txt"]


def test_a_secret_may_look_like_a_path_and_a_path_is_none(run: Run, tmp_path: Path) -> None:
    secret, path = "/jalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY", tmp_path / "token"
    path.touch()
    environ = {"AWS_SECRET_ACCESS_KEY": secret, "A_TOKEN_FILE": str(path), "A_TOKEN_URL": "https://example.org/token"}
    found = known_secrets.of_cluster(run, (), environ).texts
    assert secret in found
    assert not found & {str(path), "https://example.org/token"}


def test_values_of_variables_for_engines_are_not_told() -> None:
    resolved = settings.resolve({"engine_env": "API=s3cret-of-mine"}, environ={})
    lines = bug_report.settings_lines(resolved)
    assert "('API', '(its value is not told)')" in lines
    assert "s3cret" not in lines
