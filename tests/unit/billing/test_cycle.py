"""Where billing periods begin, and what share of one some days are."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.cycle import (
    Cycle,
    Period,
    days_between,
    local_day,
    monthly,
    months_later,
    share,
)
from billing.errors import BillingError
from domain.billing_terms import DayCount
from domain.catalogue import CycleUnit, Proration
from domain.money import rounded


def days(text: str) -> date:
    return date.fromisoformat(text)


def begins(cycle: Cycle, first: str, count: int) -> list[str]:
    """Return the beginnings of the periods after that of `first`, its own one first."""
    at = cycle.period(days(first)).starts
    found = []
    for _ in range(count):
        found.append(at.isoformat())
        at = cycle.next_begin(at)
    return found


def part(starts: str, ends: str, cycle: Cycle, proration: Proration = Proration.ACTUAL) -> Fraction:
    """Return the share of its period that [starts, ends) is."""
    period = cycle.period(days(starts))
    return Fraction(*share([Period(days(starts), days(ends))], period, proration))


ON_23 = monthly(23)
ON_15 = monthly(15)


def nine_places(share_of_a_month: Fraction) -> int:
    """Return a share as it is written with nine decimals."""
    return rounded(share_of_a_month * 10**9)


def test_p1_a_part_of_a_month_of_31_days() -> None:
    found = part("2023-05-23", "2023-06-15", ON_23)
    assert (found, nine_places(found)) == (Fraction(23, 31), 741_935_484)


def test_p2_a_part_of_a_month_of_30_days() -> None:
    found = part("2023-06-23", "2023-07-15", ON_23)
    assert (found, nine_places(found)) == (Fraction(22, 30), 733_333_333)


def test_p3_a_part_of_a_february() -> None:
    found = part("2023-02-23", "2023-03-15", ON_23)
    assert (found, nine_places(found)) == (Fraction(20, 28), 714_285_714)


def test_p4_a_part_of_a_february_of_a_leap_year() -> None:
    found = part("2024-02-23", "2024-03-15", ON_23)
    assert (found, nine_places(found)) == (Fraction(21, 29), 724_137_931)


@pytest.mark.parametrize(
    ("starts", "ends"),
    [
        ("2023-05-23", "2023-06-15"),
        ("2023-06-23", "2023-07-15"),
        ("2023-02-23", "2023-03-15"),
        ("2024-02-23", "2024-03-15"),
    ],
)
def test_p5_with_months_of_thirty_days_every_month_is_the_same(starts: str, ends: str) -> None:
    found = part(starts, ends, ON_23, Proration.THIRTY)
    assert (found, nine_places(found)) == (Fraction(22, 30), 733_333_333)


def test_p7_with_months_of_twenty_eight_days_the_23rd_to_the_15th_are_twenty() -> None:
    assert days_between(days("2023-05-23"), days("2023-06-15"), Proration.TWENTY_EIGHT) == 20


def test_p13_a_leading_part_is_of_the_period_that_it_ends() -> None:
    assert part("2011-02-01", "2011-02-13", monthly(13)) == Fraction(12, 31)


def test_p16_what_begins_in_the_afternoon_may_count_from_the_next_day() -> None:
    noon = datetime(2016, 3, 10, 16, tzinfo=UTC)
    starts = local_day(noon, UTC, DayCount.NEAREST)
    assert starts == days("2016-03-11")
    at_noon, before = (datetime(2016, 3, 10, hour, minute, tzinfo=UTC) for hour, minute in ((12, 0), (11, 59)))
    assert [local_day(each, UTC, DayCount.NEAREST).day for each in (before, at_noon)] == [10, 11]
    cycle = Cycle(local_day(datetime(2016, 3, 10, 8, tzinfo=UTC), UTC, DayCount.NEAREST))
    assert part(starts.isoformat(), "2016-04-10", cycle) == Fraction(30, 31)
    assert cycle.next_begin(starts) == days("2016-04-10")


def test_p17_a_last_day_that_counts_makes_thirty_two_days_of_a_quarter() -> None:
    last_day = days("2024-06-20")
    held = Period(days("2024-05-20"), last_day + timedelta(days=1))
    numerator, denominator = share([held], monthly(1, 3).period(held.starts), Proration.ACTUAL)
    assert (numerator, denominator) == (32, 91)


def test_p20_days_are_counted_over_a_change_of_the_clocks() -> None:
    edmonton = ZoneInfo("America/Edmonton")
    starts, ends = (local_day(datetime(2009, 3, day, 12, tzinfo=edmonton), edmonton) for day in (1, 10))
    assert days_between(starts, ends, Proration.ACTUAL) == 9


def test_a1_a_month_that_begins_on_the_31st_is_clamped_from_the_31st_each_time() -> None:
    assert begins(Cycle(days("2022-12-31")), "2023-01-31", 15) == [
        "2023-01-31", "2023-02-28", "2023-03-31", "2023-04-30", "2023-05-31", "2023-06-30", "2023-07-31", "2023-08-31",
        "2023-09-30", "2023-10-31", "2023-11-30", "2023-12-31", "2024-01-31", "2024-02-29", "2024-03-31",
    ]  # fmt: skip


def test_a2_after_the_31st_of_march_comes_the_30th_of_april() -> None:
    cycle = Cycle(days("2023-03-31"))
    assert cycle.next_begin(days("2023-03-31")) == days("2023-04-30")
    assert cycle.next_begin(days("2023-04-29")) == days("2023-04-30")
    assert cycle.period(days("2023-04-30")).starts == days("2023-04-30")


def test_a3_an_anchor_on_the_30th_never_wanders() -> None:
    assert begins(Cycle(days("2023-01-30")), "2023-01-30", 4) == [
        "2023-01-30", "2023-02-28", "2023-03-30", "2023-04-30",
    ]  # fmt: skip


@pytest.mark.parametrize(("year", "february"), [("2023", "28"), ("2024", "29")])
def test_a10_an_anchor_on_the_31st_of_january_never_wanders(year: str, february: str) -> None:
    assert begins(Cycle(days(f"{year}-01-31")), f"{year}-01-31", 4) == [
        f"{year}-01-31", f"{year}-02-{february}", f"{year}-03-31", f"{year}-04-30",
    ]  # fmt: skip


def test_a4_the_28th_is_not_the_last_day() -> None:
    assert {at[-2:] for at in begins(Cycle(days("2022-02-28")), "2022-02-28", 30)} == {"28"}


def test_a5_a_leap_day_is_clamped_in_other_years_and_comes_again() -> None:
    yearly = Cycle(days("2020-02-29"), 12)
    assert begins(yearly, "2020-02-29", 5) == ["2020-02-29", "2021-02-28", "2022-02-28", "2023-02-28", "2024-02-29"]


@pytest.mark.parametrize(("day", "expected"), [(17, "2022-08-17"), (23, "2022-07-23")])
def test_a7_the_next_billing_day_may_be_in_this_month_or_the_next(day: int, expected: str) -> None:
    assert monthly(day).next_begin(days("2022-07-19")) == days(expected)


def test_a8_weeks_are_counted_from_the_first() -> None:
    assert Cycle(days("2022-02-02"), 1, CycleUnit.WEEK).next_begin(days("2022-02-19")) == days("2022-02-23")


def test_a11_a_year_over_a_leap_day_has_366_days() -> None:
    assert part("2023-11-19", "2024-07-19", Cycle(days("2023-11-19"), 12)) == Fraction(243, 366)


@pytest.mark.parametrize(
    ("zone", "expected"),
    [("UTC", 16), ("Europe/Paris", 16), ("Pacific/Honolulu", 16), ("Asia/Tokyo", 17)],
)
def test_t3_the_billing_day_is_that_of_the_accounts_zone(zone: str, expected: int) -> None:
    assert local_day(datetime(2012, 7, 16, 21, 17, 3, tzinfo=UTC), ZoneInfo(zone)).day == expected


def test_t3_a_fixed_offset_is_a_zone_too() -> None:
    instant = datetime(2012, 7, 16, 21, 17, 3, tzinfo=UTC)
    assert local_day(instant, timezone(timedelta(hours=3))).day == 17


def test_t2_midnight_of_utc_is_still_the_day_before_in_bogota() -> None:
    bogota = ZoneInfo("America/Bogota")
    assert local_day(datetime(2023, 3, 1, 0, tzinfo=UTC), bogota) == days("2023-02-28")
    assert local_day(datetime(2023, 3, 1, 5, tzinfo=UTC), bogota) == days("2023-03-01")


def test_a_period_has_at_least_one_unit() -> None:
    with pytest.raises(BillingError, match="at least one month"):
        Cycle(days("2026-01-01"), 0)


ANCHORS = st.dates(days("2000-01-01"), days("2040-12-31"))
CYCLES = st.builds(Cycle, ANCHORS, st.integers(1, 24), st.sampled_from(CycleUnit))


@given(CYCLES, ANCHORS)
def test_every_day_is_in_exactly_the_period_that_holds_it(cycle: Cycle, day: date) -> None:
    period = cycle.period(day)
    assert period.starts <= day < period.ends
    assert cycle.period(period.starts) == period
    assert cycle.period(period.ends).starts == period.ends
    assert cycle.period(period.ends - timedelta(days=1)) == period


@given(ANCHORS, st.integers(1, 12), ANCHORS)
def test_months_begin_where_counting_from_the_anchor_says(anchor: date, count: int, day: date) -> None:
    period = Cycle(anchor, count).period(day)
    steps = [months_later(anchor, step * count) for step in range(-600 // count, 600 // count)]
    assert period.starts in steps
    assert steps[steps.index(period.starts) + 1] == period.ends


@given(CYCLES, ANCHORS, st.data(), st.sampled_from([Proration.ACTUAL, Proration.THIRTY]))
def test_two_parts_of_a_period_are_the_whole(
    cycle: Cycle, day: date, data: st.DataObject, proration: Proration
) -> None:
    period = cycle.period(day)
    cut = data.draw(st.dates(period.starts, period.ends))
    parts = [Period(a, b) for a, b in ((period.starts, cut), (cut, period.ends)) if a < b]
    held = sum((Fraction(*share([each], period, proration)) for each in parts), Fraction(0))
    if days_between(period.starts, period.ends, proration) > 0:
        assert held == 1
    assert Fraction(*share(parts, period, Proration.NONE)) == 1
