"""Decides how is written what units cost: a price, or tiers, with blocks, what is free, the least and the most.

Rule: a tariff has one price, or tiers. The reader is told what a quantity is (octets, pieces), and has beside it the
document that it turns back into the same tariff.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from config import checks
from config.checks import Check, write_amount
from config.table import Table
from domain.tariff import BlockRounding, Tariff, Tier, TierModel, cliffs

MOST_TIERS = 20

AMOUNT = checks.amount()
SOME = checks.amount("0.01")


@dataclass(frozen=True, slots=True)
class Quantity:
    """How quantities are written."""

    some: Check[int]
    none_or_some: Check[int]
    block: int
    """The usual block."""
    write: Callable[[int], object]


def read_tariff(table: Table, quantity: Quantity) -> Tariff:
    """Return the tariff that a table describes; what else it has is left alone."""
    return Tariff(
        _tiers(table, quantity),
        table.take("model", checks.one_of(TierModel), TierModel.GRADUATED),
        table.take("rounding", checks.one_of(BlockRounding), BlockRounding.UP),
        table.take("free", quantity.none_or_some, 0),
        *read_bounds(table),
    )


def read_bounds(table: Table) -> tuple[Decimal, Decimal | None, Decimal | None]:
    """Return the least, the most, and at how much is billed before a period is over."""
    minimum = table.take("minimum", AMOUNT, Decimal(0))
    ceiling = table.take("ceiling", AMOUNT, None)
    if ceiling is not None and ceiling < minimum:
        table.report("is below the minimum", "ceiling")
    return minimum, ceiling, table.take("bill_at", SOME, None)


def cliff_warnings(tariff: Tariff, quantity: Quantity) -> Iterator[str]:
    """Yield what is to be said of a tariff by which more may cost less."""
    for units in cliffs(tariff):
        said = quantity.write(units)
        yield f"makes a little more than {said} cheaper than {said}: the tier that is reached prices everything"


def tariff_document(tariff: Tariff, quantity: Quantity) -> dict[str, object]:
    """Return the keys of a tariff."""
    document: dict[str, object] = {}
    if len(tariff.tiers) == 1:
        document |= _tier_document(tariff.tiers[0], quantity)
    else:
        document["tier"] = [_tier_document(tier, quantity) for tier in tariff.tiers]
    return document | written(
        model=None if tariff.model is TierModel.GRADUATED else tariff.model.value,
        rounding=None if tariff.rounding is BlockRounding.UP else tariff.rounding.value,
        free=quantity.write(tariff.free) if tariff.free else None,
        **bounds_document(tariff.minimum, tariff.ceiling, tariff.bill_at),
    )


def bounds_document(minimum: Decimal, ceiling: Decimal | None, bill_at: Decimal | None) -> dict[str, object]:
    """Return the keys that `read_bounds` reads."""
    return written(
        minimum=write_amount(minimum) if minimum else None,
        ceiling=None if ceiling is None else write_amount(ceiling),
        bill_at=None if bill_at is None else write_amount(bill_at),
    )


def written(**values: object) -> dict[str, object]:
    """Return the keys that say something."""
    return {key: value for key, value in values.items() if value is not None}


def _tiers(table: Table, quantity: Quantity) -> tuple[Tier, ...]:
    if table.exactly_one("price", "tier") != "tier":
        return (_tier(table, quantity, last=True),)
    inner = list(table.tables("tier"))
    tiers = []
    for place, each in enumerate(inner, 1):
        tiers.append(_tier(each, quantity, last=place == len(inner)))
        each.finish()
    bounds = [tier.up_to for tier in tiers[:-1] if tier.up_to is not None]
    if not tiers or len(tiers) > MOST_TIERS or bounds != sorted(set(bounds)):
        table.report(f"must be 1 to {MOST_TIERS} tiers, each up to more than the one before", "tier")
    return tuple(tiers) or (Tier(None, Decimal(0)),)


def _tier(table: Table, quantity: Quantity, *, last: bool) -> Tier:
    if last and table.given("up_to"):
        table.report("is not for the last tier, which holds all the others", "up_to")
    up_to = table.take("up_to", quantity.some, None)
    if not last and up_to is None:
        table.report("is missing", "up_to")
    return Tier(
        None if last else up_to or 1,
        table.require("price", AMOUNT, Decimal(0)),
        table.take("block", quantity.some, quantity.block),
        table.take("flat", AMOUNT, Decimal(0)),
    )


def _tier_document(tier: Tier, quantity: Quantity) -> dict[str, object]:
    return written(
        up_to=None if tier.up_to is None else quantity.write(tier.up_to),
        price=write_amount(tier.price),
        block=None if tier.block == quantity.block else quantity.write(tier.block),
        flat=write_amount(tier.flat) if tier.flat else None,
    )
