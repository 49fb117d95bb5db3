"""What the account offers, as frozen values."""

from __future__ import annotations

import pytest

from fabfile.providers.triton import catalog
from fabfile.providers.triton.api import Api
from tests.cloudapi import signing
from tests.cloudapi.fixtures import client
from tests.cloudapi.server import CloudApi
from tests.cloudapi.world import ACCOUNT, IMAGE, PACKAGE, image, package


@pytest.fixture
def api(cloudapi: CloudApi) -> Api:
    """A client of the account."""
    return client(cloudapi)


def test_the_account(cloudapi: CloudApi, api: Api) -> None:
    assert catalog.account(api) == catalog.Account(ACCOUNT, "jill")
    cloudapi.world.names_in_dns = True
    assert catalog.account(api).names_in_dns


def test_data_centers(api: Api) -> None:
    assert catalog.datacenters(api) == {"test-1": "https://test-1.example.com"}


def test_the_newest_version_of_an_image_comes_first(cloudapi: CloudApi, api: Api) -> None:
    for number, version in enumerate(("9.4.0", "24.4.1", "odd", "24.10.0")):
        id = f"00000000-0000-4000-8000-00000000000{number}"
        cloudapi.world.images[id] = image(id, "mine", version, requirements={"min_ram": 512})
    found = catalog.images(api, "mine")
    assert [one.version for one in found] == ["24.10.0", "24.4.1", "9.4.0", "odd"]
    assert found[0].least_memory == 512
    assert [one.version for one in catalog.images(api, "mine", "9.4.0")] == ["9.4.0"]
    assert len(catalog.images(api)) == 5


def test_images_that_are_not_active_are_left_out(cloudapi: CloudApi, api: Api) -> None:
    cloudapi.world.images[IMAGE]["state"] = "disabled"
    assert catalog.images(api) == []
    found = catalog.image(api, IMAGE)
    assert found is not None
    assert found.state == "disabled"
    assert catalog.image(api, "nothing") is None


def test_packages_by_name_id_and_size(cloudapi: CloudApi, api: Api) -> None:
    cloudapi.world.packages["p"] = package("p", "sample-512M", 512)
    cloudapi.world.packages["q"] = package("q", "sample-1G", 1024, version="1.10.0")
    assert [one.name for one in catalog.packages(api)] == ["sample-512M", "sample-1G", "sample-1G"]
    found = catalog.package(api, "sample-1G")
    assert found is not None
    assert (found.id, found.memory, found.disk, found.vcpus) == ("q", 1024, 25600, 0)
    assert catalog.package(api, PACKAGE) is not None
    assert catalog.package(api, "nope") is None


def test_networks(api: Api) -> None:
    assert [(one.name, one.public) for one in catalog.networks(api)] == [("external", True), ("internal", False)]
    assert catalog.network(api, "nope") is None


def test_the_accounts_keys(api: Api) -> None:
    found = catalog.account_keys(api)
    assert [one.name for one in found] == ["id_ecdsa", "id_ed25519", "id_rsa"]
    assert found[0].line == signing.public_key("id_ecdsa").line
    assert found[0].fingerprint == signing.public_key("id_ecdsa").fingerprint
