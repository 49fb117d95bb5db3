"""What the account offers, in the words that commands use: every protocol is there, and says what EC2 says."""

from __future__ import annotations

from pathlib import Path

import pytest

from fabfile import accounts
from fabfile.errors import ProviderRefused, UsageError
from fabfile.host_keys import make_key_pair
from fabfile.providers.ec2.account import AccountAbilities
from fabfile.providers.ec2.api import Api
from fabfile.settings import Settings
from tests.cloud.fixtures import cloud_settings
from tests.cloud.server import Cloud


class Offering(AccountAbilities):
    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.api = Api(settings)


@pytest.fixture
def account(cloud: Cloud) -> Offering:
    cloud.on_paper()
    return Offering(cloud_settings(cloud, tags=(("project", "spectra"),)))


@pytest.mark.parametrize(
    "ability",
    [
        accounts.KeyKeeping,
        accounts.ImageKeeping,
        accounts.Placing,
        accounts.Sizing,
        accounts.Pricing,
        accounts.Sweeping,
    ],
)
def test_it_has_every_ability(account: Offering, ability: type) -> None:
    assert isinstance(account, ability)


def test_a_key_is_kept_once_listed_and_removed(cloud: Cloud, account: Offering, tmp_path: Path) -> None:
    public = make_key_pair(tmp_path / "key", "me")
    made = account.import_key("mine", public)
    assert (made.name, made.kind, made.cluster) == ("mine", "ed25519", "")
    assert made.id.startswith("key-")
    assert made.fingerprint
    assert account.import_key("mine", public) == made
    assert account.key_pairs() == (made,)
    assert account.leftovers() == ()  # a user's own key is nobody's leftover
    account.remove_key("mine")
    assert account.key_pairs() == ()
    with pytest.raises(ProviderRefused, match="no key pair 'mine'"):
        account.remove_key("mine")


def test_another_key_of_the_same_name_is_refused(account: Offering, tmp_path: Path) -> None:
    account.import_key("mine", make_key_pair(tmp_path / "one", ""))
    with pytest.raises(ProviderRefused, match="another key of the name mine"):
        account.import_key("mine", make_key_pair(tmp_path / "other", ""))


@pytest.mark.parametrize("line", ["ssh-ed25519", "ssh-ed25519 AAAA!!"])
def test_a_key_that_was_cut_off_is_a_mistake_of_the_users(account: Offering, line: str) -> None:
    with pytest.raises(UsageError, match="not an SSH public key"):
        account.import_key("mine", line)


@pytest.mark.parametrize("line", ["", "nonsense", "ecdsa-sha2-nistp256 AAAA"])
def test_what_is_no_key_is_refused(account: Offering, line: str) -> None:
    with pytest.raises(UsageError, match="no public key that EC2 takes"):
        account.import_key("mine", line)


def test_types_by_pattern_with_their_zones_the_smallest_first(account: Offering) -> None:
    found = account.machine_types(["m7i.*large", "t3.small"])
    names = [one.name for one in found]
    assert names[:3] == ["t3.small", "m7i.large", "m7i.xlarge"]
    assert all(name.startswith(("m7i.", "t3.small")) for name in names)
    assert (found[0].cpus, found[0].memory_mb, found[0].architectures) == (2, 2048, ("x86_64",))
    assert "eu-central-1a" in found[0].zones


def test_all_types_are_asked_for_without_zones(cloud: Cloud, account: Offering) -> None:
    assert len(account.machine_types()) > 100
    assert cloud.called("DescribeInstanceTypeOfferings") == []


def test_prices_of_the_settings_own_types(account: Offering) -> None:
    assert {one.type for one in account.prices((), 1)} == {"t3.small", "m7i.large", "m6i.large"}
    assert {one.type for one in account.prices(["c7i.large"], 1)} == {"c7i.large"}
