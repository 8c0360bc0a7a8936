"""Taxes and their rates.

Rule: a tax has rates with days from which they hold; what a line was charged is frozen on it, and a credit takes it
over from the line that it credits. Percentages are decimal, never float.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum
from typing import NamedTuple

from domain.errors import CaudalError

NO_PERCENT = Decimal(0)


class TaxCategory(Enum):
    """What kind of rate it is, by the code of EN 16931 (UNCL 5305)."""

    STANDARD = "S"
    ZERO = "Z"
    EXEMPT = "E"
    REVERSE_CHARGE = "AE"
    INTRA_COMMUNITY = "K"
    EXPORT = "G"
    OUTSIDE_SCOPE = "O"


class AppliedTax(NamedTuple):
    """A tax as it is charged on a line."""

    code: str
    category: TaxCategory
    percent: Decimal
    compound: bool = False
    """Whether its base includes the taxes before it."""
    exemption_reason: str | None = None


class NoRate(CaudalError):
    """A tax has no rate on a day."""

    def __init__(self, code: str, day: date) -> None:
        super().__init__(f"the tax {code} has no rate on {day}; give it one in [[tax]] with a day before that")


@dataclass(frozen=True, slots=True)
class Tax:
    """A tax, with its rates by the day from which each holds, oldest first."""

    code: str
    rates: tuple[tuple[date, Decimal], ...]
    category: TaxCategory = TaxCategory.STANDARD
    compound: bool = False
    exemption_reason: str | None = None

    def on(self, day: date) -> AppliedTax:
        """Return the tax as it is charged on `day`. Raise NoRate."""
        percent = None
        for starts, rate in self.rates:
            if starts <= day:
                percent = rate
        if percent is None:
            raise NoRate(self.code, day)
        return AppliedTax(self.code, self.category, percent, self.compound, self.exemption_reason)
