"""What a payment in another currency is worth in the account's own, and what of it is given back.

Rule: it is exchanged once, at the rate of its booking; what is given back is given in the currency in which it came, at
that very rate, so that the parts sum to the whole. Rounded once, half up.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple, Self

from domain.money import decimal, half_up, minor_units, rounded


class Foreign(NamedTuple):
    """So many minor units of a currency that is not the account's."""

    amount: int
    currency: str

    def worth(self, rate: Decimal, currency: str) -> int:
        """Return it in minor units of the account's currency; `rate` is what one unit costs there."""
        return rounded(Fraction(rate) * minor_units(decimal(self.amount, self.currency), currency))

    def given_back(self, worth: int, before: int, given: int) -> Self:
        """Return what is given back, negative, of what is `worth` so much when after `before` `given` of it is."""
        until = half_up(self.amount * (before + given), worth)
        return self._replace(amount=half_up(self.amount * before, worth) - until)
