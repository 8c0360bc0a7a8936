"""Decides whether a wallet pays what is due, and for how many days it lasts.

Rule: pure. A wallet pays as long as what is left after it, without what is reserved, is not below the account's minimum
less its credit limit. How long it lasts is found by paying day after day with the very same function.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import NamedTuple

MOST_DAYS = 400
"""A wallet that lasts longer is shown as lasting this long."""


class Wallet(NamedTuple):
    """What a prepaid customer has, in minor units."""

    balance: int
    reserved: int = 0
    minimum: int = 0
    credit: int = 0
    """How far below nothing it may go."""

    @property
    def available(self) -> int:
        """What may still be spent."""
        return self.balance - self.reserved - self.minimum + self.credit

    def pays(self, amount: int) -> bool:
        """Tell whether it pays an amount; what costs nothing, or is given back, it always pays."""
        return amount <= 0 or amount <= self.available

    def missing(self, amount: int) -> int:
        """Return how much more it has to have, to pay an amount."""
        return 0 if self.pays(amount) else amount - self.available

    def after(self, amount: int) -> Wallet:
        """Return it when it has paid."""
        return self._replace(balance=self.balance - amount)


def days_left(wallet: Wallet, today: date, cost: Callable[[date], int]) -> int:
    """Return how many days from tomorrow on are paid; `cost` is what a day costs."""
    for number in range(MOST_DAYS):
        amount = cost(today + timedelta(days=number + 1))
        if not wallet.pays(amount):
            return number
        wallet = wallet.after(amount)
    return MOST_DAYS
