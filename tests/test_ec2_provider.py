"""The provider ec2 as a whole, on the test cloud with machines on paper: what it is, makes, keeps and removes."""

from __future__ import annotations

import dataclasses
import signal
import threading
import time
from collections import Counter

import pytest

from fabfile import providers
from fabfile.accounts import ImageKeeping, KeyKeeping, Sweeping
from fabfile.errors import ProviderRefused
from fabfile.machines import (
    Authorizing,
    Booting,
    Event,
    Guarding,
    KeyPublishing,
    Leasing,
    MachineState,
    Priced,
    Specifying,
    Stoppable,
    silent,
)
from fabfile.providers.ec2 import instances
from fabfile.settings import Settings
from tests.cloud.leftovers import leftovers
from tests.cloud.paper import (
    CONTROLLER,
    LAB,
    OWN,
    create,
    engines,
    names,
    provider,
    remove,
)
from tests.cloud.server import Cloud


class TestWhatItIs:
    def test_it_is_found_by_its_name_and_can_do_what_ec2_can(self) -> None:
        found = providers.get(Settings(provider="ec2"))
        assert found.name == "ec2"
        assert found.owns_machines
        abilities = (Stoppable, KeyPublishing, Booting, Leasing, Priced, KeyKeeping, ImageKeeping, Sweeping)
        for ability in (*abilities, Specifying, Guarding):
            assert isinstance(found, ability)
        assert not isinstance(found, Authorizing)

    def test_the_names_of_all_providers_are_listed(self) -> None:
        assert "ec2" in providers.NAMES

    def test_a_gateway_is_the_way_to_private_addresses(self, paper: Cloud) -> None:
        made = create(paper, *engines(0), public_address=False, gateway="me@127.0.0.9:2222")["engine-0"]
        assert made.endpoint is not None
        assert made.endpoint.host == made.private_address
        assert made.endpoint.gateway is not None
        assert made.endpoint.gateway.address == "me@127.0.0.9:2222"


class TestCreate:
    def test_the_request_as_it_comes_over_the_wire(self, paper: Cloud) -> None:
        create(paper, tags=(("project", "spectra"),))
        calls = {call.tags("instance")["ipyfleet:role"]: call for call in paper.called("RunInstances")}
        assert set(calls) == {"controller", "engine"}
        for call in calls.values():
            params = call.params
            assert params["InstanceInitiatedShutdownBehavior"] == "terminate"
            assert params["MetadataOptions"]["HttpTokens"] == "required"
            assert params["MetadataOptions"]["HttpPutResponseHopLimit"] == "1"
            (volume,) = params["BlockDeviceMapping"]
            assert (volume["Ebs"]["Encrypted"], volume["Ebs"]["DeleteOnTermination"]) == ("true", "true")
            assert call.tags("instance") == call.tags("volume") == call.tags("network-interface")
            assert call.tags("instance")["project"] == "spectra"
            assert call.tags("instance")["ipyfleet:id"] == "c0ffee"
        counts = {role: (call.params["MinCount"], call.params["MaxCount"]) for role, call in calls.items()}
        assert counts == {"controller": ("1", "1"), "engine": ("4", "4")}
        assert len({call.params["ClientToken"] for call in calls.values()}) == 2

    def test_thirty_machines_take_no_more_calls_than_two(self, paper: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(instances, "FIRST_LOOK", 0.5)
        monkeypatch.setattr(instances, "LONGEST_PAUSE", 2.0)
        create(paper, CONTROLLER, *engines(0), boot_timeout=60.0)
        few = Counter(call.action for call in paper.calls)
        remove(paper)
        paper.calls.clear()
        lab = dataclasses.replace(LAB, id="again")
        patient = provider(paper, boot_timeout=60.0)
        assert len(patient.create(lab, (CONTROLLER, *engines(*range(29))), silent)) == 30
        many = Counter(call.action for call in paper.calls)
        assert len(provider(paper).find("lab").machines) == 30
        looks = ("DescribeInstances",)  # as many as the machines take to boot
        assert {action: count for action, count in many.items() if action not in looks} == {
            action: count for action, count in few.items() if action not in looks
        }
        paper.calls.clear()
        machines = patient.find("lab").machines
        patient.note_deadline(machines, 1_900_000_000.0)
        patient.destroy("lab", machines)
        ended = Counter(call.action for call in paper.calls)
        assert (ended["CreateTags"], ended["TerminateInstances"]) == (1, 1)

    def test_a_growing_cluster_stays_in_its_zone(self, paper: Cloud) -> None:
        first, second = paper.network.subnets
        paper.faults.capacity = {first: 0}
        create(paper, CONTROLLER, *engines(0))
        paper.faults.capacity = None
        create(paper, CONTROLLER, *engines(0, 1, 2))
        assert {one.placement.zone for one in paper.instances()} == {second}

    def test_machines_that_are_removed_and_wanted_again_are_new_ones(self, paper: Cloud) -> None:
        first = create(paper)
        lab = provider(paper)
        lab.destroy("lab", [first["engine-2"]])
        again = create(paper)
        assert again["engine-2"].id != first["engine-2"].id
        assert {name: one.id for name, one in again.items() if name != "engine-2"} == {
            name: one.id for name, one in first.items() if name != "engine-2"
        }


class TestSpot:
    def test_engines_only_and_interrupted_ones_are_reported_and_replaced(self, paper: Cloud) -> None:
        made = create(paper, spot=True)
        assert {name for name, one in made.items() if one.interruptible} == {f"engine-{k}" for k in range(4)}
        paper.interrupt(made["engine-1"].id)
        (lost,) = [one for one in provider(paper).find("lab").machines if one.state is MachineState.LOST]
        assert lost.name == "engine-1"
        assert lost.detail.startswith("interrupted: ")
        lab = provider(paper, spot=True)
        lab.destroy("lab", [lost])
        assert names(paper) == ["controller", "engine-0", "engine-2", "engine-3"]
        again = create(paper, spot=True)
        assert again["engine-1"].id != lost.id
        assert all(one.state is MachineState.RUNNING for one in provider(paper).find("lab").machines)

    def test_without_spot_capacity_engines_are_on_demand_after_the_deadline(self, paper: Cloud) -> None:
        paper.faults.capacity = {"spot": 1}
        made = create(paper, spot=True, spot_deadline=0.2)
        assert Counter(one.interruptible for one in made.values()) == {True: 1, False: 4}

    def test_ctrl_c_ends_the_launching_too(self, paper: Cloud) -> None:
        paper.faults.capacity = {"spot": 0}

        def press(event: Event) -> None:
            if event.what.startswith("no spot capacity"):
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            provider(paper, spot=True, spot_deadline=30.0).create(LAB, engines(0, 1), press)
        paper.faults.capacity = None
        time.sleep(0.5)
        assert paper.instances() == []

    def test_without_fallback_they_are_missing(self, paper: Cloud) -> None:
        paper.faults.capacity = {"spot": 1}
        with pytest.raises(ProviderRefused, match="2 of 5 machines came") as refused:
            create(paper, spot=True, spot_deadline=0.1, spot_fallback=False)
        assert "on spot" in refused.value.seen

    def test_stopping_ends_them_and_keeps_the_others(self, paper: Cloud) -> None:
        made = create(paper, CONTROLLER, *engines(0), spot=True)
        lab = provider(paper)
        lab.stop("lab", list(made.values()))
        (left,) = lab.find("lab").machines
        assert (left.name, left.state) == ("controller", MachineState.STOPPED)


class TestLife:
    def test_started_machines_have_new_public_addresses(self, paper: Cloud) -> None:
        made = create(paper, CONTROLLER, *engines(0))
        lab = provider(paper)
        lab.stop("lab", list(made.values()))
        paper.pace.boot = 0.3
        assert {one.state for one in lab.find("lab").machines} == {MachineState.STOPPED}
        assert all(one.endpoint is None for one in lab.find("lab").machines)
        started = {one.name: one for one in lab.start("lab", list(made.values()))}
        assert list(started) == list(made)
        for name, one in started.items():
            assert one.state is MachineState.RUNNING
            before = made[name]
            assert (one.id, one.private_address, one.host_keys) == (before.id, before.private_address, before.host_keys)
            assert one.endpoint is not None
            assert before.endpoint is not None
            assert one.endpoint.host != before.endpoint.host
            assert one.endpoint.key_alias == before.endpoint.key_alias == one.id

    def test_with_the_boot_of_a_started_machine_its_lease_begins_anew(self, paper: Cloud) -> None:
        made = list(create(paper, CONTROLLER).values())
        lab = provider(paper, lease=3600.0)
        lab.note_deadline(made, 1_900_000_000.0)
        lab.stop("lab", made)
        (one,) = lab.start("lab", made)
        assert one.deadline == pytest.approx(time.time() + 3600, abs=60)

    def test_starting_lets_this_computer_in_from_where_it_is_now(self, paper: Cloud) -> None:
        made = create(paper, CONTROLLER)
        provider(paper).stop("lab", list(made.values()))
        paper.calls.clear()
        provider(paper, ssh_from=("127.9.0.0/16",)).start("lab", list(made.values()))
        (rule,) = paper.called("AuthorizeSecurityGroupIngress")
        assert "127.9.0.0/16" in str(rule.params)
        assert provider(paper).settings.ssh_from[0] in str(paper.called("RevokeSecurityGroupIngress")[0].params)

    def test_one_that_switched_itself_off_is_gone(self, paper: Cloud) -> None:
        made = create(paper, CONTROLLER, *engines(0))
        paper.lives[made["engine-0"].id].power_off()
        assert names(paper) == ["controller"]

    def test_host_keys_that_do_not_fit_into_a_tag_are_refused(self, paper: Cloud) -> None:
        made = create(paper, CONTROLLER)["controller"]
        with pytest.raises(ProviderRefused, match="do not fit"):
            provider(paper).publish_host_keys(made, [OWN] * 4, "")

    def test_the_console_of_nothing_is_empty(self, paper: Cloud) -> None:
        made = create(paper, CONTROLLER)["controller"]
        assert "on paper" in provider(paper).console(made)
        assert provider(paper).console(dataclasses.replace(made, id="i-0123456789abcdef0")) == ""
        provider(paper).destroy("lab", [made])
        assert provider(paper).console(made) == ""

    def test_a_console_of_an_older_type_is_read_as_it_was_posted_last(self, paper: Cloud) -> None:
        made = create(paper, CONTROLLER)["controller"]
        paper.faults.plan("GetConsoleOutput", "UnsupportedOperation", when=lambda call: "Latest" in call.params)
        assert "on paper" in provider(paper).console(made)


class TestRemains:
    def test_a_cluster_of_which_only_group_and_key_are_left_is_found_and_cleaned(self, paper: Cloud) -> None:
        create(paper, CONTROLLER)
        lab = provider(paper)
        lab.destroy("lab", lab.find("lab").machines)
        found = lab.find("lab")
        assert (found.cluster, found.machines) == (LAB, ())
        lab.clean("lab")
        assert lab.find("lab").cluster is None
        assert leftovers(paper) == []

    def test_a_group_in_use_is_waited_for(self, paper: Cloud) -> None:
        paper.pace.end = 0.3
        create(paper, CONTROLLER)
        remove(paper)
        assert leftovers(paper) == []
        assert any(call.error == "DependencyViolation" for call in paper.called("DeleteSecurityGroup"))

    def test_a_volume_that_outlived_its_machine_goes_too(self, paper: Cloud) -> None:
        create(paper, CONTROLLER)
        api = provider(paper).api
        tags = [{"ResourceType": "volume", "Tags": [{"Key": "ipyfleet:cluster", "Value": "lab"}]}]
        zone = next(iter(paper.network.subnets))
        api.ec2.create_volume(AvailabilityZone=zone, Size=1, TagSpecifications=tags)
        others = api.ec2.create_volume(AvailabilityZone=zone, Size=1)["VolumeId"]
        remove(paper)
        assert leftovers(paper) == [f"volume {others}"]

    def test_machines_that_are_there_are_named_and_nothing_is_taken_from_them(self, paper: Cloud) -> None:
        create(paper)
        with pytest.raises(ProviderRefused, match="controller"):
            provider(paper).clean("lab")
        assert len(create(paper)) == 5
