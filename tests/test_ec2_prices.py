"""Prices: the right one of the many that a type has, sums, means over time, and silence where nothing can be read."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from fabfile.accounts import Range
from fabfile.errors import ProviderRefused
from fabfile.machines import Machine, MachineSpec, MachineState, Priced
from fabfile.providers.ec2 import prices
from fabfile.providers.ec2.api import Api
from fabfile.providers.ec2.prices import Prices, history, on_demand
from fabfile.settings import Settings
from tests.cloud.fixtures import cloud_settings
from tests.cloud.server import Cloud

BIG, SMALL = "m7i.large", "t3.small"
HOUR = 3600.0


def machine(index: int, kind: str = BIG, **changes: Any) -> Machine:
    plain: dict[str, Any] = {"state": MachineState.RUNNING, "kind": kind, "created": 1000.0}
    return Machine(f"engine-{index}", f"i-{index}", "engine", index, **{**plain, **changes})


def specs(engines: int) -> list[MachineSpec]:
    return [MachineSpec("controller", 0), *(MachineSpec("engine", index) for index in range(engines))]


@pytest.fixture
def settings(cloud: Cloud) -> Settings:
    cloud.on_paper()
    cloud.answers.prices.on_demand = {BIG: 0.10, SMALL: 0.02}
    cloud.answers.prices.spot = {BIG: 0.04}
    return cloud_settings(cloud, zones=("eu-central-1a",))


def of(settings: Settings) -> Prices:
    return Prices(Api(settings), settings)


def test_they_are_what_the_protocol_asks_for(settings: Settings) -> None:
    assert isinstance(of(settings), Priced)


def test_of_the_many_prices_of_a_type_the_plain_one_is_taken(settings: Settings) -> None:
    assert on_demand(Api(settings), BIG) == pytest.approx(0.10)


def test_what_the_price_list_is_asked_to_the_letter(cloud: Cloud, settings: Settings) -> None:
    on_demand(Api(settings), BIG)
    (call,) = cloud.called("GetProducts")
    assert {one["Field"]: one["Value"] for one in call.params["Filters"]} == {
        "instanceType": BIG,
        "regionCode": "eu-central-1",
        "operatingSystem": "Linux",
        "operation": "RunInstances",
        "preInstalledSw": "NA",
        "tenancy": "Shared",
        "capacitystatus": "Used",
    }
    assert {one["Type"] for one in call.params["Filters"]} == {"TERM_MATCH"}


def test_an_estimate_is_of_both_roles_with_an_address_each(settings: Settings) -> None:
    rate = of(settings).estimate(specs(3))
    assert rate is not None
    assert rate.hourly == pytest.approx(0.02 + 3 * 0.10 + 4 * 0.005)
    assert "volumes" in rate.without
    assert "spot" not in rate.without


def test_without_public_addresses_none_is_charged(cloud: Cloud, settings: Settings) -> None:
    rate = of(cloud_settings(cloud, public_address=False)).estimate(specs(1))
    assert rate is not None
    assert rate.hourly == pytest.approx(0.12)


def test_engines_on_spot_cost_what_spot_costs_now_and_the_controller_does_not(cloud: Cloud, settings: Settings) -> None:
    rate = of(cloud_settings(cloud, spot=True, zones=("eu-central-1a",))).estimate(specs(1))
    assert rate is not None
    assert rate.hourly == pytest.approx(0.02 + 0.04 + 2 * 0.005)  # an hour ago it was 1.3 times as much
    assert "spot" in rate.without


def test_machines_count_by_what_they_are(settings: Settings) -> None:
    rate = of(settings).rate([machine(0), machine(1), machine(2, interruptible=True), machine(3, SMALL)])
    assert rate is not None
    assert rate.hourly == pytest.approx(2 * 0.10 + 0.04 + 0.02 + 4 * 0.005)


def test_a_machine_of_unknown_kind_leaves_the_sum_unknown(settings: Settings) -> None:
    assert of(settings).rate([machine(0), machine(1, "")]) is None
    assert of(settings).rate([machine(0), machine(1, "nosuch.large")]) is None


def test_what_was_spent_goes_by_the_time_that_each_has_run(settings: Settings) -> None:
    machines = [machine(0), machine(1, created=1000 + HOUR), machine(2, state=MachineState.STOPPED)]
    assert of(settings).spent(machines, 1000 + 2 * HOUR) == pytest.approx(0.105 * 3)


def test_a_minute_is_charged_at_least(settings: Settings) -> None:
    assert of(settings).spent([machine(0)], 1000.0 - 5) == pytest.approx(0.105 / 60)


def test_nothing_costs_nothing(cloud: Cloud, settings: Settings) -> None:
    assert of(settings).spent([], 0.0) == 0.0
    assert cloud.calls == []


def test_each_price_is_asked_for_once(cloud: Cloud, settings: Settings) -> None:
    mine = of(settings)
    for _ in range(3):
        assert mine.rate([machine(0), machine(1)])
        assert mine.spent([machine(0)], 5000.0)
    assert len(cloud.called("GetProducts")) == 1


def test_what_may_not_be_read_is_none_and_not_asked_for_again(cloud: Cloud, settings: Settings) -> None:
    cloud.faults.deny("GetProducts")
    mine = of(settings)
    assert mine.estimate(specs(1)) is None
    assert mine.spent([machine(0)], 5000.0) is None
    assert len(cloud.called("GetProducts")) == 2  # both types


def test_no_credentials_are_no_error(cloud: Cloud, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert of(settings).estimate(specs(1)) is None


def test_an_answer_that_never_comes_holds_nobody_up(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(prices, "PATIENCE", 0.05)
    monkeypatch.setattr(prices, "on_demand", lambda api, name: over.wait(10) and 0.5)
    begun = time.monotonic()
    try:
        assert of(settings).rate([machine(0)]) is None
        assert time.monotonic() - begun < 2
    finally:
        over.set()


@pytest.mark.parametrize("answer", ["{}", "nonsense", '{"terms": {"OnDemand": []}}', "[]"])
def test_a_price_list_in_another_form_is_no_error(answer: str) -> None:
    class Strange(Api):
        region = "eu-central-1"

        @property
        def pricing(self) -> Any:
            return self

        def get_products(self, **_: Any) -> dict[str, Any]:
            return {"PriceList": [answer]}

    assert on_demand(Strange(Settings()), BIG) is None


class Past(Api):
    """An account whose spot prices of the last days are known."""

    region = "eu-central-1"

    def __init__(self, *records: tuple[float, float]) -> None:
        super().__init__(Settings())
        self.records = records
        self.asked: dict[str, Any] = {}

    def paged(self, operation: str, key: str, *, client: Any = None, **arguments: Any) -> list[dict[str, Any]]:
        self.asked = arguments
        return [
            {
                "InstanceType": BIG,
                "AvailabilityZone": "eu-central-1a",
                "SpotPrice": str(price),
                "Timestamp": datetime.fromtimestamp(time.time() - ago * HOUR, UTC),
            }
            for ago, price in self.records
        ]


def test_the_mean_is_over_time_and_begins_where_it_was_asked_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prices, "listed", lambda api, name: 0.1)
    (price,) = history(Past((6, 0.04), (12, 0.08), (100, 0.02)), [BIG], 1)  # 12 h at 0.02, 6 at 0.08, 6 at 0.04
    assert (price.type, price.zone, price.fixed) == (BIG, "eu-central-1a", 0.1)
    assert price.interruptible is not None
    assert (price.interruptible.least, price.interruptible.most, price.interruptible.now) == (0.02, 0.08, 0.04)
    assert price.interruptible.mean == pytest.approx(0.04)


def test_what_ended_before_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prices, "listed", lambda api, name: None)
    (price,) = history(Past((30, 0.05), (100, 9.0)), [BIG], 1)
    assert price.interruptible == Range(0.05, 0.05, 0.05, 0.05)


def test_history_of_every_type_and_zone(cloud: Cloud, settings: Settings) -> None:
    found = history(Api(settings), [BIG, SMALL, "nosuch.large"], 7)
    assert {price.type for price in found} == {BIG, SMALL}
    assert len([price for price in found if price.type == BIG]) > 1
    assert all(price.fixed and price.interruptible and price.zone for price in found)


def test_history_without_permission_has_what_is_left(cloud: Cloud, settings: Settings) -> None:
    cloud.faults.deny("DescribeSpotPriceHistory")
    (price,) = history(Api(settings), [BIG], 7)
    assert (price.zone, price.interruptible) == ("", None)
    assert price.fixed == pytest.approx(0.10)
    cloud.faults.deny("GetProducts")
    with pytest.raises(ProviderRefused, match="reading prices was refused") as error:
        history(Api(settings), [BIG], 7)
    assert "least policy" in error.value.hint


def test_history_without_credentials_is_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(ProviderRefused, match="Unable to locate credentials"):
        history(Api(settings), [BIG], 7)


def test_history_of_a_type_that_nobody_has_is_empty(settings: Settings) -> None:
    assert history(Api(settings), ["nosuch.large"], 7) == ()


def test_history_of_a_price_list_in_another_form_has_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def strange(api: Api, name: str) -> float:
        raise KeyError("terms")

    monkeypatch.setattr(prices, "listed", strange)
    assert history(Past(), [BIG], 7) == ()
    (price,) = history(Past((6, 0.04)), [BIG], 7)
    assert (price.fixed, price.interruptible and price.interruptible.now) == (None, 0.04)


def test_a_mistake_of_ours_is_not_taken_for_a_missing_price(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(api: Api, name: str) -> float:
        raise ZeroDivisionError

    monkeypatch.setattr(prices, "listed", wrong)
    with pytest.raises(ZeroDivisionError):
        history(Past((6, 0.04)), [BIG], 7)
