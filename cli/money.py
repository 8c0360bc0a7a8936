"""Amounts and days on the command line.

Rule: an amount is exact decimal text; on a terminal it has separators of thousands and its currency.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

import click

from cli.client import Item
from cli.tables import Column


class AmountType(click.ParamType[str]):
    """Decimal text such as 12.10; nothing is an amount only where that is said."""

    name = "AMOUNT"
    example = "12.10"

    def __init__(self, *, zero: bool = False) -> None:
        self._zero = zero

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            number = Decimal(str(value))
        except InvalidOperation:
            number = None
        if number is None or not number.is_finite() or number < 0 or not (number or self._zero):
            self.fail(f"{value!r} is no {self.name.lower()}; write it as {self.example}", param, ctx)
        return f"{number:f}"


class RateType(AmountType):
    """Decimal text such as 0.926: what one unit of a currency is worth in another."""

    name = "RATE"
    example = "0.926"


class DayType(click.ParamType[str]):
    """A day such as 2027-01-31."""

    name = "DATE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return date.fromisoformat(str(value)).isoformat()
        except ValueError:
            self.fail(f"{value!r} is no day; write it as 2027-01-31", param, ctx)


AMOUNT, PRICE, RATE, DAY = AmountType(), AmountType(zero=True), RateType(), DayType()


def shown(amount: str, currency: str) -> str:
    """Return an amount as people read it."""
    return f"{Decimal(amount):,} {currency}"


def amount(title: str, key: str, *, spare: int = 0) -> Column:
    """Return the column that shows an amount of an item with its currency."""

    def cell(item: Item, _now: object) -> str:
        return shown(item[key], item["currency"])

    return Column(title, cell, number=True, spare=spare)
