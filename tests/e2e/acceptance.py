"""Work that a cluster must be able to do, whatever its machines are: checks to call on any running one.

Each takes the cluster's id and the environment of a user whose ipyparallel finds that cluster by its own convention
(IPYTHONDIR or HOME), needs four engines, runs what a person would run as programs of this Python, and raises
AssertionError with the programs' own output. They know nothing of how the cluster came to be.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import warnings
from importlib.metadata import version
from pathlib import Path

import pexpect
from platformdirs import user_cache_path

EXAMPLES = Path(__file__).parents[2] / "examples"
HEAR = r'\1\2\n\1while not view.execute("", block=False).wait_for_output(0.25):\n\1    pass'
UPSTREAM = "docs/source/examples/wave2D"
UPSTREAM_NORM = "0.129738"
PROMPT = r"(?:In \[\d+\]|   \.\.\.): "
BROKEN = re.compile(r"Traceback|Error\b|Exception\b")


def check_interactive_session(cluster_id: str, environment: dict[str, str]) -> None:
    """A terminal with IPython: sync_imports, %px, %autopx with a loop of eigenvalues, map_sync."""
    shell = Terminal(environment)
    try:
        shell.type("import ipyparallel as ipp")
        shell.type(f"rc = ipp.Client(cluster_id={cluster_id!r})")
        shell.answers("print(rc.ids)", "[0, 1, 2, 3]")
        shell.type("rc.clear(block=True)")  # what an earlier session left on the engines proves nothing
        shell.type("dview = rc[:]")
        shell.answers("with dview.sync_imports(): import numpy", "importing numpy on engine(s)")
        shell.type("%px a = numpy.random.rand(2,2)")
        shown = shell.type("%px numpy.linalg.eigvals(a)")
        pairs = re.findall(r"Out\[(\d+):\d+\]: *array\(\[[^],]+,[^],]+\]\)", shown)
        assert sorted(pairs) == ["0", "1", "2", "3"], shown

        shell.answers("%autopx", "%autopx enabled")
        shell.type("max_evals = []")
        shell.type(
            "for i in range(100):",
            "    a = numpy.random.rand(10,10)",
            "    a = a+a.transpose()",
            "    evals = numpy.linalg.eigvals(a)",
            "    max_evals.append(evals[0].real)",
            "",
        )
        shell.answers("%autopx", "%autopx disabled")
        shell.answers("print('max_evals' in globals())", "False")  # nothing of the loop ran here
        shell.answers("print([len(found) for found in dview['max_evals']])", "[100, 100, 100, 100]")
        shell.answers("print(len({tuple(found) for found in dview['max_evals']}))", "4")  # each engine on its own
        # 10 x 10 numbers of mean 1: the mean of the largest eigenvalue is a little more than 10
        shell.answers("print([bool(9 < sum(found) / 100 < 12) for found in dview['max_evals']])", str([True] * 4))

        shell.answers("print(rc[:].map_sync(lambda x: x**30, range(8)))", str([x**30 for x in range(8)]))
    finally:
        shell.close()


def check_first_steps(cluster_id: str, environment: dict[str, str]) -> None:
    """The example of the first minute: every engine named with its machine, the rest what Python alone gives."""
    output = run([sys.executable, "first_steps.py", cluster_id], environment, EXAMPLES).splitlines()
    engines, results = output[:-3], output[-3:]
    assert [re.sub(r" on \S+$", "", line) for line in engines] == [f"engine {k}" for k in range(4)], output
    assert results == [str([x**30 for x in range(8)]), str(sum(range(1_000_000))), "25 primes below 100"], output


def check_wave2d(cluster_id: str, environment: dict[str, str]) -> None:
    """The project's own example: equal to plain NumPy to 1e-10 for each partition, and not equal without the halo."""
    for partition in (("1", "1"), ("2", "2"), ("4", "1"), ("1", "3")):
        found, expected, output = wave2d_norms(cluster_id, environment, *partition)
        assert abs(found - expected) <= 1e-10, output
    found, expected, output = wave2d_norms(cluster_id, environment, "2", "2", "--no-halo")
    assert abs(found - expected) > 1e-4, f"the halo exchange makes no difference:\n{output}"


def check_upstream_wave2d(cluster_id: str, environment: dict[str, str], scratch: Path) -> None:
    """The wave2D of ipyparallel's documentation, mended for Python 3, in three partitions: one known norm.

    Its engines talk to each other over TCP, at the addresses that their machines' host names resolve to.
    """
    folder = upstream_wave2d(scratch)
    for partition in (("1", "1"), ("4", "1"), ("2", "2")):
        output = run(
            [sys.executable, "parallelwave.py", "-g", "400", "400", "-t", "10", "-p", *partition],
            environment | {"IPYTHONDIR": str(default_cluster(cluster_id, environment, scratch))},
            folder,
        )
        assert re.findall(r"norm=(\S+)", output) == [UPSTREAM_NORM], output


class Terminal:
    """IPython in a terminal, typed at line by line; it keeps what was shown, for the errors."""

    def __init__(self, environment: dict[str, str]) -> None:
        options = ["--simple-prompt", "--no-banner", "--colors=nocolor", "--HistoryManager.enabled=False"]
        with warnings.catch_warnings():
            # Python 3.12 warns of forkpty in a process with threads; the child does nothing but exec
            warnings.simplefilter("ignore", DeprecationWarning)
            self._child = pexpect.spawn(
                sys.executable, ["-m", "IPython", *options], env=environment, encoding="utf-8", echo=False, timeout=60
            )
        self._shown = ""
        self._prompt()

    def type(self, *lines: str) -> str:
        """Type a statement; what was shown until the next prompt. An error on the screen is an AssertionError."""
        shown = ""
        for line in lines:
            self._shown += f"{line}\n"
            self._child.sendline(line)
            shown = self._prompt()
        assert not BROKEN.search(shown), self._shown
        return shown

    def answers(self, line: str, expected: str) -> None:
        """Type a line and compare what it shows."""
        assert self.type(line) == expected, f"expected {expected}\n{self._shown}"

    def close(self) -> None:
        """End the session."""
        self._child.close(force=True)

    def _prompt(self) -> str:
        try:
            self._child.expect(PROMPT)
        except (pexpect.TIMEOUT, pexpect.EOF) as error:
            raise AssertionError(f"no prompt after:\n{self._shown}{self._child.before}") from error
        shown = str(self._child.before).replace("\r\n", "\n")
        self._shown += shown + str(self._child.after)
        return shown.strip()


def wave2d_norms(cluster_id: str, environment: dict[str, str], *options: str) -> tuple[float, float, str]:
    """The cluster's norm, the norm of NumPy alone, and all that the example printed."""
    x, y, *more = options
    words = ["--cluster", cluster_id, "--grid", "400", "400", "--steps", "100", "--partition", x, y, "--check", *more]
    status = 1 if "--no-halo" in more else 0
    output = run([sys.executable, "wave2d.py", *words], environment, EXAMPLES, status)
    found, expected = (float(word) for word in re.findall(r"norm = (\S+),", output))
    return found, expected, output


def upstream_wave2d(scratch: Path) -> Path:
    """A folder with the example from the source package of the installed ipyparallel, its divisions mended.

    On Python 3 ``/`` makes floats of the partition's whole numbers, and numpy refuses them (tried with
    ipyparallel 9.2.0). It also begins with a blocking ``execute``, before its client hears what engines write.
    """
    with tarfile.open(source_package(scratch)) as package:
        members = [member for member in package.getmembers() if f"/{UPSTREAM}/" in member.name and member.isfile()]
        for member in members:
            (scratch / member.name).parent.mkdir(parents=True, exist_ok=True)
            (scratch / member.name).write_bytes(package.extractfile(member).read())
    folder = scratch / f"ipyparallel-{version('ipyparallel')}" / UPSTREAM
    partitioner = folder / "RectPartitioner.py"
    mended, divisions = re.subn(r" / ", " // ", partitioner.read_text())
    assert divisions == 4, f"{divisions} divisions instead of the known 4: is {partitioner} mended upstream?"
    partitioner.write_text(mended)
    program = folder / "parallelwave.py"
    made, heard = re.subn(r"^( +)(view = rc\[:num_procs\])$", HEAR, program.read_text(), flags=re.MULTILINE)
    assert heard == 1, f"{program} makes its view in another way"
    program.write_text(made)
    return folder


def source_package(scratch: Path) -> Path:
    """The source package of the installed ipyparallel, downloaded by pip once and kept in the user's cache."""
    release = version("ipyparallel")
    name = f"ipyparallel-{release}.tar.gz"
    kept = user_cache_path("ipyfleet") / name
    if not kept.exists():
        # without isolation pip builds with the hatchling that came with this project's tests: 1 s instead of 20
        options = ["--quiet", "--no-deps", "--no-binary=ipyparallel", "--no-build-isolation", f"--dest={scratch}"]
        run([sys.executable, "-m", "pip", "download", *options, f"ipyparallel=={release}"], None, scratch)
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(scratch / name, kept)
    return kept


def default_cluster(cluster_id: str, environment: dict[str, str], scratch: Path) -> Path:
    """An IPYTHONDIR where ``Client()`` without arguments finds this cluster, for programs that take no cluster id."""
    security = Path("profile_default", "security")
    found = Path(environment.get("IPYTHONDIR") or Path(environment["HOME"], ".ipython")) / security
    folder = scratch / "ipython"
    link = folder / security / "ipcontroller-client.json"
    if not link.is_symlink():
        link.parent.mkdir(parents=True)
        link.symlink_to(found / "-".join(filter(None, ("ipcontroller", cluster_id, "client.json"))))
    return folder


def run(words: list[str], environment: dict[str, str] | None, folder: Path, status: int = 0) -> str:
    """What a program printed, both streams; another exit status than expected is an AssertionError."""
    try:
        done = subprocess.run(
            words, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=180
        )
    except subprocess.TimeoutExpired as error:
        raise AssertionError(f"{' '.join(words)} did not end within 180 s:\n{error.output!r}") from error
    assert done.returncode == status, f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout
