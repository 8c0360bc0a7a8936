"""Decides what a statement of account says: what stood, every document and payment since, and what stands.

Rule: pure. A balance is what the customer owes; a negative one is the customer's own. Each balance is the one before
and what moved, so the last one is that of the books on the same day.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple


class Movement(NamedTuple):
    """What moved the balance of a customer; a charge is positive, a payment or credit negative."""

    on: date
    kind: str
    """That of the document, or of the transfer where there is none: `payment`, `refund`, `daily`."""
    number: str | None
    method: str
    """How a payment came in; empty where it is none."""
    text: str
    amount: int


class Entry(NamedTuple):
    """A movement, and what stands after it."""

    movement: Movement
    balance: int


@dataclass(frozen=True, slots=True)
class Statement:
    """The days [first, last] of a customer's account, in minor units of a currency."""

    customer: str
    currency: str
    first: date
    last: date
    opening: int
    entries: Sequence[Entry]

    @property
    def closing(self) -> int:
        """What stands at the end of the last day."""
        return self.entries[-1].balance if self.entries else self.opening


def balanced(opening: int, movements: Iterable[Movement]) -> list[Entry]:
    """Return movements with what stands after each."""
    entries, balance = [], opening
    for movement in movements:
        balance += movement.amount
        entries.append(Entry(movement, balance))
    return entries
