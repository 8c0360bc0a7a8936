"""Amounts of money, and the one way in which they are rounded.

Rule: an amount is a whole number of the currency's minor units; a price is a `Decimal` and may have more places. What
is computed in between is an exact fraction, rounded once, half up (away from zero), where it becomes an amount. Amounts
of different currencies never meet. There is no float anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from types import MappingProxyType
from typing import Self

from domain.errors import CaudalError

USUAL_DIGITS = 2
UNUSUAL_DIGITS = MappingProxyType(
    {
        **dict.fromkeys(
            (
                "BIF",
                "CLP",
                "DJF",
                "GNF",
                "ISK",
                "JPY",
                "KMF",
                "KRW",
                "PYG",
                "RWF",
                "UGX",
                "VND",
                "VUV",
                "XAF",
                "XOF",
                "XPF",
            ),
            0,
        ),
        **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    }
)
"""Decimal places of the minor unit where they are not two (ISO 4217)."""


class MoneyError(CaudalError):
    """An amount that cannot be."""


class CurrenciesMixed(MoneyError):
    """Two amounts of different currencies were to be added or compared."""

    def __init__(self, left: str, right: str) -> None:
        super().__init__(f"{left} and {right} cannot be added or compared; exchange one of them first")
        self.left = left
        self.right = right


@dataclass(frozen=True, slots=True)
class Money:
    """So many minor units of a currency (ISO 4217)."""

    minor: int
    currency: str

    def __add__(self, other: Self) -> Self:
        return type(self)(self.minor + self._same(other), self.currency)

    def __sub__(self, other: Self) -> Self:
        return type(self)(self.minor - self._same(other), self.currency)

    def __neg__(self) -> Self:
        return type(self)(-self.minor, self.currency)

    def __lt__(self, other: Self) -> bool:
        return self.minor < self._same(other)

    def __le__(self, other: Self) -> bool:
        return self.minor <= self._same(other)

    def __bool__(self) -> bool:
        return self.minor != 0

    def __str__(self) -> str:
        return f"{decimal_text(self.minor, self.currency)} {self.currency}"

    def _same(self, other: Self) -> int:
        if other.currency != self.currency:
            raise CurrenciesMixed(self.currency, other.currency)
        return other.minor


def digits(currency: str) -> int:
    """Return the decimal places of a currency's minor unit."""
    return UNUSUAL_DIGITS.get(currency, USUAL_DIGITS)


def half_up(numerator: int, denominator: int = 1) -> int:
    """Return numerator/denominator as the nearest whole number, a half away from zero; `denominator` is positive."""
    if numerator < 0:
        return -((-2 * numerator + denominator) // (2 * denominator))
    return (2 * numerator + denominator) // (2 * denominator)


def rounded(exact: Fraction) -> int:
    """Return an exact number of minor units as an amount."""
    return half_up(exact.numerator, exact.denominator)


@lru_cache(maxsize=4096)
def minor_units(price: Decimal, currency: str) -> Fraction:
    """Return a price as an exact number of minor units."""
    return Fraction(price) * Fraction(10 ** digits(currency))


def decimal(minor: int, currency: str) -> Decimal:
    """Return an amount in the currency's major unit."""
    return Decimal(minor).scaleb(-digits(currency))


def decimal_text(minor: int, currency: str) -> str:
    """Return an amount as machines read it: `-1234.50`."""
    return f"{decimal(minor, currency):f}"


def spread(total: int, weights: Sequence[int | Fraction]) -> list[int]:
    """Divide `total` in proportion to `weights`, none of them negative; the parts sum to it exactly.

    The remainder goes to where it changes the running sum least: each part is the difference of two rounded sums.
    """
    whole = sum(weights, Fraction(0))
    if not whole:
        if total:
            raise MoneyError("an amount cannot be divided in proportion to nothing")
        return [0] * len(weights)
    parts, before, sum_so_far = [], 0, Fraction(0)
    for weight in weights:
        sum_so_far += weight
        until = rounded(total * sum_so_far / whole)
        parts.append(until - before)
        before = until
    return parts


def total(amounts: Iterable[Money], currency: str) -> Money:
    """Return the sum, which is nothing of `currency` where there is none."""
    result = Money(0, currency)
    for amount in amounts:
        result = result + amount
    return result
