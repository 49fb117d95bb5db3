"""Machines deleted, stopped and started: always those that are really the cluster's, whatever ids are given.

CloudAPI says that it will, never that it did: everything is looked at until it is so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from ...errors import ProviderRefused, raise_together
from ...remote import each, values
from . import actions, marks, sightings
from .api import Api
from .instances import Instance, InstanceState, instance

LOOK = 0.5  # s between two looks, at first
SLOWER, SLOWEST = 1.3, 5.0


def those(api: Api, cluster: str, ids: Collection[str]) -> list[Instance]:
    """The machines of these ids that are the cluster's, by their tags; also those that lists do not show yet."""
    listed = {one.id: one for one in sightings.of_name(api, cluster)}
    asked = values(each([id for id in ids if id not in listed], lambda id: instance(api, id)))
    unlisted = [one for one in asked if one and not one.gone and one.tags.get(marks.CLUSTER) == cluster]
    return [*(listed[id] for id in ids if id in listed), *unlisted]


def delete(api: Api, cluster: str, ids: Collection[str], timeout: float) -> None:
    """Delete those that are the cluster's, running or not, and wait until they are gone; silent about those gone.

    Raises ProviderRefused for a machine that is protected, or is still there after ``timeout`` seconds.
    """
    going = those(api, cluster, ids)
    _all(going, lambda one: actions.delete(api, one.id))
    _until(api, going, lambda one: one is None or one.gone, "gone", timeout)


def stop(api: Api, cluster: str, ids: Collection[str], timeout: float) -> None:
    """Stop machines keeping their disks, and wait until they are off; silent about those that are."""
    going = [one for one in those(api, cluster, ids) if one.state is not InstanceState.STOPPED and not one.failed]
    _until(api, going, lambda one: one is None or one.state is not InstanceState.PROVISIONING, "made", timeout)
    _all(going, lambda one: actions.act(api, one, "stop"))
    _until(api, going, lambda one: one is None or one.state is InstanceState.STOPPED, "off", timeout)


def start(api: Api, cluster: str, ids: Collection[str], timeout: float) -> None:
    """Start machines that are off, after those that are still stopping; silent about those that run."""
    there = those(api, cluster, ids)
    ending = [one for one in there if one.state is InstanceState.STOPPING]
    _until(api, ending, lambda one: one is None or one.state is not InstanceState.STOPPING, "off yet", timeout)
    _all(
        [one for one in there if one.state in (InstanceState.STOPPED, InstanceState.STOPPING)],
        lambda one: actions.act(api, one, "start"),
    )
    _until(api, there, lambda one: one is None or one.failed or one.state is InstanceState.RUNNING, "running", timeout)


def _all(machines: Collection[Instance], act: Callable[[Instance], object]) -> None:
    """Have it done to all of them; the failures are raised together, and the others are done."""
    outcomes = each(machines, act)
    for one in outcomes:
        if one.error is not None and not isinstance(one.error, ProviderRefused):
            raise one.error
    raise_together([one.error for one in outcomes if isinstance(one.error, ProviderRefused)])


def _until(
    api: Api, machines: Collection[Instance], done: Callable[[Instance | None], bool], what: str, timeout: float
) -> None:
    """Look at each of the machines until it is so; raises ProviderRefused with those of which it is not."""
    deadline = time.monotonic() + timeout
    left, look = list(machines), LOOK
    while left:
        outcomes = each(left, lambda one: instance(api, one.id))
        failures = [one.error for one in outcomes if one.error is not None]
        if failures:
            raise failures[0]
        late = [one for one in outcomes if not done(one.value)]
        left = [one.item for one in late]
        if left and time.monotonic() >= deadline:
            named = ", ".join(f"{one.item.name} ({one.value.state if one.value else 'gone'})" for one in late[:10])
            raise ProviderRefused(
                f"after {timeout:.0f} s not {what}: {named}",
                hint="run the same command again; if it stays so, ask who runs the data center",
            )
        if left:
            time.sleep(look)
            look = min(SLOWEST, look * SLOWER)
