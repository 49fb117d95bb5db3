"""The command line: the task decorator, the program ipyfleet, plain `invoke`, `fab`; each in a process of its own."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from invoke.context import Context
from invoke.exceptions import Exit

from fabfile.command_line import task
from fabfile.errors import ClusterError
from fabfile.program import ROOT, tasks_of

Program = Callable[..., "subprocess.CompletedProcess[str]"]

TASKS = '''
import json, os, sys
from invoke.collection import Collection
from invoke.exceptions import Exit
from fabfile.command_line import task, trailing_words
from fabfile.errors import ClusterError, NoSuchCluster, UsageError

@task(help={"engines": "how many"})
def provision(c, engines="4", plan=False):
    """Make a cluster.

    More about it.
    """
    print(json.dumps({"engines": engines, "plan": plan, "in_stream": c.config.run.in_stream, "cwd": os.getcwd()}))

@task()
def fail(c, how="cluster"):
    """Fail in one of several ways."""
    if how == "cluster": raise ClusterError("it broke", hint="mend it", seen="last words", machine="engine-0")
    if how == "none": raise NoSuchCluster("there is none")
    if how == "nested": fail(c, how="none")
    if how == "interrupt": raise KeyboardInterrupt
    if how == "exit": raise Exit("enough", code=7)
    if how == "mistake": {}["key"]

@task()
def words(c):
    """Show the words after the dashes."""
    print(json.dumps(trailing_words()))

@task()
def tell(c):
    """Say something as the project's commands do."""
    from fabfile import report
    report.say("done")

@task()
def show(c):
    """Say what not every terminal can."""
    from fabfile import report
    report.say("a\\udcff · b")

@task()
def wait(c):
    """Wait for ever."""
    import time
    print("waiting", flush=True)
    time.sleep(600)

@task()
def talk(c):
    """Say more than a pipe holds."""
    for number in range(100_000):
        print(number, flush=True)

ns = Collection(provision, fail, words, tell, show, wait, talk)
'''


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "tasks.py").write_text(TASKS)
    return tmp_path


def fleet(project: Path, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The program on the tasks of this project, called from another directory."""
    script = (
        "import pathlib, sys; from fabfile.program import Fleet, tasks_of\n"
        "Fleet(tasks_of(pathlib.Path(sys.argv.pop(1)))).run()"
    )
    return run(sys.executable, "-c", script, str(project / "tasks.py"), *words, cwd=cwd)


def invoke(project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "-m", "invoke", *words, cwd=project)


def run(*words: str, cwd: Path | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        cwd=cwd or Path("/"),
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )


# -- errors and exit codes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("program", [fleet, invoke])
@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        ("cluster", 1, "engine-0: it broke\n  | last words\n  next: mend it\n"),
        ("none", 3, "there is none\n"),
        ("nested", 3, "there is none\n"),
        ("exit", 7, "enough\n"),
        ("interrupt", 130, "interrupted; `invoke status` shows what exists, and the same command goes on from there\n"),
    ],
)
def test_an_error_is_one_message_and_an_exit_code(
    project: Path, program: Program, how: str, code: int, said: str
) -> None:
    done = program(project, "fail", "--how", how)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", said)


@pytest.mark.parametrize(
    ("cluster", "advice"), [("", "`invoke teardown` then"), ("lab", "`invoke teardown --cluster lab` then")]
)
def test_advice_is_for_the_cluster_that_the_command_was_given(cluster: str, advice: str) -> None:
    def fail(c: Context, cluster: str = "") -> None:
        raise ClusterError("it broke", hint="`invoke teardown` then")

    with pytest.raises(Exit, match=advice):
        task()(fail)(Context(), cluster=cluster)


def test_advice_is_for_the_template_that_the_command_was_given() -> None:
    """Without it, `invoke provision` would make machines somewhere else."""

    def fail(c: Context, cluster: str = "", template: str = "") -> None:
        raise ClusterError("it broke", hint="`invoke keys.list`, `invoke sweep --delete`, `invoke status` or `ls`")

    with pytest.raises(Exit) as ended:
        task()(fail)(Context(), cluster="lab", template="ec2")
    assert str(ended.value.message).endswith(
        "`invoke keys.list --template ec2`, `invoke sweep --template ec2 --delete`, "
        "`invoke status --template ec2 --cluster lab` or `ls`"
    )


def test_a_mistake_of_ours_keeps_its_traceback_and_asks_for_a_report(project: Path) -> None:
    done = invoke(project, "fail", "--how", "mistake")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "KeyError: 'key'\nThis is a mistake in ipyfleet. Please report it" in done.stderr


@pytest.mark.parametrize("words", [["invoke", "wait"], ["fabric", "--collection", "tasks", "wait"]])
def test_ctrl_c_during_a_task_ends_with_130(project: Path, words: list[str]) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=project,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said.startswith("interrupted; `invoke status` shows what exists")


# -- the program ------------------------------------------------------------------------------------------------------


def test_the_program_runs_its_own_tasks_from_a_directory_with_other_tasks(project: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "tasks.py").write_text("raise SystemExit('the wrong tasks')")
    (elsewhere / "invoke.yaml").write_text("run: {in_stream: true}\n")
    done = fleet(project, "provision", "--engines", "8", "--plan", cwd=elsewhere)
    assert done.stderr == ""
    assert done.stdout == f'{{"engines": "8", "plan": true, "in_stream": false, "cwd": "{elsewhere}"}}\n'


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["provison"], "No idea what 'provison' is! Did you mean provision?"),
        (["provision", "--engins", "4"], "No idea what '--engins' is! Did you mean --engines?"),
        (["provision", "--engines"], "needed value and was not given one!"),
        (["provision", "four"], "No idea what 'four' is!"),
        (["--lst"], "No idea what '--lst' is! Did you mean --list?"),
        (["--help", "provison"], "No idea what 'provison' is! Did you mean provision?"),
        (["--list", "nothing"], "Sub-collection 'nothing' not found!"),
        (["-f", "/nowhere.yaml", "provision"], "the settings file /nowhere.yaml cannot be read: No such file"),
        (["-f", "/dev/null", "provision"], "-f takes a .yaml file"),
    ],
)
def test_a_usage_error_ends_with_2_and_names_what_was_meant(project: Path, words: list[str], said: str) -> None:
    done = fleet(project, *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_broken_file_given_with_f_is_named_with_its_line(project: Path) -> None:
    (project / "broken.yaml").write_text("engines: 4\nengines: [\n")
    done = fleet(project, "-f", str(project / "broken.yaml"), "provision")
    assert done.returncode == 2
    assert f"the settings file {project}/broken.yaml is broken: line 3" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_program_lists_helps_and_tells_its_version(project: Path) -> None:
    assert "provision   Make a cluster." in fleet(project, "--list").stdout
    assert "provision   Make a cluster." in fleet(project).stdout
    described = fleet(project, "--help", "provision").stdout
    assert "More about it." in described
    assert "--engines=STRING   how many" in described
    assert "-e" not in described.split()
    assert fleet(project, "--version").stdout.startswith("ipyfleet 0.")


def test_a_full_disk_is_no_mistake_of_ours() -> None:
    def fail(c: Context) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/home/ada/known_hosts")

    with pytest.raises(Exit, match="ada/known_hosts: No space left on device\n  next: see that there is room") as ended:
        task()(fail)(Context())
    assert ended.value.code == 1


@pytest.mark.parametrize("encoding", ["utf-8:strict", "ascii:strict"])
def test_what_a_terminal_cannot_show_is_shown_in_another_way(project: Path, encoding: str) -> None:
    done = run(sys.executable, "-m", "invoke", "show", cwd=project, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout in ("a\\udcff · b\n", "a\\udcff \\xb7 b\n")


@pytest.mark.parametrize("program", [fleet, invoke])
def test_words_after_the_dashes_reach_the_task_as_they_are(project: Path, program: Program) -> None:
    assert program(project, "words", "--", "ls", "-l", "a b", "--", "*").stdout == '["ls", "-l", "a b", "--", "*"]\n'
    assert program(project, "words").stdout == "[]\n"


def test_tasks_that_are_missing_are_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"tasks\.py is missing; install from a checkout"):
        tasks_of(tmp_path / "tasks.py")


# -- the decorator ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("def body(c, engines=4): pass", "engines of task body: its default must be a text or a bool"),
        ("def body(c, engines=None): pass", "engines of task body: its default must be a text or a bool"),
        ("def body(c, *, engines=''): pass", "engines of task body: Invoke does not see it"),
        ("def body(c, *engines): pass", "engines of task body: Invoke does not see it"),
        ("def body(c, no_wait=False): pass", "no_wait of task body: Invoke has a meaning of its own"),
        ("def body(c, echo=False): pass", "echo of task body: Invoke has a meaning of its own"),
        ("def body(c, n=''): pass", "n of task body: Invoke has a meaning of its own"),
    ],
)
def test_a_parameter_that_invoke_would_misread_is_refused_at_import(source: str, problem: str) -> None:
    names: dict[str, object] = {}
    exec(source, names)
    with pytest.raises(TypeError, match=problem):
        task()(names["body"])


def test_texts_switches_positional_and_repeatable_parameters_are_taken() -> None:
    def body(c: object, machine, text: str = "", switch: bool = False, tag: object = None) -> None: ...

    task(iterable=["tag"])(body)


# -- the real thing ---------------------------------------------------------------------------------------------------


def test_the_installed_script_and_invoke_list_the_same_tasks(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("ipyfleet")
    ours = run(str(script), "--list", "--list-format", "json", cwd=tmp_path)
    plain = run(sys.executable, "-m", "invoke", "--list", "--list-format", "json", cwd=ROOT)
    assert ours.stderr == plain.stderr == ""
    assert json.loads(ours.stdout)["tasks"] == json.loads(plain.stdout)["tasks"]
    assert json.loads(ours.stdout)["collections"] == json.loads(plain.stdout)["collections"]
    assert '"provision"' in ours.stdout


def test_listing_imports_nothing_heavy() -> None:
    heavy = "fabric paramiko boto3 requests ipyparallel zmq jupyter_client rich msgspec packaging cryptography numpy"
    script = f"import tasks, sys; print(sorted(set({heavy.split()!r}) & set(sys.modules)))"
    assert run(sys.executable, "-c", script, cwd=ROOT).stdout == "[]\n"


def test_fab_runs_a_task_on_a_host_under_this_invoke(tmp_path: Path) -> None:
    (tmp_path / "fabfile.py").write_text(
        "from fabfile_compat import let_fabric_run_under_invoke_3\n"
        "assert let_fabric_run_under_invoke_3() and not let_fabric_run_under_invoke_3()\n"
        "from fabric import task\n"
        "@task\n"
        "def show(c): print(type(c).__name__, c.host)\n"
    )
    (tmp_path / "fabfile_compat.py").write_text((ROOT / "fabfile" / "compat.py").read_text())
    done = run(sys.executable, "-m", "fabric", "-H", "nowhere.invalid", "show", cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("Connection nowhere.invalid\n", "")


def test_the_call_that_invoke_3_makes_is_understood() -> None:
    script = (
        "from fabric import Config; from fabric.tasks import ConnectionCall, Task\n"
        "from fabfile.compat import let_fabric_run_under_invoke_3\n"
        "let_fabric_run_under_invoke_3()\n"
        "call = ConnectionCall(Task(lambda c: None), init_kwargs={'host': 'nowhere.invalid'})\n"
        "print(call.make_context(Config()).host, call.make_context(Config(), core_parse_result=None).host)\n"
    )
    assert run(sys.executable, "-c", script).stdout == "nowhere.invalid nowhere.invalid\n"


def test_without_fabric_the_shim_imports_nothing() -> None:
    script = (
        "import sys; from fabfile.compat import let_fabric_run_under_invoke_3 as shim; "
        "print(shim(), 'fabric' in sys.modules)"
    )
    assert run(sys.executable, "-c", script).stdout == "False False\n"


def test_a_reader_that_has_enough_ends_it_without_a_word(project: Path) -> None:
    words = f"'{Path(sys.executable).with_name('invoke')}' talk | head -n 1"
    done = subprocess.run(["bash", "-c", f"{words}; exit ${{PIPESTATUS[0]}}"], cwd=project, capture_output=True)
    assert (done.stdout, done.stderr, done.returncode) == (b"0\n", b"", 141)


@pytest.mark.parametrize(
    ("where", "said", "code"),
    [("&-", "", 0), ("/dev/full", "the output cannot be written: No space left on device\n  next: ", 1)],
)
def test_nowhere_to_print_to_is_no_mistake_of_ours(project: Path, where: str, said: str, code: int) -> None:
    words = f"'{Path(sys.executable).with_name('invoke')}' tell >{where}"
    done = subprocess.run(["bash", "-c", words], cwd=project, capture_output=True, text=True)
    assert done.stderr.startswith(said)
    assert "Traceback" not in done.stderr
    assert done.returncode == code
