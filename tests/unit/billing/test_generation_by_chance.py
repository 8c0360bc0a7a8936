"""What holds of every history: repeatable runs, an order that does not matter, credits within their charges."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from billing.cycle import Period
from billing.discounts import Discount
from billing.generation import UsagePeriod
from billing.history import EventKind, phases
from billing.intervals import FOREVER, difference, intersection, union
from domain.catalogue import Mode, Proration
from domain.money import half_up
from tests.unit.billing.billed_account import Account

FIRST = date(2026, 1, 1)
PRICES = ("10.00", "29.95", "0.07", "99.999", "0")
KINDS = (EventKind.START, EventKind.CHANGE, EventKind.PAUSE, EventKind.RESUME, EventKind.STOP)


@dataclass(frozen=True)
class Step:
    """One event, and on which day it is told."""

    kind: EventKind
    on: int
    price: str
    product: int
    told: int


STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from(KINDS),
        st.integers(0, 120),
        st.sampled_from(PRICES),
        st.integers(1, 3),
        st.integers(0, 150),
    ),
    max_size=7,
    unique_by=lambda step: step.on,
)
MODES = st.sampled_from(list(Mode))
PRORATIONS = st.sampled_from([Proration.ACTUAL, Proration.THIRTY])
BILLING_DAYS = st.integers(1, 31)


def after(days: int) -> str:
    return (FIRST + timedelta(days=days)).isoformat()


def account_of(mode: Mode, proration: Proration, billing_day: int) -> Account:
    account = Account(billing_day=billing_day, mode=mode, proration=proration)
    account.starts(after(0), "20.00")
    account.discounts = [
        Discount(1, Period(FIRST + timedelta(days=40), FIRST + timedelta(days=90)), percent=Decimal(25))
    ]
    return account


def tell(account: Account, step: Step) -> None:
    changes = step.kind in (EventKind.START, EventKind.CHANGE)
    account.does(step.kind, after(step.on), step.price if changes else None, product=step.product if changes else None)


@settings(max_examples=200, deadline=None)
@example(
    # A day that cost nothing alone rounds the days after it up, and is taken away afterwards.
    [
        Step(EventKind.START, 0, "0.07", 2, 0),
        Step(EventKind.START, 1, "10.00", 1, 10),
        Step(EventKind.START, 2, "10.00", 1, 0),
        Step(EventKind.START, 4, "0.07", 2, 0),
    ],
    Mode.ADVANCE,
    Proration.ACTUAL,
    2,
)
@given(STEPS, MODES, PRORATIONS, BILLING_DAYS)
def test_whatever_is_told_when_the_sum_is_that_of_the_whole_history(
    steps: list[Step], mode: Mode, proration: Proration, billing_day: int
) -> None:
    gradually = account_of(mode, proration, billing_day)
    for day in range(0, 160, 9):
        for step in steps:
            if day - 9 < step.told <= day:
                tell(gradually, step)
        gradually.run(after(day))
    gradually.run(after(160))
    at_once = account_of(mode, proration, billing_day)
    for step in steps:
        tell(at_once, step)
    at_once.run(after(160))
    assert gradually.total == at_once.total


@settings(max_examples=200, deadline=None)
@given(STEPS, MODES, BILLING_DAYS, st.integers(0, 160))
def test_a_second_run_finds_nothing(steps: list[Step], mode: Mode, billing_day: int, on: int) -> None:
    account = account_of(mode, Proration.ACTUAL, billing_day)
    for step in steps:
        tell(account, step)
    account.run(after(on))
    assert account.run(after(on)) == []
    account.run(after(on + 40))
    assert account.run(after(on + 40)) == []


@settings(max_examples=200, deadline=None)
@given(STEPS, MODES, BILLING_DAYS)
def test_credits_never_exceed_what_they_credit(steps: list[Step], mode: Mode, billing_day: int) -> None:
    account = account_of(mode, Proration.ACTUAL, billing_day)
    for day, step in enumerate(steps):
        tell(account, step)
        account.run(after(20 * (day + 1)))
    groups: dict[tuple[object, object], int] = {}
    for _, line in account.issued:
        key = line.key, line.period
        groups[key] = groups.get(key, 0) + line.amount
        is_discount = line.key.component.startswith("discount")
        assert groups[key] <= 0 if is_discount else groups[key] >= 0


@settings(max_examples=300, deadline=None)
@given(STEPS, BILLING_DAYS)
def test_what_was_charged_is_the_price_of_the_days_of_the_history(steps: list[Step], billing_day: int) -> None:
    """Computed in another way: each day of a period costs its share, and a period is rounded once."""
    account = account_of(Mode.ARREARS, Proration.ACTUAL, billing_day)
    account.discounts = []
    for step in steps:
        tell(account, step)
    account.run(after(400))
    expected: dict[tuple[object, ...], int] = {}
    cycle = account.terms.cycle
    for phase in phases(account.events[1]):
        day = phase.days.starts
        while day < min(phase.days.ends, cycle.period(FIRST + timedelta(days=400)).starts):
            key = (phase.product_id, phase.unit_price, cycle.period(day))
            expected[key] = expected.get(key, 0) + 1
            day += timedelta(days=1)
    owed = 0
    for (_, price, period), days in expected.items():
        assert isinstance(price, Decimal)
        assert isinstance(period, Period)
        exact = int(price * 1000) * days
        owed += half_up(exact, 10 * (period.ends - period.starts).days)
    assert account.total == owed


USED = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3000)), max_size=8)


@given(USED, st.integers(1, 900), st.integers(0, 3000))
def test_usage_sums_to_what_it_costs_at_the_end_however_often_it_was_billed_before(
    used: list[tuple[int, int]], bill_at: int, at_last: int
) -> None:
    account = Account(mode=Mode.ARREARS, at_once=False)
    account.starts(after(0), "0")
    january = Period(FIRST, date(2026, 2, 1))
    for day, amount in sorted(used):
        early = None if after(day) >= "2026-02-01" else bill_at
        account.usage = [UsagePeriod(january, amount, 1, {}, bill_at=early, sold_as=1)]
        account.run(after(day))
        assert account.run(after(day)) == []
        assert account.total >= 0
        assert early is None or account.total == 0 or account.total >= bill_at
    account.usage = [UsagePeriod(january, at_last, 1, {}, sold_as=1)]
    account.run(after(41))
    assert account.total == at_last


DAYS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=6)


def periods(pairs: list[tuple[int, int]]) -> list[Period]:
    return union(Period(FIRST + timedelta(days=min(pair)), FIRST + timedelta(days=max(pair))) for pair in pairs)


def days_of(given_periods: list[Period]) -> set[date]:
    return {
        period.starts + timedelta(days=day)
        for period in given_periods
        for day in range((period.ends - period.starts).days)
    }


@given(DAYS, DAYS)
def test_periods_are_sets_of_days(left_pairs: list[tuple[int, int]], right_pairs: list[tuple[int, int]]) -> None:
    left, right = periods(left_pairs), periods(right_pairs)
    assert days_of(union([*left, *right])) == days_of(left) | days_of(right)
    assert days_of(intersection(left, right)) == days_of(left) & days_of(right)
    assert days_of(difference(left, right)) == days_of(left) - days_of(right)
    for found in (union([*left, *right]), intersection(left, right), difference(left, right)):
        assert all(each.starts < each.ends for each in found)
        assert all(before.ends < behind.starts for before, behind in pairwise(found))


def test_what_does_not_end_ends_after_everything() -> None:
    assert intersection([Period(FIRST, FOREVER)], [Period(FIRST, FIRST + timedelta(days=1))])
