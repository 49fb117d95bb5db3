"""Who asks which data center: variables and profiles, read as users of the Triton CLI expect."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fabfile.errors import UsageError
from fabfile.providers.triton.identity import Identity, load

FINGERPRINT = ":".join(["d3"] * 16)
VARIABLES = {"TRITON_URL": "https://one.example.com/", "TRITON_ACCOUNT": "jill", "TRITON_KEY_ID": FINGERPRINT}
OLDER = {"SDC_URL": "https://old.example.com", "SDC_ACCOUNT": "jack", "SDC_KEY_ID": FINGERPRINT}
PROFILE = {"url": "https://two.example.com", "account": "joan", "keyId": FINGERPRINT}


def put(home: Path, name: str, **changes: Any) -> None:
    path = home / ".triton" / "profiles.d" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**PROFILE, **changes}))


def make_current(home: Path, name: str) -> None:
    (home / ".triton").mkdir(exist_ok=True)
    (home / ".triton" / "config.json").write_text(json.dumps({"profile": name, "oldProfile": "env"}))


def said(home: Path, environ: dict[str, str], profile: str = "") -> str:
    with pytest.raises(UsageError) as caught:
        load(profile, environ, home)
    return str(caught.value)


# -- Variables ---------------------------------------------------------------------------------------------------------


def test_variables_say_who_asks(tmp_path: Path) -> None:
    found = load(environ=VARIABLES, home=tmp_path)
    assert found == Identity("https://one.example.com", "jill", FINGERPRINT, origin="the environment")
    assert (found.key_path, found.root, found.who) == ("/jill/keys", "/my", "jill")


def test_older_variables_do_as_well_and_each_newer_one_goes_before_them(tmp_path: Path) -> None:
    assert load(environ=OLDER, home=tmp_path).account == "jack"
    mixed = {**OLDER, "TRITON_ACCOUNT": "jill"}
    assert load(environ=mixed, home=tmp_path) == Identity(
        "https://old.example.com", "jill", FINGERPRINT, origin="the environment"
    )


def test_an_empty_variable_is_none(tmp_path: Path) -> None:
    assert load(environ={**OLDER, "TRITON_ACCOUNT": "", "TRITON_USER": ""}, home=tmp_path).account == "jack"


def test_a_sub_user_has_keys_of_its_own(tmp_path: Path) -> None:
    found = load(environ={**VARIABLES, "SDC_USER": "bob"}, home=tmp_path)
    assert (found.user, found.key_path, found.who) == ("bob", "/jill/users/bob/keys", "jill/bob")


def test_acting_as_another_account_changes_the_path_and_not_the_key(tmp_path: Path) -> None:
    found = load(environ={**VARIABLES, "TRITON_ACT_AS": "joe@example.com"}, home=tmp_path)
    assert (found.root, found.key_path) == ("/joe%40example.com", "/jill/keys")


@pytest.mark.parametrize(
    ("name", "value", "insecure"),
    [
        ("TRITON_TLS_INSECURE", "1", True),
        ("TRITON_TLS_INSECURE", "true", True),
        ("TRITON_TLS_INSECURE", "0", False),
        ("SDC_TLS_INSECURE", "1", True),
        ("SDC_TESTING", "1", True),
        ("SDC_TESTING", "", False),
    ],
)
def test_certificates_are_not_looked_at_when_a_variable_says_so(
    tmp_path: Path, name: str, value: str, insecure: bool
) -> None:
    assert load(environ={**VARIABLES, name: value}, home=tmp_path).insecure is insecure


def test_a_word_that_is_neither_yes_nor_no_is_refused(tmp_path: Path) -> None:
    assert "TRITON_TLS_INSECURE must be 1 or 0, not 'maybe'" in said(
        tmp_path, {**VARIABLES, "TRITON_TLS_INSECURE": "maybe"}
    )


def test_everything_that_is_missing_is_told_at_once(tmp_path: Path) -> None:
    text = said(tmp_path, {"SDC_USER": "bob"})
    assert "TRITON_URL is not set; TRITON_ACCOUNT is not set; TRITON_KEY_ID is not set" in text
    assert "triton profile create" in text


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("TRITON_URL", "one.example.com", "is no address of a CloudAPI"),
        ("TRITON_URL", "ftp://one.example.com", "is no address of a CloudAPI"),
        ("TRITON_URL", "https://one.example.com:x", "is no address"),
        ("TRITON_URL", "https://jill:pw@one.example.com", "must not hold a user or password"),
        ("TRITON_URL", "http://one.example.com", "would send everything readable"),
        ("TRITON_ACCOUNT", "my", "must be the account's login"),
        ("TRITON_ACCOUNT", 'ji"ll', "is no login"),
        ("TRITON_USER", "b/ob", "is no login"),
    ],
)
def test_what_cannot_be_meant_is_told(tmp_path: Path, name: str, value: str, wanted: str) -> None:
    assert wanted in said(tmp_path, {**VARIABLES, name: value})


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "http://localhost:1", "http://[::1]:2"])
def test_the_loopback_address_needs_no_encryption(tmp_path: Path, url: str) -> None:
    assert load(environ={**VARIABLES, "TRITON_URL": url}, home=tmp_path).url == url


# -- Profiles ----------------------------------------------------------------------------------------------------------


def test_a_profile_is_taken_whole_and_variables_change_nothing_in_it(tmp_path: Path) -> None:
    put(tmp_path, "lab", insecure=True, user="bob")
    found = load(environ={**VARIABLES, "TRITON_PROFILE": "lab"}, home=tmp_path)
    assert (found.url, found.account, found.user, found.insecure) == ("https://two.example.com", "joan", "bob", True)
    assert found.origin.endswith(".triton/profiles.d/lab.json")


def test_the_current_profile_goes_before_variables_as_with_the_cli(tmp_path: Path) -> None:
    put(tmp_path, "lab")
    make_current(tmp_path, "lab")
    assert load(environ=VARIABLES, home=tmp_path).account == "joan"
    assert load(environ={**VARIABLES, "TRITON_PROFILE": "env"}, home=tmp_path).account == "jill"
    assert load("env", VARIABLES, tmp_path).account == "jill"


def test_the_profile_that_is_asked_for_goes_before_the_variable(tmp_path: Path) -> None:
    put(tmp_path, "lab")
    put(tmp_path, "other", account="jo")
    assert load("other", {"TRITON_PROFILE": "lab"}, tmp_path).account == "jo"


@pytest.mark.parametrize("variable", ["TRITON_CONFIG_DIR", "XDG_CONFIG_HOME"])
def test_profiles_may_be_kept_elsewhere(tmp_path: Path, variable: str) -> None:
    put(tmp_path, "lab")
    elsewhere = tmp_path / "config" / "triton"
    value = {"TRITON_CONFIG_DIR": elsewhere, "XDG_CONFIG_HOME": elsewhere.parent}[variable]
    environ = {variable: str(value), "TRITON_PROFILE": "lab"}
    if variable == "XDG_CONFIG_HOME":  # where there is nothing yet
        assert load(environ=environ, home=tmp_path).account == "joan"
    (elsewhere / "profiles.d").mkdir(parents=True)
    (elsewhere / "profiles.d" / "lab.json").write_text(json.dumps({**PROFILE, "account": "jo"}))
    assert load(environ=environ, home=tmp_path).account == "jo"


def test_a_profile_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    put(tmp_path, "lab")
    put(tmp_path, "big")
    assert "there is no Triton profile 'lob'" in (text := said(tmp_path, {}, "lob"))
    assert "there are: big, lab" in text
    assert "there is no Triton profile '../lab'" in said(tmp_path, {}, "../lab")


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"keyId": ""}, "keyId is not set"),
        ({"url": 5}, "url must be text"),
        ({"insecure": "yes"}, "insecure must be true or false"),
    ],
)
def test_a_profile_that_says_too_little_is_told(tmp_path: Path, changes: dict[str, Any], wanted: str) -> None:
    put(tmp_path, "lab", **changes)
    assert wanted in (text := said(tmp_path, {}, "lab"))
    assert "lab.json" in text


@pytest.mark.parametrize("text", ["{", "[]", "\x00"])
def test_a_file_that_is_broken_is_named(tmp_path: Path, text: str) -> None:
    put(tmp_path, "lab")
    (tmp_path / ".triton/profiles.d/lab.json").write_text(text)
    assert "lab.json" in said(tmp_path, {}, "lab")
    (tmp_path / ".triton/config.json").write_text(text)
    assert "config.json" in said(tmp_path, {})
