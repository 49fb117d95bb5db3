"""origins.py: what holds and where it comes from, and nothing of it that may be a secret."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path

import pytest

from fabfile import kinds
from fabfile.origins import Origin, changed, document, origins, table, time
from fabfile.settings import KINDS, PROJECT_FILE, Settings, resolve
from tests.settings_file import own_home as own_home
from tests.settings_file import users_file as users_file


def found(environ: Mapping[str, str] | None = None, **options: str) -> dict[str, Origin]:
    return {one.key: one for one in origins(resolve(options, environ=environ or {}))}


def test_every_setting_is_there_and_defaults_come_from_nowhere() -> None:
    assert list(found()) == [field.name for field in fields(Settings)]
    assert changed(tuple(found().values())) == ()


def test_each_value_says_where_it_stands(users_file: Callable[[str], Path]) -> None:
    path = users_file("engines: 4\ntemplates: {big: {extends: ec2, region: eu-central-1}}\n")
    seen = found({"IPYFLEET_PACKER": "json"}, template="big", cluster="lab")
    assert [one.key for one in changed(tuple(seen.values()))] == [
        *("cluster", "template", "provider", "engines", "lease", "packer", "boot_timeout", "region")
    ]
    assert seen["engines"].where == f"{path} line 1 (engines)"  # said, though it is as the default
    assert seen["region"].where == f"{path} line 2 (templates.big.region)"
    assert seen["packer"].where == "IPYFLEET_PACKER"
    assert seen["cluster"].where == "--cluster"
    assert seen["lease"].where.startswith(f"{PROJECT_FILE} line ")
    assert seen["lease"].where.endswith("(ipyfleet.templates.ec2.lease)")


@pytest.mark.parametrize(
    ("key", "given", "text", "value"),
    [
        ("engines", "8", "8", 8),
        ("region", "", '""', ""),
        ("patience", "90s", "90s", 90.0),
        ("lease", "8h", "8h", 28800.0),
        ("lease", "off", "off", 0.0),
        ("heartbeat", "100ms", "100ms", 0.1),
        ("spot_price", "0.05", "0.05", 0.05),
        ("spot", "yes", "true", True),
        ("packages", "numpy,pandas", "[numpy, pandas]", ["numpy", "pandas"]),
        ("hosts", "", "[]", []),
        ("tags", "project=spectra", "{project: spectra}", {"project": "spectra"}),
        ("price_per_hour", "g4=0.5", "{g4: 0.5}", {"g4": 0.5}),
    ],
)
def test_a_value_is_shown_as_a_file_has_it_and_as_json(key: str, given: str, text: str, value: object) -> None:
    one = found(**{key: given})[key]
    assert (one.text, one.value) == (text, value)
    assert document((one,))[key]["value"] == value


def test_what_is_shown_can_be_put_into_a_file_again() -> None:
    for field in fields(Settings):
        if isinstance(field.default, float | int | bool):
            assert KINDS[field.name](found()[field.name].text) == field.default, field.name


@pytest.mark.parametrize("text", ["off", "100ms", "1s", "20s", "90s", "2m", "5m", "8h", "36h", "365d", "1500ms"])
def test_a_time_is_the_same_time_again(text: str) -> None:
    assert time(0 if text == "off" else kinds.seconds(text)) == text


def test_hooks_are_lists_by_event(users_file: Callable[[str], Path]) -> None:
    users_file("hooks: {machine_up: [~/a.sh, ~/b.sh]}\n")
    assert found()["hooks"].value == {"machine_up": ["~/a.sh", "~/b.sh"]}
    assert found()["hooks"].text == "{machine_up: [~/a.sh, ~/b.sh]}"


SECRET = "hunter2"


@pytest.mark.parametrize(
    ("key", "given", "shown"),
    [
        ("engine_env", f"AWS_SECRET_ACCESS_KEY={SECRET}", "{AWS_SECRET_ACCESS_KEY: …}"),
        ("packages", f"lib @ https://me:{SECRET}@index.example.org/lib.zip", "[lib @ https://…@index.example.org/lib"),
        ("address_service", f"https://:{SECRET}@address.example.org", "https://…@address.example.org"),
        ("engine_options", f"--MyApp.api_token={SECRET}", "[--MyApp.api_token=…]"),
        ("controller_options", f"--SQLiteDB.password={SECRET}", "[--SQLiteDB.password=…]"),
    ],
)
def test_what_may_be_a_secret_is_not_shown(key: str, given: str, shown: str) -> None:
    one = found(**{key: given})[key]
    assert one.text.startswith(shown)
    assert SECRET not in json.dumps(document((one,))) + "\n".join(table((one,))) + one.text


def test_an_option_that_is_no_secret_is_shown() -> None:
    assert found(engine_options="--IPEngine.startup_script=/srv/start.py")["engine_options"].text == (
        "[--IPEngine.startup_script=/srv/start.py]"
    )


def test_the_table_is_aligned_and_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    lines = table(
        (
            Origin("cluster", "lab", "lab", "--cluster"),
            Origin("ssh_keys", [], "k" * 100, "/home/ada/c.yaml line 1 (ssh_keys)"),
            Origin("lease", 0, "off", f"{PROJECT_FILE} line 7 (ipyfleet.lease)"),
            Origin("engines", 4, "4"),
            Origin("region", "", "x", "/home/adam/c.yaml line 1 (region)"),
        )
    )
    begins = [line.index(where) for line, where in zip(lines, ("from", "--cl", "~/c", "inv", "def", "/h"), strict=True)]
    assert len(set(begins)) == 1
    assert max(map(len, lines)) < 120
    assert lines[2].endswith("…  ~/c.yaml line 1 (ssh_keys)")
