"""When usage begins again at nothing, and which windows of the week are open.

Rule: days, weeks and months are half-open and begin at local midnight of the ISP's zone; a month begins on its own day,
clamped from that day every month (31, 28, 31, …); weeks begin on Monday or Sunday. A midnight that the clocks leap over
is the moment of the leap. What is counted for ever has a beginning before everything and no end. Windows go by what the
clocks show: an hour that comes twice is twice inside.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from domain.plan_rules import MINUTES_IN_A_DAY, Period, PlanRules, WeekStart, Window

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
"""When what is counted for ever begins: before anything was."""
NEVER = datetime(9999, 1, 1, tzinfo=UTC)
"""The end of what does not end by itself; early enough for every zone to show it."""
_NOWHERE = datetime.min.replace(tzinfo=UTC)
_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
_WEEK_AND_A_DAY = 8
"""Days after which windows, which are weekly, can bring nothing new."""
_DAYS_AHEAD_OF_MONDAY: Mapping[WeekStart, int] = MappingProxyType({WeekStart.MONDAY: 0, WeekStart.SUNDAY: 1})
_MOST_ZONES = 256
_MOST_DAYS = 4096
"""Whose beginnings are remembered: eleven years of one zone."""
_MOST_TIMETABLES = 1024


class Span(NamedTuple):
    """The instants [begins, ends), aware UTC."""

    begins: datetime
    ends: datetime


EVER = Span(BEGINNING, NEVER)


class Segment(NamedTuple):
    """As long as one window is the first that holds; `window` None while none does, `ends` NEVER when that stays so."""

    begins: datetime
    ends: datetime
    window: int | None


def _leap(zone: tzinfo, before: datetime, after: datetime) -> datetime:
    """Return the first second in (before, after] with the offset that `after` has."""
    offset = after.astimezone(zone).utcoffset()
    while after - before > _SECOND:
        middle = before + timedelta(seconds=(after - before) // _SECOND // 2)
        if middle.astimezone(zone).utcoffset() == offset:
            after = middle
        else:
            before = middle
    return after


@lru_cache(maxsize=_MOST_DAYS)
def midnight(zone: tzinfo, day: date) -> datetime:
    """Return the instant at which `day` begins in `zone`."""
    local = datetime(day.year, day.month, day.day)  # noqa: DTZ001 - what the clocks show
    begins = local.replace(tzinfo=zone).astimezone(UTC)
    if begins.astimezone(zone).replace(tzinfo=None) == local:
        return begins
    return _leap(zone, local.replace(tzinfo=zone, fold=1).astimezone(UTC), begins)


def _clamped(year: int, month: int, day: int) -> date:
    return date(year, month, min(day, monthrange(year, month)[1]))


def _month_of(day: date, first_day: int) -> date:
    """Return the first day of the month, begun on `first_day`, to which `day` belongs."""
    begins = _clamped(day.year, day.month, first_day)
    if begins <= day:
        return begins
    previous = date(day.year, day.month, 1) - _DAY
    return _clamped(previous.year, previous.month, first_day)


def _month_after(begins: date, first_day: int) -> date:
    following = date(begins.year, begins.month, monthrange(begins.year, begins.month)[1]) + _DAY
    return _clamped(following.year, following.month, first_day)


class Almanac:
    """Days, weeks and months of one zone; it remembers where it looked last, for nearly every question is about now."""

    __slots__ = ("_day", "_months", "_weeks", "zone")

    def __init__(self, zone: tzinfo) -> None:
        self.zone = zone
        nothing = Span(_NOWHERE, _NOWHERE)
        self._day = nothing
        self._weeks = dict.fromkeys(WeekStart, nothing)
        self._months = dict.fromkeys(range(1, 32), nothing)

    def day(self, now: datetime) -> Span:
        """Return the local day around `now`."""
        span = self._day
        if not span.begins <= now < span.ends:
            span = self._day = self._around(now, lambda day: day, lambda begins: begins + _DAY)
        return span

    def week(self, now: datetime, starts: WeekStart = WeekStart.MONDAY) -> Span:
        """Return the week around `now`, which begins on Monday or Sunday."""
        span = self._weeks[starts]
        if not span.begins <= now < span.ends:
            ahead = _DAYS_AHEAD_OF_MONDAY[starts]
            span = self._weeks[starts] = self._around(
                now, lambda day: day - timedelta(days=(day.weekday() + ahead) % 7), lambda begins: begins + 7 * _DAY
            )
        return span

    def month(self, now: datetime, first_day: int = 1) -> Span:
        """Return the month around `now` that begins on `first_day` (1-31), clamped."""
        span = self._months[first_day]
        if not span.begins <= now < span.ends:
            span = self._months[first_day] = self._around(
                now, lambda day: _month_of(day, first_day), lambda begins: _month_after(begins, first_day)
            )
        return span

    def span(
        self, period: Period, now: datetime, first_day: int = 1, week_starts: WeekStart = WeekStart.MONDAY
    ) -> Span:
        """Return the period around `now`."""
        if period is Period.MONTH:
            return self.month(now, first_day)
        if period is Period.DAY:
            return self.day(now)
        return self.week(now, week_starts) if period is Period.WEEK else EVER

    def _around(self, now: datetime, first_of: Callable[[date], date], after: Callable[[date], date]) -> Span:
        """Find the period by its instants: where clocks go back over midnight, the local date alone misleads."""
        begins = first_of(now.astimezone(self.zone).date())
        while midnight(self.zone, begins) > now:
            begins = first_of(begins - _DAY)
        ends = after(begins)
        while midnight(self.zone, ends) <= now:
            begins, ends = ends, after(ends)
        return Span(midnight(self.zone, begins), midnight(self.zone, ends))


@lru_cache(maxsize=_MOST_ZONES)
def almanac(zone: tzinfo) -> Almanac:
    """Return the almanac of `zone`."""
    return Almanac(zone)


def cap_span(rules: PlanRules, zone: tzinfo, now: datetime, first_day: int) -> Span:
    """Return the present period of the cap; the month where there is no cap."""
    period = Period.MONTH if rules.cap is None else rules.cap.period
    return almanac(zone).span(period, now, first_day, rules.week_starts)


def is_inside(window: Window, local: datetime) -> bool:
    """Tell whether clocks that show `local` are inside the window."""
    minute = local.hour * 60 + local.minute
    weekday = local.weekday()
    if window.begins < window.ends:
        return weekday in window.weekdays and window.begins <= minute < window.ends
    if minute >= window.begins:
        return weekday in window.weekdays
    return minute < window.ends and (weekday - 1) % 7 in window.weekdays


class Timetable:
    """Which of some windows is the first that holds, and until when; it remembers where it looked last."""

    __slots__ = ("_alike", "_almanac", "_last", "_windows")

    def __init__(self, windows: Sequence[Window], zone: tzinfo, *, alike: bool = False) -> None:
        """Take the windows; `alike`: it does not matter which of them holds, the number is always 0."""
        self._windows = tuple(windows)
        self._almanac = almanac(zone)
        self._alike = alike
        self._last = Segment(_NOWHERE, _NOWHERE, None)

    def at(self, now: datetime) -> Segment:
        """Return the segment around `now`; its beginning may be later than that of the window."""
        last = self._last
        if not last.begins <= now < last.ends:
            last = self._last = self._find(now)
        return last

    def _index(self, local: datetime) -> int | None:
        for index, window in enumerate(self._windows):
            if is_inside(window, local):
                return 0 if self._alike else index
        return None

    def _find(self, now: datetime) -> Segment:
        begins, index = _NOWHERE, None
        span = self._almanac.day(now)
        for start, held in self._starts(span):
            if start <= now:
                if start == span.begins or held != index:
                    begins, index = start, held
            elif held != index:
                return Segment(begins, start, index)
        for _ in range(_WEEK_AND_A_DAY):
            span = self._almanac.day(span.ends)
            for start, held in self._starts(span):
                if held != index:
                    return Segment(begins, start, index)
        return Segment(begins, NEVER, index)

    def _starts(self, day: Span) -> list[tuple[datetime, int | None]]:
        """Return every instant of a day at which another window may begin to hold, and which then holds."""
        zone = self._almanac.zone
        first, last = day.begins.astimezone(zone), (day.ends - _SECOND).astimezone(zone)
        starts = {day.begins}
        if first.utcoffset() != last.utcoffset():
            starts.add(_leap(zone, day.begins, day.ends - _SECOND))
        for date_, minute in {
            (local.date(), minute % MINUTES_IN_A_DAY)
            for local in (first, last)
            for window in self._windows
            for minute in (window.begins, window.ends)
        }:
            local = datetime(date_.year, date_.month, date_.day, minute // 60, minute % 60, tzinfo=zone)
            starts.update(local.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
        return [
            (start, self._index(start.astimezone(zone))) for start in sorted(starts) if day.begins <= start < day.ends
        ]


@lru_cache(maxsize=_MOST_TIMETABLES)
def timetable(windows: tuple[Window, ...], zone: tzinfo) -> Timetable:
    """Return the timetable of `windows` in `zone`."""
    return Timetable(windows, zone)
