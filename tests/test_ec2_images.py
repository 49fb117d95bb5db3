"""Images: chosen on the test cloud, whose catalogue is the distributions'."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fabfile.errors import ProviderRefused
from fabfile.providers.ec2 import images
from fabfile.providers.ec2.api import Api
from tests.cloud.fixtures import cloud_settings

if TYPE_CHECKING:
    from tests.cloud.server import Cloud


@pytest.fixture
def debian(monkeypatch: pytest.MonkeyPatch) -> None:
    """This computer's Python is that of Debian 12, whatever it is."""
    monkeypatch.setattr(images, "PYTHON", "3.11")


def choose(cloud: Cloud, architecture: str = "x86_64", software: str = "", **changes: Any) -> images.Image:
    settings = cloud_settings(cloud, **{"login_user": "", **changes})
    return images.choose(Api(settings), settings, architecture, software)


class TestReleases:
    @pytest.mark.parametrize(
        ("python", "name", "user"),
        [("3.11", "debian-12-amd64-20250703-2160", "admin"), ("3.12", "ubuntu-noble-24.04-amd64-server", "ubuntu")],
    )
    def test_the_newest_one_with_this_computers_python_is_taken(
        self, cloud: Cloud, monkeypatch: pytest.MonkeyPatch, python: str, name: str, user: str
    ) -> None:
        monkeypatch.setattr(images, "PYTHON", python)
        image = choose(cloud)
        assert name in image.name
        assert (image.login_user, image.python, image.architecture, image.size_gb) == (user, python, "x86_64", 8)

    def test_it_is_for_the_architecture_of_the_machines(self, cloud: Cloud, debian: None) -> None:
        assert choose(cloud, "arm64").name == "debian-12-arm64-20250703-2160"

    def test_without_the_public_parameter_it_is_found_by_its_makers_name(self, cloud: Cloud, debian: None) -> None:
        by_parameter = choose(cloud)
        cloud.faults.plan("GetParameter", "AccessDeniedException", times=9)
        assert choose(cloud) == by_parameter  # not the stranger's, which calls itself newer

    def test_where_nothing_leads_to_the_parameters_it_is_found_by_its_makers_name(
        self, cloud: Cloud, debian: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from botocore.exceptions import EndpointConnectionError

        def unreachable(**_: Any) -> None:
            raise EndpointConnectionError(endpoint_url="https://ssm.invalid")

        settings = cloud_settings(cloud, login_user="")
        api = Api(settings)
        monkeypatch.setattr(api.ssm, "get_parameter", unreachable)
        assert images.choose(api, settings, "x86_64") == choose(cloud)

    def test_a_parameter_that_names_a_strangers_image_is_not_believed(
        self, cloud: Cloud, debian: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        api = Api(cloud_settings(cloud))
        (theirs,) = api.ec2.describe_images(Filters=[{"Name": "name", "Values": ["debian-12-amd64-20990101-*"]}])[
            "Images"
        ]
        monkeypatch.setattr(api.ssm, "get_parameter", lambda Name: {"Parameter": {"Value": theirs["ImageId"]}})
        assert images.choose(api, cloud_settings(cloud), "x86_64").name == "debian-12-amd64-20250703-2160"

    def test_a_python_that_no_release_has_is_refused_with_those_that_would_do(
        self, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(images, "PYTHON", "3.99")
        with pytest.raises(ProviderRefused, match=r"no release publishes images with Python 3\.99") as error:
            choose(cloud)
        assert "3.11 (Debian 12)" in error.value.hint
        assert "3.12 (Ubuntu 24.04)" in error.value.hint


class TestGiven:
    def theirs(self, cloud: Cloud, name: str) -> str:
        found = Api(cloud_settings(cloud)).ec2.describe_images(Filters=[{"Name": "name", "Values": [name]}])["Images"]
        return str(found[0]["ImageId"])

    def test_the_settings_image_is_taken_and_looked_at(self, cloud: Cloud) -> None:
        image = choose(
            cloud, image=self.theirs(cloud, "ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-amd64-server-20250703")
        )
        assert (image.login_user, image.root_device, image.python) == ("ubuntu", "/dev/sda1", "")

    def test_one_of_another_architecture_is_refused(self, cloud: Cloud) -> None:
        with pytest.raises(ProviderRefused, match="is for arm64, but machines will be x86_64"):
            choose(cloud, image=self.theirs(cloud, "debian-12-arm64-20250703-2160"))

    def test_one_that_is_not_ready_is_refused(self, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
        image = self.theirs(cloud, "debian-12-amd64-20250703-2160")
        settings = cloud_settings(cloud, image=image)
        api = Api(settings)
        (found,) = api.paged("describe_images", "Images", ImageIds=[image])
        monkeypatch.setattr(api, "paged", lambda *_, **__: [{**found, "State": "pending"}])
        with pytest.raises(ProviderRefused, match="cannot be used: it is pending"):
            images.choose(api, settings, "x86_64")

    def test_one_that_is_not_there_is_refused(self, cloud: Cloud) -> None:
        with pytest.raises(ProviderRefused, match="there is no image ami-0123456789abcdef0"):
            choose(cloud, image="ami-0123456789abcdef0")

    def test_one_whose_user_nobody_tells_asks_for_it(self, cloud: Cloud) -> None:
        debian = self.theirs(cloud, "debian-12-amd64-20250703-2160")
        api = Api(cloud_settings(cloud))
        own = api.ec2.copy_image(Name="my own", SourceImageId=debian, SourceRegion=cloud.region)["ImageId"]
        with pytest.raises(ProviderRefused, match="nobody says which user") as error:
            choose(cloud, image=own)
        assert "`login_user`" in error.value.hint
        assert choose(cloud, image=own, login_user="me").login_user == "me"


def test_an_image_of_ours_with_the_software_comes_before_a_release(cloud: Cloud, debian: None) -> None:
    api = Api(cloud_settings(cloud))

    def bake(name: str, software: str) -> str:
        made = str(api.ec2.copy_image(Name=name, SourceImageId=choose(cloud).id, SourceRegion=cloud.region)["ImageId"])
        its = {images.SOFTWARE: software, images.BAKED_PYTHON: "3.11", images.LOGIN_USER: "admin"}
        api.ec2.create_tags(Resources=[made], Tags=[{"Key": key, "Value": value} for key, value in its.items()])
        return made

    bake("older", "other")
    fitting = bake("fitting", "s0ftware")
    image = choose(cloud, software="s0ftware")
    assert (image.id, image.baked, image.python, image.login_user) == (fitting, "s0ftware", "3.11", "admin")
    assert choose(cloud, "arm64", "s0ftware").name == "debian-12-arm64-20250703-2160"
    assert choose(cloud, software="third").name == "debian-12-amd64-20250703-2160"
