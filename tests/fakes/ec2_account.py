"""An account's instances in memory: what EC2 answers to launching, describing, ending and tagging them, and its faults.

Requests are checked by the SDK's own description of EC2. Time passes with every look: what is pending runs at the next.
"""

from __future__ import annotations

import copy
import dataclasses
from base64 import b64encode
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Any

from botocore.exceptions import ClientError
from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

from fabfile.providers.ec2.api import Api
from fabfile.settings import Settings

NEXT = {"pending": "running", "shutting-down": "terminated", "stopping": "stopped"}


def error(code: str, operation: str = "RunInstances", message: str = "injected") -> ClientError:
    """An error as the SDK raises it."""
    return ClientError({"Error": {"Code": code, "Message": message}}, operation)


@cache
def model() -> ServiceModel:
    return ServiceModel(Loader().load_service_model("ec2", "service-2"), "ec2")


@dataclasses.dataclass
class Account:
    """``room`` limits what a (type, subnet) still has; ``unseen`` is how many looks new instances stay invisible.

    ``slow`` is for how many looks an instance stays as it is before it takes the next step by itself.

    ``faults`` are raised by the next calls of an operation, one each: an error, or a function that gets the real answer
    and may raise (a lost reply).
    """

    room: dict[tuple[str, str], int] = dataclasses.field(default_factory=dict)
    faults: dict[str, list[Any]] = dataclasses.field(default_factory=dict)
    unseen: int = 0
    slow: int = 0
    quota: dict[str, int] = dataclasses.field(default_factory=dict)  # machines of a type
    calls: list[tuple[str, dict[str, Any]]] = dataclasses.field(default_factory=list)
    instances: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    hidden: dict[str, int] = dataclasses.field(default_factory=dict)
    tokens: dict[str, tuple[Any, list[str]]] = dataclasses.field(default_factory=dict)
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    def count(self, operation: str) -> int:
        return Counter(name for name, _ in self.calls)[operation]

    def asked(self, operation: str) -> list[dict[str, Any]]:
        return [arguments for name, arguments in self.calls if name == operation]

    def __getattr__(self, operation: str) -> Callable[..., dict[str, Any]]:
        if operation.startswith("_"):
            raise AttributeError(operation)
        name = "".join(word.capitalize() for word in operation.split("_"))
        shape = model().operation_model(name).input_shape
        work = getattr(self, f"_{operation}")

        def call(**arguments: Any) -> dict[str, Any]:
            self.calls.append((operation, copy.deepcopy(arguments)))
            if isinstance(arguments.get("UserData"), bytes):  # the SDK does the same before it looks at the request
                arguments["UserData"] = b64encode(arguments["UserData"]).decode()
            report = ParamValidator().validate(arguments, shape)
            assert not report.has_errors(), report.generate_report()
            fault = self.faults[operation].pop(0) if self.faults.get(operation) else None
            if isinstance(fault, Exception):
                raise fault
            answer = work(**arguments)
            if fault:
                fault(answer)
            return copy.deepcopy(answer)

        return call

    def _run_instances(self, **asked: Any) -> dict[str, Any]:
        token = asked.pop("ClientToken")
        known = self.tokens.get(token)
        if known and known[0] != asked:
            raise error("IdempotentParameterMismatch")
        if not known:
            kind, subnet = asked["InstanceType"], asked["NetworkInterfaces"][0]["SubnetId"]
            count = min(asked["MaxCount"], self.room.get((kind, subnet), asked["MaxCount"]))
            allowed = self.quota.get(kind, 9999) - sum(one["InstanceType"] == kind for one in self.instances.values())
            if allowed < asked["MinCount"]:
                raise error("VcpuLimitExceeded")
            count = min(count, allowed)
            if count < asked["MinCount"]:
                raise error("InsufficientInstanceCapacity")
            if (kind, subnet) in self.room:
                self.room[kind, subnet] -= count
            known = self.tokens[token] = asked, [self.launch(asked, offset) for offset in range(count)]
        return {"Instances": [self.instances[one] for one in known[1]]}

    def launch(self, asked: dict[str, Any], offset: int = 0) -> str:
        number = len(self.instances) + 1
        interface = asked["NetworkInterfaces"][0]
        one = {
            "InstanceId": f"i-{number:017x}",
            "State": {"Name": "pending"},
            "AmiLaunchIndex": offset,
            "InstanceType": asked["InstanceType"],
            "SubnetId": interface["SubnetId"],
            "Placement": {"AvailabilityZone": f"zone of {interface['SubnetId']}"},
            "PrivateIpAddress": f"127.77.{number // 250}.{number % 250 + 4}",
            "LaunchTime": self.now(),
            "Tags": asked["TagSpecifications"][0]["Tags"],
            "wants": interface["AssociatePublicIpAddress"],
        }
        if "InstanceMarketOptions" in asked:
            one["InstanceLifecycle"] = "spot"
        self.instances[one["InstanceId"]] = one
        self.hidden[one["InstanceId"]] = self.unseen
        return str(one["InstanceId"])

    def end(self, instance: str, reason: str = "Client.UserInitiatedShutdown", state: str = "terminated") -> None:
        self.instances[instance] |= {"State": {"Name": state}, "StateReason": {"Code": reason, "Message": reason}}
        self.instances[instance].pop("PrivateIpAddress", None)
        self.instances[instance].pop("PublicIpAddress", None)

    def ids(self, *states: str) -> list[str]:
        return [name for name, one in self.instances.items() if one["State"]["Name"] in (states or ("running",))]

    def _describe_instances(self, Filters: list[dict[str, Any]], **_: Any) -> dict[str, Any]:
        seen = [one for one in self.instances.values() if all(_fits(one, wanted) for wanted in Filters)]
        seen = [one for one in seen if self.hidden[one["InstanceId"]] <= 0]
        answer = copy.deepcopy(seen)
        self.slow -= 1
        for one in self.instances.values() if self.slow < 0 else ():
            self.hidden[one["InstanceId"]] -= 1
            one["State"] = {"Name": NEXT.get(one["State"]["Name"], one["State"]["Name"])}
            if one["State"]["Name"] == "running" and one["wants"]:
                one["PublicIpAddress"] = one["PrivateIpAddress"].replace("127.77", "127.78")
            elif one["State"]["Name"] != "running":
                one.pop("PublicIpAddress", None)
        return {"Reservations": [{"Instances": [one]} for one in answer]}

    def _change(self, ids: list[str], state: str, allowed: tuple[str, ...]) -> dict[str, Any]:
        for one in ids:
            if one not in self.instances or self.hidden[one] > 0:
                raise error("InvalidInstanceID.NotFound")
            if self.instances[one]["State"]["Name"] not in allowed:
                raise error("IncorrectInstanceState")
            if self.instances[one]["State"]["Name"] != "terminated":
                self.instances[one]["State"] = {"Name": state}
        return {}

    def _terminate_instances(self, InstanceIds: list[str]) -> dict[str, Any]:
        states = ("pending", "running", "stopping", "stopped", "shutting-down", "terminated")
        return self._change(InstanceIds, "shutting-down", states)

    def _stop_instances(self, InstanceIds: list[str]) -> dict[str, Any]:
        if any(self.instances[one].get("InstanceLifecycle") for one in InstanceIds):
            raise error("UnsupportedOperation")
        return self._change(InstanceIds, "stopping", ("running", "stopping", "stopped"))

    def _start_instances(self, InstanceIds: list[str]) -> dict[str, Any]:
        return self._change(InstanceIds, "pending", ("stopped", "pending", "running"))

    def _create_tags(self, Resources: list[str], Tags: list[dict[str, str]]) -> dict[str, Any]:
        for one in Resources:
            if one not in self.instances:
                raise error("InvalidInstanceID.NotFound")
        for one in Resources:
            left = [tag for tag in self.instances[one]["Tags"] if tag["Key"] not in {new["Key"] for new in Tags}]
            self.instances[one]["Tags"] = left + Tags
        return {}


def _fits(one: dict[str, Any], wanted: dict[str, Any]) -> bool:
    its_tags = {tag["Key"]: tag["Value"] for tag in one["Tags"]}
    if wanted["Name"] == "tag-key":
        return any(key in its_tags for key in wanted["Values"])
    if wanted["Name"] == "instance-id":
        return one["InstanceId"] in wanted["Values"]
    assert wanted["Name"].startswith("tag:"), wanted
    return its_tags.get(wanted["Name"].removeprefix("tag:")) in wanted["Values"]


class AccountApi(Api):
    """The clients of an account in memory."""

    def __init__(self, account: Account, settings: Settings | None = None) -> None:
        super().__init__(settings or Settings())
        self.account = account

    @property
    def region(self) -> str:
        return "eu-central-1"

    @property
    def ec2(self) -> Any:
        return self.account

    @property
    def ec2_once(self) -> Any:
        return self.account

    def paged(self, operation: str, key: str, *, client: Any = None, **arguments: Any) -> list[dict[str, Any]]:
        answer: list[dict[str, Any]] = getattr(self.account, operation)(**arguments)[key]
        return answer
