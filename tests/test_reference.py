"""reference.py: invoke.yaml's text and its meaning are the same settings."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import yaml

from fabfile import reference, yamlfile
from fabfile.settings import PROJECT_FILE, PROVIDERS, Settings

WRITTEN: dict[str, Any] = yamlfile.read(PROJECT_FILE).values["ipyfleet"]


def test_every_setting_is_in_one_section_with_its_default_and_what_it_does() -> None:
    entries = [one for section in reference.sections() for one in section.entries]
    assert sorted(one.key for one in entries) == sorted(field.name for field in fields(Settings))
    assert {one.key: yaml.safe_load(one.value) for one in entries} == {
        key: value for key, value in WRITTEN.items() if key != reference.TEMPLATES
    }
    assert [one.key for one in entries if not one.comment or not all(one.comment)] == []


def test_no_comment_is_lost() -> None:
    text = PROJECT_FILE.read_text(encoding="utf-8").partition("\nipyfleet:\n")[2]
    said = [one for section in reference.sections() for entry in section.entries for one in entry.comment]
    for template in reference.templates().values():
        said += [template.comment, *(one for entry in template.entries for one in entry.comment)]
    titles = [section.title for section in reference.sections()]
    comments = [line.rpartition(" # ")[2].strip() for line in text.splitlines() if " # " in line]
    assert len(comments) == len(said) + len(titles) + 1  # the templates have a title as well
    assert [one for one in said if one not in comments] == []


def test_a_setting_may_have_several_lines_of_comment() -> None:
    (one,) = [one for section in reference.sections() for one in section.entries if one.key == "ssh_from"]
    assert (one.value, len(one.comment)) == ("[auto]", 2)


def test_every_template_is_there_with_its_values() -> None:
    found = reference.templates()
    assert {
        name: {one.key: yaml.safe_load(one.value) for one in template.entries} for name, template in found.items()
    } == WRITTEN[reference.TEMPLATES]
    assert set(PROVIDERS) <= set(found)
    assert all(template.comment for template in found.values())
