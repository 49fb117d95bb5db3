"""Recorded answers of the real server: found by IPYFLEET_TEST_DATA, asked of the fake anew, compared as far as they go.

The records themselves belong to no part of this project; what is here sets up what they were recorded in.
"""

from __future__ import annotations

import json
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import requests

from .server import CloudApi
from .signing import Call

VARIABLE = "IPYFLEET_TEST_DATA"
FIRST, SECOND = "0de1460b-b7c6-4c86-a16e-8c84e9890d88", "b3b01935-42eb-47c6-a3bd-5776b0ab5c3f"
RULES = {
    "f34b4448-ee52-4817-afd7-9338bb534685": {
        "rule": 'FROM tag "cluster" = "ipy" TO tag "cluster" = "ipy" ALLOW tcp PORTS 1 - 65535'
    },
    "608824c6-07a8-431f-a35e-6d349971a0cf": {
        "rule": 'FROM (tag "a" OR tag "b") TO tag "role" = "controller" ALLOW tcp (PORT 22 AND PORT 443)',
        "description": "d",
    },
}
SCRIPTED = {"user-script": "#!/bin/bash\nexit 0\n", "ipy.x": "1", "num": 5}
LEFT = {"uuid": FIRST, "owner_uuid": "930896af-bf8c-48d4-885c-6573a94b1853"}  # after all metadata was deleted
# How the first machine was when a case was recorded, where that matters.
FIRST_WAS: dict[str, dict[str, Any]] = {
    "get provisioning": {"state": "provisioning", "metadata": SCRIPTED},
    "get running": {"metadata": SCRIPTED},
    "start": {"state": "stopped"},
    "tags put": {"tags": {"cluster": "ipy"}},
    "tag del": {"tags": {"only": "this"}},
    "md get": {"metadata": SCRIPTED},
    "md add": {"metadata": SCRIPTED},
    "md one": {"metadata": {"foo": "bar"}},
    "md del": {"metadata": {"foo": "bar"}},
    "del protected": {"deletion_protection": True},
    "get while deleting": {"metadata": LEFT, "tags": {}},
    "get deleted": {"metadata": LEFT, "tags": {}, "state": "destroyed"},
}
TAGGED = {"cluster": "ipy", "role": "controller", "n": 3, "b": True}
SIGNED: dict[str, dict[str, Any]] = {
    "auth date only": {"signed": "date"},
    "auth ecdsa-sha256": {"key": "id_ecdsa"},
    "auth ed25519": {"key": "id_ed25519"},
    "auth rsa-sha384": {"algorithm": "rsa-sha384"},
    "auth key name": {"key_id": "/jill/keys/id_rsa"},
    "auth sha256 fingerprint": {"key_id": "/jill/keys/SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
    "auth keyId my": {"key_id": "/my/keys/FP"},
    "auth keyId bare fingerprint": {"key_id": "FP"},
    "auth wrong signature": {"signed_path": "/my/machines?limit=2"},
    "auth legacy 0.9": {"form": "legacy"},
    "auth space after comma": {"form": "spaced"},
    "auth only request-target": {"signed": "(request-target)"},
    "auth skew minus 400": {"age": 400},
    "auth none": {"form": "none"},
    "auth basic": {"form": "basic"},
    "ping": {"form": "none"},
}
# A message that depends on what is none of CloudAPI's, cut where that begins.
CUT = {"bad json": "Invalid JSON: ", "auth skew minus 400": "Authorization header invalid: clock skew of "}
OWN_ID = {"auth keyId bare fingerprint": "the message names the fingerprint, which is that of a key of ours"}


@cache
def records() -> tuple[dict[str, Any], ...]:
    """All recorded pairs; none when the variable does not say where they are."""
    folder = os.environ.get(VARIABLE)
    paths = sorted(Path(folder).glob("cloudapi-goldens*.jsonl")) if folder else []
    if folder and not paths:
        raise FileNotFoundError(f"{VARIABLE} says {folder}, where no cloudapi-goldens*.jsonl is")
    return tuple(json.loads(line) for path in paths for line in path.read_text(encoding="utf-8").splitlines())


def set_up(cloudapi: CloudApi, record: dict[str, Any]) -> None:
    """Put the account into the state that the case was recorded in."""
    world, case, path = cloudapi.world, record["case"], record["path"]
    cloudapi.stale.none()  # recorded without anything that lags
    if case == "get provisioning":
        cloudapi.stale.unplaced = float("inf")
    if FIRST in path:
        given = FIRST_WAS.get(case, {})
        world.place("ctrl-f347ae12", **{"id": FIRST, "tags": dict(TAGGED), "metadata": {}, **given})
    if SECOND in path:
        world.place("m1", id=SECOND, tags={"n": 3, "b": True}, metadata={"num": 5, "s": "x"})
    first = next(iter(RULES))
    for id, rule in RULES.items():
        if (id in path and case != "fw 404") or (id == first and case in ("fw list", "fw vm")):
            world.rules[id] = {"id": id, "enabled": True, "log": False, **rule}
    if case.startswith("list") or case == "HEAD":
        world.place("322b94db")
        world.place("frm", tags={"cluster": "ipy", "role": "engine"})
        world.place("ended", state="destroyed")
        world.place("failed", state="failed")
    if case == "throttled":
        cloudapi.throttle.burst, cloudapi.throttle.rate = 0, 10
    if case.startswith("read-only"):
        world.faults.maintain("Sun, 22 Nov 2026 10:00:00 GMT")


def send(cloudapi: CloudApi, record: dict[str, Any]) -> requests.Response:
    """The recorded request, signed as the record says in words."""
    body = record["request"]
    if isinstance(body, dict):
        body = {name: _repeated(value) for name, value in body.items()}
    headers = dict(record.get("request_headers") or {})
    if record["case"] == "version header absent" or "Api-Version" in headers:
        headers["Accept-Version"] = None
    call = Call(record["method"], record["path"], body, record.get("request_encoding", ""), headers)
    for name, value in SIGNED.get(record["case"], {}).items():
        setattr(call, name, value)
    return call.send(cloudapi.url)


def differences(record: dict[str, Any], answer: requests.Response) -> list[str]:
    """What is otherwise than recorded, of what the record can tell."""
    found = []
    if answer.status_code != record["status"]:
        return [f"status {answer.status_code}, not {record['status']}: {answer.text}"]
    body = answer.json() if answer.content else ""
    wanted = record["body"]
    if isinstance(wanted, dict) and "code" in wanted and answer.status_code >= 300:
        found += [f"code {body.get('code')}, not {wanted['code']}"] if body.get("code") != wanted["code"] else []
    compared = record["evidence"] == "server" and record["case"] not in OWN_ID
    if compared and answer.status_code >= 300 and isinstance(wanted, dict) and "message" in wanted:
        end = len(CUT.get(record["case"], "")) or None
        if body["message"][:end] != wanted["message"][:end]:
            found.append(f"message {body['message']!r}, not {wanted['message']!r}")
    found += _otherwise(wanted, body, "body")
    for name, value in record["headers"].items():
        found += _header(name, value, answer.headers.get(name))
    known = {name.lower() for name in record["headers"]}
    kept = ("api-version", "server", "retry-after", "allow", "x-query-limit", "x-job-uuid", "location")
    found += [f"header {name} too many" for name in kept if name in answer.headers and name not in known]
    return found


def _header(name: str, wanted: str, found: str | None) -> list[str]:
    if found is None:
        return [f"header {name} is missing"]
    if name in ("x-resource-count", "x-job-uuid", "Request-Id"):
        return []
    if name == "Location":
        wanted, found = (re.sub(r"[0-9a-f-]{36}", "ID", one) for one in (wanted, found))
    return [] if wanted == found else [f"header {name} {found!r}, not {wanted!r}"]


def _otherwise(wanted: Any, found: Any, where: str) -> list[str]:
    """Where keys or types differ; values never count, nor the order or length of lists."""
    if type(wanted) is not type(found):
        return [f"{where} is {found!r}, not {wanted!r}"]
    if isinstance(wanted, dict):
        odd = sorted(wanted.keys() ^ found.keys())
        both = sorted(wanted.keys() & found.keys())
        inner = [text for key in both for text in _otherwise(wanted[key], found[key], f"{where}.{key}")]
        return [f"{where}: {odd} on one side only"] * bool(odd) + inner
    if isinstance(wanted, list) and wanted and found:
        if where == "body":  # things of one kind, each with tags and metadata of its own
            plain = [[{**one, "tags": {}, "metadata": {}} for one in side] for side in (wanted, found)]
            odd = [one for one in plain[1] if all(_otherwise(other, one, where) for other in plain[0])]
            return [f"{where} has entries of another form: {odd}"] if odd else []
        return _otherwise(wanted[0], found[0], f"{where}[]")
    return []


def _repeated(value: Any) -> Any:
    if isinstance(value, dict) and "$repeat" in value:
        text, times = value["$repeat"]
        return text * times
    return value
