"""Amounts as orders write them."""

from __future__ import annotations

from decimal import Decimal

from control.errors import bad_request
from domain.money import minor_units


def minor(text: str, currency: str) -> int:
    """Return an amount that was written, in minor units; refuse one that has more decimals than its currency."""
    exact = minor_units(Decimal(text), currency)
    if exact.denominator != 1:
        raise bad_request(f"{text} has more decimals than {currency}", "round it")
    return exact.numerator
