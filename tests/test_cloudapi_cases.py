"""The fake CloudAPI, rule by rule: every file in tests/cases/cloudapi is a rule, or a table, of what is known of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cloudapi import cases
from tests.cloudapi.server import CloudApi

RULES = 20


@pytest.mark.parametrize("path", cases.PATHS, ids=lambda path: path.stem)
def test_the_fake_keeps_the_rule(cloudapi: CloudApi, path: Path) -> None:
    cases.Case(cloudapi, path).play()


def test_there_is_a_file_for_every_rule() -> None:
    rules = [json.loads(path.read_text(encoding="utf-8")).get("rule") for path in cases.PATHS]
    assert sorted(rule for rule in rules if rule) == list(range(1, RULES + 1))
