"""Which periods an account has, and what is sold to it."""

from __future__ import annotations

import pytest

from billing.cycle import Cycle, monthly
from billing.history import phases
from billing.recurrence import account_cycle, cycle_of
from domain.billing_terms import BillingTerms, BillingType
from domain.catalogue import Align, CycleUnit
from tests.unit.billing.billed_account import Account, day, product

ON_10 = monthly(10)
OF_30_DAYS = Cycle(ON_10.anchor, 30, CycleUnit.DAY)
SINCE = day("2026-01-07")


@pytest.mark.parametrize(
    ("billing", "period_days", "cycle"),
    [
        (BillingType.PREPAID_PERIOD, 30, OF_30_DAYS),
        (BillingType.PREPAID_PERIOD, None, ON_10),
        # An operator may have said it for all accounts: the others are billed by the month all the same.
        (BillingType.RECURRING, 30, ON_10),
        (BillingType.PREPAID_DAILY, 30, ON_10),
    ],
)
def test_periods_of_days_are_those_of_accounts_that_pay_them_from_a_wallet(
    billing: BillingType, period_days: int | None, cycle: Cycle
) -> None:
    assert account_cycle(BillingTerms("EUR", billing, billing_day=10, period_days=period_days)) == cycle


@pytest.mark.parametrize(
    ("account", "more", "cycle"),
    [
        (ON_10, {}, ON_10),
        (ON_10, {"every": 3}, Cycle(ON_10.anchor, 3)),
        (ON_10, {"align": Align.START}, Cycle(SINCE)),
        # No billing day is one of a week or of so many days.
        (ON_10, {"cycle_unit": CycleUnit.WEEK}, Cycle(SINCE, 1, CycleUnit.WEEK)),
        (OF_30_DAYS, {}, Cycle(SINCE, 30, CycleUnit.DAY)),
        (OF_30_DAYS, {"align": Align.START}, Cycle(SINCE)),
    ],
)
def test_periods_are_counted_from_the_billing_day_or_from_the_first_sale(
    account: Cycle, more: dict[str, object], cycle: Cycle
) -> None:
    sold = Account()
    sold.starts("2026-02-01", "10")
    (phase,) = phases(sold.events[1])
    assert cycle_of(account, phase, product(1, **more), SINCE) == cycle
    moved = phase._replace(anchor=day("2026-02-01"))
    assert cycle_of(account, moved, product(1, **more), SINCE).anchor == day("2026-02-01")
