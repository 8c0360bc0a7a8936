"""Discounts for a whole account: an amount is divided over what the account has, and taken off once."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.cycle import Cycle
from billing.discounts import Discount
from billing.history import EventKind
from domain.catalogue import Align, CycleUnit
from tests.unit.billing.billed_account import Account, day, product, span, yearly


def discounted(amount: str = "5", starts: str = "2026-01-01", ends: str | None = None) -> Account:
    account = Account()
    account.discounts = [Discount(7, span(starts, ends), amount=Decimal(amount))]
    return account


def test_an_amount_for_an_account_is_taken_off_once_in_proportion_to_the_prices() -> None:
    account = discounted()
    account.starts("2026-01-01", "30", subscription=1)
    account.starts("2026-01-01", "10", subscription=2, product=2)
    assert account.run("2026-01-01") == [3000, -375, 1000, -125]
    assert account.run("2026-01-01") == []


def test_another_sale_in_the_middle_of_a_month_takes_its_part_of_the_amount_from_its_day_on() -> None:
    account = discounted()
    account.starts("2026-01-01", "30", subscription=1)
    account.run("2026-01-01")
    account.starts("2026-01-17", "10", subscription=2, product=2)
    account.run("2026-01-17")
    less = [line.amount for line in account.lines if line.key.component == "discount-7"]
    assert sum(less) == -500
    assert account.total == 3000 + 484 - 500


def test_an_amount_is_never_more_than_the_prices() -> None:
    account = discounted("50")
    account.starts("2026-01-01", "30", subscription=1)
    account.starts("2026-01-01", "10", subscription=2, product=2)
    account.run("2026-01-01")
    assert account.total == 0


def test_what_costs_nothing_is_given_nothing_off() -> None:
    account = discounted()
    account.discounts.append(Discount(8, span("2026-01-01"), percent=Decimal(10)))
    account.starts("2026-01-01", "0", subscription=1)
    assert account.run("2026-01-01") == []


def test_an_amount_of_periods_of_days_is_taken_of_what_has_the_same_ones_alone() -> None:
    account = discounted()
    account.cycle = Cycle(day("2026-01-01"), 30, CycleUnit.DAY)
    account.products[2] = product(2, align=Align.START)
    account.starts("2026-01-01", "30", subscription=1)
    account.starts("2026-01-01", "30", subscription=2, product=2)
    account.does(EventKind.START, "2026-01-01", "30", product=1, subscription=3, anchor="2026-01-01")
    assert account.run("2026-01-01") == [3000, -500, 3000, 3000]


def test_a_year_that_is_paid_at_once_has_its_twelve_parts_of_the_amount() -> None:
    account = discounted()
    account.products[2] = yearly(2)
    account.starts("2026-01-01", "30", subscription=1)
    account.starts("2026-01-01", "120", subscription=2, product=2)
    account.run("2026-01-01")
    # 30 a month and 120 a year are 40 a month: 3.75 of it, and 1.25 twelve times.
    assert [line.amount for line in account.lines] == [3000, -375, 12000, -1500]


def test_an_amount_for_one_subscription_is_of_that_ones_own_periods() -> None:
    account = Account()
    account.products[2] = yearly(2)
    account.discounts = [Discount(7, span("2026-01-01"), amount=Decimal(5), subscription_id=1)]
    account.starts("2026-01-01", "120", subscription=1, product=2)
    assert account.run("2026-01-01") == [12000, -500]


def test_a_share_of_one_price_is_taken_off_that_one_alone() -> None:
    account = Account()
    account.discounts = [Discount(7, span("2026-01-01"), percent=Decimal(10), subscription_id=2)]
    account.starts("2026-01-01", "30", subscription=1)
    account.starts("2026-01-01", "10", subscription=2, product=2)
    assert account.run("2026-01-01") == [3000, 1000, -100]


def test_the_discount_of_a_sub_account_is_for_what_that_has() -> None:
    discount = Discount(7, span("2026-01-01"), amount=Decimal(5), customer_id=2)
    assert [discount.concerns(1, customer) for customer in (1, 2)] == [False, True]
    assert Discount(8, span("2026-01-01"), percent=Decimal(5)).concerns(1, 2)
    assert not Discount(9, span("2026-01-01"), percent=Decimal(5), subscription_id=3).concerns(1, 2)


@given(
    st.lists(st.integers(1, 90_000), min_size=1, max_size=5),
    st.integers(1, 20_000),
    st.lists(st.integers(1, 28), min_size=5, max_size=5),
)
def test_what_is_taken_of_all_sums_to_the_amount(cents: list[int], amount: int, days: list[int]) -> None:
    account = discounted(str(Decimal(amount) / 100))
    for number, price in enumerate(cents, 1):
        account.starts("2026-01-01", str(Decimal(price) / 100), subscription=number, product=number)
    account.run("2026-01-01")
    assert account.total == max(0, sum(cents) - amount)
    for number, on in zip(range(2, len(cents) + 1), days, strict=False):
        account.stops(f"2026-01-{on:02}", subscription=number)
    account.run("2026-02-01")
    assert account.run("2026-02-01") == []
    # All but the first have ended: in February the whole amount is the first one's.
    lines = [line.amount for line in account.lines if line.period.starts.month == 2]
    assert sum(lines) == max(0, cents[0] - amount)


def test_several_discounts_take_no_more_than_the_price_while_they_overlap() -> None:
    account = Account()
    account.discounts = [
        Discount(1, span("2026-01-01", "2026-02-01"), percent=Decimal(100), subscription_id=1),
        Discount(2, span("2026-01-01"), amount=Decimal(5)),
    ]
    account.starts("2026-01-01", "30", subscription=1)
    assert account.run("2026-01-01") == [3000, -3000]
    assert account.run("2026-02-01") == [3000, -500]
    assert account.run("2026-02-01") == []


@given(
    st.integers(1, 10_000),
    st.lists(st.tuples(st.integers(1, 28), st.integers(1, 28), st.integers(1, 100), st.booleans()), max_size=4),
)
def test_whatever_discounts_there_are_nothing_becomes_less_than_nothing(
    cents: int, given_: list[tuple[int, int, int, bool]]
) -> None:
    account = Account()
    for number, (first, last, value, is_share) in enumerate(given_, 1):
        days = span(f"2026-01-{min(first, last):02}", f"2026-02-{max(first, last):02}")
        percent, amount = (Decimal(value), None) if is_share else (None, Decimal(value))
        account.discounts.append(Discount(number, days, percent, amount, 1 if number % 2 else None))
    account.starts("2026-01-01", str(Decimal(cents) / 100), subscription=1)
    account.run("2026-02-01")
    for month in (1, 2):
        # Each discount is rounded by itself, by half a cent at most for each stretch of days.
        assert sum(line.amount for line in account.lines if line.period.starts.month == month) >= -len(given_)
    assert account.run("2026-02-01") == []


@pytest.mark.parametrize("ends", ["2026-01-11", "2026-01-21"])
def test_a_discount_that_ends_earlier_than_it_was_charged_is_taken_back(ends: str) -> None:
    account = discounted(starts="2026-01-01")
    account.starts("2026-01-01", "31", subscription=1)
    account.run("2026-01-01")
    account.discounts = [Discount(7, span("2026-01-01", ends), amount=Decimal(5))]
    assert account.run("2026-01-02") == [], "its end may still be moved"
    account.run(ends)
    days = (span("2026-01-01", ends).ends - span("2026-01-01", ends).starts).days
    assert account.total == 3100 - round(500 * days / 31)
    assert account.run(ends) == []
