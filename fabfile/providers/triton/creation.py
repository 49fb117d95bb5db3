"""Creation: one machine a call, made once even when nobody heard that it was.

CloudAPI knows no token that would make the call safe to repeat, and it may answer with an error although the machine
exists. What it does know is that no two active machines of an account have the same name: so after any doubtful answer
the name is looked for before it is asked for again.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import ProviderRefused, UsageError
from . import labels
from .api import Api, thing
from .instances import Instance, parse, tagged
from .refusals import Doubtful, Refused, retry_after

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,188}")
ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
READ = 180.0  # s: machines are placed one after the other in the whole data center
LOOKS = 2  # so often is looked for a name, since lists lag behind
ATTEMPTS = 3
CLOCKS = 5.0  # s that this computer's clock and CloudAPI's may differ by


@dataclass(frozen=True)
class Order:
    """A machine that shall be. ``networks`` are ids, those of the package without any; tags say whose it is.

    ``affinity`` are CloudAPI's rules, such as ``role!=~engine``. ``marks`` are the names of those tags that stay what
    they are, by which the machine is known again; all of them without any.
    """

    name: str
    image: str
    package: str
    tags: Mapping[str, str]
    networks: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict, repr=False)
    firewall: bool = True
    affinity: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()

    @property
    def marking(self) -> dict[str, str]:
        """The tags by which the machine is known again."""
        return {key: value for key, value in self.tags.items() if not self.marks or key in self.marks}

    def owns(self, instance: Instance) -> bool:
        """Whether a machine is the one that was ordered, by its name and its marks."""
        return instance.name == self.name and self.marking.items() <= dict(instance.tags).items()

    def body(self) -> dict[str, Any]:
        """The request, in the flat form: CloudAPI silently ignores tags and metadata that are objects.

        Raises UsageError for what CloudAPI would refuse in words that nobody understands.
        """
        if not NAME.fullmatch(self.name):
            raise UsageError(
                f"{self.name!r} is no name of a machine: CloudAPI takes up to 189 letters, digits, _ . and -",
                hint="choose another name for the cluster",
            )
        if odd := [id for id in self.networks if not ID.fullmatch(id)]:
            raise UsageError(
                f"{', '.join(map(repr, odd))} is no id of a network", hint="`triton network list -l` shows the ids"
            )
        body: dict[str, Any] = {
            "name": self.name,
            "image": self.image,
            "package": self.package,
            "firewall_enabled": self.firewall,
        }
        if self.networks:
            body["networks"] = list(self.networks)  # a single text would be ignored
        if self.affinity:
            body["affinity"] = list(self.affinity)
        body |= {f"tag.{key}": value for key, value in labels.checked("tag", self.tags).items()}
        return body | {f"metadata.{key}": value for key, value in labels.checked("metadata", self.metadata).items()}


def create(api: Api, order: Order) -> Instance:
    """Make the machine, or find it made; it is provisioning, or has failed by now.

    A machine that is there already under that name, with the tags that mark it as ours, is taken for the one that was
    asked for: by a call whose answer was lost, or by an earlier command. Raises NoRoom, Refused, or Doubtful when
    nobody can tell after ATTEMPTS, or within ``waits.overall``.
    """
    doing = f"making {order.name}"
    body = order.body()
    begun = time.time()
    doubt: Doubtful | None = None
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return parse(thing(api.call("POST", "/machines", doing, body=body, repeat=False, read=READ), doing))
        except Refused as error:
            if "Duplicate" in error.answer.field_codes:
                return _owner(api, order, error)
            if doubt and (found := _look(api, order, begun)):  # made by the call before this one
                return found
            raise
        except Doubtful as error:
            doubt = error
        deadline = time.monotonic() + api.waits.overall  # from now on: the call itself may have taken long
        if found := _look(api, order, begun):
            return found
        wait = max((doubt.answer and retry_after(doubt.answer)) or 0.0, 0.0)
        if attempt == ATTEMPTS or time.monotonic() + wait >= deadline:
            raise doubt
        time.sleep(wait)
    raise AssertionError("the last attempt ends above")


def _owner(api: Api, order: Order, error: Refused) -> Instance:
    """The machine that has the name, which must be ours; the list may show it somewhat later."""
    deadline = time.monotonic() + api.waits.overall
    while not (there := tagged(api, {}, name=order.name)):
        if time.monotonic() + api.waits.look > deadline:
            raise error
        time.sleep(api.waits.look)
    if order.owns(there[0]):
        return there[0]
    raise ProviderRefused(
        f"{error.message}; it belongs to the machine {there[0].id} ({there[0].state}), whose tags are not ours",
        hint="choose another name for the cluster, or rename or delete that machine",
    ) from error


def _look(api: Api, order: Order, begun: float) -> Instance | None:
    """The machine of the order, if it is there; looked for more than once, for lists lag behind what was made."""
    for look in range(LOOKS):
        if look:
            time.sleep(api.waits.look)
        if found := [one for one in tagged(api, {}, name=order.name) if order.owns(one)]:
            return found[0]
    failed = [one for one in tagged(api, order.marking, name=order.name, gone_too=True) if one.failed]
    # One that failed long before is not the one that was asked for now; clocks may differ somewhat.
    recent = [one for one in failed if one.created >= begun - CLOCKS]
    return max(recent, key=lambda one: one.created, default=None)
