"""The console script ``ipyfleet``: the tasks of tasks.py as a program that works from any directory.

Unlike plain `invoke` it exits with 2 on usage errors and names the nearest task or flag.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from invoke.collection import Collection
from invoke.exceptions import Exit, ParseError, UnknownFileType
from invoke.program import Program

from .errors import UsageError
from .kinds import nearest
from .paths import expanded
from .yamlfile import read

ROOT = Path(__file__).resolve().parent.parent
COMPLETE = "--complete"


def main() -> None:
    """Run the command line and exit."""
    if sys.argv[1:2] == [COMPLETE]:
        with suppress(Exception):  # while somebody types there is no place for what went wrong
            complete([word for word in sys.argv[2:3] if word != "--"] + sys.argv[3:])
        return
    Fleet(tasks_of(ROOT / "tasks.py")).run()


def complete(words: list[str]) -> None:
    """Print what the last of the words can become, one a line, a tab before its meaning.

    The words are a command line up to the cursor, of this program or of plain `invoke`; the last may be "".
    """
    from . import candidates, report

    namespace = tasks_of(ROOT / "tasks.py")
    ours = Path(words[0]).name == "ipyfleet"
    core = (Fleet(namespace) if ours else Program()).initial_context
    found = candidates.candidates(words[1:] or [""], namespace, core)
    if found:
        report.say("\n".join(f"{one.word}\t{one.meaning}".rstrip("\t") for one in found))


def tasks_of(path: Path) -> Collection:
    """The collection of a tasks file, by its path: the current directory may hold another tasks.py."""
    spec = spec_from_file_location("tasks", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise SystemExit(f"ipyfleet: {path} is missing; install from a checkout with `pip install -e .`")
    module = sys.modules["tasks"] = module_from_spec(spec)
    spec.loader.exec_module(module)
    namespace: Collection = module.ns
    return namespace


class Fleet(Program):
    """Invoke's Program on our tasks, with the project's invoke.yaml wherever it is called."""

    def __init__(self, namespace: Collection) -> None:
        self.namespace: Collection
        super().__init__(namespace=namespace, name="ipyfleet", binary="ipyfleet", binary_names=["ipyfleet"])

    def parse_core(self, argv: list[str] | None) -> None:
        """Read the program's own flags."""
        with self._usage():
            super().parse_core(argv)

    def parse_tasks(self) -> None:
        """Read the tasks and their flags."""
        with self._usage():
            super().parse_tasks()

    def parse_cleanup(self) -> None:
        """Answer --help, --list and their like."""
        with self._usage():
            super().parse_cleanup()

    def update_config(self, merge: bool = True) -> None:
        """Add the project's invoke.yaml and the file of `-f`, which must be there and be YAML."""
        self.config.set_project_location(str(ROOT))
        self.config.load_project(merge=False)
        named = self.args.config.value
        try:
            if named:
                read(expanded(named))
            super().update_config(merge=False)
        except UsageError as error:
            raise Exit(str(error), code=2) from error
        except UnknownFileType as error:
            raise Exit(f"-f takes a .yaml file; {error}", code=2) from error
        if merge:
            self.config.merge()

    def print_version(self) -> None:
        """Print name and version."""
        from importlib.metadata import version

        self.version = version("ipyfleet")
        super().print_version()

    @contextmanager
    def _usage(self) -> Iterator[None]:
        try:
            yield
        except ParseError as error:
            raise Exit(
                f"{error}{self._nearest(error)}\n  next: `ipyfleet --list` shows all commands", code=2
            ) from error
        except Exit as error:
            if error.message:
                raise Exit(error.message, code=2) from error
            raise

    def _nearest(self, error: ParseError) -> str:
        match = re.fullmatch(r"No idea what '(.+)' is!", str(error))
        if not match:
            return ""
        known: Iterable[Any] = self.namespace.task_names
        if match[1].startswith("-"):
            known = error.context.flags if error.context else ()
        return nearest(match[1], known).replace("; did", " Did")
