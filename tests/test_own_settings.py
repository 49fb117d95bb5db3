"""own_settings.py: the first settings file of one's own is taken by the resolver, and says what it should."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from fabfile import own_settings, reference, yamlfile
from fabfile.errors import UsageError
from fabfile.settings import PROJECT_FILE, PROVIDERS, Settings, load, resolve
from tests.settings_file import own_home as own_home

ANSWERS = {
    "local": {"engines": "7"},
    "static": {"engines": "7", "hosts": "ada@one.example.org, ada@[::1]:2222,no"},
    "ec2": {"engines": "7", "region": "eu-central-1"},
    "triton": {"engines": "7", "triton_profile": "yes"},
}
PACKAGE = PROJECT_FILE.parent / "fabfile"


def written(tmp_path: Path, provider: str, answers: dict[str, str]) -> tuple[str, dict[str, str]]:
    """The file's text, and what resolves from it, as an environment."""
    path = tmp_path / "own.yaml"
    text = own_settings.composed(provider, answers)
    own_settings.place(path, text, force=False)
    return text, {"IPYFLEET_CONFIG": str(path)}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_file_means_the_defaults_of_its_provider(provider: str, tmp_path: Path) -> None:
    shipped = {"IPYFLEET_HOSTS": own_settings.PLACEHOLDER} if provider == "static" else {}
    expected = load({"template": provider}, environ=shipped)
    _, environ = written(tmp_path, provider, {})
    assert load(environ=environ) == expected
    assert expected.provider == provider


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_answers_hold(provider: str, tmp_path: Path) -> None:
    asked = {one.key for one in own_settings.questions(provider)}
    assert asked == set(ANSWERS[provider])
    _, environ = written(tmp_path, provider, ANSWERS[provider])
    resolved = resolve(environ=environ)
    assert resolved.settings.engines == 7
    for key in asked:
        assert resolved.origins[key].startswith(environ["IPYFLEET_CONFIG"])
    assert resolved.settings == load({"template": provider, **ANSWERS[provider]}, environ={})


@pytest.mark.parametrize("provider", PROVIDERS)
def test_taking_the_hashes_away_changes_nothing_and_breaks_nothing(provider: str, tmp_path: Path) -> None:
    """Each default is where its value has an effect, and is the one that holds."""
    text, environ = written(tmp_path, provider, ANSWERS[provider])
    before = load(environ=environ)
    opened, count = re.subn(r"^    # (?=[a-z_]+: )", "    ", text, flags=re.MULTILINE)
    assert count > 10
    Path(environ["IPYFLEET_CONFIG"]).write_text(opened)
    after = resolve(environ=environ)
    assert after.settings == before
    keys = yamlfile.read(Path(environ["IPYFLEET_CONFIG"])).values["templates"][provider]
    assert [key for key in keys if not after.origins[key].startswith(environ["IPYFLEET_CONFIG"])] == []


@pytest.mark.parametrize(
    ("provider", "active"),
    [
        ("local", {"engines"}),
        ("static", {"engines", "hosts"}),
        ("ec2", {"engines", "lease"}),
        ("triton", {"engines", "lease"}),
    ],
)
def test_only_what_a_beginner_needs_is_active(provider: str, active: set[str], tmp_path: Path) -> None:
    _, environ = written(tmp_path, provider, {})
    values = yamlfile.read(Path(environ["IPYFLEET_CONFIG"])).values
    assert values.keys() == {"template", "templates"}
    assert values["template"] == provider
    assert {name: set(body) for name, body in values["templates"].items()} == {provider: active}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_each_setting_is_explained_in_the_words_of_the_reference(provider: str) -> None:
    text = own_settings.composed(provider, {})
    own = {one.key: one.comment for one in reference.templates()[provider].entries if one.comment}
    for section in reference.sections():
        for one in section.entries:
            if re.search(rf"^[ #]*{one.key}: ", text, re.MULTILINE):
                for comment in own.get(one.key, one.comment):
                    assert f"# {comment}\n" in text


@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_has_no_meaning_for_the_provider_is_left_out(provider: str) -> None:
    """The sources say what has one: a provider reads its settings itself, but for what its preflight only refuses."""
    keys = set(re.findall(r"^ +(?:# )?([a-z_]+): ", own_settings.composed(provider, {}), re.MULTILINE))
    for section in reference.sections():
        owner = re.search(r"\(provider (\w+)\)", section.title)
        for one in section.entries if owner else ():
            assert (one.key in keys) == (owner[1] == provider or one.key in own_settings.ALSO[provider]), one.key
            if owner[1] == "ec2" and provider == "triton":
                folder = PACKAGE / "providers" / "triton"
                sources = [path for path in folder.glob("*.py") if path.name != "preflight.py"]
                sources.append(PACKAGE / "entrances.py")  # asks for the address that ssh_from: [auto] means
                read = any(re.search(rf"settings\.{one.key}\b", path.read_text()) for path in sources)
                assert (one.key in keys) == (read or one.key == "hooks"), one.key


@pytest.mark.parametrize(
    ("provider", "key", "answer", "said"),
    [
        ("local", "engines", "many", "engines must be a whole number from 1 to 10000"),
        ("static", "hosts", "a b", "hosts has 'a b', which is not a host"),
        ("static", "hosts", "", "hosts must be given"),
        ("ec2", "region", "Frankfurt", "region must be a region, like eu-central-1"),
        ("ec2", "region", "", ""),
        ("triton", "triton_profile", "lab", ""),
    ],
)
def test_an_answer_that_cannot_be_is_told_why(provider: str, key: str, answer: str, said: str) -> None:
    (question,) = [one for one in own_settings.questions(provider) if one.key == key]
    misfit = own_settings.misfit(question, answer)
    assert misfit.startswith(said) if said else misfit == ""


def test_a_provider_that_there_is_not_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"no provider 'tritn'; did you mean triton\?\n.*local, static, ec2, triton"):
        own_settings.provider_named("tritn")


# -- where it goes ----------------------------------------------------------------------------------------------------


def test_it_goes_where_settings_are_read_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert own_settings.destination("", {}) == tmp_path / "config" / "ipyfleet" / "config.yaml"
    assert own_settings.destination("", {"IPYFLEET_CONFIG": "lab.yaml"}) == tmp_path / "lab.yaml"
    assert own_settings.destination("~/x.yaml", {"IPYFLEET_CONFIG": "lab.yaml"}) == Path.home() / "x.yaml"
    path = own_settings.destination("", {})
    own_settings.place(path, own_settings.composed("local", {"engines": "9"}), force=False)
    assert load(environ={}).engines == 9
    assert Settings().engines != 9


def test_it_is_private_and_complete_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "own.yaml"
    before = os.umask(0)
    try:
        own_settings.place(path, "engines: 4\n", force=False)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["own.yaml"]


@pytest.mark.parametrize("there", ["file", "folder", "dangling link"])
def test_what_is_there_is_left_alone_unless_it_may_be_replaced(there: str, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    if there == "file":
        path.write_text("engines: 8\n")
    elif there == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "elsewhere.yaml")
    with pytest.raises(UsageError, match=r"is there already and was left as it is\n  next: .*--force replaces it"):
        own_settings.place(path, "engines: 4\n", force=False)
    if there == "folder":
        with pytest.raises(UsageError, match=r"cannot be written: Is a directory\n  next: "):
            own_settings.place(path, "engines: 4\n", force=True)
        assert list(tmp_path.iterdir()) == [path]
        return
    assert not (tmp_path / "elsewhere.yaml").exists()
    assert there != "file" or path.read_text() == "engines: 8\n"
    own_settings.place(path, "engines: 4\n", force=True)
    assert path.read_text() == "engines: 4\n"
    assert path.is_symlink() == (there == "dangling link")


def test_a_home_that_cannot_be_written_is_said_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("no folder")
    with pytest.raises(UsageError, match=r"config\.yaml cannot be written: Not a directory\n  next: .*--file PATH"):
        own_settings.place(tmp_path / "home" / "ipyfleet" / "config.yaml", "engines: 4\n", force=False)
