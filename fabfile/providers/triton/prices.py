"""What machines cost: CloudAPI knows no price, so the setting ``price_per_hour`` says it, by package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...machines import Machine, Rate

HOUR = 3600.0


def rate(machines: Sequence[Machine], prices: Mapping[str, float]) -> Rate | None:
    """US dollars an hour for all of them together; None when the price of one is not said."""
    if not machines or any(one.kind not in prices for one in machines):
        return None
    return Rate(sum(prices[one.kind] for one in machines))


def spent(machines: Sequence[Machine], prices: Mapping[str, float], now: float) -> float | None:
    """US dollars until ``now`` (epoch seconds) since they were made, as if they had run all the time."""
    if not machines or any(one.kind not in prices or not one.created for one in machines):
        return None
    return sum(prices[one.kind] * max(0.0, now - one.created) / HOUR for one in machines)
