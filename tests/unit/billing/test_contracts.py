"""Until when contracts bind, and what ending them costs."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.contracts import cancellation, term_on
from billing.cycle import Period, months_later
from domain.catalogue import Contract
from tests.unit.billing.billed_account import day, span

YEAR = Contract(12, cancellation_fee=Decimal(5), prior_cancellation_fee=Decimal(60), fee_per_month=Decimal(10))
RENEWED = Contract(12, renews=6, prior_cancellation_fee=Decimal(60))
BEGAN = day("2027-01-31")


@pytest.mark.parametrize(
    ("on", "term"),
    [
        ("2027-01-30", None),
        ("2027-01-31", ("2027-01-31", "2028-01-31")),
        ("2028-01-30", ("2027-01-31", "2028-01-31")),
        ("2028-01-31", ("2028-01-31", "2028-07-31")),
        ("2028-07-31", ("2028-07-31", "2029-01-31")),
        ("2028-08-15", ("2028-07-31", "2029-01-31")),
    ],
)
def test_terms_follow_each_other_from_the_day_on_which_it_began(on: str, term: tuple[str, str] | None) -> None:
    assert term_on(RENEWED, BEGAN, day(on)) == (None if term is None else span(*term))


def test_a_contract_that_does_not_renew_binds_once() -> None:
    assert term_on(YEAR, BEGAN, day("2028-01-31")) is None


@pytest.mark.parametrize(
    ("ends", "fee", "months"),
    [
        # What never began costs nothing.
        ("2027-01-31", 0, 0),
        ("2027-02-01", 60 + 120, 12),
        # February's part of the contract begins on the 28th, clamped.
        ("2027-02-27", 60 + 120, 12),
        ("2027-02-28", 60 + 110, 11),
        ("2028-01-30", 60 + 10, 1),
        # The day on which the months are over: what an end always costs.
        ("2028-01-31", 5, 0),
        ("2031-06-01", 5, 0),
    ],
)
def test_an_early_end_costs_by_the_months_begun(ends: str, fee: int, months: int) -> None:
    found = cancellation(YEAR, BEGAN, day(ends))
    assert (found.fee, found.months_left) == (Decimal(fee), months)


def test_a_renewed_contract_may_be_ended_between_its_terms() -> None:
    assert cancellation(RENEWED, BEGAN, day("2028-01-31")).fee == 0
    assert cancellation(RENEWED, BEGAN, day("2028-02-01")).fee == 60
    assert cancellation(RENEWED, BEGAN, day("2028-02-01")).binds_until == day("2028-07-31")


def test_without_a_fee_of_its_own_an_early_end_costs_what_any_end_costs() -> None:
    contract = Contract(3, cancellation_fee=Decimal(9))
    assert [cancellation(contract, BEGAN, day(ends)).fee for ends in ("2027-03-01", "2027-05-01")] == [9, 9]


@given(
    st.dates(date(2020, 1, 1), date(2030, 12, 31)),
    st.integers(1, 36),
    st.integers(0, 24),
    st.integers(0, 3000),
)
def test_the_terms_have_no_gap_and_months_left_only_fall(began: date, months: int, renews: int, days: int) -> None:
    contract = Contract(months, renews=renews, fee_per_month=Decimal(1))
    on = began + timedelta(days=days)
    term = term_on(contract, began, on)
    if term is None:
        assert not renews
        assert on >= months_later(began, months)
        return
    assert term.starts <= on < term.ends
    assert Period(on, on + timedelta(days=1)).overlap(*term)
    left = cancellation(contract, began, on).months_left
    later = cancellation(contract, began, on + timedelta(days=1)).months_left
    assert 0 <= left <= max(months, renews)
    if on not in (began, term.starts) and on + timedelta(days=1) < term.ends:
        assert left - later in (0, 1)
