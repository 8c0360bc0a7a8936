"""What usage costs: tiers, blocks and their rounding, shares of amounts, what is free, the least and the most.

Rule: pure and exact. Units are whole or fractions of them (octets, for a line); what a block is begun of is rounded as
the tariff says, and nothing else is. The same function tells from which units on a bill stays at its ceiling.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from functools import lru_cache
from typing import TypeVar

_NOTHING = Decimal(0)
_HUNDRED = 100


class TierModel(Enum):
    """How tiers are applied; the values are the configuration's."""

    GRADUATED = "graduated"
    """Each tier prices what lies in it."""
    VOLUME = "volume"
    """The tier that is reached prices everything."""


class BlockRounding(Enum):
    """What a part of a block counts as; the values are the configuration's."""

    UP = "up"
    DOWN = "down"
    NEAREST = "nearest"
    """A half counts as a whole."""


@dataclass(frozen=True, slots=True)
class Tier:
    """Units up to a number, at so much a block, and so much for reaching it."""

    up_to: int | None
    """None: all the others."""
    price: Decimal
    block: int = 1
    flat: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Tariff:
    """What units cost in a period, in the major unit of the currency."""

    tiers: tuple[Tier, ...]
    model: TierModel = TierModel.GRADUATED
    rounding: BlockRounding = BlockRounding.UP
    free: int = 0
    """Units of each period that cost nothing."""
    minimum: Decimal = Decimal(0)
    ceiling: Decimal | None = None
    """The most that a period costs; of overage, the most that the periods of a month cost together."""
    bill_at: Decimal | None = None
    """What waits for its document is billed before the period is over when it comes to so much."""


@dataclass(frozen=True, slots=True)
class Commission:
    """What events cost that have an amount: a share of it, and so much for each; in the major unit."""

    percent: Decimal
    fixed: Decimal = Decimal(0)
    free: int = 0
    """The first events of each period that cost nothing."""
    free_amount: Decimal = Decimal(0)
    """So much of the amounts of each period costs nothing, and neither does an event that lies in it as a whole."""
    minimum: Decimal = Decimal(0)
    ceiling: Decimal | None = None
    bill_at: Decimal | None = None


Terms = TypeVar("Terms", bound=Tariff | Commission)


class Measure(Enum):
    """What of events is charged for; the values are the configuration's."""

    SUM = "sum"
    """The units of a period's events."""
    HELD = "held"
    """The units that events gave and took, for the days on which they were held."""
    AMOUNT = "amount"
    """A share of the amounts of a period's events."""


@dataclass(frozen=True, slots=True)
class Metering:
    """How a product is charged by events; a commission is of amounts, a tariff of units."""

    measure: Measure
    tariff: Tariff | Commission


def rate(tariff: Tariff, units: int | Fraction) -> Fraction:
    """Return what units of a period cost."""
    return _bounded(tariff, _tiered(tariff, units))


def rate_held(tariff: Tariff, held: Sequence[tuple[Fraction, Fraction]]) -> Fraction:
    """Return what units cost that were held for shares of a period: pairs of units and share.

    What reaching a tier costs is charged once and whole, by the most units that were held.
    """
    flats = [_flats(tariff, units) for units, _ in held]
    prices = [_tiered(tariff, units) - flat for (units, _), flat in zip(held, flats, strict=True)]
    shared = sum((price * share for price, (_, share) in zip(prices, held, strict=True)), Fraction(0))
    return _bounded(tariff, shared + max(flats, default=Fraction(0)))


def commission(terms: Commission, amounts: Iterable[Decimal]) -> Fraction:
    """Return what events of a period cost, given their amounts in the order in which they happened."""
    charged, events, so_far = Fraction(0), 0, Fraction(0)
    for place, amount in enumerate(amounts):
        so_far += Fraction(amount)
        beyond = min(Fraction(amount), so_far - Fraction(terms.free_amount))
        if place >= terms.free and (beyond > 0 or not terms.free_amount):
            charged += beyond
            events += 1
    return _bounded(terms, charged * Fraction(terms.percent) / _HUNDRED + events * Fraction(terms.fixed))


def so_far(terms: Terms) -> Terms:
    """Return what is charged by while a period lasts: the least that it costs is due when it is over."""
    return replace(terms, minimum=_NOTHING)


def _bounded(terms: Tariff | Commission, amount: Fraction) -> Fraction:
    amount = max(amount, _exact(terms.minimum))
    return amount if terms.ceiling is None else min(amount, _exact(terms.ceiling))


def _tiered(tariff: Tariff, units: int | Fraction) -> Fraction:
    charged = max(0, units - tariff.free)
    return (_graduated if tariff.model is TierModel.GRADUATED else _volume)(tariff, charged)


def _flats(tariff: Tariff, units: Fraction) -> Fraction:
    """Return what the tiers cost that units reach, without the units."""
    free = replace(tariff, tiers=tuple(replace(tier, price=_NOTHING) for tier in tariff.tiers))
    return _tiered(free, units)


def blocks(tariff: Tariff, units: int) -> int:
    """Return how many blocks the first tier makes of units, those that are free left out."""
    return int(_blocks(tariff, tariff.tiers[0], max(0, units - tariff.free)))


def _graduated(tariff: Tariff, units: int | Fraction) -> Fraction:
    amount, below = _exact(_NOTHING), 0
    for place, tier in enumerate(tariff.tiers):
        inside = (units if tier.up_to is None else min(units, tier.up_to)) - below
        if place and inside <= 0:
            break
        amount += _exact(tier.flat) + _blocks(tariff, tier, max(inside, 0)) * _exact(tier.price)
        if tier.up_to is None:
            break
        below = tier.up_to
    return amount


def _volume(tariff: Tariff, units: int | Fraction) -> Fraction:
    tier = next(tier for tier in tariff.tiers if tier.up_to is None or units <= tier.up_to)
    return _exact(tier.flat) + _blocks(tariff, tier, units) * _exact(tier.price)


def _blocks(tariff: Tariff, tier: Tier, units: int | Fraction) -> int | Fraction:
    block = tier.block
    if block == 1:
        # A unit is not divided any further.
        return units
    match tariff.rounding:
        case BlockRounding.UP:
            return -(-units // block)
        case BlockRounding.DOWN:
            return units // block
        case BlockRounding.NEAREST:
            return (2 * units + block) // (2 * block)


@lru_cache(maxsize=1024)
def _exact(price: Decimal) -> Fraction:
    return Fraction(price)


def cliffs(tariff: Tariff) -> list[int]:
    """Return the units from which one more makes everything cheaper."""
    bounds = [tier.up_to for tier in tariff.tiers if tier.up_to is not None]
    return [units for units in bounds if rate(tariff, tariff.free + units + 1) < rate(tariff, tariff.free + units)]


@lru_cache(maxsize=4096)
def ceiling_units(tariff: Tariff, percent: int = 100, charged: Fraction = Fraction(0)) -> int | None:
    """Return from which units on a graduated tariff costs so much of its ceiling; None where it never does.

    `charged` is what periods before have cost of it.
    """
    if tariff.ceiling is None or tariff.model is not TierModel.GRADUATED:
        return None
    ceiling = Fraction(tariff.ceiling) * percent / _HUNDRED - charged
    low, high = 0, 1
    while rate(tariff, high) < ceiling:
        if high > 1 << 60:
            return None
        high *= 2
    while low < high:
        middle = (low + high) // 2
        if rate(tariff, middle) < ceiling:
            low = middle + 1
        else:
            high = middle
    return low
