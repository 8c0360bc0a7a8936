"""How much time on line counts, moment by moment, and when it comes to so much."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.instants import SECOND_US, Microseconds, to_datetime, to_microseconds
from domain.plan_rules import CountingWindow, Window
from enforcement.periods import EVER, almanac, is_inside
from enforcement.time_weights import FULL_SECOND, time_weights

MADRID = ZoneInfo("Europe/Madrid")
ZONES = [MADRID, ZoneInfo("America/Bogota"), ZoneInfo("America/Santiago"), ZoneInfo("Asia/Kathmandu")]
MINUTE = timedelta(minutes=1)
HOUR = 3600 * FULL_SECOND
NIGHT = CountingWindow(Window(begins=0, ends=6 * 60), 0)
EVENING = CountingWindow(Window(begins=20 * 60, ends=22 * 60), 150)
WEEKEND = CountingWindow(Window(frozenset({5, 6})), 50)

windows = st.lists(
    st.builds(
        CountingWindow,
        st.builds(Window, st.frozensets(st.integers(0, 6), min_size=1), st.integers(0, 1439), st.integers(0, 1440)),
        st.sampled_from([0, 1, 33, 50, 200]),
    ),
    max_size=3,
).map(tuple)
moments = st.integers(0, 4 * 365 * 86_400 * 10**6).map(
    lambda number: datetime(2024, 1, 1, tzinfo=UTC) + timedelta(microseconds=number)
)


def us(text: str) -> Microseconds:
    return to_microseconds(datetime.fromisoformat(text + "Z"))


@pytest.mark.parametrize(
    ("counting", "begins", "ends", "weighed"),
    [
        ((), "2025-06-18T00:00", "2025-06-18T03:00", 3 * HOUR),
        ((), "2025-06-18T00:00:00.000001", "2025-06-18T00:00:00.000003", 200),
        ((NIGHT,), "2025-06-17T22:00", "2025-06-18T04:00", 0),
        ((NIGHT,), "2025-06-18T03:30", "2025-06-18T04:30", HOUR // 2),
        ((EVENING,), "2025-06-18T17:00", "2025-06-18T21:00", 5 * HOUR),
        ((WEEKEND,), "2025-06-20T21:00", "2025-06-20T23:00", HOUR * 3 // 2),
        # The first that holds: a weekend's evening counts one and a half, the other way round a half.
        ((EVENING, WEEKEND), "2025-06-21T18:00", "2025-06-21T19:00", HOUR * 3 // 2),
        ((WEEKEND, EVENING), "2025-06-21T18:00", "2025-06-21T19:00", HOUR // 2),
        ((WEEKEND,), "2025-06-21T18:00", "2025-06-21T18:00:00.000001", 50),
    ],
)
def test_windows_weigh_time_to_the_microsecond(
    counting: tuple[CountingWindow, ...], begins: str, ends: str, weighed: int
) -> None:
    month = almanac(MADRID).month(to_datetime(us(begins)))
    assert time_weights(counting, MADRID, month).between(us(begins), us(ends)) == weighed


def test_an_hour_that_clocks_repeat_counts_twice_and_one_they_leap_over_never() -> None:
    early = (CountingWindow(Window(begins=2 * 60, ends=3 * 60), 0),)
    for day, hours in (("2025-03-30T12:00", 23), ("2025-10-26T12:00", 25 - 2), ("2025-06-18T12:00", 24 - 1)):
        span = almanac(MADRID).day(to_datetime(us(day)))
        weights = time_weights(early, MADRID, span)
        assert weights.between(to_microseconds(span.begins), to_microseconds(span.ends)) == hours * HOUR


@pytest.mark.parametrize(
    ("counting", "weighed", "at"),
    [
        ((), HOUR, "2025-06-18T13:00"),
        ((), 1, "2025-06-18T12:00:00.000001"),
        ((EVENING,), 6 * HOUR, "2025-06-18T18:00"),
        ((EVENING,), 9 * HOUR, "2025-06-18T20:00"),
        ((EVENING,), 9 * HOUR + 1, "2025-06-18T20:00:00.000001"),
        # Until midnight ten hours count, then none until six.
        ((NIGHT,), 10 * HOUR, "2025-06-18T22:00"),
        ((NIGHT,), 11 * HOUR, "2025-06-19T05:00"),
        ((CountingWindow(Window(), 1),), FULL_SECOND, "2025-06-18T12:01:40"),
        ((CountingWindow(Window(), 0),), 1, None),
    ],
)
def test_it_tells_the_first_moment_at_which_so_much_has_counted(
    counting: tuple[CountingWindow, ...], weighed: int, at: str | None
) -> None:
    begins = us("2025-06-18T12:00")
    weights = time_weights(counting, MADRID, almanac(MADRID).month(to_datetime(begins)))
    assert weights.reached_at(begins, weighed) == (None if at is None else us(at))


def test_without_windows_even_what_never_ends_is_weighed() -> None:
    weights = time_weights((), MADRID, EVER)
    assert weights.between(us("1999-01-01T00:00"), us("2025-01-01T00:00:01")) % HOUR == FULL_SECOND


@given(windows, st.sampled_from(ZONES), moments, st.integers(0, 3 * 1440))
def test_it_is_what_every_minute_counts_by_itself(
    counting: tuple[CountingWindow, ...], zone: ZoneInfo, moment: datetime, minutes: int
) -> None:
    span = almanac(zone).month(moment)
    begins = span.begins + (moment - span.begins) // MINUTE * MINUTE
    ends = min(begins + minutes * MINUTE, span.ends)
    weighed, at = 0, begins
    while at < ends:
        local = at.astimezone(zone)
        percent = next((each.percent for each in counting if is_inside(each.window, local)), 100)
        weighed += 60 * SECOND_US * percent
        at += MINUTE
    assert time_weights(counting, zone, span).between(to_microseconds(begins), to_microseconds(ends)) == weighed


@given(windows, st.sampled_from(ZONES), moments, st.data())
def test_pieces_add_up_and_the_moment_it_tells_is_the_first(
    counting: tuple[CountingWindow, ...], zone: ZoneInfo, moment: datetime, data: st.DataObject
) -> None:
    span = almanac(zone).week(moment)
    weights = time_weights(counting, zone, span)
    begins, ends = to_microseconds(moment), to_microseconds(span.ends)
    middle = Microseconds(data.draw(st.integers(begins, ends)))
    whole = weights.between(begins, ends)
    assert weights.between(begins, middle) + weights.between(middle, ends) == whole
    if whole:
        wanted = data.draw(st.integers(1, whole))
        at = weights.reached_at(begins, wanted)
        assert at is not None
        assert begins < at <= ends
        assert weights.between(begins, at) >= wanted > weights.between(begins, Microseconds(at - 1))
