"""Settings files: which one is read, templates in it, and that a broken one is named with the line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fabfile.errors import UsageError
from fabfile.paths import expanded
from fabfile.settings import Settings, load
from tests.settings_file import complaint
from tests.settings_file import own_home as own_home
from tests.settings_file import users_file as users_file

# -- files ------------------------------------------------------------------------------------------------------------


def test_a_named_file_is_used_instead_of_the_usual_one(users_file: Callable[[str], Path], tmp_path: Path) -> None:
    users_file("engines: 5\n")
    named, given_to_invoke = tmp_path / "named.yaml", tmp_path / "given.yaml"
    named.write_text("packer: orjson\npackages: [orjson]\n")
    given_to_invoke.write_text("run: {echo: true}\nengines: 9\n")
    environ = {"IPYFLEET_CONFIG": str(named)}
    assert (load(environ=environ).engines, load(environ=environ).packer) == (4, "orjson")
    assert load(environ=environ, runtime_file=str(given_to_invoke)).engines == 9


def test_a_named_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"IPYFLEET_CONFIG names the settings file .*nowhere.yaml.*no such file"):
        load(environ={"IPYFLEET_CONFIG": str(tmp_path / "nowhere.yaml")})
    with pytest.raises(UsageError, match=r"-f names the settings file .*nowhere.yaml.*no such file"):
        load(environ={}, runtime_file=str(tmp_path / "nowhere.yaml"))


@pytest.mark.parametrize("text", ["lease: 8:30\n", "lease: 8:30.5\n", "templates: {a: {lease: 1:00:00}}\n"])
def test_times_of_day_are_no_numbers_of_base_60(users_file: Callable[[str], Path], text: str) -> None:
    """In YAML 1.1 they are: `lease: 8:30` would switch a cluster off after eight and a half minutes."""
    users_file(text)
    with pytest.raises(UsageError, match=r"lease must be .*, not '[0-9:.]*'"):
        load()


def test_a_path_of_a_user_who_is_not_there_is_not_there(users_file: Callable[[str], Path]) -> None:
    with pytest.raises(UsageError, match=r"nobody-at-all/my\.yaml"):
        load(environ={"IPYFLEET_CONFIG": "~nobody-at-all/my.yaml"})
    users_file("gateway: ada@there\nssh_config: ~nobody-at-all/config\n")
    assert expanded(load().ssh_config) == Path("~nobody-at-all/config")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("engines: 3\npacker: json\nengines: 4\n", "line 3: engines is there twice, first in line 1"),
        ("templates:\n  a: {engines: 1}\n  b: {engines: 1}\n  a: {}\n", "line 4: a is there twice, first in line 2"),
        ("engines: [1\n", "line 2:"),
        ("engines: 1\n\tpacker: json\n", "line 2:"),
        ("- engines\n", "it must hold keys and values"),
        ("just words\n", "it must hold keys and values"),
        ("a: 1\n---\nb: 2\n", "line 2:"),
        ("engines: !!python/object/apply:os.system [id]\n", "line 1:"),
        ("engines: !!timestamp x\n", "not readable as YAML"),
        ("engines: \x00\n", "not readable as YAML"),
        ("? [a]\n: 1\n", "line 1:"),
        ("a: &a [*a]\nengines: 2023-13-45\n", "not readable as YAML"),
        ("[" * 5000, "not readable as YAML"),
    ],
)
def test_a_broken_file_is_named_with_the_line(users_file: Callable[[str], Path], text: str, said: str) -> None:
    path = users_file(text)
    with pytest.raises(UsageError) as caught:
        load(environ={})
    assert f"the settings file {path} is broken: {said}" in str(caught.value)


def test_a_file_that_is_no_text_is_named(users_file: Callable[[str], Path]) -> None:
    users_file("").write_bytes(b"\xff\xfe\x00\xd8engines")
    with pytest.raises(UsageError, match=r"config\.yaml is broken"):
        load(environ={})


def test_a_folder_in_place_of_the_file_is_named(users_file: Callable[[str], Path], tmp_path: Path) -> None:
    path = users_file("")
    path.unlink()
    path.mkdir()
    with pytest.raises(UsageError, match=r"config\.yaml cannot be read: Is a directory"):
        load(environ={})


def test_an_empty_file_changes_nothing(users_file: Callable[[str], Path]) -> None:
    users_file("# nothing yet\n")
    assert load(environ={}) == Settings()


def test_templates_that_are_not_names_with_keys_are_an_error(users_file: Callable[[str], Path]) -> None:
    for text in ("templates: [big]\n", "templates: {big: 3}\n"):
        users_file(text)
        with pytest.raises(UsageError, match=r"\(templates\): must be names, each with its keys and values"):
            load(environ={})


def test_what_yaml_makes_of_bare_words_is_explained(users_file: Callable[[str], Path]) -> None:
    users_file("cluster: no\nlease: off\npackages: [1]\nengine_env: {A: yes}\nengines: yes\n")
    said = complaint()
    assert "engines must be a whole number from 1 to 10000, not True" in said
    assert "cluster must be a name" in said
    assert "packages must be a list of texts" in said
    assert "engine_env must give A a text or number" in said
    assert said.count("put it in quotes") == 3
    assert "lease" not in said


def test_lists_times_and_variables_read_the_same_from_a_file_and_from_text(users_file: Callable[[str], Path]) -> None:
    users_file(
        "packages: [numpy, scipy]\nlease: 8h\npatience: 30\nheartbeat: 0.2\nengine_env: {B: 2, A: x}\n"
        "hosts: ['me@one:2222', '[fe80::1]:22']\n"
    )
    words = {
        "packages": "numpy, scipy",
        "lease": "480m",
        "patience": "30s",
        "heartbeat": "200ms",
        "engine_env": "B=2,A=x",
        "hosts": "me@one:2222,[fe80::1]:22",
    }
    from_file = load(environ={})
    assert from_file.lease == 8 * 3600
    assert from_file.engine_env == (("A", "x"), ("B", "2"))
    assert from_file == load(words, environ={}) == load(environ={f"IPYFLEET_{k.upper()}": v for k, v in words.items()})


# -- templates --------------------------------------------------------------------------------------------------------


def test_a_template_extends_others_and_the_nearest_wins(users_file: Callable[[str], Path]) -> None:
    users_file(
        "templates:\n"
        "  base: {engines: 10, packer: orjson, encryption: hmac}\n"
        "  middle: {extends: base, engines: 20, packer: json}\n"
        "  top: {extends: middle, engines: 30}\n"
    )
    top = load({"template": "top"}, environ={})
    assert (top.engines, top.packer, top.encryption, top.template) == (30, "json", "hmac", "top")


def test_a_template_of_the_user_is_laid_over_the_shipped_one_of_that_name(users_file: Callable[[str], Path]) -> None:
    users_file("templates: {static: {hosts: [me@one, two]}}\n")
    settings = load({"template": "static"}, environ={})
    assert (settings.provider, settings.hosts) == ("static", ("me@one", "two"))


def test_an_unknown_template_is_named_with_the_nearest_one_and_the_choices(users_file: Callable[[str], Path]) -> None:
    said = complaint({"template": "statik"})
    assert "--template: no template 'statik'; did you mean static?" in said
    assert "(there are: local, static, ec2, triton)" in said
    users_file("templates: {big: {extends: locl}}\n")
    assert "(templates.big.extends): extends: no template 'locl'; did you mean local?" in complaint()


def test_templates_that_extend_each_other_in_a_circle_are_an_error(users_file: Callable[[str], Path]) -> None:
    users_file("templates: {a: {extends: b}, b: {extends: a}}\n")
    assert "a → b → a" in complaint()
    users_file("templates: {local: {extends: local}}\n")
    assert "local → local" in complaint()


def test_a_provider_that_the_template_would_silently_replace_is_an_error(users_file: Callable[[str], Path]) -> None:
    users_file("provider: static\nhosts: [one]\n")
    assert "line 1 (provider): provider static has no effect" in complaint()
    assert "template: static" in complaint()
    assert load({"template": "static"}, environ={}).hosts == ("one",)
    assert load({"provider": "static"}, environ={}).provider == "static"


# -- properties -------------------------------------------------------------------------------------------------------


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "engines": st.integers(1, 10_000),
            "packer": st.just("json"),
            "patience": st.floats(2, 600),
            "cluster": st.from_regex(r"[a-z][a-z0-9]{0,30}", fullmatch=True),
            "first_port": st.integers(1024, 65518),
            "engine_env": st.dictionaries(st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True), st.integers()),
        },
    )
)
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
def test_good_values_survive_the_way_through_a_file(
    users_file: Callable[[str], Path], values: dict[str, object]
) -> None:
    users_file(json.dumps(values))  # JSON is YAML
    settings = load(environ={})
    for key, value in values.items():
        if isinstance(value, dict):
            value = tuple(sorted((name, str(content)) for name, content in value.items()))
        assert getattr(settings, key) == value


@given(st.text(max_size=60))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
def test_no_text_in_a_file_gives_anything_but_settings_or_a_usage_error(
    users_file: Callable[[str], Path], text: str
) -> None:
    path = users_file("")
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    said = str(path)
    try:
        load(environ={})
    except UsageError as error:
        said = str(error)
    assert str(path) in said
