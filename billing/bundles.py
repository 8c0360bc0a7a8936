"""Decides how the price of a bundle is divided: over the taxes of what it holds.

Rule: where the bundle says its own taxes or parts, those hold. Else each thing in it has its declared weight or what it
costs alone on the day; what has the same taxes is one part. Where everything has the same taxes nothing is divided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal

from domain.catalogue import Included, Part, Product, ProductKind

Prices = Mapping[str, Sequence[tuple[date, Decimal]]]
"""What products cost alone, by code: from which day how much, oldest first."""

_NOTHING = Decimal(0)


def divided(bundle: Product, by_code: Mapping[str, Product], prices: Prices) -> Product:
    """Return a bundle with the taxes or parts that follow from what it holds; any other product as it is."""
    held = [each for each in bundle.includes if each.product in by_code]
    if bundle.kind is not ProductKind.BUNDLE or bundle.taxes or bundle.parts:
        return bundle
    groups: dict[tuple[str, ...], list[Included]] = {}
    for each in held:
        groups.setdefault(by_code[each.product].taxes, []).append(each)
    if len(groups) == 1:
        return replace(bundle, taxes=next(iter(groups)))
    return replace(bundle, parts=tuple(_part(taxes, group, prices) for taxes, group in groups.items()))


def _part(taxes: tuple[str, ...], group: Sequence[Included], prices: Prices) -> Part:
    name = ", ".join(each.product for each in group)
    if all(each.weight is not None for each in group):
        return Part(name, sum((each.weight or _NOTHING for each in group), _NOTHING), taxes)
    days = sorted({starts for each in group for starts, _ in prices.get(each.product, ())})
    weights = tuple((day, sum((_cost(each, day, prices) for each in group), _NOTHING)) for day in days)
    return Part(name, _NOTHING, taxes, weights)


def _cost(included: Included, day: date, prices: Prices) -> Decimal:
    """Return what it costs alone on `day`."""
    amount = _NOTHING
    for starts, price in prices.get(included.product, ()):
        if starts <= day:
            amount = price
    return amount * included.quantity
