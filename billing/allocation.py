"""Decides which money pays which document: the oldest of both first, or the documents that were chosen.

Rule: pure; nothing is paid twice or more than it costs, and what is left over stays with the money.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple


class Money(NamedTuple):
    """A payment, or a credit note, and what of it is unused."""

    is_payment: bool
    id: int
    amount: int


class Claimed(NamedTuple):
    """A document and what of it is open."""

    document_id: int
    amount: int


class Allocation(NamedTuple):
    """So much of a document is paid by this money."""

    money: Money
    document_id: int
    amount: int


def allocate(money: Iterable[Money], claimed: Iterable[Claimed]) -> Iterator[Allocation]:
    """Yield what pays what, in the order in which both are given."""
    rest = [*claimed]
    place = 0
    for each in money:
        left = each.amount
        while left and place < len(rest):
            document_id, amount = rest[place]
            taken = min(left, amount)
            if taken:
                yield Allocation(each, document_id, taken)
            left -= taken
            if taken == amount:
                place += 1
            else:
                rest[place] = Claimed(document_id, amount - taken)


def take_back(allocated: Sequence[Allocation], amount: int) -> Iterator[Allocation]:
    """Yield the opposite of allocations until `amount` is free again, the latest first."""
    for each in reversed(allocated):
        taken = min(amount, each.amount)
        if taken <= 0:
            return
        yield each._replace(amount=-taken)
        amount -= taken
