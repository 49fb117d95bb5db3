"""How long the everyday commands take, beside a fixed command of the same run, so that computers can be compared.

    .venv/bin/python bench/commands.py [--repetitions 5] [--engines 4,32]

Makes clusters of its own on provider ``local`` (root or sudo, systemd-nspawn), with a record of its own, and removes
them. Every repetition of ``provision`` makes all machines anew on an image that is there.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
CLUSTER = "bench-commands"
LIMIT = 600.0  # s that one command may take
REFERENCE = "python -c pass"


def main() -> None:
    """Read the command line, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--engines", default="4,32", help="sizes at which status is measured; the first is provisioned")
    options = parser.parse_args()
    few, *more = [int(size) for size in options.engines.split(",")]
    times: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="ipyfleet-bench-") as folder:
        home = {"IPYFLEET_HOME": folder, "IPYTHONDIR": f"{folder}/ipython", "IPYFLEET_CLUSTER": CLUSTER}
        environment = os.environ | home | {"IPYFLEET_TEMPLATE": "local"}

        def invoke(*words: str) -> float:
            return seconds((str(Path(sys.executable).with_name("invoke")), "-r", str(ROOT), *words), environment)

        try:
            invoke("provision", "--engines", "1")  # builds the image if there is none
            for _ in range(options.repetitions):
                invoke("teardown", "--yes")
                times[REFERENCE].append(seconds((sys.executable, "-c", "pass"), environment))
                times["invoke --list"].append(invoke("--list"))
                times[f"provision, {few} engines"].append(invoke("provision", "--engines", str(few)))
                times["provision again, nothing to do"].append(invoke("provision", "--engines", str(few)))
                times[f"status, {few} engines"].append(invoke("status"))
            for size in more:
                invoke("provision", "--engines", str(size))
                for _ in range(options.repetitions):
                    times[REFERENCE].append(seconds((sys.executable, "-c", "pass"), environment))
                    times[f"status, {size} engines"].append(invoke("status"))
        finally:
            invoke("teardown", "--yes")
    print(markdown(times))


def seconds(words: tuple[str, ...], environment: dict[str, str]) -> float:
    """How long a command takes; raises CalledProcessError, with what it said, when it fails."""
    begun = time.monotonic()
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=LIMIT, check=False)
    took = time.monotonic() - begun
    if done.returncode:
        sys.exit(f"{' '.join(words)} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return took


def markdown(times: dict[str, list[float]]) -> str:
    """The times as a markdown table: medians, and how many times the reference command."""
    fixed = median(times[REFERENCE])
    lines = ["| | median | least to most | times the first line |", "| --- | ---: | ---: | ---: |"]
    for name, taken in times.items():
        spread = f"{min(taken):.2f} to {max(taken):.2f} s"
        lines.append(f"| `{name}` | {median(taken):.2f} s | {spread} | {median(taken) / fixed:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
