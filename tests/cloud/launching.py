"""RunInstances as EC2 carries it out, where moto does less: tokens, counts, room, quotas, market and placement."""

from __future__ import annotations

import hashlib
import json
import secrets
from base64 import b64decode
from collections.abc import Callable
from typing import Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS, INSTANCE_TYPES

from .answers import ON_DEMAND, SPOT, Answers, vcpus
from .calls import Call
from .faults import Faults

ALIVE = ("pending", "running", "stopping", "stopped")
USER_DATA_LIMIT = 16384


class NoRoom(EC2ClientError):
    """The cloud has no room; an error of the server's, so that SDKs try again by themselves."""

    status_code = 500
    is_sender_fault = False


class Tokens:
    """The client tokens of an account: what was asked with them, and what was made."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[str, Any]] = {}

    def known(self, region: str, call: Call) -> Any | None:
        """What an earlier call with the same token made; raises EC2ClientError when it asked for something else."""
        token = call.params.get("ClientToken", "")
        if len(token) > 64 or not token.isascii():
            raise EC2ClientError("InvalidParameterValue", "Invalid value for the parameter ClientToken")
        before = self._known.get((region, token))
        if before and before[0] != _digest(call):
            message = (
                "Arguments on this idempotent request are inconsistent with arguments used in previous request(s)."
            )
            raise EC2ClientError("IdempotentParameterMismatch", message)
        return before[1] if before else None

    def remember(self, region: str, call: Call, made: Any) -> None:
        """Keep what a call made; one without a token is forgotten."""
        if "ClientToken" in call.params:
            self._known[region, call.params["ClientToken"]] = (_digest(call), made)


def _digest(call: Call) -> str:
    return hashlib.sha256(json.dumps(call.params, sort_keys=True).encode()).hexdigest()


def launch(
    backend: Any,
    call: Call,
    tokens: Tokens,
    faults: Faults,
    answers: Answers,
    make: Callable[[int], Any],
    wanted: dict[str, Any],
) -> tuple[Any, bool]:
    """The reservation that a call makes or made before, and whether it is new; ``make`` is moto's own way, by count."""
    known = tokens.known(backend.region_name, call)
    if known is not None:
        return known, False
    spot = bool(wanted.get("instance_market_options"))
    zone = settle(backend, wanted)
    check(backend, call, answers, wanted, zone, spot)
    least, most = int(call.params.get("MinCount", 1)), int(call.params.get("MaxCount", 1))
    kind = wanted["instance_type"]
    alive = [one for one in backend.all_instances() if one.state in ALIVE]
    here = [(one.placement.zone, one.instance_type, one.lifecycle == "spot") for one in alive]
    count = int(min(most, faults.room(here, zone, kind, spot)))
    if count < least:
        raise NoRoom(
            "InsufficientInstanceCapacity",
            f"We currently do not have sufficient {kind} capacity in the Availability Zone you requested ({zone}).",
        )
    _check_quota(answers, alive, kind, count, spot)
    reservation = make(count)
    for instance in reservation.instances:
        _finish(instance, call, spot)
    tokens.remember(backend.region_name, call, reservation)
    return reservation, True


def check(backend: Any, call: Call, answers: Answers, wanted: dict[str, Any], zone: str, spot: bool) -> None:
    """Raise EC2ClientError for what EC2 refuses and moto takes."""
    size = len(b64decode(call.params.get("UserData", "")))
    if size > USER_DATA_LIMIT:
        raise EC2ClientError("InvalidParameterValue", f"User data is limited to {USER_DATA_LIMIT} bytes")
    kind, image = wanted["instance_type"], backend.amis.get(call.params.get("ImageId"))
    known = INSTANCE_TYPES.get(kind)
    if known and image and image.architecture not in known["ProcessorInfo"]["SupportedArchitectures"]:
        raise EC2ClientError(
            "InvalidParameterValue",
            f"The architecture '{known['ProcessorInfo']['SupportedArchitectures'][0]}' of the specified instance type "
            f"does not match the architecture '{image.architecture}' of the specified AMI. Specify an instance type "
            "and an AMI that have matching architectures, and try again. You can use 'describe-instance-types' or "
            "'describe-images' to discover the architecture of the instance type or AMI.",
        )
    if image and image.state != "available":
        raise EC2ClientError("InvalidAMIID.Unavailable", f"The image ID '{image.id}' is not available")
    offered = INSTANCE_TYPE_OFFERINGS["availability-zone"].get(backend.region_name, [])
    somewhere = {one["Location"] for one in offered if one["InstanceType"] == kind}
    if somewhere and zone not in somewhere:
        message = (
            f"Your requested instance type ({kind}) is not supported in your requested Availability Zone ({zone})."
        )
        raise EC2ClientError("Unsupported", message)
    group = call.params.get("Placement", {}).get("GroupName")
    if group and group not in answers.placement_groups:
        raise EC2ClientError("InvalidPlacementGroup.Unknown", f"The Placement Group '{group}' is unknown.")
    price = call.params.get("InstanceMarketOptions", {}).get("SpotOptions", {}).get("MaxPrice")
    if spot and price and float(price) < (least := answers.prices.on_spot(kind, zone)):
        message = (
            f"Your Spot request price of {price} is lower than the minimum required Spot request fulfillment price"
        )
        raise EC2ClientError("SpotMaxPriceTooLow", f"{message} of {least:.4f}.")


def _check_quota(answers: Answers, alive: list[Any], kind: str, count: int, spot: bool) -> None:
    running = [one for one in alive if one.state in ("pending", "running")]
    used = sum(vcpus(one.instance_type) for one in running if (one.lifecycle == "spot") is spot)
    if used + count * vcpus(kind) <= answers.quotas[SPOT if spot else ON_DEMAND]:
        return
    if spot:
        raise EC2ClientError("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded")
    quota = f"{answers.quotas[ON_DEMAND]:.0f}"
    message = f"You have requested more vCPU capacity than your current vCPU limit of {quota} allows for the instance"
    raise EC2ClientError("VcpuLimitExceeded", f"{message} bucket that the specified instance type belongs to.")


def settle(backend: Any, wanted: dict[str, Any]) -> str:
    """The zone that a call means; where it names no subnet it gets the default one there, as EC2 chooses it."""
    interfaces = wanted.get("nics") or []
    subnet = wanted.get("subnet_id") or next((one["SubnetId"] for one in interfaces if "SubnetId" in one), None)
    if not subnet:
        if backend.get_default_vpc() is None:
            message = "No default VPC for this user. GroupName is only supported for EC2-Classic and default VPC."
            raise EC2ClientError("VPCIdNotSpecified", message)
        defaults = {one.availability_zone: one.id for one in backend.describe_subnets() if one.default_for_az}
        zone = wanted.get("placement") or min(defaults, default="")
        if zone not in defaults:
            message = f"No default subnet for availability zone: '{zone}'."
            raise EC2ClientError("MissingInput", message)
        subnet = defaults[zone]
        for interface in interfaces[:1]:
            interface["SubnetId"] = subnet
        if not interfaces:
            wanted["subnet_id"] = subnet
    return str(backend.get_subnet(subnet).availability_zone)


def _finish(instance: Any, call: Call, spot: bool) -> None:
    """What moto leaves out of a new instance."""
    for interface in instance.nics.values():
        interface.add_tags(call.tags("network-interface"))
    instance.placement.group_name = call.params.get("Placement", {}).get("GroupName", "")
    if spot:
        instance.spot_instance_request_id = f"sir-{secrets.token_hex(4)}"
        instance.spot_options = call.params["InstanceMarketOptions"].get("SpotOptions", {})
