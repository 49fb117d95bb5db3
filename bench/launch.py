"""How long from hosts that answer SSH to N engines that each ran a function: ipyfleet, its peers, and the floor.

    .venv/bin/python bench/launch.py                     measure everything; results/<date>.jsonl and a table
    .venv/bin/python bench/launch.py --table FILE        the table of an earlier run again, as markdown

Needs what provider ``local`` needs (root or sudo, systemd-nspawn). See bench/README.md for what is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

from farm import Farm, farm  # noqa: E402  (both after the path is set)
from table import markdown  # noqa: E402

PEERS = HERE / ".venv"
LIMIT = 180.0  # s that one measurement may take
QUIET = 0.10  # share of the processors that others may use when a measurement begins
PATIENCE = 60.0  # s to wait for that
MARK = "BENCH_RUN"


@dataclass(frozen=True)
class Contender:
    """A way to launch; ``script`` below contenders/, "" for ipyfleet's own command."""

    name: str
    script: str = ""

    def command(self, plan: Path) -> tuple[str | Path, ...]:
        """What is run, from a shell's point of view: the start of Python counts."""
        if self.script:
            return (PEERS / "bin/python", HERE / "contenders" / self.script, plan)
        engines = len(json.loads(plan.read_text())["engines"])
        invoke = Path(sys.executable).with_name("invoke")
        return (invoke, "-r", ROOT, "provision", "--engines", str(engines), "--template", "bench")


CONTENDERS = (
    Contender("floor", "floor.py"),
    Contender("ipyfleet"),
    Contender("dask SSHCluster", "dask_ssh.py"),
    Contender("pyinfra", "pyinfra_deploy.py"),
    Contender("ansible", "ansible_deploy.py"),
    Contender("ipyparallel SSH", "ipyparallel_ssh.py"),
)


def main() -> None:
    """Read the command line, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="4,8,16", help="numbers of engines, each on a host of its own")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--only", default="", help="names of contenders, separated by commas")
    parser.add_argument("--output", type=Path, default=HERE / "results" / f"{time.strftime('%Y-%m-%d')}.jsonl")
    parser.add_argument("--table", type=Path, help="print the table of these results and do nothing else")
    options = parser.parse_args()
    if options.table is None:
        names = options.only.split(",") if options.only else [one.name for one in CONTENDERS]
        chosen = [one for one in CONTENDERS if one.name in names]
        sizes = [int(size) for size in options.sizes.split(",")]
        measure_all(chosen, sizes, options.repetitions, options.output)
    print(markdown(options.table or options.output))


def measure_all(contenders: Sequence[Contender], sizes: Sequence[int], repetitions: int, output: Path) -> None:
    """All measurements in turn: a warm-up of each contender on all hosts first, then round robin, the order rotated."""
    install_peers()
    output.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="ipyfleet-bench-") as name, output.open("w") as results:

        def note(**entry: Any) -> None:
            results.write(json.dumps(entry) + "\n")
            results.flush()

        folder = Path(name)
        note(**circumstances())
        with farm(max(sizes), folder, peers_tar(folder)) as machines:
            for repetition in range(repetitions + 1):
                for size in sizes if repetition else [max(sizes)]:
                    shift = repetition % len(contenders)
                    for contender in (*contenders[shift:], *contenders[:shift]):
                        entry = measure(
                            contender, machines, size, folder / f"{repetition}-{size}-{contenders.index(contender)}"
                        )
                        note(repetition=repetition, warm_up=not repetition, **entry)
                        print(
                            f"{repetition} {size:3} {contender.name:16} {entry['seconds']:6.2f} s {entry['error']}",
                            file=sys.stderr,
                        )


def measure(contender: Contender, machines: Farm, size: int, folder: Path) -> dict[str, Any]:
    """One launch, from a shell's point of view, on hosts where nothing of a cluster is; everything is cleaned after."""
    machines.clean(size)
    plan = machines.plan(size, folder)
    environment = _environment(folder, machines, size)
    hosts_worked = machines.seconds_worked(size)
    others = wait_for_quiet()
    client_worked = _client_worked(environment[MARK])
    log = folder / "log"
    begun = time.monotonic()
    with log.open("wb") as errors:
        process = subprocess.Popen(
            contender.command(plan),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            cwd=folder,
            start_new_session=True,
        )
    try:
        written = wait_until_ready(process, begun + LIMIT, line=b"ready" if contender.script else b"")
        seconds = time.monotonic() - begun
        ready = b"ready" in written.splitlines() if contender.script else process.poll() == 0
        if contender.script and ready:
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
        error = "" if ready else (written + log.read_bytes()).decode(errors="replace")[-2000:] or "no word in time"
        hosts_worked = machines.seconds_worked(size) - hosts_worked
        process.poll()
        client_worked = _client_worked(environment[MARK]) - client_worked
    finally:
        end_all(environment[MARK])
        process.wait()
    machines.clean(size)
    shutil.rmtree(folder)
    return {
        "contender": contender.name,
        "engines": size,
        "seconds": round(seconds, 3),
        "ok": ready,
        "error": error,
        "client_cpu": round(client_worked, 2),
        "hosts_cpu": round(hosts_worked, 2),
        "others": round(others, 3),
    }


def _environment(folder: Path, machines: Farm, size: int) -> Mapping[str, str]:
    """The same small environment for all; the settings file is ipyfleet's."""
    hosts = ", ".join(machine.name for machine in machines.engines[:size])
    config = folder / "ipyfleet.yaml"
    config.write_text(
        f"""templates:
  bench:
    provider: static
    hosts: [{hosts}]
    controller_host: {machines.controller.name}
    engines_per_machine: 1
    ssh_config: {machines.ssh_config}
"""
    )
    return {
        **{name: os.environ[name] for name in ("PATH", "HOME", "LANG", "USER") if name in os.environ},
        "IPYTHONDIR": str(folder / "ipython"),
        "IPYFLEET_CONFIG": str(config),
        "IPYFLEET_HOME": str(folder / "record"),
        MARK: f"{folder.name}-{os.getpid()}",
    }


def wait_until_ready(process: subprocess.Popen[bytes], deadline: float, line: bytes) -> bytes:
    """What a process writes until it says this line or, with an empty one, has ended; until the deadline at most."""
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    written = b""
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([descriptor], [], [], left)[0]:
            break
        data = os.read(descriptor, 65536)
        written += data
        if line and line in written.splitlines():
            break
        if not data:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            break
    return written


def _client_worked(mark: str) -> float:
    """Seconds of processor time of everything that ended, and of what still runs with this mark."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    running = 0
    for pid in _marked(mark):
        with suppress(OSError):
            running += sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]))
    return ended.ru_utime + ended.ru_stime + running / os.sysconf("SC_CLK_TCK")


def _marked(mark: str) -> list[int]:
    """Every process of ours that carries this mark in its environment."""
    wanted = f"{MARK}={mark}".encode()
    return [pid for pid in _pids() if wanted in _environ(pid)]


def end_all(mark: str) -> None:
    """Kill every process of ours that carries this mark in its environment, such as tunnels; nothing else."""
    for _ in range(20):
        alive = _marked(mark)
        if not alive:
            return
        for pid in alive:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)
    raise RuntimeError(f"these processes do not end: {alive}")


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())


def _environ(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def wait_for_quiet() -> float:
    """Wait until the processors have little else to do; the share that others used in the end (0 to 1)."""
    deadline = time.monotonic() + PATIENCE
    while True:
        busy, total = _ticks()
        time.sleep(1.0)
        busy_then, total_then = _ticks()
        share = (busy_then - busy) / max(1, total_then - total)
        if share <= QUIET or time.monotonic() > deadline:
            return share


def _ticks() -> tuple[int, int]:
    numbers = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(numbers) - numbers[3] - numbers[4], sum(numbers)


def install_peers() -> None:
    """Make bench/.venv with the peers unless it has them."""
    stamp = PEERS / "requirements.txt"
    wanted = (HERE / "requirements.txt").read_text()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    venv.create(PEERS, clear=True, with_pip=True)
    subprocess.run(
        (PEERS / "bin/python", "-m", "pip", "install", "--quiet", "-r", HERE / "requirements.txt"), check=True
    )
    stamp.write_text(wanted)


def versions() -> dict[str, str]:
    """What is measured, in which version."""
    listed = json.loads(
        _output(PEERS / "bin/python", "-m", "pip", "list", "--format=json", "--disable-pip-version-check")
    )
    named = ("distributed", "asyncssh", "pyinfra", "ansible-core", "ipyparallel", "pyzmq")
    return {one["name"]: one["version"] for one in listed if one["name"] in named}


def peers_tar(folder: Path) -> Path:
    """The site-packages that dask's hosts need, of the same versions as here."""
    site, tar = folder / "site", folder / "peers.tar"
    wanted = f"distributed=={versions()['distributed']}"
    pip = (PEERS / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    subprocess.run((*pip, "--target", site, wanted), check=True)
    subprocess.run(("tar", "-C", site, "--owner=0", "--group=0", "-cf", tar, "."), check=True)
    return tar


def circumstances() -> dict[str, Any]:
    """Where and with what it was measured."""
    changed = bool(_output("git", "-C", ROOT, "status", "--porcelain", "--untracked-files=no").strip())
    return {
        "when": time.strftime("%Y-%m-%d %H:%M"),
        "commit": _output("git", "-C", ROOT, "rev-parse", "--short", "HEAD").strip() + ("+" if changed else ""),
        "processors": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "openssh": subprocess.run(("ssh", "-V"), capture_output=True, text=True, check=True).stderr.strip(),
        "versions": versions(),
    }


def _output(*words: str | Path) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main()
