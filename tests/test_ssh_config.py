from __future__ import annotations

import subprocess
from pathlib import Path

from fabfile.remote import Credentials, Endpoint
from fabfile.ssh_config import ssh_config

CREDENTIALS = Credentials(Path("/r/id_ed25519"), Path("/r/known_hosts"))


def resolved(tmp_path: Path, endpoint: Endpoint, name: str = "controller") -> tuple[dict[str, str], list[str]]:
    """What OpenSSH makes of the configuration, and which files it read for that."""
    config = tmp_path / "config"
    config.write_text(ssh_config(endpoint, CREDENTIALS, "controller", 7.0))
    done = subprocess.run(("ssh", "-v", "-G", "-F", str(config), name), capture_output=True, text=True, check=True)
    options = dict(line.split(" ", 1) for line in done.stdout.splitlines() if " " in line)
    read = [line.split()[-1] for line in done.stderr.splitlines() if "Reading configuration data" in line]
    return options, read


def test_only_our_own_file_is_read(tmp_path):
    _, read = resolved(tmp_path, Endpoint("10.0.0.2", "ipyfleet"))
    assert read == [str(tmp_path / "config")]


def test_nothing_is_asked_nothing_is_trusted_nothing_of_the_users_is_used(tmp_path):
    options, _ = resolved(tmp_path, Endpoint("10.0.0.2", "ipyfleet", 2222))
    assert options.items() >= {
        ("hostname", "10.0.0.2"),
        ("user", "ipyfleet"),
        ("port", "2222"),
        ("batchmode", "yes"),
        ("stricthostkeychecking", "true"),
        ("userknownhostsfile", "/r/known_hosts"),
        ("globalknownhostsfile", "/dev/null"),
        ("identityfile", "/r/id_ed25519"),
        ("identitiesonly", "yes"),
        ("identityagent", "none"),
        ("forwardagent", "no"),
        ("exitonforwardfailure", "yes"),
        ("controlmaster", "false"),
        ("connecttimeout", "7"),
    }


def test_every_gateway_is_as_strict_as_the_host(tmp_path):
    endpoint = Endpoint("10.0.0.2", "ipyfleet", gateway=Endpoint("middle", "m", gateway=Endpoint("outer", "o", 2200)))
    host, _ = resolved(tmp_path, endpoint)
    middle, _ = resolved(tmp_path, endpoint, host["proxyjump"])
    outer, _ = resolved(tmp_path, endpoint, middle["proxyjump"])
    assert [(hop["hostname"], hop["user"], hop["port"]) for hop in (host, middle, outer)] == [
        ("10.0.0.2", "ipyfleet", "22"),
        ("middle", "m", "22"),
        ("outer", "o", "2200"),
    ]
    assert "proxyjump" not in outer
    for hop in (host, middle, outer):
        assert (hop["stricthostkeychecking"], hop["userknownhostsfile"]) == ("true", "/r/known_hosts")


def test_a_host_that_the_user_named_gets_the_users_keys_and_agent(tmp_path):
    options, _ = resolved(tmp_path, Endpoint("lab", "me", key_files=("/home/me/my key",)))
    assert options["identityfile"] == "/home/me/my key"
    assert options["identitiesonly"] == "no"
    assert "identityagent" not in options
    options, _ = resolved(tmp_path, Endpoint("lab", "me", key_files=()))
    assert options["identityfile"] == "none"
