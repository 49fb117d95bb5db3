"""Errands by OpenSSH through a server on the loopback address, as oneself: the software that machines have is ours."""

from __future__ import annotations

import getpass
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from fabfile import errands, on_machine
from fabfile.machines import Machine, MachineState, machine_name
from fabfile.remote import quoted
from fabfile.ssh_config import ssh_config
from tests.sshd import Sshd

TEXT = Path(on_machine.__file__).read_bytes()


def machine(index: int) -> Machine:
    """A machine that is named and nothing else."""
    return Machine(machine_name("engine", index), f"engine{index}", "engine", index, MachineState.RUNNING)


class OverSsh:
    """Stands for ``errands.starter``; ``children`` are the processes that were started."""

    def __init__(self, server: Sshd) -> None:
        self.config = server.folder / "errands.ssh_config"
        self.config.write_text(ssh_config(server.endpoint, server.credentials, "machine"))
        self.children: list[subprocess.Popen[bytes]] = []

    def __call__(self, run: object, machines: Sequence[Machine], *, root: bool = False) -> errands.Start:
        """What starts an errand on a machine, all of which are this computer."""

        def start(
            machine: Machine, verb: str, *rest: str, stdout: int | None = subprocess.PIPE, stderr: int | None = -1
        ) -> subprocess.Popen[bytes]:
            there = quoted([sys.executable, "-I", "-c", errands.LOADER, str(len(TEXT)), getpass.getuser(), verb, *rest])
            words = ("ssh", "-F", str(self.config), "machine", there)
            child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=stdout, stderr=stderr)
            self.children.append(child)
            errands.tell(child, TEXT)
            return child

        return start
