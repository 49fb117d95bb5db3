"""Completion in real shells: what the TAB key makes of a command line, in bash, zsh and fish."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path

import pexpect
import pytest

from fabfile.candidates import SHELLS
from fabfile.machines import Cluster
from fabfile.program import ROOT
from fabfile.record import Record
from fabfile.state import Store

SCRIPTS = ROOT / "completion"
BIN = Path(sys.executable).parent
FINE = 0.3  # seconds that a person does not notice
HEAVY = {"boto3", "botocore", "fabric", "paramiko", "ipyparallel", "requests", "zmq", "rich", "cryptography", "numpy"}
FOREIGN = """
from invoke import task
@task
def strange(c, flag=False): ...
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A user who has one cluster, lab, a template of their own, and a project that is none of ours."""
    home = tmp_path / "home"
    (home / ".config" / "ipyfleet").mkdir(parents=True)
    (home / ".config" / "ipyfleet" / "config.yaml").write_text("templates: {big: {extends: local, engines: 8}}\n")
    store = Store("lab", home / "records")
    with store.lock("test"):
        Record(Cluster("lab", "c0ffee", "ada@desk", 0.0), digests=dict.fromkeys(("controller", "engine-0"), "")).save(
            store
        )
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "tasks.py").write_text(FOREIGN)
    (foreign / "strawberry.txt").write_text("")
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("IPYFLEET_", "XDG_"))},
        "HOME": str(home),
        "IPYFLEET_HOME": str(home / "records"),
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "TERM": "dumb",
        "INPUTRC": "/dev/null",
    }


def needs(shell: str) -> None:
    if not shutil.which(shell):
        # Never where CI runs: its test command begins with here.sh --test, which installs all three.
        pytest.skip(f"{shell} is not installed here; `sh bootscripts/here.sh --test` installs it")


def in_bash(line: str, environ: Mapping[str, str], cwd: Path) -> list[str]:
    """What bash would offer; it takes words apart at = as it does on a terminal."""
    words = [word for word in re.split(r" |(=)", line) if word is not None]
    words = [word for word in words[:-1] if word] + words[-1:] * (not line.endswith("="))
    script = (
        f"source {shlex.quote(str(SCRIPTS / 'ipyfleet.bash'))}\n"
        "compopt() { files=yes; }\n"  # the real one works at a terminal only
        f"COMP_WORDS=({shlex.join(words)}) COMP_CWORD={len(words) - 1}\n"
        f"$(complete -p {Path(words[0]).name} | sed 's/.*-F \\([^ ]*\\) .*/\\1/')\n"
        'printf "%s\\n" "${COMPREPLY[@]}" ${files:+FILES}\n'
    )
    return asked(["bash", "--norc", "-c", script], environ, cwd)


def in_fish(line: str, environ: Mapping[str, str], cwd: Path) -> list[str]:
    """What fish offers, without what it says about it."""
    script = f"source {shlex.quote(str(SCRIPTS / 'ipyfleet.fish'))}; complete -C {shlex.quote(line)}"
    return [one.partition("\t")[0] for one in asked(["fish", "--no-config", "-c", script], environ, cwd)]


def asked(words: list[str], environ: Mapping[str, str], cwd: Path) -> list[str]:
    done = subprocess.run(words, cwd=cwd, env=dict(environ), capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    return [line for line in done.stdout.splitlines() if line]


CASES = [
    ("ipyfleet teard", {"teardown"}),
    ("ipyfleet status --clu", {"--cluster"}),
    ("ipyfleet status --cluster ", {"lab"}),
    ("ipyfleet provision --template b", {"big"}),
    ("ipyfleet ssh --cluster lab --machine e", {"engine-0"}),
    ("ipyfleet logs --cluster lab --on ", {"controller", "engines", "all", "engine-0"}),
    ("ipyfleet init --provider ", {"local", "static", "ec2", "triton"}),
    ("ipyfleet completion --shell ", set(SHELLS)),
    ("ipyfleet keys.cr", {"keys.create"}),
    ("ipyfleet provision --engines ", set()),
]


@pytest.mark.parametrize("offer", [in_bash, in_fish])
@pytest.mark.parametrize(("line", "expected"), CASES, ids=[line for line, _ in CASES])
def test_the_program_is_completed_anywhere(
    offer: object, line: str, expected: set[str], environ: dict[str, str], tmp_path: Path
) -> None:
    assert callable(offer)
    needs(offer.__name__.removeprefix("in_"))
    assert set(offer(line, environ, tmp_path / "foreign")) == expected


@pytest.mark.parametrize("offer", [in_bash, in_fish])
@pytest.mark.parametrize("program", ["invoke", "inv", str(BIN / "invoke")])
def test_invoke_is_completed_inside_a_checkout(
    offer: object, program: str, environ: dict[str, str], tmp_path: Path
) -> None:
    assert callable(offer)
    needs(offer.__name__.removeprefix("in_"))
    assert set(offer(f"{program} ssh --cluster ", environ, ROOT / "tests")) == {"lab"}


@pytest.mark.parametrize("offer", [in_bash, in_fish])
def test_invoke_is_left_to_itself_in_another_project(offer: object, environ: dict[str, str], tmp_path: Path) -> None:
    assert callable(offer)
    needs(offer.__name__.removeprefix("in_"))
    assert set(offer("invoke st", environ, tmp_path / "foreign")) - {"FILES"} == {"strange"}
    assert set(offer("invoke strange --f", environ, tmp_path / "foreign")) - {"FILES"} == {"--flag"}
    assert set(offer("invoke strange --flag straw", environ, tmp_path / "home")) <= {"FILES"}
    assert offer("ipyfleet init --file straw", environ, tmp_path / "foreign") in (["FILES"], ["strawberry.txt"])


def test_a_flag_and_its_value_may_be_one_word(environ: dict[str, str], tmp_path: Path) -> None:
    assert in_bash("ipyfleet ssh --cluster=l", environ, tmp_path) == ["lab"]
    assert in_bash("ipyfleet ssh --cluster=", environ, tmp_path) == ["lab"]
    assert in_bash("ipyfleet ssh --cluster=lab --machine=e", environ, tmp_path) == ["engine-0"]
    needs("fish")
    assert in_fish("ipyfleet ssh --cluster=l", environ, tmp_path) == ["--cluster=lab"]


# -- at a terminal ----------------------------------------------------------------------------------------------------

STARTING = {
    "bash": ["--norc", "--noprofile", "-i"],
    "zsh": ["-f", "-i"],
    "fish": ["--no-config", "-i"],
}
SETTING_UP = {
    "bash": "PS1='ready> '; eval \"$(ipyfleet completion --shell bash)\"",
    "zsh": (
        "PS1='ready> '; autoload -Uz compinit; compinit -u -d $HOME/.zcompdump; "
        "source <(ipyfleet completion --shell zsh)"
    ),
    "fish": "function fish_prompt; echo -n 'ready> '; end; ipyfleet completion --shell fish | source",
}
TYPED = [
    ("ipyfleet stat\t--timi\t--cluster l\t", "<status><--timings><--cluster><lab>"),
    ("ipyfleet keys.cr\t--na\tx", "<keys.create><--name><x>"),
    ("ipyfleet provision --template b\t--pla\t", "<provision><--template><big><--plan>"),
    ("ipyfleet status --cluster=l\t", "<status><--cluster=lab>"),
    ("ipyfleet status --cluster=\t", "<status><--cluster=lab>"),
    ("ipyfleet init --provider tr\t--fi\tssh\t", "<init><--provider><triton><--file><sshd.py>"),
    ("ipyfleet logs --cluster lab --on controller,al\t", "<logs><--cluster><lab><--on><controller,all>"),
    ("invoke ssh --cluster l\t--mach\te\t", "<ssh><--cluster><lab><--machine><engine-0>"),
]


def stand_in(path: Path) -> None:
    """A program that answers completions as ours does, and otherwise shows the words that it was given."""
    path.write_text(
        "#!/bin/sh\n"
        f'case $1 in --complete | completion) exec {BIN / "ipyfleet"} "$@" ;; esac\n'
        "printf '<%s>' \"$@\"\necho\n"
    )
    path.chmod(0o755)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_tab_key_finishes_words(shell: str, environ: dict[str, str], tmp_path: Path) -> None:
    needs(shell)
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("ipyfleet", "invoke"):
        stand_in(programs / name)
    terminal = {**environ, "TERM": "xterm", "PATH": f"{programs}:{environ['PATH']}"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # forkpty in a process with threads
        child = pexpect.spawn(
            shell,
            STARTING[shell],
            env=terminal,
            cwd=ROOT / "tests",
            timeout=30,
            encoding="utf-8",
            dimensions=(40, 200),
        )
    try:
        child.sendline(SETTING_UP[shell] + "; echo set''up")
        child.expect("setup\r?\n")
        for line, expected in TYPED:
            child.send(f"{line}\r")
            child.expect(r"((?:<\S+>)+)\r?\n")
            assert child.match[1] == expected
    finally:
        child.close(force=True)


# -- its manners ------------------------------------------------------------------------------------------------------


def answer(environ: Mapping[str, str], *words: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """The program's answer to a shell."""
    return subprocess.run(
        [sys.executable, *options, str(BIN / "ipyfleet"), "--complete", "--", *words],
        cwd="/",
        env=dict(environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "words", [("ipyfleet", "ssh", "--machine", ""), ("ipyfleet", "provision", "--template", ""), ("invoke", "")]
)
def test_an_answer_comes_before_anybody_notices(words: tuple[str, ...], environ: dict[str, str]) -> None:
    def seconds() -> float:
        begun = time.perf_counter()
        assert answer(environ, *words).stdout
        return time.perf_counter() - begun

    assert min(seconds() for _ in range(10)) < FINE  # of ten, since this computer may have other things to do


def test_an_answer_imports_nothing_heavy_and_opens_no_connection(environ: dict[str, str], tmp_path: Path) -> None:
    done = answer(environ, "ipyfleet", "ssh", "--cluster", "lab", "--machine", "", options=("-X", "importtime"))
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "engine-0" in done.stdout
    assert "invoke" in imported
    assert imported & HEAVY == set()


@pytest.mark.parametrize(
    "words",
    [(), ("ipyfleet",), ("ipyfleet", "'"), ("ipyfleet", "ssh", "--cluster", "/", "--machine", ""), ("x", "")],
)
def test_odd_lines_end_well(words: tuple[str, ...], environ: dict[str, str]) -> None:
    done = answer(environ, *words)
    assert (done.stderr, done.returncode) == ("", 0)


def test_what_is_broken_is_not_said_while_somebody_types(environ: dict[str, str], tmp_path: Path) -> None:
    Path(environ["HOME"], ".config", "ipyfleet", "config.yaml").write_text("templates: [\n")
    Path(environ["IPYFLEET_HOME"], "lab", "record.json").write_text("{")
    for words in (("--template", ""), ("--machine", ""), ("--cluster", "lab", "--machine", "")):
        done = answer({**environ, "IPYFLEET_NONSENSE": "1"}, "ipyfleet", "ssh", *words)
        assert (done.stderr, done.returncode) == ("", 0)
        assert done.stdout
    done = answer({**environ, "IPYFLEET_HOME": "/dev/null"}, "ipyfleet", "ssh", "--cluster", "")
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_shell_can_read_its_script(shell: str) -> None:
    needs(shell)
    subprocess.run([shell, "-n", SCRIPTS / f"ipyfleet.{shell}"], check=True)


def test_there_is_a_script_for_each_shell_and_no_other() -> None:
    assert {path.name for path in SCRIPTS.iterdir()} == {f"ipyfleet.{shell}" for shell in SHELLS}
