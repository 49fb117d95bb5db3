"""Commands about the account, as a newcomer tries them: nothing given, something wrong, twice, no such ability."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from invoke.context import Context

from fabfile import host_keys, providers, report
from fabfile.accounts import Leftover, LeftoverKind
from fabfile.commands import account, images, keys
from fabfile.errors import ClusterError, NoSuchCluster, ProviderRefused, UsageError
from fabfile.machines import Cluster, MachineSpec, silent
from fabfile.record import Record
from fabfile.state import Store
from tests.fakes.account import AccountProvider
from tests.fakes.provider import MemoryProvider, World

C = Context()


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AccountProvider:
    """The provider that every template means; nobody sits at a terminal."""
    for name in ("IPYFLEET_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    made = AccountProvider(World())
    monkeypatch.setattr(providers, "get", lambda settings: made)
    return made


def body(task: object, **options: object) -> None:
    """The command without the decorator that turns errors into exit codes."""
    task.body.__wrapped__(C, **options)  # type: ignore[attr-defined]  # functools.wraps leaves it there


def line(path: Path) -> str:
    return path.read_text().strip()


class TestKeys:
    def test_a_pair_is_made_here_and_only_its_public_half_is_given_away(self, provider, tmp_path, capsys):
        body(keys.create, name="lab", file=str(tmp_path / "lab"))
        assert provider.keys == {"lab": line(tmp_path / "lab.pub")}
        assert stat.S_IMODE((tmp_path / "lab").stat().st_mode) == 0o600
        assert "private, keep it" in capsys.readouterr().out
        body(keys.list_)
        assert "lab" in capsys.readouterr().out

    @pytest.mark.parametrize("options", [{}, {"name": "lab"}, {"file": "x"}, {"name": " ", "file": "x"}])
    @pytest.mark.parametrize("task", [keys.create, keys.import_])
    def test_what_is_missing_is_told_with_an_example(self, provider, task, options):
        with pytest.raises(UsageError, match="a name and a file are needed") as error:
            body(task, **options)
        assert "--name lab --file" in error.value.hint
        assert (".pub" in error.value.hint) == (task is keys.import_)

    def test_no_file_is_overwritten_and_no_name_taken_twice(self, provider, tmp_path):
        (tmp_path / "lab.pub").write_text("precious")
        with pytest.raises(UsageError, match="is there already"):
            body(keys.create, name="lab", file=str(tmp_path / "lab"))
        provider.keys["lab"] = "ssh-ed25519 AAAA"
        with pytest.raises(UsageError, match="has a key pair lab already"):
            body(keys.create, name="lab", file=str(tmp_path / "other"))
        assert sorted(path.name for path in tmp_path.glob("*lab*")) == ["lab.pub"]

    def test_a_file_that_cannot_be_written_is_told_before_the_account_has_anything(
        self, provider, tmp_path, monkeypatch
    ):
        def full(path, comment):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(host_keys, "make_key_pair", full)
        with pytest.raises(UsageError, match="cannot be written: No space left"):
            body(keys.create, name="lab", file=str(tmp_path / "lab"))
        assert provider.keys == {}

    def test_a_public_key_is_given_and_a_private_one_never(self, provider, tmp_path):
        body(keys.create, name="one", file=str(tmp_path / "one"))
        body(keys.import_, name="two", file=str(tmp_path / "one.pub"))
        assert provider.keys["two"] == provider.keys["one"]
        with pytest.raises(UsageError, match="is a private key"):
            body(keys.import_, name="three", file=str(tmp_path / "one"))
        with pytest.raises(UsageError, match="cannot be read"):
            body(keys.import_, name="three", file=str(tmp_path / "none"))

    def test_removing_asks_and_says_when_there_is_none(self, provider):
        provider.keys["lab"] = "ssh-ed25519 AAAA"
        with pytest.raises(UsageError, match="which key pair"):
            body(keys.remove)
        with pytest.raises(UsageError, match="this would remove the key pair lab"):
            body(keys.remove, name="lab")
        body(keys.remove, name="lab", yes=True)
        with pytest.raises(ProviderRefused, match="no key pair 'lab'"):
            body(keys.remove, name="lab", yes=True)


class TestImages:
    def test_they_come_and_go(self, provider, capsys):
        body(images.list_)
        assert "`invoke images.bake` makes one" in capsys.readouterr().out
        body(images.bake)
        body(images.list_, json=True)
        assert json.loads(capsys.readouterr().out.rpartition("from now on\n")[2])[0]["software"] == "s0ftware"
        with pytest.raises(UsageError, match="which image"):
            body(images.remove)
        with pytest.raises(UsageError, match="this would remove the image image-1"):
            body(images.remove, image="image-1")
        capsys.readouterr()
        body(images.remove, image="image-1", yes=True)
        assert capsys.readouterr().out == "image-1 is gone\n"
        assert provider.baked == []
        body(images.remove, image="image-2", yes=True)
        assert capsys.readouterr().out.startswith("nothing to do: no image image-2 was baked")

    def test_what_is_advised_is_meant_for_the_template_that_was_given(self, provider, capsys):
        body(images.list_, template="ec2")
        assert "`invoke images.bake --template ec2` makes one" in capsys.readouterr().out


class TestWhatThereIs:
    def test_places_types_and_prices_are_listed(self, provider, capsys):
        for task in (account.regions, account.zones, account.types, account.prices):
            body(task)
        text = capsys.readouterr().out
        assert "*  here-1" in text
        assert "there-1  not enabled for this account" in text
        assert "here-1a  h1" in text
        assert "small  1     1 GB    arm64         0.1000" in text
        assert "big   here-1a  0.1000     0.0250    0.0100" in text

    def test_types_can_be_narrowed_down(self, provider, capsys):
        for options in ({"cpus": "2"}, {"memory": "2"}, {"architecture": "x86_64"}, {"like": "big"}):
            body(account.types, **options)
            text = capsys.readouterr().out
            assert ("big" in text, "small" in text) == (True, False), options

    def test_prices_of_many_types_are_not_asked_for_nor_missed_where_they_cannot_be_read(
        self, provider, capsys, monkeypatch
    ):
        def refuse(types, days):
            raise ProviderRefused("reading prices was refused")

        monkeypatch.setattr(provider, "prices", refuse)
        body(account.types, json=True)
        assert [one["hourly"] for one in json.loads(capsys.readouterr().out)] == [None, None]
        monkeypatch.setattr(account, "FEW", 1)
        monkeypatch.setattr(provider, "prices", lambda types, days: pytest.fail("asked"))
        body(account.types)

    @pytest.mark.parametrize(
        ("task", "options", "said"),
        [
            (account.types, {"cpus": "-1"}, "--cpus must be a number, not '-1'"),
            (account.types, {"memory": "nan"}, "--memory must be a number, not 'nan'"),
            (account.types, {"cpus": "many"}, "--cpus must be a number, not 'many'"),
            (account.types, {"cpus": "nan"}, "--cpus must be a number, not 'nan'"),
            (account.types, {"memory": "-3"}, "--memory must be a number, not '-3'"),
            (account.prices, {"days": "1.5"}, "--days must be a whole number"),
            (account.types, {"architecture": "sparc"}, "there is no sparc"),
            (account.prices, {"days": "0"}, "--days must be a whole number from 1 to 90"),
            (account.prices, {"days": "a week"}, "--days must be a number"),
        ],
    )
    def test_what_cannot_be_meant_is_told(self, provider, task, options, said):
        with pytest.raises(UsageError, match=said):
            body(task, **options)

    def test_clusters_are_listed_with_what_they_cost(self, provider, capsys):
        body(account.clusters)
        assert "no clusters on provider memory" in capsys.readouterr().out
        provider.create(Cluster("lab", "c0ffee", "ada@desk", 1_700_000_000.0), [MachineSpec("controller", 0)], silent)
        body(account.clusters)
        text = capsys.readouterr().out
        assert "lab      ada@desk" in text
        assert "1 running  none   0.10 USD/h" in text
        body(account.clusters, json=True)
        (seen,) = json.loads(capsys.readouterr().out)
        assert (seen["cluster"]["name"], seen["hourly"]) == ("lab", 0.1)

    def test_the_console_of_a_machine_is_shown(self, provider, capsys):
        with pytest.raises(NoSuchCluster):
            body(account.console)
        provider.create(
            Cluster("ipython", "c0ffee", "ada@desk", 1_700_000_000.0), [MachineSpec("controller", 0)], silent
        )
        body(account.console, machine="controller")
        assert capsys.readouterr().out.strip()
        with pytest.raises(UsageError, match="no machine 'engine-7'"):
            body(account.console, machine="engine-7")


class TestSweep:
    def test_it_lists_and_removes_only_when_told_to(self, provider, capsys):
        body(account.sweep)
        assert "vol-1  old      ada@desk" in capsys.readouterr().out
        assert provider.left
        with pytest.raises(UsageError, match="this would remove these 1"):
            body(account.sweep, delete=True)
        body(account.sweep, delete=True, yes=True)
        assert provider.left == []
        assert "1 of 1 removed" in capsys.readouterr().out
        body(account.sweep, delete=True)  # nothing to ask about
        assert "nothing is left over" in capsys.readouterr().out

    def test_json_is_all_that_is_printed(self, provider, capsys):
        body(account.sweep, delete=True, yes=True, json=True)
        assert [one["id"] for one in json.loads(capsys.readouterr().out)] == ["vol-1"]

    def test_a_no_removes_nothing(self, provider, monkeypatch):
        monkeypatch.setattr(report, "can_ask", lambda: True)
        monkeypatch.setattr(report, "confirm", lambda question: False)
        with pytest.raises(UsageError, match="nothing was changed"):
            body(account.sweep, delete=True)
        assert provider.left

    def test_what_stays_is_named(self, provider):
        provider.stubborn = {"vol-1"}
        with pytest.raises(ClusterError, match="still there: volume vol-1"):
            body(account.sweep, delete=True, yes=True)

    def test_what_was_removed_is_said_also_when_something_could_not_be(self, provider, capsys):
        provider.left.append(Leftover(LeftoverKind.SNAPSHOT, "snap-1"))
        provider.stubborn, provider.refusal = {"vol-1"}, ProviderRefused("the volume vol-1 is in use")
        with pytest.raises(ProviderRefused, match="vol-1 is in use"):
            body(account.sweep, delete=True, yes=True)
        assert "1 of 2 removed" in capsys.readouterr().out
        assert [one.id for one in provider.left] == ["vol-1"]

    def test_credentials_that_expire_midway_are_what_is_told(self, provider, monkeypatch):
        answers = [provider.leftovers()]

        def look():
            if not answers:
                raise ProviderRefused("may not look")
            return answers.pop()

        monkeypatch.setattr(provider, "leftovers", look)
        provider.refusal = ProviderRefused("the credentials have expired")
        with pytest.raises(ProviderRefused, match="have expired"):
            body(account.sweep, delete=True, yes=True)


class TestOfNoCluster:
    """What is about the account must not depend on which cluster happens to be in the record."""

    EVERY = (
        (account.clusters, {}),
        (account.regions, {}),
        (account.zones, {}),
        (account.types, {}),
        (account.prices, {}),
        (account.sweep, {"delete": True, "yes": True}),
        (keys.list_, {}),
        (images.list_, {}),
        (images.bake, {}),
        (images.remove, {"image": "image-1", "yes": True}),
    )

    @staticmethod
    def recorded(provider: str, template: str) -> Store:
        store = Store("ipython")
        with store.lock("provision"):
            cluster = Cluster("ipython", "c0ffee", "ada@desk", 1_700_000_000.0)
            Record(cluster, provider, template).save(store)
        return store

    @pytest.mark.parametrize(("task", "options"), EVERY)
    def test_a_cluster_at_another_provider_is_in_nobodys_way(self, provider, task, options):
        self.recorded("static", "static")
        body(task, template="local", **options)

    @pytest.mark.parametrize(("task", "options"), EVERY)
    def test_a_cluster_at_the_same_provider_is_not_written_to(self, provider, task, options):
        store = self.recorded("local", "local")
        before = store.read("record")
        body(task, **options)
        assert store.read("record") == before

    def test_a_record_that_is_broken_hinders_nobody_who_names_a_template(self, provider, capsys):
        store = self.recorded("local", "local")
        store.path("record.json").write_text("{")
        body(account.sweep, template="local")
        assert "vol-1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("task", "options"),
    [
        (keys.list_, {}),
        (keys.remove, {"name": "x", "yes": True}),
        (images.list_, {}),
        (images.bake, {}),
        (images.remove, {"image": "x", "yes": True}),
        (account.regions, {}),
        (account.zones, {}),
        (account.types, {}),
        (account.prices, {}),
        (account.sweep, {}),
    ],
)
def test_a_provider_without_an_account_says_which_has_one(provider, monkeypatch, task, options):
    monkeypatch.setattr(providers, "get", lambda settings: MemoryProvider(World()))
    with pytest.raises(UsageError, match="provider memory has no") as error:
        body(task, **options)
    assert "--template ec2" in error.value.hint
