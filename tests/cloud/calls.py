"""What was asked of the cloud: every call with its parameters as they came over the wire."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

SCOPE = re.compile(r"Credential=([^/]*)/[0-9]+/([^/]*)/([^/]*)/aws4_request")


@dataclass
class Call:
    """One call: ``params`` are nested as the wire names say, lists in order; ``status`` and ``error`` its outcome.

    The names are those of the protocol, which for EC2 differ a little from boto3's: ``SecurityGroupId``, not
    ``SecurityGroupIds``; all values are text there.
    """

    service: str
    action: str
    params: dict[str, Any] = field(default_factory=dict)
    region: str = ""
    access_key: str = ""
    protocol: str = "ec2"
    status: int = 0
    error: str = ""

    @property
    def permission(self) -> str:
        """The action as an IAM policy names it."""
        return f"{self.service}:{self.action}"

    def tags(self, resource: str) -> dict[str, str]:
        """The tags that the call gives to what it makes of that type (``instance``, ``volume``, …)."""
        found: dict[str, str] = {}
        for specification in self.params.get("TagSpecification", []):
            if specification.get("ResourceType") == resource:
                found |= {tag["Key"]: tag.get("Value", "") for tag in specification.get("Tag", [])}
        return found

    def filters(self) -> dict[str, list[str]]:
        """The filters of a call that describes."""
        return {one["Name"]: one.get("Value", []) for one in self.params.get("Filter", [])}


def read(headers: Mapping[str, str], body: bytes) -> Call:
    """The call that a request to the cloud is; one that is none of AWS's has the service ""."""
    scope = SCOPE.search(headers.get("HTTP_AUTHORIZATION", ""))
    access_key, region, service = scope.groups() if scope else ("", "", "")
    target = headers.get("HTTP_X_AMZ_TARGET", "")
    if target:
        params = json.loads(body or b"{}")
        return Call(service, target.rpartition(".")[2], params, region, access_key, protocol="json")
    form = dict(parse_qsl(body.decode("latin1"), keep_blank_values=True, encoding="utf-8"))
    action, _ = form.pop("Action", ""), form.pop("Version", "")
    protocol = "ec2" if service == "ec2" else "query"
    return Call(service, action, nested(form), region, access_key, protocol=protocol)


def nested(form: Mapping[str, str]) -> dict[str, Any]:
    """The flat names of a form as what they stand for: ``A.1.B`` is B of the first of the list A."""
    root: dict[str, Any] = {}
    for name, value in form.items():
        here = root
        *steps, last = name.split(".")
        for step in steps:
            here = here.setdefault(step, {})
        here[last] = value
    return {name: _lists(value) for name, value in root.items()}


def _lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if all(name.isdecimal() for name in value):
        return [_lists(value[name]) for name in sorted(value, key=int)]
    return {name: _lists(one) for name, one in value.items()}
