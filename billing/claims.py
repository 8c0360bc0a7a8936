"""Decides what is due of one price: for which days, on which date, and how much.

Rule: a claim is one price over some days. What part of it falls due is decided by its mode: in advance when its period
begins, in arrears when it is over, daily at the beginning of each day.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction
from typing import NamedTuple

from billing.cycle import Cycle, Period, share
from domain.catalogue import Mode, Proration
from domain.money import half_up

BASE = "base"
"""The component that is the price itself."""
_DAY = timedelta(days=1)
_NOTHING = Fraction(0)


class Key(NamedTuple):
    """What makes two charges the same: the part of a subscription, and everything that makes its price."""

    component: str
    rate: str


@dataclass(slots=True)
class Claim:
    """A price for some days; `price` is of a whole period, in minor units, and may be negative (a discount).

    Where several claims are the parts of one price, each reaches from the sum of the prices before it (`below`) to that
    with its own (`price`), so that the rounded parts sum to the rounded whole.
    """

    key: Key
    days: list[Period]
    price: Fraction
    cycle: Cycle
    proration: Proration
    mode: Mode
    below: Fraction = _NOTHING

    @property
    def is_credit(self) -> bool:
        """Tell whether it takes from what is owed."""
        return self.price < self.below

    def amount(self, parts: list[Period], period: Period) -> int:
        """Return what these parts of `period` cost together, rounded once."""
        numerator, denominator = share(parts, period, self.proration)
        price = self.price
        whole = half_up(price.numerator * numerator, price.denominator * denominator)
        if not self.below:
            return whole
        return whole - half_up(self.below.numerator * numerator, self.below.denominator * denominator)

    def due(self, floor: date, horizon: date) -> Iterator[tuple[Period, Period]]:
        """Yield (days, their whole period) of what falls due by `horizon`; nothing of periods that end by `floor`."""
        since = floor if floor == date.min else self.cycle.period(floor).starts
        for held in self.days:
            at = max(held.starts, since)
            while at < held.ends and at <= horizon:
                period = self.cycle.period(at)
                part = Period(max(held.starts, period.starts), min(held.ends, period.ends))
                if self.mode is Mode.DAILY:
                    yield Period(part.starts, min(part.ends, horizon + _DAY)), period
                elif self.mode is Mode.ADVANCE or part.ends <= horizon:
                    yield part, period
                at = period.ends

    def next_due(self, horizon: date) -> date | None:
        """Return the first day after `horizon` on which something more falls due."""
        for held in self.days:
            if held.ends <= horizon:
                continue
            if self.mode is Mode.DAILY:
                on = max(held.starts, horizon + _DAY)
            elif self.mode is Mode.ADVANCE:
                on = held.starts if held.starts > horizon else self.cycle.next_begin(horizon)
            else:
                on = min(held.ends, self.cycle.next_begin(max(held.starts, horizon)))
            if on < held.ends or self.mode is Mode.ARREARS:
                return on
        return None
