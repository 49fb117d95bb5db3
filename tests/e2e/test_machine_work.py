"""`invoke run`, `put` and `get` on a real cluster, as a person uses them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.cluster import BIN, ROOT, UserCluster, until
from tests.e2e.machines import audit

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
FIT = """\
import sys
import ipyparallel as ipp
print(sys.argv[1:], flush=True)
print(ipp.Client()[:].map_sync(lambda x: x + 1, range(4)))
sys.exit(4)
"""


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UserCluster]:
    before = set(audit())
    user = UserCluster(f"wrk{os.getpid()}", tmp_path_factory.mktemp("user"))
    user.invoke("provision", "--engines", "2", timeout=600)
    yield user
    user.teardown()
    assert set(audit()) - before == set()


@contextmanager
def begin(user: UserCluster, *words: str) -> Iterator[subprocess.Popen[str]]:
    """An invoke command that runs while the test goes on."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [str(BIN / "invoke"), *words], cwd=ROOT, env=user.environment, stdout=pipe, stderr=pipe, text=True
    ) as child:
        yield child


def test_a_script_of_this_computer_uses_the_engines_and_its_exit_code_comes_back(
    user: UserCluster, tmp_path: Path
) -> None:
    (tmp_path / "fit.py").write_text(FIT)
    shown = user.invoke("run", "--script", str(tmp_path / "fit.py"), "--args", "--steps '9 or 10'", code=4)
    assert shown.splitlines() == ["['--steps', '9 or 10']", "[1, 2, 3, 4]"]


def test_a_command_on_all_machines_tells_them_apart(user: UserCluster) -> None:
    done = user.run("ipyfleet", "run", "--on", "all", "--", "sh", "-c", "hostname; test $(hostname) != engine-1")
    assert done.returncode == 1
    assert sorted(done.stdout.splitlines()) == [
        "controller | controller",
        "engine-0   | engine-0",
        "engine-1   | engine-1",
    ]
    assert "1 of 3 machines failed\nengine-1: exited with 1" in done.stderr


def test_it_is_the_engines_user_in_the_engines_folder_unless_root_is_asked_for(user: UserCluster) -> None:
    assert user.invoke("run", "--command", "id -un; pwd").split() == ["ipyparallel", "/var/lib/ipyparallel"]
    assert user.invoke("run", "--root", "--command", "id -un").strip() == "root"


def test_output_comes_while_the_command_runs_and_it_ends_with_us(user: UserCluster) -> None:
    with begin(user, "run", "--command", "echo begun; exec sleep 4321") as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "begun\n"
        child.kill()
    gone = ("run", "--command", "pgrep -f 'sleep 432[1]'")
    until("it has ended there", lambda: user.run("invoke", *gone).returncode == 1, 30)


def test_folders_go_there_and_come_back_whatever_they_are_called(user: UserCluster, tmp_path: Path) -> None:
    folder = tmp_path / "mein Ordner, groß"
    (folder / "tiefer").mkdir(parents=True)
    (folder / "tiefer/Ärger 'n\" $HOME.txt").write_text("x")
    words = ("put", "--path", str(folder), "--to", "in put/")
    assert "engine-1: 1 file written to in put/mein Ordner" in user.invoke(*words)
    assert "engine-1: 0 files written" in user.invoke(*words)
    user.invoke("get", "--path", f"in put/{folder.name}", "--on", "engines", "--to", f"{tmp_path}/back/")
    for name in ("engine-0", "engine-1"):
        assert (tmp_path / f"back/{name}/{folder.name}/tiefer/Ärger 'n\" $HOME.txt").read_text() == "x"


def test_engines_read_and_write_there(user: UserCluster, tmp_path: Path) -> None:
    (tmp_path / "numbers").write_text("6 7")
    user.invoke("put", "--path", str(tmp_path / "numbers"), "--on", "engines")
    with user.client() as client:
        line = "a, b = map(int, open('numbers').read().split()); print(a * b, end='', file=open('product', 'w'))"
        client[:].execute(line, block=True)
    user.invoke("get", "--path", "product", "--on", "engine-0", "--to", str(tmp_path / "got"))
    assert (tmp_path / "got").read_text() == "42"


def test_a_package_is_there_for_engines_that_run(user: UserCluster, tmp_path: Path) -> None:
    (tmp_path / "spectra").mkdir()
    (tmp_path / "spectra/__init__.py").write_text("def peak():\n    return 'found'\n")
    (tmp_path / "spectra/__init__.py").chmod(0o600)
    said = user.invoke("put", "--package", str(tmp_path / "spectra"))
    assert "invoke restart" in said
    with user.client() as client:
        client[:].execute("import spectra", block=True)
        assert client[:].pull("spectra.peak()", block=True) == ["found", "found"]


def test_ten_thousand_files_and_one_large_one(user: UserCluster, tmp_path: Path) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for number in range(10_000):
        (many / f"{number}.txt").write_text(str(number))
    assert "engine-0: 10000 files written" in user.invoke("put", "--path", str(many))
    assert "engine-0: 0 files written" in user.invoke("put", "--path", str(many))
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.write(os.urandom(1 << 20))
        file.truncate(1 << 30)
    user.invoke("put", "--path", str(large), "--on", "engine-0")
    user.invoke("get", "--path", "large", "--on", "engine-0", "--to", str(tmp_path / "back"))
    subprocess.run(["cmp", large, tmp_path / "back"], check=True)
    user.invoke("run", "--on", "engine-0", "--command", "rm large")


def test_what_the_engines_user_may_not_do_is_told_with_the_way_out(user: UserCluster, tmp_path: Path) -> None:
    (tmp_path / "motd").write_text("hello")
    done = user.run("invoke", "put", "--path", str(tmp_path / "motd"), "--to", "/etc/motd", "--on", "engine-0")
    assert done.returncode == 1
    assert "engine-0: taking motd failed\n  | /etc/" in done.stderr
    assert "--root" in done.stderr
    user.invoke("put", "--path", str(tmp_path / "motd"), "--to", "/etc/motd", "--on", "engine-0", "--root")
    assert user.invoke("run", "--on", "engine-0", "--command", "cat /etc/motd") == "hello"
    missing = user.run("invoke", "get", "--path", "nothing", "--to", str(tmp_path / "x"))
    assert (missing.returncode, (tmp_path / "x").exists()) == (1, False)
    assert "there is no such file or folder" in missing.stderr


def test_a_machine_that_is_off_keeps_nobody_from_the_others(user: UserCluster, tmp_path: Path) -> None:
    user.invoke("stop", "--machine", "engine-1", "--yes")
    (tmp_path / "late").write_text("x")
    for words in (["run", "--command", "hostname"], ["put", "--path", str(tmp_path / "late")]):
        done = user.run("invoke", *words, "--on", "all")
        assert done.returncode == 1
        assert "engine-0" in done.stdout
        assert "engine-1: it is stopped" in done.stderr


def test_a_machine_that_goes_down_meanwhile_is_told(user: UserCluster) -> None:
    user.invoke("start")
    with begin(user, "run", "--on", "engines", "--command", "hostname; sleep 15; echo done") as child:
        assert child.stdout is not None
        assert {child.stdout.readline(), child.stdout.readline()} == {"engine-0 | engine-0\n", "engine-1 | engine-1\n"}
        user.invoke("stop", "--machine", "engine-1", "--yes")
        out, err = child.communicate(timeout=60)
    assert child.returncode == 1
    assert "engine-0 | done" in out
    assert "1 of 2 machines failed\nengine-1:" in err
