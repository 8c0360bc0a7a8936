"""Octets of an interval go to the hours and local days in which they flowed, to the octet."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounting.split import HOUR_US, day_of, hour_of, hours, local_midnights, midnight, split
from domain.instants import SECOND_US, Microseconds, to_microseconds

ZONES = (
    "UTC",
    "Europe/Madrid",
    "America/New_York",
    "America/Santiago",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Chatham",
    "Asia/Beirut",
    "America/Havana",
    "Pacific/Apia",
)
DAY_US = 86_400 * SECOND_US
INSTANTS = st.integers(1_262_304_000 * SECOND_US, 2_240_000_000 * SECOND_US).map(Microseconds)
"""2010 to 2040."""
OCTETS = st.integers(0, 2**63 - 1)
LENGTHS = st.integers(0, 40 * DAY_US)


def us(text: str) -> Microseconds:
    return to_microseconds(datetime.fromisoformat(text).replace(tzinfo=UTC))


@given(INSTANTS, LENGTHS, OCTETS, OCTETS, st.sampled_from(ZONES))
def test_parts_are_contiguous_and_sum_to_the_whole(
    from_us: Microseconds, length: int, up: int, down: int, zone: str
) -> None:
    to_us = Microseconds(from_us + length)
    place = ZoneInfo(zone)
    for boundaries in (hours(from_us, to_us, place), local_midnights(from_us, to_us, place)):
        parts = split(from_us, to_us, up, down, boundaries)
        assert (parts[0].from_us, parts[-1].to_us) == (from_us, to_us)
        assert all(one.to_us == other.from_us for one, other in pairwise(parts))
        assert sum(part.octets_up for part in parts) == up
        assert sum(part.octets_down for part in parts) == down
        assert all(part.octets_up >= 0 and part.octets_down >= 0 for part in parts)
        assert len(parts) == 1 or all(part.from_us < part.to_us for part in parts)


@given(INSTANTS, LENGTHS.filter(bool), OCTETS, st.lists(LENGTHS, max_size=5), st.lists(LENGTHS, max_size=5))
def test_what_lies_before_an_instant_does_not_depend_on_the_other_cuts(
    from_us: Microseconds, length: int, octets: int, some: list[int], others: list[int]
) -> None:
    to_us = Microseconds(from_us + length)
    cuts = sorted({from_us + each for each in some if 0 < each < length})
    more = sorted({from_us + each for each in (*some, *others) if 0 < each < length})
    before = {part.to_us: part for part in split(from_us, to_us, octets, 0, map(Microseconds, cuts))}
    finer = split(from_us, to_us, octets, 0, map(Microseconds, more))
    for end, part in before.items():
        inside = [each.octets_up for each in finer if part.from_us <= each.from_us < end]
        assert part.octets_up == sum(inside)


@given(INSTANTS, st.integers(1, 40 * DAY_US), OCTETS, st.sampled_from(ZONES))
def test_every_part_of_an_hourly_split_lies_in_one_hour_of_one_local_day(
    from_us: Microseconds, length: int, up: int, zone: str
) -> None:
    place = ZoneInfo(zone)
    to_us = Microseconds(from_us + length)
    parts = split(from_us, to_us, up, 0, hours(from_us, to_us, place))
    for part in parts:
        last_us = Microseconds(part.to_us - 1)
        begins = midnight(day_of(part.from_us, place), place)
        assert day_of(part.from_us, place) == day_of(last_us, place)
        assert hour_of(part.from_us, begins) == hour_of(last_us, begins)
    by_day: dict[date, int] = {}
    for part in parts:
        day = day_of(part.from_us, place)
        by_day[day] = by_day.get(day, 0) + part.octets_up
    days = split(from_us, to_us, up, 0, local_midnights(from_us, to_us, place))
    assert list(by_day.values()) == [day.octets_up for day in days]


@pytest.mark.parametrize(("zone", "minute"), [("Asia/Kolkata", 30), ("Asia/Kathmandu", 15), ("Europe/Madrid", 0)])
def test_hours_are_those_of_the_clocks_on_the_wall(zone: str, minute: int) -> None:
    found = list(hours(us("2026-03-28T20:50"), us("2026-03-29T05:10"), ZoneInfo(zone)))
    assert len(found) == 8 + (20 * 60 + minute > 20 * 60 + 50) + (5 * 60 + minute < 5 * 60 + 10)
    walls = [datetime.fromtimestamp(each / SECOND_US, ZoneInfo(zone)) for each in found]
    assert {wall.minute for wall in walls} == {0}


@given(INSTANTS, st.integers(1, 400 * DAY_US), st.sampled_from(ZONES))
def test_every_part_of_a_daily_split_lies_in_one_local_day(from_us: Microseconds, length: int, zone: str) -> None:
    place = ZoneInfo(zone)
    to_us = Microseconds(from_us + length)
    cuts = [from_us, *local_midnights(from_us, to_us, place), to_us]
    days = [day_of(begin, place) for begin in cuts[:-1]]
    assert days == [day_of(Microseconds(end - 1), place) for end in cuts[1:]]
    assert days == sorted(set(days))
    assert all(midnight(day, place) == begin for day, begin in zip(days[1:], cuts[1:-1], strict=True))


def test_a_part_is_rounded_down_and_the_last_takes_the_rest() -> None:
    from_us, to_us = us("2026-01-01T10:50"), us("2026-01-01T12:20")
    parts = split(from_us, to_us, 100, 7, hours(from_us, to_us, UTC))
    assert [(part.octets_up, part.octets_down) for part in parts] == [(11, 0), (66, 5), (23, 2)]


@pytest.mark.parametrize("length", [0, HOUR_US // 2, HOUR_US])
def test_an_interval_is_half_open(length: int) -> None:
    """What ends at the full hour lies in the hour before, and what begins there in the hour after."""
    begin = us("2026-01-01T10:00")
    end = Microseconds(begin + length)
    assert list(hours(begin, end, UTC)) == []
    assert split(begin, end, 5, 6, hours(begin, end, UTC)) == [(begin, end, 5, 6)]


def test_cuts_outside_of_the_interval_cut_nothing() -> None:
    begin, end = us("2026-01-01T10:00"), us("2026-01-01T11:00")
    inside = us("2026-01-01T10:30")
    cuts = [us("2026-01-01T09:00"), begin, inside, inside, end, us("2026-01-01T12:00")]
    assert [part.to_us for part in split(begin, end, 10, 10, cuts)] == [inside, end]


@pytest.mark.parametrize(
    ("zone", "day", "begins", "lasts_hours"),
    [
        ("Europe/Madrid", date(2026, 3, 29), "2026-03-28T23:00", 23),
        ("Europe/Madrid", date(2026, 10, 25), "2026-10-24T22:00", 25),
        ("Asia/Kolkata", date(2026, 1, 1), "2025-12-31T18:30", 24),
        ("Asia/Kathmandu", date(2026, 1, 1), "2025-12-31T18:15", 24),
        ("Pacific/Chatham", date(2026, 4, 5), "2026-04-04T10:15", 25),
        ("Australia/Lord_Howe", date(2026, 4, 5), "2026-04-04T13:00", 24.5),
        # Clocks skip midnight: the day begins at one o'clock.
        ("America/Santiago", date(2026, 9, 6), "2026-09-06T04:00", 23),
        # Clocks go back at midnight, to 23:00 of the day that ends.
        ("America/Santiago", date(2026, 4, 4), "2026-04-04T03:00", 25),
        # Clocks go back at one o'clock: there are two midnights, and the day begins at the first.
        ("America/Havana", date(2026, 11, 1), "2026-11-01T04:00", 25),
    ],
)
def test_a_local_day_has_the_length_that_clocks_give_it(zone: str, day: date, begins: str, lasts_hours: float) -> None:
    place = ZoneInfo(zone)
    begin, end = midnight(day, place), midnight(day + timedelta(days=1), place)
    assert begin == us(begins)
    assert (end - begin) / HOUR_US == lasts_hours
    assert list(local_midnights(Microseconds(begin - 1), Microseconds(end + 1), place)) == [begin, end]


def test_a_day_left_out_at_the_date_line_begins_no_part() -> None:
    """Samoa had no 30 December 2011."""
    place = ZoneInfo("Pacific/Apia")
    found = list(local_midnights(us("2011-12-29T09:00"), us("2012-01-01T09:00"), place))
    assert found == [us("2011-12-29T10:00"), us("2011-12-30T10:00"), us("2011-12-31T10:00")]
    assert [day_of(each, place).day for each in found] == [29, 31, 1]
