"""Products that are charged by events: the events of each period, rated."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from billing.cycle import monthly
from billing.generation import BEGINNING, UsagePeriod
from billing.history import Phase
from billing.metered import Reported, Sold, charged
from domain.catalogue import Mode, Proration
from domain.tariff import Commission, Measure, Metering, Tariff, Tier
from tests.unit.billing.billed_account import Account, day, span

BOXES = Metering(Measure.HELD, Tariff((Tier(10, Decimal(10), flat=Decimal(100)), Tier(None, Decimal(5)))))
FILMS = Metering(Measure.SUM, Tariff((Tier(None, Decimal("3.90")),)))
PURCHASES = Metering(Measure.AMOUNT, Commission(Decimal(1), Decimal(5), free=3))


def sold(metering: Metering, starts: str = "2023-01-01", ends: str | None = None) -> Sold:
    phase = Phase(span(starts, ends), 7, Decimal(0), Decimal(1), None)
    return Sold(7, metering, [phase], monthly(1), Proration.ACTUAL, "EUR")


def reported(*given: tuple[str, str]) -> list[Reported]:
    return [Reported(day(on), Decimal(units)) for on, units in given]


def amounts(what: Sold, events: list[Reported], on: str, floor: date = BEGINNING) -> list[tuple[str, int]]:
    return [(f"{usage.period.starts:%Y-%m}", usage.amount) for usage in charged(what, events, floor, day(on))]


def test_g13_units_that_are_given_within_a_month_are_charged_by_its_days() -> None:
    found = amounts(sold(BOXES, "2023-09-01"), reported(("2023-09-10", "2")), "2023-11-01")
    assert found == [("2023-09", 11400), ("2023-10", 12000)]


def test_units_that_are_taken_back_and_days_of_rest_are_not_charged() -> None:
    events = reported(("2023-09-01", "3"), ("2023-09-16", "-3"))
    assert amounts(sold(BOXES, "2023-09-01"), events, "2023-10-01") == [("2023-09", 10000 + 3000 * 15 // 30)]
    assert amounts(sold(BOXES, "2023-09-01", "2023-09-11"), events, "2023-10-01") == [("2023-09", 11000)]


def test_g4_events_with_amounts_are_charged_a_share_and_so_much_each() -> None:
    events = reported(*((f"2023-01-{number + 1:02}", "10") for number in range(4)), ("2023-02-01", "10"))
    assert amounts(sold(PURCHASES), events, "2023-03-01") == [("2023-01", 510), ("2023-02", 0)]


def test_days_that_were_charged_by_another_billing_day_are_not_charged_again() -> None:
    events = reported(("2023-01-12", "2"), ("2023-01-16", "1"), ("2023-02-11", "4"))
    moved = sold(FILMS)._replace(cycle=monthly(10), billed=[span("2022-12-15", "2023-01-15")])
    assert amounts(moved, events, "2023-03-10", day("2023-01-15")) == [("2023-01", 390), ("2023-02", 4 * 390)]
    boxes = sold(BOXES)._replace(cycle=monthly(10), billed=[span("2022-12-15", "2023-01-15")])
    # 100 to reach the tier, 2 boxes for a day and 3 for 25 days, of 31.
    assert amounts(boxes, events, "2023-02-10", day("2023-01-15")) == [("2023-01", 12484)]


def test_a_period_of_another_billing_day_stays_what_it_was_when_it_is_rated_again() -> None:
    events = reported(("2023-01-12", "2"), ("2023-01-16", "1"))
    before, since = span("2022-12-15", "2023-01-15"), span("2023-01-10", "2023-02-10")
    moved = sold(FILMS)._replace(cycle=monthly(10), billed=[before, since])
    for floor, expected in (("2023-01-12", {before: 780, since: 390}), ("2023-01-15", {since: 390})):
        found = charged(moved, events, day(floor), day("2023-02-10"))
        assert {usage.period: usage.amount for usage in found} == expected


def test_what_was_billed_before_its_period_was_over_is_not_billed_again_by_another_billing_day() -> None:
    films = Metering(Measure.SUM, replace(FILMS.tariff, bill_at=Decimal(5)))
    moved = sold(films)._replace(cycle=monthly(15), billed=[span("2023-01-01", "2023-02-01")])
    events = reported(("2023-01-05", "2"), ("2023-01-20", "1"), ("2023-02-03", "1"))
    found = {usage.period: usage.amount for usage in charged(moved, events, day("2023-01-06"), day("2023-02-15"))}
    assert [found[span(*days)] for days in (("2023-01-01", "2023-02-01"), ("2023-01-15", "2023-02-15"))] == [1170, 390]
    assert sum(found.values()) == 1170 + 390


def test_units_of_a_month_show_their_price_and_only_what_was_sold_counts() -> None:
    events = reported(("2023-01-05", "2"), ("2023-01-31", "1"), ("2023-02-01", "1"), ("2023-02-20", "9"))
    january, february = charged(sold(FILMS, ends="2023-02-10"), events, BEGINNING, day("2023-03-01"))
    facts = {"events": 2, "units": "3"}
    assert january == UsagePeriod(span("2023-01-01", "2023-02-01"), 1170, 3, facts, Decimal("3.90"), None, 7)
    assert (february.amount, february.units) == (390, 1)


def test_a_price_of_less_than_a_cent_is_shown_with_its_units() -> None:
    calls = sold(Metering(Measure.SUM, Tariff((Tier(None, Decimal("0.067")),))))
    (january,) = charged(calls, reported(("2023-01-05", "55")), BEGINNING, day("2023-02-01"))
    assert (january.amount, january.units, january.unit_price) == (369, 55, Decimal("0.067"))


def test_what_is_held_shows_what_it_costs_as_one_in_every_month_alike() -> None:
    boxes = sold(Metering(Measure.HELD, Tariff((Tier(None, Decimal(5)),))))
    found = charged(boxes, reported(("2023-01-01", "2")), BEGINNING, day("2023-03-01"))
    assert [(usage.units, usage.unit_price) for usage in found] == [(1, Decimal("10.00"))] * 2


def test_what_was_billed_and_what_is_not_over_is_left_alone() -> None:
    events = reported(("2023-01-05", "2"), ("2023-02-05", "1"), ("2023-03-05", "1"))
    assert amounts(sold(FILMS), events, "2023-03-20", day("2023-02-01")) == [("2023-02", 390)]
    early = sold(Metering(Measure.SUM, Tariff((Tier(None, Decimal("3.90")),), bill_at=Decimal(3))))
    for on in ("2023-03-01", "2023-03-20"):
        assert [usage.bill_at for usage in charged(early, events, day("2023-02-01"), day(on))] == [None, 300]


def test_g10_a_minimum_without_usage_is_charged_at_the_end_less_what_was_billed() -> None:
    """The first tier costs 100 to reach, which is billed at once; the least, 1000, is due when the month is over."""
    tariff = Tariff((Tier(None, Decimal(1), flat=Decimal(100)),), minimum=Decimal(1000), bill_at=Decimal(100))
    account = Account(mode=Mode.ARREARS)
    account.starts("2023-01-01", "0")
    what = sold(Metering(Measure.SUM, tariff), ends="2023-02-01")._replace(product_id=1)
    for on, expected in (("2023-01-02", [10_000]), ("2023-01-31", []), ("2023-02-01", [90_000])):
        account.usage = list(charged(what, [], BEGINNING, day(on)))
        assert account.run(on) == expected, on


@given(st.lists(st.tuples(st.integers(0, 89), st.integers(1, 9)), max_size=12), st.randoms())
def test_any_order_of_events_costs_the_same(events: list[tuple[int, int]], random: Random) -> None:
    found = [Reported(day("2023-01-01") + timedelta(days=after), Decimal(units)) for after, units in events]
    for metering in (BOXES, FILMS):
        expected = amounts(sold(metering), found, "2023-04-01")
        random.shuffle(found)
        assert amounts(sold(metering), found, "2023-04-01") == expected
