"""Instances terminated, stopped and started: always those that are really the cluster's, whatever ids are given.

One call for all of them, since one unknown id fails a whole call; then waiting until EC2 says that it is so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

from ...errors import ProviderRefused
from . import tags
from .api import Api, code_of, told
from .instances import Instance, batches, described, look_until, named

TRIES = 5
PAUSE = 1.0  # s before a call is repeated whose ids were not all known yet
UNSEEN = 3.0  # s that one look may miss a machine which an earlier one showed


def terminate(api: Api, cluster: str, ids: Collection[str], timeout: float) -> None:
    """Terminate those of the instances that are the cluster's, and wait until all of them are on their way out.

    Silent about those that are gone; an interrupted one is not reported any more. One that is not to be seen is looked
    for again before it is believed to be gone. Raises ProviderRefused.
    """

    def alive() -> list[Instance]:
        return [one for one in _those(api, cluster, ids) if not one.gone]

    def end() -> list[Instance]:
        seen = look_until(lambda: _those(api, cluster, ids), lambda seen: len(seen) == len(set(ids)), UNSEEN)
        _dismiss(api, [one.id for one in seen if one.interrupted])
        there = [one for one in seen if not one.gone]
        for batch in batches([one.id for one in there]):
            api.ec2.terminate_instances(InstanceIds=batch)
        return there

    with told(f"terminating {_counted(ids)}"):
        going = _while_ids_are_new(end)
    if going:
        left = look_until(alive, lambda seen: not seen, timeout)
        _refuse_left(left, "terminated", timeout)


def stop(api: Api, cluster: str, ids: Collection[str], timeout: float) -> None:
    """Stop instances keeping their disks, and wait until they are off; spot machines are terminated, EC2 keeps none."""
    spot = [one.id for one in _those(api, cluster, ids) if one.spot and not one.gone]
    if spot:
        terminate(api, cluster, spot, timeout)

    def look() -> list[Instance]:
        return [one for one in _those(api, cluster, ids) if not one.gone]

    with told(f"stopping {_counted(ids)}"):
        seen = look_until(look, lambda seen: all(one.state != "pending" for one in seen), timeout)
        running = [one.id for one in seen if one.state == "running"]
        for batch in batches(running):
            api.ec2.stop_instances(InstanceIds=batch)
    left = look_until(look, lambda seen: all(one.state == "stopped" for one in seen), timeout)
    _refuse_left([one for one in left if one.state != "stopped"], "off", timeout)


def start(api: Api, cluster: str, ids: Collection[str], timeout: float) -> None:
    """Start instances that are off, after those that are still stopping; silent about those that run."""

    def look() -> list[Instance]:
        return [one for one in _those(api, cluster, ids) if not one.gone]

    with told(f"starting {_counted(ids)}"):
        seen = look_until(look, lambda seen: all(one.state != "stopping" for one in seen), timeout)
        _refuse_left([one for one in seen if one.state == "stopping"], "off yet, so that it could start", timeout)
        for batch in batches([one.id for one in seen if one.state == "stopped"]):
            api.ec2.start_instances(InstanceIds=batch)


def tag(api: Api, ids: Sequence[str], its_tags: dict[str, str]) -> None:
    """Set the same tags on all these instances, in one call; silent about those that EC2 does not know any more."""
    with told("tagging machines"):
        for batch in batches(ids):
            api.tagging.wait()
            try:
                api.ec2.create_tags(Resources=batch, Tags=tags.pairs(its_tags))
            except Exception as error:
                if not code_of(error).startswith(("InvalidInstanceID", "InvalidID")):
                    raise
                known = [one.id for one in named(api, batch)]
                if known:
                    api.ec2.create_tags(Resources=known, Tags=tags.pairs(its_tags))


def _those(api: Api, cluster: str, ids: Collection[str]) -> list[Instance]:
    wanted = set(ids)
    return [one for one in described(api, cluster) if one.id in wanted]


def _while_ids_are_new(act: Callable[[], list[Instance]]) -> list[Instance]:
    """Act again while EC2 does not know ids yet that it has just shown: its parts agree after some seconds."""
    for left in range(TRIES - 1, -1, -1):
        try:
            return act()
        except Exception as error:
            if code_of(error) != "InvalidInstanceID.NotFound" or not left:
                raise
        time.sleep(PAUSE)
    raise AssertionError("the last try returns or raises")


def _dismiss(api: Api, ids: Sequence[str]) -> None:
    """Note that nobody needs to hear of these interrupted machines any more; EC2 forgets them within the hour."""
    for batch in batches(ids):
        try:
            api.ec2.create_tags(Resources=batch, Tags=tags.pairs({tags.DISMISSED: "yes"}))
        except Exception as error:
            if not code_of(error).startswith(("Invalid", "IncorrectInstanceState")):
                raise


def _refuse_left(left: Sequence[Instance], what: str, timeout: float) -> None:
    if left:
        named = ", ".join(f"{one.name or one.id} ({one.state})" for one in left[:10])
        raise ProviderRefused(
            f"after {timeout:.0f} s not {what}: {named}", hint="run the same command again; AWS may take its time"
        )


def _counted(ids: Collection[str]) -> str:
    return f"{len(ids)} machine{'s'[: len(ids) != 1]}"
