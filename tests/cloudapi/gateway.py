"""The door: every request goes through the real server's checks in the real server's order, and is noted."""

from __future__ import annotations

import threading
import time
from contextlib import nullcontext

from . import creation, listing, routes, signatures, versions
from .answers import Answer, Refusal, unknown
from .asked import Asked
from .signatures import Claim
from .throttle import Throttle
from .world import Key, SubUser, World

ACCEPTED = "application/json,text/plain,application/octet-stream,application/javascript"
WRONG = "Invalid authorization credentials supplied"


class Gateway:
    """What answers requests; ``calls`` are those since the last reset, in the order of their arrival."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.throttle = Throttle()
        self.calls: list[Asked] = []
        self.poisoned = False
        self._lock = threading.Lock()

    def answer(self, asked: Asked) -> Answer | None:
        """The answer; None for none at all."""
        with self._lock:
            self.calls.append(asked)
        try:
            answer = self._answer(asked)
        except Refusal as refusal:
            answer = refusal.answer
        if answer is None:
            return None
        if answer.status >= 400 and "x-date" in (name.lower() for name in asked.headers):
            self.poisoned = True  # as the real parser is from then on
        asked.status = answer.status
        asked.code = str(answer.body.get("code", "")) if isinstance(answer.body, dict) else ""
        return answer

    def _answer(self, asked: Asked) -> Answer | None:
        if asked.path == "/":
            where = "http://apidocs.tritondatacenter.com/cloudapi/"
            return Answer(302, None, {"Location": where, "Server": "Cloud API", "Api-Version": versions.NEWEST})
        route = routes.find(asked)
        if fault := self.world.faults.due(asked, after=False):
            return fault.answer
        self._accept(asked)
        claim = signatures.claim(asked.method, asked.target, asked.headers, self.poisoned)
        asked.read()
        if route is not routes.PING:
            self._allow(asked, claim, route)
            self._load(asked, route)
            self._may_change(asked)
            self._slow_down(route)
        try:
            # A creation takes the lock itself, after waiting for its place.
            with nullcontext() if route.handler is creation.create else self.world.lock:
                answer = route.handler(self.world, asked)
        except Refusal as refusal:
            answer = refusal.answer
        if fault := self.world.faults.due(asked, after=True):
            return fault.answer
        return answer

    def _accept(self, asked: Asked) -> None:
        wanted = asked.headers.get("Accept-Version") or asked.headers.get("X-Api-Version")
        if wanted is None and asked.route != routes.PING.template:
            self.world.complain(f"{asked.name} asks for no version")
        if wanted is not None and versions.chosen(wanted) is None:
            message = f"{wanted} is not supported by {asked.method} {asked.path}"
            raise Refusal(400, "InvalidVersion", message, bare=True)
        kinds = [one.partition(";")[0].strip() for one in asked.headers.get("Accept", "*/*").split(",")]
        if not {"*/*", "application/*", *ACCEPTED.split(",")} & set(kinds):
            raise Refusal(406, "NotAcceptableError", f"Server accepts: {ACCEPTED}", bare=True)

    def _allow(self, asked: Asked, claim: Claim | None, route: routes.Route) -> None:
        """Whether whoever signed may do this in that account; raises Refusal."""
        if claim is None:
            raise Refusal(401, "InvalidCredentials", "You must make authenticated requests to use CloudAPI")
        user = self._caller(claim)
        asked.caller = claim.key_id
        if self.world.disabled:
            raise Refusal(403, "NotAuthorized", "Account or user is disabled")
        account = str(asked.params.get("account"))
        if account in self.world.others or (user and not user.allowed):
            message = f"You do not have permission to access {asked.path} ({route.action})"
            raise Refusal(403, "NotAuthorized", message)
        if account not in ("my", self.world.login):
            raise unknown(f"{account} not found")

    def _caller(self, claim: Claim) -> SubUser | None:
        """The sub-user whose key it is, None for the account itself; raises Refusal for anybody else."""
        steps = claim.key_id.split("/")
        user: SubUser | None = None
        if len(steps) == 4 and steps[2] == "keys":
            keys = self.world.keys
        elif len(steps) == 6 and steps[2] == "users" and steps[4] == "keys":
            user = self.world.users.get(steps[3])
            keys = user.keys if user else []
        else:
            raise Refusal(401, "InvalidCredentials", f"Invalid KeyId {claim.key_id} in authorization header")
        key = next((one for one in keys if steps[-1] in (one.name, one.fingerprint) and self._believed(one)), None)
        if steps[1] != self.world.login or key is None or not signatures.holds(claim, key.line):
            raise Refusal(401, "InvalidCredentials", WRONG)
        return user

    def _believed(self, key: Key) -> bool:
        return not key.since or time.monotonic() - key.since >= self.world.stale.keys

    def _load(self, asked: Asked, route: routes.Route) -> None:
        if route.handler is creation.create:
            creation.load(self.world, asked)
        if "machine" in asked.steps:
            listing.find(self.world, asked)

    def _may_change(self, asked: Asked) -> None:
        faults = self.world.faults
        if faults.read_only and asked.method not in ("GET", "HEAD"):
            headers = {"Retry-After": faults.back_at} if faults.back_at else {}
            message = "This Triton data center is being upgraded"
            raise Refusal(503, "ServiceUnavailableError", message, headers=headers)

    def _slow_down(self, route: routes.Route) -> None:
        try:
            self.throttle.take(route.group)
        except Refusal:
            self.world.complain(f"more calls than allowed, such as {route.method} {route.template}")
            raise
