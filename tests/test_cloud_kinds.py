"""Kinds of values for clouds: what each takes, and what it says of what it does not take."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from fabfile import cloud_kinds, kinds

Kind = Callable[[object], object]


@pytest.mark.parametrize(
    ("kind", "given", "value"),
    [
        (cloud_kinds.zone, "eu-central-1a", "eu-central-1a"),
        (cloud_kinds.zone, "us-east-1-bos-1a", "us-east-1-bos-1a"),
        (cloud_kinds.machine_type, "u-6tb1.56xlarge", "u-6tb1.56xlarge"),
        (cloud_kinds.machine_type, "g4-highcpu-1G", "g4-highcpu-1G"),
        (cloud_kinds.network_name, "My-Fabric-Network", "My-Fabric-Network"),
        (cloud_kinds.affinity, "role!=~engine", "role!=~engine"),
        (cloud_kinds.host_key, "first-use", "first-use"),
        (cloud_kinds.host_key, f"SHA256:{'a' * 43}", f"SHA256:{'a' * 43}"),
        (cloud_kinds.price_list, {"g4": 0.02, "a": "1"}, (("a", 1.0), ("g4", 0.02))),
        (cloud_kinds.price_list, "g4=0.02, a=1", (("a", 1.0), ("g4", 0.02))),
        (cloud_kinds.subnet, "subnet-0123456789abcdef0", "subnet-0123456789abcdef0"),
        (cloud_kinds.system_package, "libgomp1", "libgomp1"),
        (cloud_kinds.price, "0.05", 0.05),
        (cloud_kinds.price, 0, 0.0),
        (cloud_kinds.network, "203.0.113.7", "203.0.113.7/32"),
        (cloud_kinds.network, "2001:db8::/48", "2001:db8::/48"),
        (cloud_kinds.source, "auto", "auto"),
        (cloud_kinds.open_port, "8888:203.0.113.0/24", "tcp:8888:203.0.113.0/24"),
        (cloud_kinds.open_port, "udp:60000-61000:203.0.113.7", "udp:60000-61000:203.0.113.7/32"),
        (cloud_kinds.open_port, "443:2001:db8::/48", "tcp:443:2001:db8::/48"),
        (cloud_kinds.tags, {"project": "spectra", "cost": 7}, (("cost", "7"), ("project", "spectra"))),
        (cloud_kinds.tags, "project=spectra, who=me", (("project", "spectra"), ("who", "me"))),
        (cloud_kinds.hooks, {"machine_up": "~/a.sh"}, (("machine_up", ("~/a.sh",)),)),
        (cloud_kinds.hooks, {}, ()),
        (kinds.yes_or_no, "yes", True),
        (kinds.yes_or_no, False, False),
        (kinds.yes_or_no, "off", False),
    ],
)
def test_what_fits_is_taken(kind: Kind, given: object, value: object) -> None:
    assert kind(given) == value


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        (cloud_kinds.zone, "eu-central-1", "not an availability zone like eu-central-1a"),
        (cloud_kinds.affinity, "role engine", "not a rule like role!=~engine"),
        (cloud_kinds.host_key, "SHA256:short", "not a fingerprint like SHA256:"),
        (cloud_kinds.network_name, "$x", "not the name or id of a network"),
        (cloud_kinds.price_list, {"small": "cheap"}, "must be packages and US dollars an hour"),
        (cloud_kinds.price_list, ["small"], "must be packages and US dollars an hour"),
        (cloud_kinds.machine_type, "m7i large", "not a type or package like m7i.large"),
        (cloud_kinds.subnet, "vpc-01234567", "not the id of a subnet"),
        (cloud_kinds.system_package, "git; rm", "not a Debian package"),
        (cloud_kinds.price, "cheap", "must be US dollars an hour"),
        (cloud_kinds.price, True, "must be US dollars an hour"),
        (cloud_kinds.price, "inf", "must be US dollars an hour"),
        (cloud_kinds.price, -1, "must be US dollars an hour"),
        (cloud_kinds.network, "203.0.113.7/24", "did you mean 203.0.113.0/24?"),
        (cloud_kinds.network, "everywhere", "not a network like 203.0.113.0/24"),
        (cloud_kinds.open_port, "8888", "not ports and a network"),
        (cloud_kinds.open_port, "70000:10.0.0.0/8", "not ports and a network"),
        (cloud_kinds.open_port, "9-8:10.0.0.0/8", "not ports and a network"),
        (cloud_kinds.open_port, "icmp:1:10.0.0.0/8", "not ports and a network"),
        (cloud_kinds.tags, {"aws:x": "1"}, "which is not yours to set"),
        (cloud_kinds.tags, {"ipyfleet:id": "1"}, "which is not yours to set"),
        (cloud_kinds.tags, {"Name": "lab"}, "which is not yours to set"),
        (cloud_kinds.tags, {"a": "x" * 257}, "256 at the most"),
        (cloud_kinds.tags, {str(n): "x" for n in range(31)}, "more than 30 tags"),
        (cloud_kinds.tags, ["project"], "must be names and values"),
        (cloud_kinds.hooks, {"machine_app": ["x"]}, "did you mean machine_up?"),
        (cloud_kinds.hooks, {"machine_up": [3]}, "a list of tasks and scripts"),
        (cloud_kinds.hooks, ["x"], "must be events"),
        (kinds.yes_or_no, "maybe", "must be true or false"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_would(kind: Kind, given: object, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        kind(given)
