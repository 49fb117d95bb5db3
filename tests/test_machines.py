"""Machines as values, and waiting for one to answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fabfile.errors import RemoteError
from fabfile.machines import Endpoint, Event, Machine, MachineSpec, MachineState, wait_for_ssh
from fabfile.remote import Credentials
from tests.sshd import free_port, serving

MACHINE = Machine("engine-3", "i-1", "engine", 3, MachineState.RUNNING)


def test_a_machine_is_named_by_role_and_index() -> None:
    assert [MachineSpec("controller", 0).name, MachineSpec("engine", 3).name] == ["controller", "engine-3"]


def test_a_machine_that_answers_is_handed_over_connected_and_told_with_its_time(tmp_path: Path) -> None:
    heard: list[Event] = []
    with serving(tmp_path / "server") as server:
        machine = replace(MACHINE, endpoint=server.endpoint)
        host = wait_for_ssh(machine, server.credentials, 30, heard.append)
        assert host.name == "engine-3"
        assert host.run("echo", "up").stdout == "up\n"
        host.close()
    assert [(event.what, event.machine) for event in heard] == [("answers SSH", "engine-3")]
    assert heard[0].seconds is not None
    assert 0 < heard[0].seconds < 30


def test_a_machine_that_does_not_answer_in_time_is_an_error_that_names_it(tmp_path: Path) -> None:
    machine = replace(MACHINE, endpoint=Endpoint("127.0.0.1", "ipyfleet", free_port()))
    with pytest.raises(RemoteError, match=r"engine-3: no SSH connection to ipyfleet@127.0.0.1:\d+ after"):
        wait_for_ssh(machine, Credentials(tmp_path / "key", tmp_path / "known_hosts"), 0.2)


def test_a_machine_without_an_address_is_not_waited_for(tmp_path: Path) -> None:
    with pytest.raises(RemoteError, match=r"engine-3: .*state: stopped"):
        wait_for_ssh(
            replace(MACHINE, state=MachineState.STOPPED), Credentials(tmp_path / "key", tmp_path / "known_hosts"), 30
        )
