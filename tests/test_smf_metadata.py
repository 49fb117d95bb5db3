"""The stand-in's metadata commands, what a zone's first boot makes of a user-script, and packages."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.smf.playground import Playground

FETCH, EXECUTE = "svc:/smartdc/mdata:fetch", "svc:/smartdc/mdata:execute"
Boot = Callable[..., Playground]


@pytest.fixture
def boot(tmp_path: Path) -> Iterator[Boot]:
    zones = []

    def begin(script: str | None = None, **settings: Any) -> Playground:
        metadata = {} if script is None else {"user-script": script}
        zones.append(Playground(tmp_path / "zone", metadata=metadata, **settings))
        zones[0].begin()
        return zones[0]

    yield begin
    for zone in zones:
        zone.close()


@pytest.fixture
def zone(tmp_path: Path) -> Playground:
    return Playground(tmp_path / "zone", metadata={"a": "1\n2", "sdc:uuid": "u", "sdc:zonename": "z", "empty": ""})


@pytest.mark.parametrize(
    ("words", "code", "out", "err"),
    [
        (["mdata-get", "a"], 0, "1\n2\n", ""),
        (["mdata-get", "empty"], 0, "\n", ""),
        (["mdata-get", "sdc:uuid"], 0, "u\n", ""),
        (["mdata-get", "nope"], 1, "", "No metadata for 'nope'\n"),
        (["mdata-get"], 3, "", "Usage: mdata-get <keyname>\n"),
        (["mdata-list"], 0, "a\nempty\n", ""),
        (["mdata-put", "b", "v"], 0, "", ""),
        (
            ["mdata-put", "sdc:uuid", "v"],
            2,
            "",
            "Error putting metadata for key 'sdc:uuid': Cannot update the \"sdc\" Namespace.\n",
        ),
        (["mdata-delete", "nope"], 0, "", ""),
        (["zonename"], 0, "z\n", ""),
    ],
)
def test_metadata_commands_answer(zone: Playground, words: list[str], code: int, out: str, err: str) -> None:
    done = zone.call(*words)
    assert (done.returncode, done.stdout, done.stderr) == (code, out, err)


def test_a_value_may_come_by_standard_input_and_be_deleted(zone: Playground) -> None:
    assert zone.ok("mdata-put", "key", stdin="from\nstdin\n") == ""
    assert zone.ok("mdata-get", "key") == "from\nstdin\n"
    assert zone.ok("mdata-delete", "key") == ""
    assert zone.run("mdata-get", "key").returncode == 1


def test_whoever_is_not_root_fails_at_once(tmp_path: Path) -> None:
    zone = Playground(tmp_path / "zone", metadata=None, unprivileged=True)
    done = zone.run("mdata-get", "a")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("ERROR: could not initialise protocol: ")


def test_root_waits_for_the_metadata_service(tmp_path: Path) -> None:
    zone = Playground(tmp_path / "zone", metadata=None)
    words = [str(zone.bin / "mdata-get"), "a"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env={**os.environ, **zone.environment}) as waiter:
        with pytest.raises(subprocess.TimeoutExpired):
            waiter.wait(0.5)
        zone.place.metadata.write_text('{"a": "1"}')
        assert waiter.communicate(timeout=10)[0] == "1\n"


def test_the_trap_of_a_missing_key(zone: Playground) -> None:
    zone.place.change({"adoption": None})
    one = "svc:/smartdc/mdata:execute"
    zone.call(
        "svccfg", "-s", one, "-f", "-", stdin='addpg config application\nsetprop config/ip = astring: "10.0.0.1"\n'
    )
    zone.ok("sh", "-c", f"svccfg -s {one} setprop config/ip=astring: `mdata-get ip`")
    assert zone.ok("svcprop", "-c", "-p", "config/ip", one) == "astring:\n"
    zone.close()


def test_a_machine_without_a_user_script_is_done_at_once(boot: Boot) -> None:
    boot().wait(EXECUTE, "ON -")


def test_the_user_script_is_waited_for_and_runs_bare(boot: Boot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    zone = boot("#!/bin/sh\npwd\nenv\nsleep 0.4\necho done\n", fetch_seconds=0.4)
    zone.wait(EXECUTE, "DIS -")  # until mdata:fetch has enabled it
    zone.wait(EXECUTE, "OFF ON")
    zone.wait(EXECUTE, "ON -")
    lines = zone.log(EXECUTE).splitlines()
    assert "/" in lines
    assert "PATH=/usr/sbin:/usr/bin" in lines
    assert "done" in lines
    names = {line.partition("=")[0] for line in lines if "=" in line}
    assert names <= {"PATH", "PWD", "SMF_FMRI", "SMF_METHOD", "SMF_RESTARTER", "SMF_ZONENAME", "_", "OLDPWD", "SHLVL"}


def test_a_failing_user_script_is_not_tried_again(boot: Boot) -> None:
    zone = boot("#!/bin/sh\necho tried\nexit 3\n")
    zone.wait(EXECUTE, "MNT -")
    assert zone.log(EXECUTE).splitlines().count("tried") == 1
    assert 'Method "start" exited with status 95.' in zone.notes(EXECUTE)
    zone.place.metadata.write_text('{"user-script": "#!/bin/sh\\n"}')
    zone.ok("svcadm", "clear", EXECUTE)  # the script of this boot once more: only a boot fetches the new one
    zone.wait(EXECUTE, "MNT -")


def test_a_user_script_that_hangs_is_killed_and_run_three_times(boot: Boot) -> None:
    zone = boot("#!/bin/sh\necho tried\nsleep 60\n", execute_timeout=1.0)
    zone.wait(EXECUTE, "MNT -", 15.0)
    assert zone.log(EXECUTE).splitlines().count("tried") == 3


def test_a_script_without_an_interpreter_line_fails(boot: Boot) -> None:
    boot("echo hi\n").wait(EXECUTE, "MNT -")


def test_the_script_is_fetched_and_runs_at_every_boot(boot: Boot) -> None:
    zone = boot("#!/bin/sh\necho first\n")
    zone.wait(EXECUTE, "ON -")
    zone.ok("mdata-put", "user-script", "#!/bin/sh\necho second\n")
    zone.close()
    zone.begin()
    zone.wait(EXECUTE, "ON -")
    assert [line for line in zone.log(EXECUTE).splitlines() if line in ("first", "second")] == ["first", "second"]


def test_packages_are_installed_by_name(zone: Playground) -> None:
    assert zone.run("pkgin", "-y", "install", "python312").returncode == 0
    assert zone.run("pkg_info", "-e", "python312").stdout == "python312-1.0\n"
    assert zone.run("pkg_info", "-e", "py312-zmq").returncode == 1
    done = zone.run("pkgin", "-y", "install", "py312-ipyparallel")
    assert done.returncode == 1
    assert "py312-ipyparallel is not available in the repository" in done.stderr
    assert zone.run("pkgin", "search", "^py312-zmq-[0-9]").stdout.split()[:1] == ["py312-zmq-1.0"]
