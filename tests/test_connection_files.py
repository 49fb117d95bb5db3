from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from fabfile import boot, connection_files, service_managers
from fabfile.connection import make
from fabfile.connection_files import (
    Fetched,
    check,
    controller_config,
    controller_files,
    curve_file,
    engine_files,
    fetch,
)
from fabfile.remote import Result
from fabfile.service_managers import smf
from fabfile.settings import Settings

SETTINGS = Settings(first_port=20100)
HMAC = Settings(first_port=20100, encryption="hmac")
ADDRESS = "10.203.0.2"


def loaded(text: bytes) -> dict[str, dict[str, object]]:
    """The traits that ipyparallel would read from a configuration file."""
    from traitlets.config import Config

    config = Config()
    exec(compile(text, "ipcontroller_config.py", "exec"), {"get_config": lambda: config})
    return json.loads(json.dumps(config, default=lambda value: value.decode()))


@dataclass
class FolderHost:
    """A host whose files are under a folder; commands run here."""

    root: Path
    name: str = "controller"
    address: str = "ipyfleet@controller"
    said: list[str] = field(default_factory=list)

    def run(self, *words: str, sudo: bool = False, check: bool = True, **_: object) -> Result:
        here = [str(self.root) + word if word.startswith("/etc/") else word for word in words]
        done = subprocess.run(here, capture_output=True, text=True, check=False)
        self.said.append(done.stdout + done.stderr)
        return Result(words, done.returncode, done.stdout, done.stderr)

    def read(self, path: str) -> bytes | None:
        file = Path(str(self.root) + path)
        return file.read_bytes() if file.exists() else None


def host_with(root: Path, files: tuple[connection_files.File, ...]) -> FolderHost:
    for file in files:
        path = Path(str(root) + file.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.data)
    return FolderHost(root)


def test_everything_that_opens_the_cluster_is_for_the_service_user_alone():
    made, secret = make(ADDRESS, SETTINGS)
    files = controller_files(made, secret, SETTINGS) + engine_files(made)
    assert {(file.mode, file.owner) for file in files} == {(0o600, "ipyparallel:ipyparallel")}
    assert [file.path for file in files] == [
        "/etc/ipyfleet/ipcontroller_config.py",
        "/var/lib/ipyparallel/.ipython/profile_default/security/ipcontroller-engine.json",
        "/var/lib/ipyparallel/.ipython/profile_default/security/ipcontroller-client.json",
        "/etc/ipyfleet/curve.json",
        "/etc/ipyfleet/engine.json",
    ]


def test_the_secret_half_goes_into_curve_json_only_and_a_known_controller_keeps_its_own():
    made, secret = make(ADDRESS, SETTINGS)
    assert secret
    holding = [file.path for file in controller_files(made, secret, SETTINGS) if secret.encode() in file.data]
    assert holding == ["/etc/ipyfleet/curve.json"]
    assert "/etc/ipyfleet/curve.json" not in [file.path for file in controller_files(made, None, SETTINGS)]


def test_the_configuration_has_three_pools_of_ports_that_share_none():
    made, _ = make(ADDRESS, HMAC)
    traits = loaded(controller_config(made, HMAC))["IPController"]
    pools = [traits[name] for name in ("engine_ports", "client_ports", "ports")]
    assert [len(pool) for pool in pools] == [9, 6, 3]
    assert len({port for pool in pools for port in pool}) == 18


def test_the_configuration_keeps_the_files_and_both_addresses():
    made, _ = make(ADDRESS, HMAC)
    traits = loaded(controller_config(made, HMAC))
    assert traits["IPController"]["reuse_files"] is True
    assert (traits["IPController"]["engine_ip"], traits["IPController"]["client_ip"]) == (ADDRESS, "127.0.0.1")
    assert traits["Session"] == {"packer": "json", "unpacker": "json", "key": made.key}


def test_the_users_own_log_level_is_not_held_down():
    chatty = Settings(encryption="hmac", controller_options=("--log-level=DEBUG",))
    made, _ = make(ADDRESS, chatty)
    quiet = {"log_level", "logging_config"}
    assert quiet & loaded(controller_config(made, chatty))["IPController"].keys() == set()
    assert quiet <= loaded(controller_config(made, HMAC))["IPController"].keys()


def test_heartbeat_and_patience_reach_the_hub():
    settings = Settings(heartbeat=0.25, patience=30.0)
    made, _ = make(ADDRESS, settings)
    traits = loaded(controller_config(made, settings, "/dev/null").split(b"import json")[0])
    assert traits["HeartMonitor"] == {"period": 250, "max_heartmonitor_misses": 120}
    assert traits["IPController"]["registration_timeout"] == 90


def test_the_curve_pair_is_read_from_its_own_file(tmp_path):
    made, secret = make(ADDRESS, SETTINGS)
    (tmp_path / "curve.json").write_bytes(curve_file(made.public_key, secret))
    config = controller_config(made, SETTINGS, str(tmp_path / "curve.json"))
    assert secret.encode() not in config
    assert made.public_key.encode() not in config
    traits = loaded(config)["IPController"]
    assert (traits["curve_publickey"], traits["curve_secretkey"]) == (made.public_key, secret)
    assert traits["enable_curve"] is True


def test_what_was_put_on_the_controller_comes_back_without_the_secret_half(tmp_path):
    made, secret = make(ADDRESS, SETTINGS)
    host = host_with(tmp_path, controller_files(made, secret, SETTINGS))
    fetched = fetch(host)
    assert check(made, fetched) == ()
    assert fetched.public == made.public_key
    assert secret not in "".join(host.said) + repr(fetched)


@pytest.mark.parametrize("half", ['"a", "secret": "b', "x"])
def test_a_pair_written_by_others_never_shows_its_secret_half(tmp_path, half):
    made, secret = make(ADDRESS, SETTINGS)
    host = host_with(tmp_path, controller_files(made, None, SETTINGS))
    (tmp_path / "etc/ipyfleet/curve.json").write_text(json.dumps({"public": half, "secret": secret}))
    fetched = fetch(host)
    assert secret not in "".join(host.said)
    assert check(made, fetched) == ("curve.json is missing",)


def test_a_controller_that_was_put_up_anew_by_somebody_else_is_noticed(tmp_path):
    made, _ = make(ADDRESS, SETTINGS)
    other, other_secret = make("10.203.0.7", SETTINGS)
    fetched = fetch(host_with(tmp_path, controller_files(other, other_secret, SETTINGS)))
    assert check(made, fetched) == (
        "ipcontroller-engine.json differs in curve_serverkey, interface, location",
        "ipcontroller-client.json differs in curve_serverkey",
        "curve.json holds another pair",
    )


def test_missing_and_broken_files_are_named():
    made, _ = make(ADDRESS, HMAC)
    assert check(made, Fetched(None, b"{", None)) == (
        "ipcontroller-engine.json is missing",
        "ipcontroller-client.json is no JSON object",
    )


def test_the_login_users_file_lies_where_a_client_without_arguments_looks():
    made, _ = make(ADDRESS, SETTINGS)
    file = connection_files.login_client_file(made, "1000:100", "/home/ipyfleet")
    assert file.path == "/home/ipyfleet/.ipython/profile_default/security/ipcontroller-client.json"
    assert (file.mode, file.owner, file.data) == (0o600, "1000:100", made.client.encode())
    assert connection_files.security_folders("/home/ipyfleet")[-1] == str(Path(file.path).parent)


@pytest.mark.parametrize("manager", service_managers.NAMES)
def test_a_link_among_the_security_folders_hands_nothing_of_roots_over(manager: str, monkeypatch: pytest.MonkeyPatch):
    """Tried with runuser of util-linux 2.38, and with run-as.py."""
    monkeypatch.setattr(smf, "PYTHON", sys.executable)
    monkeypatch.setattr(smf, "SCRIPT_FOLDER", str(boot.BOOTSCRIPTS))
    with TemporaryDirectory(dir="/var/tmp") as place:
        home, prey = Path(place) / "home", Path(place) / "prey"
        home.mkdir()
        prey.mkdir()
        Path(place).chmod(0o755)
        shutil.chown(home, "nobody")
        folders = connection_files.security_folders(str(home))
        words = service_managers.get(manager).run_as("nobody", 5, *folders)
        (home / ".ipython").symlink_to(prey)
        assert subprocess.run(words, check=False, capture_output=True).returncode != 0
        assert (prey.owner(), prey.stat().st_mode & 0o777, list(prey.iterdir())) == ("root", 0o755, [])
        (home / ".ipython").unlink()
        subprocess.run(words, check=True)
        security = home / connection_files.SECURITY
        assert (security.owner(), security.stat().st_mode & 0o777) == ("nobody", 0o700)
