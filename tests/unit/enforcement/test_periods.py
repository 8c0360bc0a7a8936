"""When usage begins again, and which windows are open, through every change of the clocks."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.plan_rules import Cap, Period, PlanRules, WeekStart, Window
from enforcement.periods import (
    EVER,
    NEVER,
    Span,
    Timetable,
    almanac,
    cap_span,
    is_inside,
    midnight,
    timetable,
)

BOGOTA = ZoneInfo("America/Bogota")
SANTIAGO = ZoneInfo("America/Santiago")
"""Clocks leap over midnight in September, and go back from midnight to 23:00 in April."""
MADRID = ZoneInfo("Europe/Madrid")
HAVANA = ZoneInfo("America/Havana")
"""Clocks go back from 1:00 to midnight in November."""
ST_JOHNS = ZoneInfo("America/St_Johns")
"""Until 2011 clocks changed at 0:01: back into the day before."""
ZONES = [BOGOTA, SANTIAGO, MADRID, HAVANA, ST_JOHNS, ZoneInfo("Asia/Kathmandu"), ZoneInfo("Australia/Lord_Howe")]
MICROSECOND = timedelta(microseconds=1)
MINUTE = timedelta(minutes=1)

zones = st.sampled_from(ZONES)
instants = st.integers(0, 20 * 365 * 86_400).map(
    lambda number: datetime(2006, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
)
windows = st.builds(Window, st.frozensets(st.integers(0, 6), min_size=1), st.integers(0, 1439), st.integers(0, 1440))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text + "Z")


def span(begins: str, ends: str) -> Span:
    return Span(utc(begins), utc(ends))


class TestMidnight:
    @pytest.mark.parametrize(
        ("zone", "day", "instant"),
        [
            (BOGOTA, date(2025, 6, 1), "2025-06-01T05:00"),
            (MADRID, date(2025, 3, 30), "2025-03-29T23:00"),
            (MADRID, date(2025, 3, 31), "2025-03-30T22:00"),
            (SANTIAGO, date(2025, 4, 6), "2025-04-06T04:00"),
            (SANTIAGO, date(2025, 9, 7), "2025-09-07T04:00"),
            (HAVANA, date(2025, 11, 2), "2025-11-02T04:00"),
        ],
    )
    def test_it_is_the_first_moment_of_the_day(self, zone: ZoneInfo, day: date, instant: str) -> None:
        assert midnight(zone, day) == utc(instant)
        assert midnight(zone, day).astimezone(zone).date() == day
        assert (midnight(zone, day) - MICROSECOND).astimezone(zone).date() == day - timedelta(days=1)

    def test_a_gap_that_begins_before_midnight_ends_the_day(self) -> None:
        # Toronto, 30 March 1919: clocks went from 23:30 to 0:30.
        toronto = ZoneInfo("America/Toronto")
        begins = midnight(toronto, date(1919, 3, 31))
        assert begins.astimezone(toronto).replace(tzinfo=None) == datetime(1919, 3, 31, 0, 30)  # noqa: DTZ001 - clocks
        assert (begins - MICROSECOND).astimezone(toronto).date() == date(1919, 3, 30)


class TestPeriods:
    @pytest.mark.parametrize(
        ("period", "first_day", "now", "expected"),
        [
            (Period.DAY, 1, "2025-06-18T17:00", span("2025-06-18T05:00", "2025-06-19T05:00")),
            (Period.DAY, 1, "2025-06-18T04:59", span("2025-06-17T05:00", "2025-06-18T05:00")),
            (Period.WEEK, 1, "2025-06-18T17:00", span("2025-06-16T05:00", "2025-06-23T05:00")),
            (Period.WEEK, 1, "2025-06-16T05:00", span("2025-06-16T05:00", "2025-06-23T05:00")),
            (Period.MONTH, 1, "2025-06-18T17:00", span("2025-06-01T05:00", "2025-07-01T05:00")),
            (Period.MONTH, 18, "2025-06-18T05:00", span("2025-06-18T05:00", "2025-07-18T05:00")),
            (Period.MONTH, 18, "2025-06-18T04:59", span("2025-05-18T05:00", "2025-06-18T05:00")),
            (Period.MONTH, 31, "2025-02-10T12:00", span("2025-01-31T05:00", "2025-02-28T05:00")),
            (Period.MONTH, 31, "2025-02-28T05:00", span("2025-02-28T05:00", "2025-03-31T05:00")),
            (Period.MONTH, 30, "2024-02-29T05:00", span("2024-02-29T05:00", "2024-03-30T05:00")),
            (Period.MONTH, 31, "2025-12-31T05:00", span("2025-12-31T05:00", "2026-01-31T05:00")),
            (Period.EVER, 18, "2025-12-31T05:00", EVER),
        ],
    )
    def test_each_begins_and_ends_at_local_midnight(
        self, period: Period, first_day: int, now: str, expected: Span
    ) -> None:
        assert almanac(BOGOTA).span(period, utc(now), first_day) == expected

    @pytest.mark.parametrize(
        ("now", "expected"),
        [
            ("2025-06-18T17:00", span("2025-06-15T05:00", "2025-06-22T05:00")),
            ("2025-06-22T04:59", span("2025-06-15T05:00", "2025-06-22T05:00")),
            ("2025-06-22T05:00", span("2025-06-22T05:00", "2025-06-29T05:00")),
            ("2025-06-23T05:00", span("2025-06-22T05:00", "2025-06-29T05:00")),
        ],
    )
    def test_weeks_may_begin_on_sunday(self, now: str, expected: Span) -> None:
        assert almanac(BOGOTA).week(utc(now), WeekStart.SUNDAY) == expected
        assert almanac(BOGOTA).span(Period.WEEK, utc(now), 1, WeekStart.SUNDAY) == expected
        weekly = PlanRules(cap=Cap(1, Period.WEEK), week_starts=WeekStart.SUNDAY)
        assert cap_span(weekly, BOGOTA, utc(now), 18) == expected

    def test_what_is_counted_for_ever_has_every_moment_and_every_zone_can_show_it(self) -> None:
        for zone in ZONES:
            assert almanac(zone).span(Period.EVER, utc("2025-06-18T17:00")) == EVER
            assert EVER.begins.astimezone(zone) == EVER.begins
            assert EVER.ends.astimezone(zone) == EVER.ends

    def test_the_period_of_a_plan_without_cap_is_the_month(self) -> None:
        assert cap_span(PlanRules(), BOGOTA, utc("2025-06-18T17:00"), 18) == span(
            "2025-06-18T05:00", "2025-07-18T05:00"
        )

    def test_a_month_comes_back_to_its_own_day(self) -> None:
        begins, lengths = utc("2025-01-31T05:00"), []
        for _ in range(12):
            month = almanac(BOGOTA).month(begins, 31)
            assert month.begins == begins
            lengths.append((month.ends - month.begins).days)
            begins = month.ends
        assert lengths == [28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31, 31]

    @pytest.mark.parametrize(
        ("zone", "now", "hours"),
        [
            (MADRID, "2025-03-30T12:00", 23),
            (MADRID, "2025-10-26T12:00", 25),
            (SANTIAGO, "2025-09-07T12:00", 23),
            (SANTIAGO, "2025-04-05T12:00", 25),
            (HAVANA, "2025-11-02T12:00", 25),
        ],
    )
    def test_a_day_is_as_long_as_the_clocks_make_it(self, zone: ZoneInfo, now: str, hours: int) -> None:
        day = almanac(zone).day(utc(now))
        assert day.ends - day.begins == timedelta(hours=hours)

    @given(
        zones,
        st.sampled_from([Period.DAY, Period.WEEK, Period.MONTH]),
        st.integers(1, 31),
        st.sampled_from(WeekStart),
        instants,
    )
    def test_periods_follow_each_other_without_gap(
        self, zone: ZoneInfo, period: Period, first_day: int, week_starts: WeekStart, now: datetime
    ) -> None:
        known = almanac(zone)
        present = known.span(period, now, first_day, week_starts)
        assert present.begins <= now < present.ends
        assert known.span(period, present.begins, first_day, week_starts) == present
        assert known.span(period, present.ends - MICROSECOND, first_day, week_starts) == present
        assert known.span(period, present.ends, first_day, week_starts).begins == present.ends
        assert known.span(period, present.begins - MICROSECOND, first_day, week_starts).ends == present.begins


class TestWindows:
    @pytest.mark.parametrize(
        ("window", "local", "inside"),
        [
            (Window(), "2025-06-18T00:00", True),
            (Window(begins=60, ends=120), "2025-06-18T00:59:59", False),
            (Window(begins=60, ends=120), "2025-06-18T01:00", True),
            (Window(begins=60, ends=120), "2025-06-18T01:59:59", True),
            (Window(begins=60, ends=120), "2025-06-18T02:00", False),
            (Window(frozenset({2}), 60, 120), "2025-06-18T01:00", True),
            (Window(frozenset({3}), 60, 120), "2025-06-18T01:00", False),
            (Window(frozenset({2}), 1320, 360), "2025-06-18T22:00", True),
            (Window(frozenset({2}), 1320, 360), "2025-06-19T05:59", True),
            (Window(frozenset({2}), 1320, 360), "2025-06-19T06:00", False),
            (Window(frozenset({2}), 1320, 360), "2025-06-18T05:59", False),
            (Window(frozenset({6}), 1320, 360), "2025-06-16T05:59", True),
            (Window(frozenset({2}), 720, 720), "2025-06-19T11:59", True),
            (Window(frozenset({2}), 720, 720), "2025-06-19T12:00", False),
            (Window(frozenset({2}), 1080, 0), "2025-06-18T23:59", True),
            (Window(frozenset({2}), 1080, 0), "2025-06-19T00:00", False),
        ],
    )
    def test_what_is_inside(self, window: Window, local: str, inside: bool) -> None:
        assert is_inside(window, datetime.fromisoformat(local)) is inside

    @pytest.mark.parametrize(
        ("zone", "window", "now", "edge"),
        [
            (BOGOTA, Window(begins=60, ends=120), "2025-06-18T05:00", "2025-06-18T06:00"),
            (BOGOTA, Window(begins=60, ends=120), "2025-06-18T06:00", "2025-06-18T07:00"),
            (BOGOTA, Window(frozenset({0}), 60, 120), "2025-06-18T06:00", "2025-06-23T06:00"),
            (BOGOTA, Window(begins=1320, ends=360), "2025-06-19T04:00", "2025-06-19T11:00"),
            # 2:00-3:00 does not exist on 30 March: a window that begins at 2:30 begins with the leap.
            (MADRID, Window(begins=150, ends=240), "2025-03-30T00:00", "2025-03-30T01:00"),
            (MADRID, Window(begins=150, ends=240), "2025-03-30T01:00", "2025-03-30T02:00"),
            # One that lies inside the leap does not come that day.
            (MADRID, Window(begins=130, ends=170), "2025-03-30T00:00", "2025-03-31T00:10"),
            # 2:00-3:00 comes twice on 26 October, and so does a window inside it.
            (MADRID, Window(begins=150, ends=170), "2025-10-26T00:00", "2025-10-26T00:30"),
            (MADRID, Window(begins=150, ends=170), "2025-10-26T00:30", "2025-10-26T00:50"),
            (MADRID, Window(begins=150, ends=170), "2025-10-26T00:50", "2025-10-26T01:30"),
            (MADRID, Window(begins=150, ends=170), "2025-10-26T01:30", "2025-10-26T01:50"),
            # One that begins before and ends inside the repeated hour is interrupted.
            (MADRID, Window(begins=60, ends=150), "2025-10-25T23:00", "2025-10-26T00:30"),
            (MADRID, Window(begins=60, ends=150), "2025-10-26T00:30", "2025-10-26T01:00"),
            (MADRID, Window(begins=60, ends=150), "2025-10-26T01:00", "2025-10-26T01:30"),
            (SANTIAGO, Window(ends=360), "2025-09-07T03:00", "2025-09-07T04:00"),
        ],
    )
    def test_the_next_edge(self, zone: ZoneInfo, window: Window, now: str, edge: str) -> None:
        assert timetable((window,), zone).at(utc(now)).ends == utc(edge)

    def test_what_never_changes_has_no_edge(self) -> None:
        assert timetable((), BOGOTA).at(utc("2025-06-18T05:00")).ends is NEVER
        assert timetable((Window(),), BOGOTA).at(utc("2025-06-18T05:00")).ends is NEVER
        assert timetable((Window(begins=720, ends=720),), BOGOTA).at(utc("2025-06-18T05:00")).ends is NEVER
        halves = (Window(ends=720), Window(begins=720))
        assert Timetable(halves, BOGOTA, alike=True).at(utc("2025-06-18T05:00")).ends is NEVER
        assert timetable(halves, BOGOTA).at(utc("2025-06-18T05:00")).ends == utc("2025-06-18T17:00")

    @given(zones, st.lists(windows, min_size=1, max_size=3).map(tuple), instants)
    def test_a_segment_is_what_the_clocks_say_minute_by_minute(
        self, zone: ZoneInfo, several: tuple[Window, ...], now: datetime
    ) -> None:
        def held(instant: datetime) -> int | None:
            local = instant.astimezone(zone)
            return next((number for number, window in enumerate(several) if is_inside(window, local)), None)

        segment = Timetable(several, zone).at(now)
        assert segment.begins <= now < segment.ends
        assert segment.window == held(now) == held(segment.begins)
        last = min(segment.ends, now + timedelta(days=2))
        minute = now
        while minute < last:
            assert held(minute) == segment.window
            minute += 7 * MINUTE
        assert held(last - MICROSECOND) == segment.window
        if segment.ends is not NEVER:
            assert held(segment.ends) != segment.window

    def test_it_remembers_nothing_wrong(self) -> None:
        table = timetable((Window(begins=60, ends=120),), MADRID)
        moments = [utc("2025-10-26T00:30"), utc("2025-03-30T12:00"), utc("2025-10-26T00:30"), utc("2025-06-01T23:30")]
        assert [table.at(moment) for moment in moments] == [
            Timetable((Window(begins=60, ends=120),), MADRID).at(moment) for moment in moments
        ]
