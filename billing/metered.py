"""Decides what products cost that are charged by events: the events of each period, rated.

Rule: pure; a period is that of the account's billing day, and what a product costs is what it says now. Events of days
on which it was not sold cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from billing.cycle import Cycle, Period, share
from billing.generation import UsagePeriod
from billing.history import Phase
from billing.intervals import difference, intersection, union
from domain.catalogue import Proration
from domain.money import decimal, digits, minor_units, rounded
from domain.tariff import Commission, Measure, Metering, Tariff, blocks, commission, rate, rate_held, so_far

MOST_PERIODS = 60
"""Of one subscription in one run: five years, by the month."""
_NOTHING = Decimal(0)
_DAY = timedelta(days=1)


class Reported(NamedTuple):
    """Units that were used, given or taken back on a day; or an amount, where these are charged."""

    on: date
    units: Decimal


class Sold(NamedTuple):
    """Where a product that is charged by events was sold, and by which periods."""

    product_id: int
    metering: Metering
    phases: Sequence[Phase]
    cycle: Cycle
    proration: Proration
    currency: str
    billed: Sequence[Period] = ()
    """Periods that were charged, oldest first, also those of another billing day: their days are in no later one."""


def charged(sold: Sold, events: Iterable[Reported], floor: date, on: date) -> Iterator[UsagePeriod]:
    """Yield what the periods cost that end after `floor` and are over on `on`, and the present one if it may be billed.

    `events` are in the order of their days.
    """
    days = union(phase.days for phase in sold.phases)
    if not days:
        return
    found = [event for event in events if any(held.starts <= event.on < held.ends for held in days)]
    billed = list(dict.fromkeys(sold.billed))
    for period in _periods(sold, billed, max(floor, days[0].starts), on):
        before = billed[: billed.index(period)] if period in billed else billed
        held = difference(intersection(days, [period]), union(before))
        if held:
            yield _rated(sold, found, period, held, on)


def _periods(sold: Sold, billed: Sequence[Period], since: date, on: date) -> Iterator[Period]:
    """Yield the periods that are over, and the present one if it may be billed; those of another billing day, too."""
    for period in billed:
        if period.ends > since and sold.cycle.period(period.starts) != period:
            yield period
    period = sold.cycle.period(since)
    for _ in range(MOST_PERIODS):
        if period.starts > on or (period.ends > on and sold.metering.tariff.bill_at is None):
            return
        yield period
        period = sold.cycle.period(period.ends)


def over_on(sold: Sold, on: date) -> date | None:
    """Return when the period is over in which something may be used that is not charged by a run on `on`."""
    days = [min(on, phase.days.ends - _DAY) for phase in sold.phases if phase.days.starts <= on]
    ends = sold.cycle.period(max(days)).ends if days else on
    return ends if ends > on else None


def _rated(sold: Sold, events: Sequence[Reported], period: Period, held: list[Period], on: date) -> UsagePeriod:
    inside = [event.units for event in events if any(days.starts <= event.on < days.ends for days in held)]
    metering = sold.metering
    tariff = metering.tariff if period.ends <= on else so_far(metering.tariff)
    if isinstance(tariff, Commission):
        exact = commission(tariff, inside)
    elif metering.measure is Measure.HELD:
        exact = rate_held(tariff, list(_held(sold, events, period, held)))
    else:
        exact = rate(tariff, Fraction(sum(inside, _NOTHING)))
    amount = rounded(exact * 10 ** digits(sold.currency))
    bill_at = None
    if period.ends > on and tariff.bill_at is not None:
        bill_at = rounded(minor_units(tariff.bill_at, sold.currency))
    counted = inside if metering.measure is not Measure.HELD else [e.units for e in events if e.on < period.ends]
    facts = {"events": len(counted), "units": f"{sum(counted, _NOTHING):f}"}
    quantity, price = _priced(metering, sum(inside, _NOTHING), amount, sold.currency)
    return UsagePeriod(period, amount, quantity, facts, price, bill_at, sold.product_id)


def _held(
    sold: Sold, events: Sequence[Reported], period: Period, held: list[Period]
) -> Iterator[tuple[Fraction, Fraction]]:
    """Yield the units that were there on some days of a period, and the share of it that these days are."""
    turns = sorted({period.starts, period.ends, *(event.on for event in events if event.on < period.ends)})
    for starts, ends in pairwise(turns):
        parts = intersection(held, [Period(starts, ends)])
        units = max(_NOTHING, sum((event.units for event in events if event.on <= starts), _NOTHING))
        if parts:
            yield Fraction(units), Fraction(*share(parts, period, sold.proration))


def _priced(metering: Metering, units: Decimal, amount: int, currency: str) -> tuple[int, Decimal]:
    """Return quantity and price as a line shows them; of one price they are those of its blocks."""
    tariff = metering.tariff
    if (
        isinstance(tariff, Tariff)
        and metering.measure is Measure.SUM
        and len(tariff.tiers) == 1
        and units == int(units)
    ):
        quantity, price = blocks(tariff, int(units)), tariff.tiers[0].price
        if rounded(minor_units(price, currency) * quantity) == amount:
            return quantity, price
    return 1, decimal(amount, currency)
