"""Baking on the test cloud, whose machines are real SSH servers and do what they are told at their first boot."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from fabfile.boot import script
from fabfile.errors import ClusterError, ProviderRefused, RemoteError, UsageError
from fabfile.machines import Event
from fabfile.providers.ec2 import baking, images, instances, rules, sweep
from fabfile.providers.ec2.api import Api
from fabfile.providers.ec2.baking import bake, list_images, remove_image
from fabfile.providers.ec2.sweep import GRACE
from fabfile.remote import Host
from fabfile.settings import Settings
from fabfile.software import PYTHON, Software
from tests.cloud import leftovers as account_leftovers
from tests.cloud.account import Account, until
from tests.cloud.fixtures import cloud_settings
from tests.cloud.server import Cloud

CONTENTS = Software("50f7", PYTHON, ("ipyparallel==9.2.0",), "x86_64")


def send(host: Host, contents: Software) -> None:
    """In place of pip, which would fetch: what shows that the software is there."""
    note = f"mkdir -p /opt/ipyfleet/env; echo {contents.id} >/opt/ipyfleet/env/ipyfleet-software-id"
    host.run("sh", "-c", note, sudo=True)


@pytest.fixture
def settings(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Settings:
    cloud.machines_obey = True
    monkeypatch.setattr(baking, "software", lambda settings, machine: CONTENTS)
    monkeypatch.setattr(baking.host_software, "install_software", send)
    monkeypatch.setattr(baking, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(rules, "PAUSE", 0.05)
    monkeypatch.setattr(instances, "LONGEST_PAUSE", 0.3)
    return cloud_settings(cloud, boot_timeout=60.0)


@pytest.fixture
def api(settings: Settings) -> Api:
    return Api(settings)


def names(cloud: Cloud) -> list[str]:
    """What is left, by kind."""
    return sorted(line.split()[0] for line in account_leftovers.leftovers(cloud))


class TestBake:
    def test_an_image_with_the_software_and_nothing_else_is_left(
        self, cloud: Cloud, settings: Settings, api: Api
    ) -> None:
        heard: list[Event] = []
        made = bake(api, settings, heard.append)
        assert (made.software, made.python, made.architecture, made.state) == ("50f7", PYTHON, "x86_64", "available")
        assert made.base == images.choose(api, settings, "x86_64").id
        assert "@" in made.owner
        assert abs(made.created - time.time()) < 120
        assert names(cloud) == ["image", "snapshot"]
        assert "booted" in {event.what for event in heard}
        assert list_images(api) == (made,)
        chosen = images.choose(api, settings, "x86_64", "50f7")
        assert (chosen.id, chosen.baked, chosen.python, chosen.login_user) == (made.id, "50f7", PYTHON, "root")
        assert images.choose(api, settings, "x86_64", "other").id == made.base
        self.snapshots_are_tagged(cloud)
        self.nothing_of_the_machine_is_in_it(cloud, made.id)
        cloud.calls.clear()
        assert bake(api, settings) == made  # the same contents: nothing is made again
        assert cloud.called("RunInstances", "CreateImage", "CreateSecurityGroup") == []
        remove_image(api, made.name)
        remove_image(api, made.id)
        assert names(cloud) == []

    def snapshots_are_tagged(self, cloud: Cloud) -> None:
        (snapshot,) = Account(cloud).ec2.describe_snapshots(
            OwnerIds=["self"], Filters=[{"Name": "tag-key", "Values": [images.SOFTWARE]}]
        )["Snapshots"]
        assert {"Key": images.SOFTWARE, "Value": "50f7"} in snapshot["Tags"]

    def nothing_of_the_machine_is_in_it(self, cloud: Cloud, image: str) -> None:
        assert cloud._room is not None
        (disk,) = cloud._room.disks.glob(f"image-{image}")
        upper = disk / "upper"
        assert (upper / "opt/ipyfleet/env/ipyfleet-software-id").read_text() == "50f7\n"
        assert not list(upper.glob("etc/ssh/ssh_host_*"))
        assert not list(upper.glob("root/.ssh/*"))
        assert not list(upper.glob("etc/systemd/system/ipyfleet*"))
        assert not list(upper.glob("var/lib/cloud/instance/*"))
        assert (upper / "etc/machine-id").read_text() == ""

    def test_the_machine_is_a_small_world_of_its_own_with_a_lease(
        self, cloud: Cloud, settings: Settings, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        told: list[Settings] = []
        real = baking.boot_plan
        monkeypatch.setattr(baking, "boot_plan", lambda mine, *rest: told.append(mine) or real(mine, *rest))
        bake(api, cloud_settings(cloud, boot_timeout=60.0, spot=True, lease=0.0, tags=(("project", "spectra"),)))
        assert told[0].lease == baking.LEASE
        (call,) = cloud.called("RunInstances")
        assert "InstanceMarketOptions" not in call.params
        its = call.tags("instance")
        assert its["ipyfleet:cluster"].startswith("bake-")
        assert (its["ipyfleet:role"], its["project"]) == ("engine", "spectra")
        assert call.params["InstanceInitiatedShutdownBehavior"] == "terminate"

    def test_what_is_asked_to_the_letter(
        self, cloud: Cloud, settings: Settings, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(baking.getpass, "getuser", lambda: "ada")
        monkeypatch.setattr(baking.platform, "node", lambda: "desk")
        made = bake(api, settings)
        (call,) = cloud.called("CreateImage")
        (launched,) = {one["InstanceId"] for one in Account(cloud).see()}
        assert {name: value for name, value in call.params.items() if name != "TagSpecification"} == {
            "InstanceId": launched,
            "Name": f"ipyfleet 50f7 {made.base}",
            "Description": f"{made.base} with Python {PYTHON} and software 50f7 of ipyfleet",
        }
        its = call.tags("image")
        assert call.tags("snapshot") == its
        cluster = {name: its.pop(f"ipyfleet:{name}") for name in ("cluster", "id", "created")}
        assert cluster["cluster"].startswith("bake-")
        assert float(cluster["created"]) == pytest.approx(time.time(), abs=120)
        assert its == {
            "Name": f"ipyfleet 50f7 {made.base}",
            "ipyfleet:owner": "ada@desk",
            "ipyfleet:schema": "1",
            "ipyfleet:software": "50f7",
            "ipyfleet:python": PYTHON,
            "ipyfleet:base": made.base,
            "ipyfleet:login-user": "root",
        }

    def test_an_image_that_amazon_could_not_make_is_told_with_a_command_that_can_be_run(
        self, settings: Settings, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        failed = {"ImageId": "ami-1", "State": "failed", "StateReason": {"Message": "Client.InternalError"}}
        monkeypatch.setattr(baking, "_ours", lambda api: [failed])
        with pytest.raises(ProviderRefused, match=r"could not make the image ami-1: Client\.InternalError") as caught:
            baking._wait_for_image(api, "ami-1", lambda event: None)
        assert "`invoke images.remove --image ami-1`" in caught.value.hint

    def test_a_lost_answer_makes_no_second_image(self, cloud: Cloud, settings: Settings, api: Api) -> None:
        cloud.faults.lose_reply("CreateImage")
        made = bake(api, settings)
        assert [one.id for one in list_images(api)] == [made.id]
        assert names(cloud) == ["image", "snapshot"]

    def test_a_boot_that_fails_leaves_nothing(
        self, cloud: Cloud, settings: Settings, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: Any) -> None:
            raise ClusterError("`system_packages` failed")

        monkeypatch.setattr(baking, "wait_until_booted", fail)
        with pytest.raises(ClusterError, match="system_packages"):
            bake(api, settings)
        assert names(cloud) == []

    def test_a_machine_that_never_answers_leaves_nothing(self, cloud: Cloud, api: Api) -> None:
        cloud.faults.silence_ssh()
        with pytest.raises(RemoteError):
            bake(api, cloud_settings(cloud, boot_timeout=3.0))
        assert names(cloud) == []

    def test_no_room_is_told_with_what_to_do(self, cloud: Cloud, settings: Settings, api: Api) -> None:
        cloud.faults.capacity = 0
        with pytest.raises(ProviderRefused, match="no place has room") as caught:
            bake(api, settings)
        assert "machine_type" in caught.value.hint
        assert names(cloud) == []

    def test_an_image_that_is_not_ready_in_time_is_waited_for_the_next_time(
        self, cloud: Cloud, settings: Settings, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cloud.pace.boot = 2.0
        monkeypatch.setattr(baking, "IMAGE_TIMEOUT", 0.3)
        with pytest.raises(ProviderRefused, match="is not ready after 0 s"):
            bake(api, settings)
        assert "instance" not in names(cloud)
        monkeypatch.setattr(baking, "IMAGE_TIMEOUT", 30.0)
        assert bake(api, settings).state == "available"
        assert len(cloud.called("CreateImage")) == 1

    def test_what_a_crash_leaves_is_found_by_sweep(
        self, cloud: Cloud, settings: Settings, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(baking, "_clean", lambda *_: None)
        cloud.faults.deny("CreateImage")
        with pytest.raises(ProviderRefused, match="making an image"):
            bake(api, settings)
        assert names(cloud)[:2] == ["group", "instance"]
        assert sweep.leftovers(api) == ()
        found = sweep.leftovers(api, time.time() + GRACE + 60)
        assert [str(one.kind) for one in found] == ["machine", "network"]
        monkeypatch.setattr(sweep, "GRACE", 0.0)
        sweep.remove(api, found)
        until(lambda: names(cloud) == [])

    def test_cleaning_up_that_fails_hides_no_result(self, cloud: Cloud, settings: Settings, api: Api) -> None:
        cloud.faults.deny("DeleteSecurityGroup")
        heard: list[Event] = []
        assert bake(api, settings, heard.append).software == "50f7"
        assert "left for `invoke sweep`" in heard[-1].what


class TestRemove:
    def test_an_image_of_others_is_refused(self, cloud: Cloud, settings: Settings, api: Api) -> None:
        cloud.on_paper()
        account = Account(cloud)
        (instance,) = account.launch_ids()
        account.wait("running", instance)
        mine = account.ec2.create_image(InstanceId=instance, Name="mine")["ImageId"]
        for name in (mine, "mine", account.image()):
            with pytest.raises(UsageError, match="was not baked by this project"):
                remove_image(api, name)
        assert account.ec2.describe_images(ImageIds=[mine])["Images"]

    def test_one_that_is_gone_is_no_error(self, settings: Settings, api: Api) -> None:
        remove_image(api, "ami-0123456789abcdef0")
        remove_image(api, "ipyfleet nothing")


class TestClean:
    """bootscripts/clean-for-image.sh in a folder as it may look on a machine."""

    SECRET = (
        "etc/systemd/system/ipyfleet-lease.service",
        "etc/systemd/system/ipyfleet-lease.timer",
        "etc/systemd/system/ipyfleet-lease.timer.d/ipyfleet.conf",
        "etc/systemd/system/timers.target.wants/ipyfleet-lease.timer",
        "etc/ipyfleet/ipyfleet-lease.values",
        "etc/ssh/ssh_host_ed25519_key",
        "etc/ssh/ssh_host_ed25519_key.pub",
        "etc/ssh/ssh_host_ed25519_key.new",
        "etc/cloud/cloud.cfg.d/99-ipyfleet.cfg",
        "root/.ssh/authorized_keys",
        "home/admin/.ssh/authorized_keys",
        "home/admin/.bash_history",
        "var/lib/dbus/machine-id",
        "var/lib/systemd/random-seed",
        "var/lib/cloud/instances/i-1/user-data.txt",
        "var/lib/cloud/data/instance-id",
        "var/lib/cloud/sem/config_scripts_per_once.once",
        "var/log/cloud-init.log",
        "var/log/cloud-init-output.log",
        "var/log/journal/abc/system.journal",
    )
    KEPT = (
        "etc/ssh/sshd_config",
        "etc/cloud/cloud.cfg.d/05_logging.cfg",
        "opt/ipyfleet/env-1/ipyfleet-software-id",
        "opt/ipyfleet/libexec/lease-end",
        "home/admin/.profile",
        "etc/ipyfleet/user-made",
        "var/log/dpkg.log",
    )

    def clean(self, root: Path) -> None:
        environment = {"IPYFLEET_ROOT": str(root), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        subprocess.run(["sh", str(script("clean-for-image.sh"))], check=True, env=environment)

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        for name in (*self.SECRET, *self.KEPT, "etc/machine-id"):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("content")
        (tmp_path / "var/lib/cloud/instance").symlink_to("instances/i-1")
        return tmp_path

    def test_what_is_the_machines_own_goes_and_the_rest_stays(self, root: Path) -> None:
        self.clean(root)
        assert [name for name in self.SECRET if (root / name).exists()] == []
        assert [name for name in self.KEPT if not (root / name).exists()] == []
        assert (root / "etc/machine-id").read_text() == ""

    def test_it_may_be_repeated_and_needs_nothing_to_be_there(self, root: Path, tmp_path: Path) -> None:
        self.clean(root)
        self.clean(root)
        shutil.rmtree(root / "var")
        self.clean(root)

    def test_an_id_that_is_a_link_stays_one(self, root: Path) -> None:
        link = root / "var/lib/dbus/machine-id"
        link.unlink()
        link.symlink_to("/etc/machine-id")
        self.clean(root)
        assert link.is_symlink()
