"""Decides how is written what usage beyond a cap costs: `[plan.overage]`.

Rule: the reader has beside it the document that it turns back into the same overage. A tariff has one price, or tiers.
"""

from __future__ import annotations

from decimal import Decimal

from config import checks
from config.checks import write_amount, write_octets
from config.rate_change import rates_document, require_rates
from config.table import Table
from domain.plan_rules import Overage
from domain.tariff import BlockRounding, Tariff, Tier, TierModel

MOST_TIERS = 20

_AMOUNT = checks.amount()
_OCTETS = checks.octets()
_SOME_OCTETS = checks.octets(low=0)


def read_overage(table: Table) -> Overage:
    """Return the overage that a table describes."""
    tiers = _tiers(table)
    model = table.take("model", checks.one_of(TierModel), TierModel.GRADUATED)
    tariff = Tariff(
        tiers,
        model,
        table.take("rounding", checks.one_of(BlockRounding), BlockRounding.UP),
        table.take("free", _SOME_OCTETS, 0),
        table.take("minimum", _AMOUNT, Decimal(0)),
        table.take("ceiling", _AMOUNT, None),
    )
    inner = table.table("at_ceiling")
    change = None
    if inner is not None:
        change = require_rates(inner)
        inner.finish()
        if tariff.ceiling is None or model is TierModel.VOLUME:
            table.report('needs a ceiling, and the model "graduated"', "at_ceiling")
    if tariff.ceiling is not None and tariff.ceiling < tariff.minimum:
        table.report("is below the minimum", "ceiling")
    table.finish()
    return Overage(tariff, change)


def overage_document(overage: Overage) -> dict[str, object]:
    """Return the keys of an overage."""
    tariff = overage.tariff
    document: dict[str, object] = {}
    if len(tariff.tiers) == 1:
        document |= _tier_document(tariff.tiers[0])
    else:
        document["tier"] = [_tier_document(tier) for tier in tariff.tiers]
    written = {
        **document,
        "model": None if tariff.model is TierModel.GRADUATED else tariff.model.value,
        "rounding": None if tariff.rounding is BlockRounding.UP else tariff.rounding.value,
        "free": write_octets(tariff.free) if tariff.free else None,
        "minimum": write_amount(tariff.minimum) if tariff.minimum else None,
        "ceiling": None if tariff.ceiling is None else write_amount(tariff.ceiling),
        "at_ceiling": overage.at_ceiling and rates_document(overage.at_ceiling),
    }
    return {key: value for key, value in written.items() if value is not None}


def _tiers(table: Table) -> tuple[Tier, ...]:
    if table.exactly_one("price", "tier") != "tier":
        return (_tier(table, last=True),)
    inner = list(table.tables("tier"))
    tiers = []
    for place, each in enumerate(inner, 1):
        tiers.append(_tier(each, last=place == len(inner)))
        each.finish()
    bounds = [tier.up_to for tier in tiers[:-1] if tier.up_to is not None]
    if not tiers or len(tiers) > MOST_TIERS or bounds != sorted(set(bounds)):
        table.report(f"must be 1 to {MOST_TIERS} tiers, each up to more than the one before", "tier")
    return tuple(tiers) or (Tier(None, Decimal(0)),)


def _tier(table: Table, *, last: bool) -> Tier:
    if last and table.given("up_to"):
        table.report("is not for the last tier, which holds all the others", "up_to")
    up_to = table.take("up_to", _OCTETS, None)
    if not last and up_to is None:
        table.report("is missing", "up_to")
    return Tier(
        None if last else up_to or 1,
        table.require("price", _AMOUNT, Decimal(0)),
        table.take("block", _OCTETS, 1_000_000_000),
        table.take("flat", _AMOUNT, Decimal(0)),
    )


def _tier_document(tier: Tier) -> dict[str, object]:
    written = {
        "up_to": None if tier.up_to is None else write_octets(tier.up_to),
        "price": write_amount(tier.price),
        "block": write_octets(tier.block),
        "flat": write_amount(tier.flat) if tier.flat else None,
    }
    return {key: value for key, value in written.items() if value is not None}
