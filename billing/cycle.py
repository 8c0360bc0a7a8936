"""Decides where billing periods begin and end, and what share of a period some days are.

Rule: days are the operator's local dates and periods are half-open. A period begins a whole number of months, weeks or
days after its anchor, and its day is clamped from the anchor each time (31 January, 28 February, 31 March), never from
the date before. Days are counted, not seconds, so the change of the clocks is nothing.
"""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import NamedTuple

from billing.errors import BillingError
from domain.billing_terms import DayCount
from domain.catalogue import CycleUnit, Proration

EPOCH_YEAR = 2000
"""Of the anchors that stand for a day of the month alone; any year would do."""
NOON = time(12)
_DAY = timedelta(days=1)
REMEMBERED = 65_536
"""Periods that are remembered: accounts of one billing day ask for the same few."""


_FIXED_DAYS = {Proration.THIRTY: 30, Proration.TWENTY_EIGHT: 28}


class Period(NamedTuple):
    """The days [starts, ends)."""

    starts: date
    ends: date

    def overlap(self, starts: date, ends: date | None) -> Period | None:
        """Return the days that are also in [starts, ends); `ends` None is never."""
        first = max(self.starts, starts)
        last = self.ends if ends is None else min(self.ends, ends)
        return Period(first, last) if first < last else None


@dataclass(frozen=True, slots=True)
class Cycle:
    """Periods of `count` units; one of them begins at `anchor`."""

    anchor: date
    count: int = 1
    unit: CycleUnit = CycleUnit.MONTH

    def __post_init__(self) -> None:
        if self.count < 1:
            raise BillingError(f"a billing period has at least one {self.unit.value}, not {self.count}")

    def period(self, day: date) -> Period:
        """Return the period in which `day` lies."""
        return _period(self, day)

    def next_begin(self, day: date) -> date:
        """Return the first beginning of a period after `day`."""
        return self.period(day).ends

    def begin(self, step: int) -> date:
        """Return the beginning of the period so many after the anchor's."""
        return months_later(self.anchor, step * self.count)


@lru_cache(maxsize=REMEMBERED)
def _period(cycle: Cycle, day: date) -> Period:
    if cycle.unit is not CycleUnit.MONTH:
        size = cycle.count * (7 if cycle.unit is CycleUnit.WEEK else 1)
        starts = day - timedelta(days=(day - cycle.anchor).days % size)
        return Period(starts, starts + timedelta(days=size))
    months = (day.year - cycle.anchor.year) * 12 + day.month - cycle.anchor.month
    step = months // cycle.count
    if cycle.begin(step) > day:
        step -= 1
    return Period(cycle.begin(step), cycle.begin(step + 1))


def months_later(anchor: date, months: int) -> date:
    """Return the date so many months from `anchor`, its day clamped to that month."""
    month = anchor.year * 12 + anchor.month - 1 + months
    year, month = divmod(month, 12)
    day = anchor.day
    if day > 28:
        day = min(day, monthrange(year, month + 1)[1])
    return date(year, month + 1, day)


def monthly(day: int, months: int = 1) -> Cycle:
    """Return the cycle of calendar months that begins on `day` (1-31), in step with January where it has several."""
    return Cycle(date(EPOCH_YEAR, 1, day), months)


def days_between(starts: date, ends: date, proration: Proration) -> int:
    """Return the days from `starts` to `ends` as a proration counts them."""
    size = _FIXED_DAYS.get(proration)
    if size is None:
        return (ends - starts).days
    months = (ends.year - starts.year) * 12 + ends.month - starts.month
    return months * size + min(ends.day, size) - min(starts.day, size)


def share(parts: list[Period], period: Period, proration: Proration) -> tuple[int, int]:
    """Return what disjoint parts of a period are of it, as numerator and denominator.

    The whole is 1 in every proration; with fixed months a part is never more than the whole.
    """
    if not parts:
        return 0, 1
    if proration is Proration.NONE or (len(parts) == 1 and parts[0] == period):
        return 1, 1
    whole = days_between(period.starts, period.ends, proration)
    held = sum(days_between(part.starts, part.ends, proration) for part in parts)
    return min(held, whole), whole


def once(days: Period, cycle: Cycle, paid_until: date) -> tuple[Period, date]:
    """Return those of some days whose periods nobody has paid yet, and until when periods are paid with them.

    It is for what costs a whole period however few of its days are used, and is never paid twice for one.
    """
    begins = min(max(days.starts, paid_until), days.ends)
    if begins == days.ends:
        return Period(begins, begins), paid_until
    return Period(begins, days.ends), days.ends if days.ends == date.max else cycle.period(days.ends - _DAY).ends


def local_day(instant: datetime, zone: tzinfo, count: DayCount = DayCount.THAT_DAY) -> date:
    """Return the local date on which something of that instant counts."""
    local = instant.astimezone(zone)
    if count is DayCount.NEAREST and local.time() >= NOON:
        return local.date() + timedelta(days=1)
    return local.date()
