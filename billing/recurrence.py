"""Decides which periods what is sold has, and how far back lines are needed to know what is missing of them.

Rule: periods are counted from the account's billing day, or from a day of their own where the product or the history
says so. Where they are counted otherwise than before, the first of the new ones reaches into what was charged already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from billing.cycle import Cycle, monthly
from billing.history import Phase
from domain.billing_terms import BillingTerms, BillingType
from domain.catalogue import Align, CycleUnit, Product


def account_cycle(terms: BillingTerms) -> Cycle:
    """Return the periods of an account."""
    cycle = monthly(terms.billing_day)
    if terms.billing is BillingType.PREPAID_PERIOD and terms.period_days is not None:
        return Cycle(cycle.anchor, terms.period_days, CycleUnit.DAY)
    return cycle


def first_days(
    account: Cycle, sold: Sequence[Phase], served: Sequence[Phase], products: Mapping[int, Product]
) -> dict[int, date]:
    """Return from which day on the periods of each product count, where they are its own.

    What is paid by periods of some days begins on the first day that was served; all else when it was sold, so that
    days of rest, whenever they are told, move no period.
    """
    first: dict[int, date] = {}
    if account.unit is not CycleUnit.MONTH:
        for phase in served:
            if not _has_own_periods(products[phase.product_id]):
                first.setdefault(phase.product_id, phase.days.starts)
    for phase in sold:
        first.setdefault(phase.product_id, phase.days.starts)
    return first


def _has_own_periods(product: Product) -> bool:
    return product.align is Align.START or product.cycle_unit is not CycleUnit.MONTH


def cycle_of(account: Cycle, phase: Phase, product: Product, since: date) -> Cycle:
    """Return the periods of a phase; `since` is what `first_days` says of its product."""
    if phase.anchor is not None:
        return Cycle(phase.anchor, product.every, product.cycle_unit)
    if _has_own_periods(product):
        return Cycle(since, product.every, product.cycle_unit)
    if account.unit is not CycleUnit.MONTH:
        return Cycle(since, account.count, account.unit)
    return account if product.every == account.count else Cycle(account.anchor, product.every)


def needed_since(
    account: Cycle, sold: Sequence[Phase], served: Sequence[Phase], products: Mapping[int, Product], floor: date
) -> date:
    """Return the day after which the periods of lines end that are needed, if nothing before `floor` has changed."""
    since, first = floor, first_days(account, sold, served, products)
    for phase in served:
        if phase.days.starts < floor:
            product = products[phase.product_id]
            starts = cycle_of(account, phase, product, first[phase.product_id]).period(floor).starts
            if phase.days.ends > starts:
                since = min(since, starts)
    return since
