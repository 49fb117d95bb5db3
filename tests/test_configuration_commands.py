"""`invoke init`, `config` and `completion`, as a person and a program call them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

import pexpect
import pytest

from fabfile.candidates import SHELLS
from fabfile.machines import Cluster
from fabfile.plan import Slot
from fabfile.program import ROOT
from fabfile.record import Record
from fabfile.settings import PROVIDERS, Settings, load
from fabfile.state import Store

BIN = Path(sys.executable).parent
Call = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A user who has nothing yet."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("IPYFLEET_", "XDG_"))}
    return {**kept, "HOME": str(tmp_path), "IPYFLEET_HOME": str(tmp_path / "records"), "SHELL": "/usr/bin/zsh"}


@pytest.fixture
def usual(tmp_path: Path) -> Path:
    return tmp_path / ".config" / "ipyfleet" / "config.yaml"


@pytest.fixture
def call(environ: dict[str, str]) -> Call:
    def call(*words: str, program: str = "ipyfleet", **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BIN / program, *words],
            cwd=ROOT,
            env={**environ, **more},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return call


@pytest.fixture
def dialogue(environ: dict[str, str]) -> Iterator[Callable[..., pexpect.spawn]]:
    children = []

    def begin(*words: str) -> pexpect.spawn:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # forkpty in a process with threads
            child = pexpect.spawn(
                str(BIN / "ipyfleet"), ["init", *words], env=environ, cwd="/", timeout=30, encoding="utf-8"
            )
        children.append(child)
        return child

    yield begin
    for child in children:
        child.close(force=True)


def ended(child: pexpect.spawn) -> int:
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus is not None
    return int(child.exitstatus)


# -- init -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("program", ["ipyfleet", "invoke"])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_file_is_written_without_questions(provider: str, program: str, call: Call, usual: Path) -> None:
    done = call("init", "--provider", provider, program=program)
    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout.startswith(f"{usual}: written, for provider {provider}\n")
    assert "`invoke provision --plan`" in done.stdout
    assert ("hosts:" in done.stdout) == (provider == "static")
    assert load(environ={"IPYFLEET_CONFIG": str(usual)}).provider == provider
    assert usual.stat().st_mode & 0o777 == 0o600


def test_it_is_never_replaced_silently(call: Call, usual: Path) -> None:
    assert call("init", "--provider", "local").returncode == 0
    usual.write_text("engines: 8\n")
    done = call("init", "--provider", "local")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"{usual} is there already and was left as it is\n  next: ")
    assert usual.read_text() == "engines: 8\n"
    assert call("init", "--provider", "local", "--force").returncode == 0
    assert usual.read_text() != "engines: 8\n"


def test_another_file_is_named_in_what_to_do_next(call: Call, tmp_path: Path, usual: Path) -> None:
    path = tmp_path / "my lab.yaml"
    done = call("init", "--provider", "ec2", "--file", str(path))
    assert f"next: `IPYFLEET_CONFIG='{path}' invoke provision --plan`" in done.stdout
    assert load(environ={"IPYFLEET_CONFIG": str(path)}).provider == "ec2"
    assert not usual.exists()
    done = call("init", "--provider", "local", IPYFLEET_CONFIG=str(tmp_path / "named.yaml"))
    assert "next: `invoke provision --plan`" in done.stdout
    assert (tmp_path / "named.yaml").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "without a terminal, --provider is needed: one of local, static, ec2, triton\n  next: "),
        (("--provider", "stati"), "there is no provider 'stati'; did you mean static?\n  next: "),
        (("--provider", "local", "--file", "/dev/null/x"), "/dev/null/x cannot be written: /dev/null is no folder\n"),
    ],
)
def test_what_cannot_be_is_a_usage_error(words: tuple[str, ...], said: str, call: Call, tmp_path: Path) -> None:
    done = call("init", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(said)
    assert list(tmp_path.iterdir()) == []


def test_a_home_that_cannot_be_written_is_said_with_the_way_out(call: Call, tmp_path: Path) -> None:
    (tmp_path / ".config").write_text("no folder")
    done = call("init", "--provider", "local")
    assert done.returncode == 2
    assert "config.yaml cannot be written: Not a directory\n  next: `invoke init --file PATH`" in done.stderr
    assert "Traceback" not in done.stderr


def test_on_a_terminal_it_asks_again_until_the_answer_fits(
    dialogue: Callable[..., pexpect.spawn], usual: Path, tmp_path: Path
) -> None:
    child = dialogue()
    child.expect("triton +SmartOS machines.*Which provider \\[local\\]: ")
    child.sendline("statc")
    child.expect("there is no provider 'statc'; did you mean static\\?.*Which provider \\[local\\]: ")
    child.sendline("static")
    child.expect("How many engines \\[4\\]: ")
    child.sendline("lots")
    child.expect("engines must be a whole number from 1 to 10000.*How many engines \\[4\\]: ")
    child.sendline("6")
    child.expect("Your hosts, .*: ")
    child.sendline("")
    child.expect("hosts must be given.*: ")
    child.sendline("ada@one.example.org, ada@two.example.org:2222")
    child.expect("written, for provider static")
    assert ended(child) == 0
    settings = load(environ={"IPYFLEET_CONFIG": str(usual)})
    assert (settings.provider, settings.engines) == ("static", 6)
    assert settings.hosts == ("ada@one.example.org", "ada@two.example.org:2222")


def test_the_enter_key_alone_is_enough(dialogue: Callable[..., pexpect.spawn], usual: Path) -> None:
    child = dialogue()
    for question in ("Which provider", "How many engines"):
        child.expect(question)
        child.sendline("")
    child.expect("written, for provider local")
    assert ended(child) == 0
    assert load(environ={"IPYFLEET_CONFIG": str(usual)}) == Settings()


@pytest.mark.parametrize(("key", "code", "said"), [("\x04", 2, "nothing was written"), ("\x03", 130, "interrupted")])
def test_who_leaves_leaves_nothing(
    key: str, code: int, said: str, dialogue: Callable[..., pexpect.spawn], usual: Path
) -> None:
    child = dialogue()
    child.expect("Which provider")
    child.sendline("")
    child.expect("How many engines.*: ")
    child.send(key)
    child.expect(said)
    assert ended(child) == code
    assert not usual.parent.exists()


def test_nothing_is_asked_for_a_file_that_may_not_be_replaced(
    dialogue: Callable[..., pexpect.spawn], usual: Path
) -> None:
    usual.parent.mkdir(parents=True)
    usual.write_text("engines: 8\n")
    child = dialogue()
    child.expect("is there already")
    assert "Which" not in child.before
    assert ended(child) == 2


def test_nothing_is_asked_when_the_provider_is_named(dialogue: Callable[..., pexpect.spawn], usual: Path) -> None:
    child = dialogue("--provider", "ec2")
    child.expect("written, for provider ec2")
    assert ended(child) == 0


# -- config -----------------------------------------------------------------------------------------------------------


def test_the_settings_are_shown_with_where_they_come_from(call: Call, usual: Path) -> None:
    usual.parent.mkdir(parents=True)
    usual.write_text("packages: [scipy]\ntemplates: {big: {extends: local, engines: 8}}\n")
    done = call("config", "--template", "big", IPYFLEET_PATIENCE="90s")
    assert (done.stderr, done.returncode) == ("", 0)
    rows = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert list(rows) == ["setting", *(field.name for field in fields(Settings))]
    assert rows["packages"].endswith("[scipy]                        ~/.config/ipyfleet/config.yaml line 1 (packages)")
    assert rows["engines"].split(maxsplit=2)[1:] == [
        "8",
        "~/.config/ipyfleet/config.yaml line 2 (templates.big.engines)",
    ]
    assert rows["patience"].split() == ["patience", "90s", "IPYFLEET_PATIENCE"]
    assert rows["template"].split() == ["template", "big", "--template"]
    assert rows["heartbeat"].split() == ["heartbeat", "100ms", "default"]


def test_only_what_was_changed_is_shown_on_demand(call: Call) -> None:
    assert call("config", "--changed").stdout.startswith("everything is as invoke.yaml has it; `invoke init`")
    done = call("config", "--changed", "--cluster", "lab", IPYFLEET_ENGINES="4")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["setting", "cluster", "engines"]


@pytest.mark.parametrize("program", ["ipyfleet", "invoke"])
def test_json_is_one_object_and_nothing_else(call: Call, program: str) -> None:
    done = call("config", "--json", "--template", "ec2", program=program, IPYFLEET_ENGINE_ENV="TOKEN=hunter2")
    found = json.loads(done.stdout)
    assert list(found) == [field.name for field in fields(Settings)]
    assert found["lease"]["value"] == 28800
    assert found["engine_env"] == {"value": {"TOKEN": "…"}, "from": "IPYFLEET_ENGINE_ENV"}
    assert found["packages"] == {"value": ["numpy"], "from": None}
    assert "hunter2" not in done.stdout
    assert json.loads(call("config", "--json", "--changed").stdout) == {}


def test_a_cluster_that_there_is_has_its_own_template_and_size(call: Call, environ: dict[str, str]) -> None:
    store = Store("lab", Path(environ["IPYFLEET_HOME"]))
    with store.lock("test"):
        cluster = Cluster("lab", "c0ffee", "ada@desk", 0.0)
        Record(cluster, "ec2", "ec2", assigned=(Slot(0, 1), Slot(1, 1))).save(store)
    found = json.loads(call("config", "--json", "--cluster", "lab").stdout)
    where = str(store.path("record.json"))
    assert found["template"] == {"value": "ec2", "from": where}
    assert found["engines"] == {"value": 2, "from": where}
    assert found["provider"]["value"] == "ec2"
    found = json.loads(call("config", "--json", "--cluster", "lab", "--template", "local", IPYFLEET_ENGINES="9").stdout)
    assert found["template"] == {"value": "local", "from": "--template"}
    assert found["engines"] == {"value": 9, "from": "IPYFLEET_ENGINES"}


def test_what_cannot_be_used_is_said_as_by_every_command(call: Call) -> None:
    done = call("config", "--json", "--cluster", "Lab")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--cluster: cluster must be a name" in done.stderr


# -- completion -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_of_a_shell_is_printed(shell: str, call: Call) -> None:
    script = (ROOT / "completion" / f"ipyfleet.{shell}").read_text()
    assert call("completion", "--shell", shell).stdout == script
    assert call("completion", SHELL=f"/usr/local/bin/{shell}").stdout == script


@pytest.mark.parametrize(
    ("words", "shell", "said"),
    [
        (("--shell", "zhs"), "", "there is no completion for the shell 'zhs'; did you mean zsh?"),
        ((), "/bin/tcsh", "there is no completion for the shell 'tcsh'"),
        ((), "", "for which shell?"),
    ],
)
def test_a_shell_without_a_script_is_refused(words: tuple[str, ...], shell: str, said: str, call: Call) -> None:
    done = call("completion", *words, SHELL=shell)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(said)
    assert done.stderr.endswith("  next: --shell is one of bash, zsh, fish\n")
