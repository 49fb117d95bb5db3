"""Where the cloud takes hold of moto 5.2: its own methods, replaced while the server runs.

A name that moto no longer has is an error here at once, so that a new version of moto is noticed.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from moto import settings
from moto.core.responses import ActionResult
from moto.core.types import Base64EncodedString
from moto.ec2 import utils
from moto.ec2.exceptions import (
    EC2ClientError,
    InvalidInstanceIdError,
    InvalidInstanceTypeError,
    InvalidParameterCombination,
)
from moto.ec2.models.amis import AmiBackend
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS
from moto.ec2.models.instances import Instance, InstanceBackend, StateReason
from moto.ec2.models.key_pairs import KeyPairBackend
from moto.ec2.models.security_groups import SecurityGroupBackend
from moto.ec2.responses._base_response import EC2BaseResponse
from moto.ec2.responses.general import General
from moto.ec2.responses.instances import InstanceResponse
from moto.ec2.responses.spot_instances import SpotInstances

from . import images, key_pairs, launching
from .machines import tags_of

if TYPE_CHECKING:
    from .server import Cloud

CONSOLE_LIMIT = 65536
PAGE = 1000
SELF = "Client.InstanceInitiatedShutdown"
INTERRUPTED = "Server.SpotInstanceTermination"


def install(cloud: Cloud, patches: pytest.MonkeyPatch) -> None:
    """Replace moto's methods by those of a cloud, until ``patches`` are undone."""
    if Instance.reboot.__module__ == __name__:
        raise RuntimeError("there is a cloud in this process, and moto keeps one account for all: use its fixture")
    for name in ("ENABLE_AMI_VALIDATION", "ENABLE_KEYPAIR_VALIDATION", "EC2_ENABLE_INSTANCE_TYPE_VALIDATION"):
        patches.setattr(settings, name, True)
    patches.setitem(utils.filter_dict_attribute_mapping, "client-token", "client_token")
    answers = EC2BaseResponse.RESPONSE_KEY_PATH_TO_TRANSFORMER
    patches.setitem(answers, "RunInstances.Reservation.Instances.Instance.State", _launched)
    patches.setattr(InvalidInstanceTypeError, "__init__", _unknown_type)
    patches.setattr(AmiBackend, "_load_amis", images.publish)
    patches.setattr(AmiBackend, "create_image", _create_image(cloud))
    for name, make in (("__init__", _init), ("start", _start), ("stop", _stop)):
        patches.setattr(Instance, name, make(cloud, getattr(Instance, name)))
    patches.setattr(Instance, "terminate", _terminate(cloud, Instance.terminate))
    patches.setattr(Instance, "reboot", lambda self: cloud.lives[self.id].reboot())
    patches.setattr(InstanceBackend, "run_instances", _run(cloud, InstanceBackend.run_instances))
    for name in ("create_key_pair", "import_key_pair"):
        patches.setattr(KeyPairBackend, name, _fingerprinted(getattr(KeyPairBackend, name)))
    by_id = InstanceBackend.get_multi_instances_by_id
    patches.setattr(InstanceBackend, "get_multi_instances_by_id", _seen_only(cloud, by_id))
    patches.setattr(InstanceResponse, "describe_instances", _describe(cloud))
    unused = _unused_only(SecurityGroupBackend.delete_security_group)
    patches.setattr(SecurityGroupBackend, "delete_security_group", unused)
    patches.setattr(General, "get_console_output", _console(cloud))
    patches.setattr(SpotInstances, "describe_spot_price_history", _spot_prices(cloud))


def _launched(state: Any) -> dict[str, Any]:
    """The state in an answer of RunInstances: what runs by then is told as pending, what ended is told as it is."""
    return {"Code": 0, "Name": "pending"} if state.name == "running" else {"Code": state.code, "Name": state.name}


def _unknown_type(self: Any, kind: Any, error_type: str = "") -> None:
    """RunInstances and DescribeInstanceTypes do not use the same words for a type that does not exist."""
    if isinstance(kind, str):
        EC2ClientError.__init__(self, "InvalidParameterValue", f"Invalid value '{kind}' for InstanceType.")
    else:
        message = f"The following supplied instance types do not exist: [{', '.join(kind)}]"
        EC2ClientError.__init__(self, "InvalidInstanceType", message)


def _init(cloud: Cloud, original: Callable[..., None]) -> Callable[..., None]:
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        original(self, *args, **kwargs)
        _readdress(cloud, self)
        cloud.born(self)

    return init


def _readdress(cloud: Cloud, instance: Any) -> None:
    """Give it a public address that leads to it, where it has one at all."""
    for interface in instance.nics.values():
        if interface.public_ip:
            interface.public_ip = cloud.addresses.take()


def _start(cloud: Cloud, original: Callable[..., Any]) -> Callable[..., Any]:
    def start(self: Any) -> Any:
        if self.state in ("running", "pending"):
            return copy.copy(self._state)
        if self.state != "stopped":
            message = f"The instance '{self.id}' is not in a state from which it can be started."
            raise EC2ClientError("IncorrectInstanceState", message)
        before = original(self)
        _readdress(cloud, self)
        cloud.lives[self.id].begin()
        return before

    return start


def _stop(cloud: Cloud, original: Callable[..., Any]) -> Callable[..., Any]:
    def stop(self: Any) -> Any:
        if self.state in ("stopped", "stopping"):
            return copy.copy(self._state)
        if self.state in ("terminated", "shutting-down"):
            message = f"This instance '{self.id}' is not in a state from which it can be stopped."
            raise EC2ClientError("IncorrectInstanceState", message)
        if self.lifecycle == "spot":
            message = (
                f"You can't stop the Spot Instance '{self.id}' because it is associated with a one-time Spot Instance "
                "request. You can only stop Spot Instances associated with persistent Spot Instance requests."
            )
            raise EC2ClientError("UnsupportedOperation", message)
        before = original(self)
        cloud.lives[self.id].stop()
        return before

    return stop


def _terminate(cloud: Cloud, original: Callable[..., Any]) -> Callable[..., Any]:
    def terminate(self: Any) -> Any:
        if self.state in ("terminated", "shutting-down"):
            return copy.copy(self._state)
        before = original(self)
        cloud.lives[self.id].terminate()
        return before

    return terminate


def power_off(instance: Any) -> None:
    """What EC2 does when a machine switched itself off."""
    if instance.instance_initiated_shutdown_behavior == "terminate" or instance.lifecycle == "spot":
        instance.terminate()
    else:
        instance.stop()
    instance.state_reason = StateReason(f"{SELF}: Instance initiated shutdown", SELF)
    instance._reason = ""


def interrupt(instance: Any) -> None:
    """What EC2 does when it takes a spot instance away."""
    instance.terminate()
    instance.state_reason = StateReason(f"{INTERRUPTED}: Spot instance termination", INTERRUPTED)
    instance._reason = f"Server.SpotInstanceTermination ({time.strftime('%Y-%m-%d %H:%M:%S GMT', time.gmtime())})"


def end_early(instance: Any, code: str) -> None:
    """What EC2 does with an instance that cannot be launched after all."""
    instance.terminate()
    instance.state_reason = StateReason(f"{code}: the instance did not launch", code)
    instance._reason = code


def _run(cloud: Cloud, original: Callable[..., Any]) -> Callable[..., Any]:
    def run(self: Any, image_id: str, count: int, user_data: Any, groups: Any, **wanted: Any) -> Any:
        def make(number: int) -> Any:
            return original(self, image_id, number, user_data, groups, **copy.deepcopy(wanted))

        with cloud.lock:
            call = cloud.gateway.current
            how = (cloud.tokens, cloud.faults, cloud.answers, make, wanted)
            reservation, new = launching.launch(self, call, *how)
            for instance in reservation.instances if new else []:
                cloud.faults.born(instance.id)
                cloud.lives[instance.id].begin()
                if code := cloud.faults.ailing("ends", tags_of(instance)):
                    cloud.later(cloud.pace.boot / 2, partial(end_early, instance, code))
        return reservation

    return run


def _seen_only(cloud: Cloud, original: Callable[..., Any]) -> Callable[..., Any]:
    def by_id(self: Any, instance_ids: list[str], filters: Any = None) -> Any:
        found = original(self, instance_ids, filters)
        hidden = [one.id for one in found if cloud.faults.hides(one.id)]
        if hidden:
            raise InvalidInstanceIdError(hidden)
        return found

    return by_id


def _describe(cloud: Cloud) -> Callable[..., ActionResult]:
    """DescribeInstances in pages of instances, as EC2 makes them, and not of reservations."""

    def describe(self: Any) -> ActionResult:
        self.error_on_dryrun()
        ids, most = self._get_param("InstanceIds", []), self._get_param("MaxResults")
        if ids and most:
            text = "The parameter instancesSet cannot be used with the parameter maxResults"
            raise InvalidParameterCombination(text)
        filters = self._filters_from_querystring()
        backend = self.ec2_backend
        if ids:
            found = backend.get_reservations_by_instance_ids(ids, filters=filters)
        else:
            found = backend.describe_instances(filters=filters)
        pairs = [(whole, one) for whole in found for one in whole.instances if not cloud.faults.hides(one.id)]
        if ids and (missing := set(ids) - {one.id for _, one in pairs}) and not filters:
            raise InvalidInstanceIdError(sorted(missing))
        start, size = int(self._get_param("NextToken") or 0), int(most or PAGE)
        page: dict[str, Any] = {}
        for whole, one in pairs[start : start + size]:
            if whole.id not in page:
                page[whole.id] = copy.copy(whole)
                page[whole.id].instances = []
            page[whole.id].instances.append(one)
        more = str(start + size) if start + size < len(pairs) else None
        return ActionResult({"Reservations": list(page.values()), "NextToken": more})

    return describe


def _fingerprinted(original: Callable[..., Any]) -> Callable[..., Any]:
    def make(self: Any, *args: Any, **kwargs: Any) -> Any:
        pair = original(self, *args, **kwargs)
        pair.key_fingerprint = key_pairs.fingerprint(pair)
        return pair

    return make


def _unused_only(original: Callable[..., Any]) -> Callable[..., Any]:
    def delete(self: Any, name: str | None = None, group_id: str | None = None) -> Any:
        for instance in self.all_instances():
            groups = [group for interface in instance.nics.values() for group in interface.group_set]
            if instance.state != "terminated" and any(group_id == one.id or name == one.name for one in groups):
                raise EC2ClientError("DependencyViolation", f"resource {group_id or name} has a dependent object")
        for group in [one for groups in self.groups.values() for one in groups.values() if one.id != group_id]:
            for rule in group.ingress_rules:
                if (rule.source_group or {}).get("GroupId") == group_id:
                    raise EC2ClientError("DependencyViolation", f"resource {group_id} has a dependent object")
        return original(self, name, group_id)

    return delete


def _console(cloud: Cloud) -> Callable[..., ActionResult]:
    def console(self: Any) -> ActionResult:
        instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
        text = cloud.lives[instance.id].machine.console()[-CONSOLE_LIMIT:]
        output = Base64EncodedString.from_raw_string(text)
        return ActionResult({"InstanceId": instance.id, "Timestamp": time.time(), "Output": output})

    return console


def _spot_prices(cloud: Cloud) -> Callable[..., ActionResult]:
    """The prices of each wanted type in each zone: those within the wanted time, and that which held when it began."""

    def history(self: Any) -> ActionResult:
        kinds, zone = self._get_param("InstanceTypes", []), self._get_param("AvailabilityZone")
        zones = [*self._filters_from_querystring().get("availability-zone", []), *([zone] if zone else [])]
        since, until = (_seconds(self._get_param(name)) for name in ("StartTime", "EndTime"))
        found = [
            {
                "InstanceType": one["InstanceType"],
                "AvailabilityZone": one["Location"],
                "ProductDescription": "Linux/UNIX",
                "SpotPrice": f"{price:.6f}",
                "Timestamp": datetime.fromtimestamp(begun, UTC),
            }
            for one in INSTANCE_TYPE_OFFERINGS["availability-zone"].get(self.region, [])
            if (not kinds or one["InstanceType"] in kinds) and (not zones or one["Location"] in zones)
            for begun, price in cloud.answers.prices.spot_history(one["InstanceType"], one["Location"], since, until)
        ]
        return ActionResult({"SpotPriceHistory": found})

    return history


def _seconds(stamp: Any) -> float:
    """A time of a request as seconds since the epoch; now for none."""
    if not stamp:
        return time.time()
    return (stamp if isinstance(stamp, datetime) else datetime.fromisoformat(str(stamp))).timestamp()


def _create_image(cloud: Cloud) -> Callable[..., Any]:
    original = AmiBackend.create_image

    def create(self: Any, instance_id: str, name: str, description: str, tag_specifications: list[Any]) -> Any:
        if any(image.name == name and image.owner_id == self.account_id for image in self.amis.values()):
            raise EC2ClientError("InvalidAMIName.Duplicate", f"AMI name {name} is already in use")
        own = [one for one in tag_specifications if one["ResourceType"] != "snapshot"]
        image = original(self, instance_id, name, description, own)
        for one in tag_specifications:
            if one["ResourceType"] == "snapshot":
                image.ebs_snapshot.add_tags({tag["Key"]: tag["Value"] for tag in one["Tags"]})
        image.root_device_name, image.root_device_type = image.instance.root_device_name, "ebs"
        image.state = "pending"
        life, off = cloud.lives[instance_id], cloud.gateway.current.params.get("NoReboot") != "true"
        life.capture(image.id, off=off and life.state == "running", done=lambda: setattr(image, "state", "available"))
        return image

    return create
