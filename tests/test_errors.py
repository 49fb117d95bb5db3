"""errors.py: what is advised is meant for the cluster and template that the command was given."""

from __future__ import annotations

import re

import pytest

import tasks
from fabfile.errors import ADVISED, OF_A_PROVIDER, addressed

NAMES = sorted(tasks.ns.task_names)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("pattern", "flag"), [(ADVISED, "cluster"), (OF_A_PROVIDER, "template")])
def test_a_task_that_is_advised_for_a_cluster_or_template_takes_the_flag(name: str, pattern: str, flag: str) -> None:
    if re.fullmatch(pattern, f"`invoke {name}"):
        assert f"--{flag}" in next(one for one in tasks.ns.to_contexts() if one.name == name).flags


@pytest.mark.parametrize("name", ["hooks.list", "hooks.run", "packages.add", "run", "put", "get", "doctor", "start"])
def test_what_is_advised_is_meant_for_the_cluster_that_the_command_was_given(name: str) -> None:
    assert addressed(f"`invoke {name} --x`", "lab", "sun") == f"`invoke {name} --template sun --cluster lab --x`"
    assert addressed(f"`invoke {name} --x`", "", "") == f"`invoke {name} --x`"
