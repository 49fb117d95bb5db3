"""Cases: one JSON file each, tests/cases/cloudapi/*.json, of requests and of what their answers must be.

``given`` puts the account into a state; a step sends something, or waits, or changes something. A step's ``status``
null means that no answer comes; other keys that say nothing about an answer leave it open.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import requests

from . import signing
from .server import CloudApi
from .signing import Call
from .world import SubUser

FOLDER = Path(__file__).resolve().parent.parent / "cases" / "cloudapi"
PATHS = sorted(FOLDER.glob("*.json"))


class Case:
    """One file, being played."""

    def __init__(self, cloudapi: CloudApi, path: Path) -> None:
        self.cloudapi = cloudapi
        self.case: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        self.names: dict[str, str] = {}

    def play(self) -> None:
        """Set up, send everything in order, and look at the complaints."""
        self._give(self.case.get("given", {}))
        for number, step in enumerate(self.case["steps"], 1):
            where = f"step {number}: {step.get('send', step)}"
            if "send" in step:
                for _ in range(step.get("times", 1)):
                    self._send(step, where)
            else:
                self._do(step)
        wanted = self.case.get("complaints", [])
        said = self.cloudapi.complaints
        assert all(any(one in text for text in said) for one in wanted), said
        assert all(any(one in text for one in wanted) for text in said), said
        said.clear()

    def _give(self, given: dict[str, Any]) -> None:
        world = self.cloudapi.world
        for details in given.get("machines", []):
            vm = world.place(**details)
            self.names[vm.name] = vm.id
        for name, user in given.get("users", {}).items():
            world.users[name] = SubUser([signing.public_key(user["key"])], user["allowed"])
        for part in ("pace", "stale", "throttle"):
            for name, value in given.get(part, {}).items():
                setattr(getattr(self.cloudapi, part), name, value)
        if given.get("hold"):
            self.cloudapi.jobs.hold()
        world.faults.capacity = given.get("capacity", float("inf"))
        for name, details in given.get("faults", []):
            getattr(world.faults, name)(**details)

    def _do(self, step: dict[str, Any]) -> None:
        if "wait" in step:
            time.sleep(step["wait"])
        elif "settle" in step:
            self.cloudapi.jobs.settle()
            if self.case.get("given", {}).get("hold"):
                self.cloudapi.jobs.hold()
        elif "stale" in step:
            for name, value in step["stale"].items():
                setattr(self.cloudapi.stale, name, value)
        elif "maintain" in step:
            self.cloudapi.faults.maintain(step["maintain"])
        elif "disable" in step:
            self.cloudapi.world.disabled = True
        else:
            name, details = step["fault"]
            getattr(self.cloudapi.faults, name)(**details)

    def _send(self, step: dict[str, Any], where: str) -> None:
        method, path = step["send"]
        for name, id in self.names.items():
            path = path.replace(f"{{{name}}}", id)
        body, headers = _filled(step.get("body")), dict(step.get("headers", {}))
        call = Call(method, path, body, "json", headers)
        if "raw" in step:
            call.body, call.encoding = step["raw"], "raw"
            headers["Content-Type"] = "application/json"
        for name, value in step.get("sign", {}).items():
            setattr(call, name, value)
        try:
            answer = call.send(self.cloudapi.url)
        except requests.ConnectionError:
            assert step["status"] is None, f"{where}: no answer"
            return
        assert answer.status_code == step["status"], f"{where}: {answer.status_code} {answer.text}"
        self._compare(step, answer, where)

    def _compare(self, step: dict[str, Any], answer: requests.Response, where: str) -> None:
        _headers(step, answer, where)
        if step.get("empty"):
            assert answer.content == b"", where
        if step.get("html"):
            assert answer.headers["Content-Type"] == "text/html", where
        if not answer.content or step.get("html"):
            return
        body = answer.json()
        if "code" in step:
            assert body.get("code") == step["code"], f"{where}: {body}"
        if step.get("message"):
            assert body["message"] == step["message"], where
        if step.get("field_codes"):
            assert [one["code"] for one in body["errors"]] == step["field_codes"], where
        if step.get("field_message"):
            assert body["errors"][0]["message"] == step["field_message"], where
        if "body_is" in step:
            assert body == step["body_is"], f"{where}: {body}"
        if "body_id" in step:
            assert body == self.names[step["body_id"]], f"{where}: {body}"
        for name, value in step.get("body_has", {}).items():
            assert body[name] == value, f"{where}: {name} is {body[name]!r}"
        if "body_length" in step:
            assert len(body) == step["body_length"], f"{where}: {body}"
        if "names" in step:
            assert sorted(one["name"] for one in body) == step["names"], where
        if "keys" in step:
            assert sorted(body) == step["keys"], where
        if "keys_have" in step:
            assert set(step["keys_have"]) <= body.keys(), where
        if "absent_keys" in step:
            assert not set(step["absent_keys"]) & body.keys(), where
        for name, key in step.get("keep", {}).items():
            self.names[name] = body[key]


def _headers(step: dict[str, Any], answer: requests.Response, where: str) -> None:
    for name, value in step.get("headers_are", {}).items():
        assert answer.headers.get(name) == value, f"{where}: {answer.headers}"
    for name, value in step.get("headers_have", {}).items():
        assert value in answer.headers[name], f"{where}: {answer.headers}"
    for name in step.get("present", []):
        assert name in answer.headers, f"{where}: {answer.headers}"
    for name in step.get("absent", []):
        assert name not in answer.headers, f"{where}: {answer.headers}"


def _filled(value: Any) -> Any:
    """What a file says in place of long texts and of keys that are made for the run."""
    if not isinstance(value, dict):
        return value
    if "$repeat" in value:
        text, times = value["$repeat"]
        return text * times
    if "$key" in value:
        return signing.public_key(value["$key"]).line
    return {name: _filled(one) for name, one in value.items()}
