"""Answers to what moto cannot answer: placement groups, prices and quotas, as small as a client can read them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape

from moto.ec2.models.instance_types import INSTANCE_TYPES

from .calls import Call

XMLNS = "http://ec2.amazonaws.com/doc/2016-11-15/"
ON_DEMAND, SPOT = "L-1216C47A", "L-34B43A08"
STANDARD = "Standard (A, C, D, H, I, M, R, T, Z)"


@dataclass(frozen=True)
class Answer:
    """A whole HTTP answer."""

    status: int
    content_type: str
    body: bytes


@dataclass
class Prices:
    """US dollars an hour by instance type; a type that is not listed costs by its processors."""

    on_demand: dict[str, float] = field(default_factory=dict)
    spot: dict[str, float] = field(default_factory=dict)
    storage: float = 0.0952  # a GB and month of gp3

    def of(self, kind: str) -> float:
        """The on-demand price."""
        return self.on_demand.get(kind, 0.05 * vcpus(kind))

    def on_spot(self, kind: str, zone: str) -> float:
        """The spot price; a little more in every further zone."""
        return self.spot.get(kind, 0.4 * self.of(kind)) * (1 + 0.05 * (ord(zone[-1]) - ord("a")))

    def spot_history(self, kind: str, zone: str, since: float, until: float) -> list[tuple[float, float]]:
        """(Since when, price) for all changes in that time and the one before; it fell to what it is an hour ago."""
        price, now = self.on_spot(kind, zone), time.time()
        changes = [(now - 90 * 86400, price * 1.5), (now - 86400, price * 1.3), (now - 3600, price)]
        before = [change for change in changes if change[0] < since][-1:]
        return [*before, *(change for change in changes if since <= change[0] <= until)]


def vcpus(kind: str) -> int:
    """The virtual processors of a type."""
    known = INSTANCE_TYPES.get(kind, {})
    return int(known.get("VCpuInfo", {}).get("DefaultVCpus", 2))


@dataclass
class Answers:
    """The part of the account that moto does not keep."""

    prices: Prices = field(default_factory=Prices)
    quotas: dict[str, float] = field(default_factory=lambda: {ON_DEMAND: 2000.0, SPOT: 2000.0})
    placement_groups: dict[str, str] = field(default_factory=dict)  # name → strategy

    def to(self, call: Call) -> Answer | None:
        """The answer to a call; None for what moto answers."""
        known: dict[str, Callable[[Call], Answer]] = {
            "ec2:CreatePlacementGroup": self._create_group,
            "ec2:DescribePlacementGroups": self._describe_groups,
            "ec2:DeletePlacementGroup": self._delete_group,
            "pricing:GetProducts": self._products,
            "servicequotas:GetServiceQuota": self._quota,
            "servicequotas:ListServiceQuotas": self._quota_list,
        }
        known["servicequotas:GetAWSDefaultServiceQuota"] = self._quota
        answer = known.get(call.permission)
        return answer(call) if answer else None

    def _create_group(self, call: Call) -> Answer:
        name = call.params["GroupName"]
        if name in self.placement_groups:
            return error(call, "InvalidPlacementGroup.Duplicate", f"The Placement Group '{name}' already exists.")
        self.placement_groups[name] = call.params.get("Strategy", "cluster")
        return _xml(call, "<return>true</return>")

    def _describe_groups(self, call: Call) -> Answer:
        named = call.params.get("GroupName", [])
        for name in [*named, *call.filters().get("group-name", [])]:
            if name in named and name not in self.placement_groups:
                return error(call, "InvalidPlacementGroup.Unknown", f"The Placement Group '{name}' is unknown.")
            named = [*named, name]
        items = [
            f"<item><groupName>{escape(name)}</groupName><groupId>pg-{index:017x}</groupId><state>available</state>"
            f"<strategy>{strategy}</strategy></item>"
            for index, (name, strategy) in enumerate(self.placement_groups.items())
            if not named or name in named
        ]
        return _xml(call, f"<placementGroupSet>{''.join(items)}</placementGroupSet>")

    def _delete_group(self, call: Call) -> Answer:
        name = call.params["GroupName"]
        if self.placement_groups.pop(name, None) is None:
            return error(call, "InvalidPlacementGroup.Unknown", f"The Placement Group '{name}' is unknown.")
        return _xml(call, "<return>true</return>")

    def _products(self, call: Call) -> Answer:
        wanted = {one["Field"]: one["Value"] for one in call.params.get("Filters", [])}
        found = [
            json.dumps(_product(attributes, price, unit))
            for attributes, price, unit in self._offers(wanted)
            if all(attributes.get(name) == value for name, value in wanted.items())
        ]
        most = int(call.params.get("MaxResults", 100))
        start = int(call.params.get("NextToken", 0))
        body: dict[str, Any] = {"FormatVersion": "aws_v1", "PriceList": found[start : start + most]}
        if start + most < len(found):
            body["NextToken"] = str(start + most)
        return _json(body)

    def _offers(self, wanted: dict[str, str]) -> Iterator[tuple[dict[str, str], float, str]]:
        """Everything that could be meant: what is wanted, and what costs otherwise and is easily taken for it."""
        region = wanted.get("regionCode", "eu-central-1")
        shared = {"regionCode": region, "locationType": "AWS Region"}
        usual = {"tenancy": "Shared", "preInstalledSw": "NA", "capacitystatus": "Used", "operatingSystem": "Linux"}
        common = {**shared, **usual, "licenseModel": "No License required", "operation": "RunInstances"}
        for kind in [wanted["instanceType"]] if "instanceType" in wanted else INSTANCE_TYPES:
            if kind not in INSTANCE_TYPES:
                continue
            its = {**common, "instanceType": kind, "vcpu": str(vcpus(kind)), "productFamily": "Compute Instance"}
            price = self.prices.of(kind)
            yield {**its, "operatingSystem": "Windows", "operation": "RunInstances:0002"}, price * 1.9, "Hrs"
            yield {**its, "capacitystatus": "UnusedCapacityReservation"}, price, "Hrs"
            yield {**its, "capacitystatus": "AllocatedCapacityReservation"}, 0.0, "Hrs"
            yield {**its, "tenancy": "Dedicated"}, price * 1.1, "Hrs"
            yield {**its, "preInstalledSw": "SQL Web", "operation": "RunInstances:0200"}, price * 1.7, "Hrs"
            yield its, price, "Hrs"
        for name, factor in (("gp3", 1.0), ("gp2", 1.25), ("io1", 1.6)):
            storage = {**shared, "productFamily": "Storage", "volumeApiName": name}
            yield storage, self.prices.storage * factor, "GB-Mo"

    def _quota(self, call: Call) -> Answer:
        code = call.params["QuotaCode"]
        if call.params["ServiceCode"] != "ec2" or code not in self.quotas:
            return error(call, "NoSuchResourceException", "The request failed because the resource does not exist.")
        return _json({"Quota": self._as_quota(code)})

    def _quota_list(self, call: Call) -> Answer:
        return _json({"Quotas": [self._as_quota(code) for code in self.quotas]})

    def _as_quota(self, code: str) -> dict[str, Any]:
        name = f"All {STANDARD} Spot Instance Requests" if code == SPOT else f"Running On-Demand {STANDARD} instances"
        described = {"ServiceCode": "ec2", "ServiceName": "Amazon Elastic Compute Cloud (Amazon EC2)", "Unit": "None"}
        return {**described, "QuotaCode": code, "QuotaName": name, "Value": self.quotas[code], "Adjustable": True}


def error(call: Call, code: str, message: str, status: int = 400) -> Answer:
    """An error in the words of the call's protocol."""
    if call.protocol == "json":
        return _json({"__type": code, "message": message}, status)
    inner = f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
    if call.protocol == "ec2":
        text = f"<Response><Errors><Error>{inner}</Error></Errors><RequestID>0</RequestID></Response>"
    else:
        text = f"<ErrorResponse><Error><Type>Sender</Type>{inner}</Error><RequestId>0</RequestId></ErrorResponse>"
    return Answer(status, "text/xml", text.encode())


def _product(attributes: dict[str, str], price: float, unit: str) -> dict[str, Any]:
    family = {"productFamily": attributes["productFamily"]}
    sku = f"{abs(hash(tuple(sorted(attributes.items()))) % 10**12):012d}"
    dimension = {"unit": unit, "pricePerUnit": {"USD": f"{price:.10f}"}, "beginRange": "0", "endRange": "Inf"}
    term = {"sku": sku, "priceDimensions": {f"{sku}.JRTCKXETXF.6YS6EN2CT7": dimension}}
    terms = {"OnDemand": {f"{sku}.JRTCKXETXF": term}}
    rest = {name: value for name, value in attributes.items() if name != "productFamily"}
    product = {**family, "attributes": {**rest, "servicecode": "AmazonEC2"}, "sku": sku}
    return {"product": product, "serviceCode": "AmazonEC2", "terms": terms}


def _xml(call: Call, inner: str) -> Answer:
    text = f'<{call.action}Response xmlns="{XMLNS}"><requestId>0</requestId>{inner}</{call.action}Response>'
    return Answer(200, "text/xml", text.encode())


def _json(body: dict[str, Any], status: int = 200) -> Answer:
    return Answer(status, "application/x-amz-json-1.1", json.dumps(body).encode())
