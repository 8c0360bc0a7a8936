"""Decides what discounts take off: a share of prices, or an amount of each period.

Rule: pure. An amount for a whole account is divided over what the account has on each day, in proportion to the prices,
so that the parts sum to it. What a discount takes of the parts of a price is divided as the price is. Several add up,
in their order, and never take more than the price.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from billing.claims import BASE, Claim, Key
from billing.cycle import Cycle, Period, once
from billing.history import Phase
from billing.intervals import intersection
from domain.catalogue import Align, CycleUnit, Product, Proration
from domain.money import minor_units

DISCOUNT = "discount-"
_HUNDRED = 100
_NOTHING = Fraction(0)


@dataclass(frozen=True, slots=True)
class Discount:
    """A share of a price, or an amount of each period, on some days; one of a subscription, or of an account."""

    id: int
    days: Period
    percent: Decimal | None = None
    amount: Decimal | None = None
    subscription_id: int | None = None
    customer_id: int | None = None
    """Of a sub-account, where it is for what that has alone."""

    @property
    def is_shared(self) -> bool:
        """Tell whether it is an amount that several subscriptions have together."""
        return self.percent is None and self.subscription_id is None

    def concerns(self, subscription_id: int, customer_id: int) -> bool:
        """Tell whether it is for a subscription of a customer."""
        if self.subscription_id is not None:
            return self.subscription_id == subscription_id
        return self.customer_id in (None, customer_id)


class Taken(NamedTuple):
    """What a discount takes of a subscription's price on some days: of a period, in minor units, from `low` to `high`.

    What the discount takes of the subscriptions before it reaches to `low`, so that rounded parts sum to the whole.
    """

    discount_id: int
    days: Period
    low: Fraction
    high: Fraction
    shared: bool = False
    """Whether what it takes depends on more than the price: then its lines say how much."""


class Held(NamedTuple):
    """A subscription and its phases."""

    subscription_id: int
    customer_id: int
    phases: Sequence[Phase]


def own(discount: Discount, price: Fraction, currency: str) -> Taken:
    """Return what a discount that is not shared takes of a price."""
    if discount.percent is not None:
        taken = price * Fraction(discount.percent) / _HUNDRED
    else:
        taken = min(price, minor_units(discount.amount or Decimal(0), currency))
    return Taken(discount.id, discount.days, _NOTHING, taken)


def share_out(
    discounts: Sequence[Discount], held: Sequence[Held], products: Mapping[int, Product], account: Cycle, currency: str
) -> Mapping[int, Sequence[Taken]]:
    """Return what shared discounts take of each subscription, by its id; `account` are the account's periods."""
    found: dict[int, list[Taken]] = defaultdict(list)
    for discount in discounts:
        concerned = [each for each in held if discount.concerns(each.subscription_id, each.customer_id)]
        amount = minor_units(discount.amount or Decimal(0), currency)
        for days, present in _segments(discount.days, concerned):
            for subscription_id, low, high in _divided(amount, present, products, account, currency):
                found[subscription_id].append(Taken(discount.id, days, low, high, shared=True))
    return found


def _segments(days: Period, held: Sequence[Held]) -> Iterator[tuple[Period, list[tuple[int, Phase]]]]:
    """Yield the days on which the same phases hold, with them."""
    bounds: set[date] = set()
    for each in held:
        for phase in each.phases:
            overlap = days.overlap(*phase.days)
            if overlap is not None:
                bounds.update(overlap)
    ordered = sorted(bounds)
    for starts, ends in pairwise(ordered):
        present = [
            (each.subscription_id, phase)
            for each in held
            for phase in each.phases
            if phase.days.starts <= starts and ends <= phase.days.ends
        ]
        if present:
            yield Period(starts, ends), present


def _divided(
    amount: Fraction,
    present: Sequence[tuple[int, Phase]],
    products: Mapping[int, Product],
    account: Cycle,
    currency: str,
) -> Iterator[tuple[int, Fraction, Fraction]]:
    """Yield what an amount of the account's periods takes of each subscription's own periods."""
    prices = []
    for subscription_id, phase in present:
        periods = _periods(phase, products[phase.product_id], account)
        if periods:
            price = minor_units(phase.unit_price, currency) * Fraction(phase.quantity) / periods
            prices.append((subscription_id, periods, price))
    whole = sum((price for _, _, price in prices), _NOTHING)
    taken, below = min(amount, whole), _NOTHING
    for subscription_id, periods, price in prices:
        if price:
            yield subscription_id, periods * taken * below / whole, periods * taken * (below + price) / whole
        below += price


def _periods(phase: Phase, product: Product, account: Cycle) -> Fraction:
    """Return how many of the account's periods one of a phase is; nothing where they do not fit."""
    count, unit = product.every, product.cycle_unit
    follows = phase.anchor is None and product.align is Align.ACCOUNT and unit is CycleUnit.MONTH
    if follows and account.unit is not CycleUnit.MONTH:
        return Fraction(1)
    return Fraction(count, account.count) if unit is account.unit else _NOTHING


def capped(price: Fraction, days: Period, taken: Sequence[Taken]) -> Sequence[Taken]:
    """Return what discounts take of a price on some days, the later ones no more than the earlier ones leave."""
    if sum((each.high - each.low for each in taken), _NOTHING) <= price:
        return taken
    overlaps = [overlap for each in taken if (overlap := days.overlap(*each.days)) is not None]
    found = []
    for starts, ends in pairwise(sorted({bound for overlap in overlaps for bound in overlap})):
        left = price
        for each in taken:
            if each.days.starts <= starts and ends <= each.days.ends:
                high = min(each.high, each.low + left)
                left -= high - each.low
                # What is not cut short stays what it was on the days before.
                found.append(
                    each._replace(days=Period(starts, ends), high=high, shared=each.shared or high < each.high)
                )
    return found


def reductions(claim: Claim, whole: Fraction, taken: Sequence[Taken]) -> Iterator[tuple[Claim, int]]:
    """Yield what discounts take of a claim, with their ids; `whole` is the price of which the claim may be a part."""
    paid_until: dict[int, date] = {}
    for each in sorted(taken, key=lambda each: each.days.starts) if claim.proration is Proration.NONE else taken:
        days = intersection(claim.days, [each.days])
        if claim.proration is Proration.NONE:
            days = _once(days, claim.cycle, each.discount_id, paid_until)
        if not days or not whole:
            continue
        span = each.high - each.low
        low, high = each.low + span * claim.below / whole, each.low + span * claim.price / whole
        yield (
            Claim(_key(claim.key, each), days, -high, claim.cycle, claim.proration, claim.mode, -low),
            each.discount_id,
        )


def _once(days: list[Period], cycle: Cycle, discount_id: int, paid_until: dict[int, date]) -> list[Period]:
    """Return the days on which a discount takes from periods of which it has not taken whole already."""
    found = []
    for each in days:
        rest, paid_until[discount_id] = once(each, cycle, paid_until.get(discount_id, date.min))
        if rest.starts < rest.ends:
            found.append(rest)
    return found


def _key(key: Key, taken: Taken) -> Key:
    part = "" if key.component == BASE else f"/{key.component}"
    rate = f"{key.rate} {taken.low}-{taken.high}" if taken.shared else key.rate
    return Key(f"{DISCOUNT}{taken.discount_id}{part}", rate)
