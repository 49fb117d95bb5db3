"""Prices: what machines cost an hour and have cost, on demand from the price list, on spot from what spot cost lately.

Never in anybody's way: what cannot be read, or not soon, is None. Knows nothing of clusters.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ...accounts import Price, Range
from ...errors import ClusterError
from ...machines import Machine, MachineSpec, MachineState, Rate
from ...remote import each
from ...settings import Settings
from .api import Api, code_of, refusal

PUBLIC_ADDRESS = 0.005  # US dollars an hour for a public IPv4 address, the same in all regions since February 2024
PATIENCE = 5.0  # s that an estimate may keep anybody waiting
LEAST = 60.0  # s that are charged at least
HOUR = 3600.0
WITHOUT = "volumes, traffic and taxes"
SPOT_WITHOUT = f"{WITHOUT}; spot as it is now in the mean of the zones"
CHARGED = (MachineState.PENDING, MachineState.RUNNING)
LINUX = {  # of the many prices of a type, that of a Linux of no vendor on hardware that others use as well
    "operatingSystem": "Linux",
    "operation": "RunInstances",
    "preInstalledSw": "NA",
    "tenancy": "Shared",
    "capacitystatus": "Used",
}
Kind = tuple[str, bool]  # an instance type, and whether on spot


class Prices:
    """What machines of these settings cost; every price is asked for once, also one that cannot be read."""

    def __init__(self, api: Api, settings: Settings) -> None:
        self._api = api
        self._settings = settings
        self._asking = threading.Lock()
        self._known: dict[Kind, float | None] = {}

    def rate(self, machines: Sequence[Machine]) -> Rate | None:
        """US dollars an hour for machines like these while they run; None when a price cannot be read."""
        return self._rate([(one.kind, one.interruptible) for one in machines])

    def estimate(self, specs: Sequence[MachineSpec]) -> Rate | None:
        """The same for machines that shall be, each of the first type that the settings have for its role."""
        mine = self._settings
        first = {"controller": (mine.controller_type[0], False), "engine": (mine.machine_type[0], mine.spot)}
        return self._rate([first[spec.role] for spec in specs])

    def spent(self, machines: Sequence[Machine], now: float) -> float | None:
        """What those that run have cost since they were last switched on, in US dollars; None when unknown.

        EC2 tells neither how long a machine that is off was on, nor what spot cost before: it counts as it is now.
        """
        charged = [one for one in machines if one.state in CHARGED and one.created]
        prices = self._prices({(one.kind, one.interruptible) for one in charged})
        total = 0.0
        for one in charged:
            price = prices.get((one.kind, one.interruptible))
            if price is None:
                return None
            total += (price + self._address) * max(LEAST, now - one.created) / HOUR
        return total

    @property
    def _address(self) -> float:
        return PUBLIC_ADDRESS if self._settings.public_address else 0.0

    def _rate(self, kinds: Sequence[Kind]) -> Rate | None:
        prices = self._prices(set(kinds))
        total = 0.0
        for kind, count in Counter(kinds).items():
            price = prices.get(kind)
            if price is None:
                return None
            total += count * (price + self._address)
        return Rate(total, SPOT_WITHOUT if any(spot for _, spot in kinds) else WITHOUT)

    def _prices(self, kinds: set[Kind]) -> Mapping[Kind, float | None]:
        """The prices of these; those that are not there within PATIENCE are None this time."""
        with self._asking:
            unknown = kinds - self._known.keys()
            if unknown:
                # A daemon: nobody waits for it at the end of the program, and a late answer serves the next question.
                asking = threading.Thread(target=self._ask, args=(unknown,), daemon=True)
                asking.start()
                asking.join(PATIENCE)
            return dict(self._known)

    def _ask(self, kinds: Iterable[Kind]) -> None:
        for outcome in each(kinds, self._price):
            self._known[outcome.item] = outcome.value  # an error leaves no value

    def _price(self, kind: Kind) -> float | None:
        name, spot = kind
        if not name:
            return None
        return spot_now(self._api, name, self._settings.zones) if spot else on_demand(self._api, name)


def on_demand(api: Api, name: str) -> float | None:
    """US dollars an hour for a type in this region, from the price list; None where that does not answer."""
    try:
        return listed(api, name)
    except Exception as error:
        if _unreadable(error):
            return None
        raise


def listed(api: Api, name: str) -> float | None:
    """The price in the list; None for a type that is not in it. Raises what botocore raises, and for other formats.

    Linux, no software of others, shared hardware, no reservation.
    """
    wanted = {**LINUX, "instanceType": name, "regionCode": api.region}
    filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()]
    products = api.pricing.get_products(ServiceCode="AmazonEC2", Filters=filters, MaxResults=10)["PriceList"]
    prices = [price for product in products for price in _hourly(json.loads(product))]
    return min(prices, default=None)


def spot_now(api: Api, name: str, zones: Sequence[str] = ()) -> float | None:
    """US dollars an hour for a type on spot at this moment, the mean of the zones (all of the region for none)."""
    now = time.time()
    try:
        by_zone = _by_zone(api, [name], now, now)
    except Exception as error:
        if _unreadable(error):
            return None
        raise
    last = [records[-1][1] for (_, zone), records in by_zone.items() if not zones or zone in zones]
    return sum(last) / len(last) if last else None


def history(api: Api, types: Sequence[str], days: int) -> tuple[Price, ...]:
    """What these types cost on demand, and on spot in each zone over the last so many days.

    The mean is by time. What cannot be read is missing, and a type without any price is left out; raises
    ProviderRefused when AWS let nothing be read, as without credentials.
    """
    now = time.time()
    since = now - days * 24 * HOUR
    outcomes = each(types, lambda name: listed(api, name))
    fixed = {one.item: one.value for one in outcomes}
    failures = [one.error for one in outcomes if one.error]
    spot: dict[tuple[str, str], Range] = {}
    try:
        spot = {place: _range(records, since, now) for place, records in _by_zone(api, types, since, now).items()}
    except Exception as error:
        failures.append(error)
    for failure in failures:
        if not _unreadable(failure):
            raise failure
    found = []
    for name in types:
        zones = sorted(zone for kind, zone in spot if kind == name)
        found += [Price(name, zone, fixed[name], spot[name, zone]) for zone in zones]
        if not zones and fixed[name] is not None:
            found.append(Price(name, fixed=fixed[name]))
    refused = [failure for failure in failures if isinstance(failure, ClusterError) or code_of(failure)]
    if refused and not found:
        raise refusal(refused[0], "reading prices")
    return tuple(found)


def _by_zone(
    api: Api, types: Sequence[str], since: float, until: float
) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """By type and zone the spot prices as (since when, US dollars an hour), the oldest first."""
    records = api.paged(
        "describe_spot_price_history",
        "SpotPriceHistory",
        InstanceTypes=list(types),
        ProductDescriptions=["Linux/UNIX"],
        StartTime=datetime.fromtimestamp(since, UTC),
        EndTime=datetime.fromtimestamp(until, UTC),
    )
    found: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for one in records:
        place = str(one["InstanceType"]), str(one["AvailabilityZone"])
        found[place].append((one["Timestamp"].timestamp(), float(one["SpotPrice"])))
    return {place: sorted(prices) for place, prices in found.items()}


def _range(records: Sequence[tuple[float, float]], since: float, until: float) -> Range:
    """The least, the mean over time, the most and the last of prices that each held until the next."""
    ends = [begun for begun, _ in records[1:]] + [until]
    spans = [(max(0.0, end - max(begun, since)), price) for (begun, price), end in zip(records, ends, strict=True)]
    total = sum(span for span, _ in spans)
    prices = [price for span, price in spans if span] or [records[-1][1]]
    mean = sum(span * price for span, price in spans) / total if total else records[-1][1]
    return Range(min(prices), mean, max(prices), records[-1][1])


def _hourly(product: Mapping[str, Any]) -> Iterable[float]:
    for term in product["terms"].get("OnDemand", {}).values():
        for dimension in term["priceDimensions"].values():
            price = float(dimension["pricePerUnit"].get("USD", 0))
            if dimension["unit"] == "Hrs" and price > 0:
                yield price


def _unreadable(error: Exception) -> bool:
    """Whether AWS, or the way to it, is to blame, or an answer in a form that nobody here knows."""
    return bool(code_of(error)) or isinstance(
        error, ClusterError | LookupError | ValueError | TypeError | AttributeError
    )
