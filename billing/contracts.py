"""Decides until when a contract binds, and what ending it costs.

Rule: terms follow each other from the day on which it began, each a whole number of months counted from that day. A fee
is of the day on which the sale ends: the first one that is not charged any more.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import NamedTuple

from billing.cycle import Period, months_later
from domain.catalogue import Contract

_NOTHING = Decimal(0)


class Cancellation(NamedTuple):
    """What ending a sale costs."""

    fee: Decimal
    """In the major unit."""
    binds_until: date | None
    """The day on which it could be ended without what an early end costs; None: it does not bind."""
    months_left: int
    """Months begun for which it still binds."""


NO_FEE = Cancellation(_NOTHING, None, 0)


def term_on(contract: Contract, began: date, day: date) -> Period | None:
    """Return the term that binds on `day`, None where none does."""
    if day < began:
        return None
    first = Period(began, months_later(began, contract.months))
    if day < first.ends:
        return first
    if not contract.renews:
        return None
    step = 0
    while months_later(began, contract.months + (step + 1) * contract.renews) <= day:
        step += 1
    months = contract.months + step * contract.renews
    return Period(months_later(began, months), months_later(began, months + contract.renews))


def cancellation(contract: Contract, began: date, ends: date) -> Cancellation:
    """Return what it costs to end on `ends`; what ends before it began, or as it begins, costs nothing."""
    if ends <= began:
        return NO_FEE
    term = term_on(contract, began, ends)
    # A term that begins on the very day has not begun to bind.
    if term is None or term.starts == ends:
        return Cancellation(contract.cancellation_fee, None, 0)
    prior = contract.prior_cancellation_fee
    months = _months_begun(began, ends, term.ends)
    fee = (contract.cancellation_fee if prior is None else prior) + months * contract.fee_per_month
    return Cancellation(fee, term.ends, months)


def _months_begun(began: date, day: date, ends: date) -> int:
    """Return the months of the contract that are not over on `day`, of those before `ends`."""
    whole = (ends.year - began.year) * 12 + ends.month - began.month
    passed = (day.year - began.year) * 12 + day.month - began.month
    if months_later(began, passed) > day:
        passed -= 1
    return whole - passed
