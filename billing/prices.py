"""Decides what new customers pay, and whom a change of a price moves.

Rule: a price that changes is another version with a day from which it holds. What a subscription pays stands in its own
history, and moves only when a change says that it concerns it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import NamedTuple

from billing.errors import BillingError


class PriceVersion(NamedTuple):
    """What a product costs new customers from a day on; `partner_id` None is everybody who has no price of his own."""

    starts: date
    amount: Decimal
    partner_id: int | None = None


class NoPrice(BillingError):
    """A product has no price on a day."""

    def __init__(self, code: str, day: date) -> None:
        super().__init__(
            f"{code} has no price on {day}; set one with `caudal price change {code!r} AMOUNT --from {day}`"
        )


def price_on(versions: Sequence[PriceVersion], day: date, partner_id: int | None, code: str) -> Decimal:
    """Return what a new customer of a partner pays on `day`; the partner's own price list goes first."""
    found: PriceVersion | None = None
    for version in versions:
        if version.starts > day or version.partner_id not in (None, partner_id):
            continue
        own, held = version.partner_id is not None, found is not None and found.partner_id is not None
        if found is None or (own, version.starts) >= (held, found.starts):
            found = version
    if found is None:
        raise NoPrice(code, day)
    return found.amount


class PriceScope(Enum):
    """Whom a change of a price concerns; the values are the command's."""

    NEW = "new"
    """Who subscribes from that day on."""
    ALL = "all"
    """And who has it already, from that day on."""
    OLD_PRICE = "old-price"
    """And of these only who still pays what new customers paid before."""


class Holder(NamedTuple):
    """A subscription to a product whose price changes."""

    subscription_id: int
    unit_price: Decimal
    quantity: Decimal
    partner_id: int | None


def moved(holders: Sequence[Holder], old: Decimal | None, new: Decimal, scope: PriceScope) -> list[Holder]:
    """Return the subscriptions that a change of price moves."""
    if scope is PriceScope.NEW:
        return []
    return [
        holder
        for holder in holders
        if holder.unit_price != new and (scope is PriceScope.ALL or holder.unit_price == old)
    ]
