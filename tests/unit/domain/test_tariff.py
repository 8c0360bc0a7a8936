"""What usage costs."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.tax import TaxableLine, settle
from domain.billing_terms import TaxRounding
from domain.tariff import (
    BlockRounding,
    Commission,
    Tariff,
    Tier,
    TierModel,
    ceiling_units,
    cliffs,
    commission,
    rate,
    rate_held,
)
from domain.tax import AppliedTax, TaxCategory


def tier(up_to: int | None, price: str, flat: str = "0", block: int = 1) -> Tier:
    return Tier(up_to, Decimal(price), block, Decimal(flat))


GRADUATED = Tariff((tier(10, "10", "2"), tier(20, "5", "3"), tier(None, "5", "3")))
VOLUME = Tariff((tier(100, "2", "10"), tier(200, "1"), tier(None, "0.5", "50")), TierModel.VOLUME)
TOP_TIER = Tariff(
    (tier(1_000, "1", block=100), tier(101_000, "1", block=1_000), tier(None, "0.5", block=1_000)), TierModel.VOLUME
)
FLATS = Tariff((tier(5, "0", "100"), tier(10, "0", "50"), tier(15, "5"), tier(None, "1")))


@pytest.mark.parametrize(("units", "expected"), [(0, 2), (1, 12), (10, 102), (11, 110), (12, 115), (21, 163)])
def test_g1_each_tier_prices_what_lies_in_it(units: int, expected: int) -> None:
    assert rate(GRADUATED, units) == expected


@pytest.mark.parametrize(
    ("units", "expected"),
    [("0", "10"), ("1", "12"), ("100", "210"), ("100.5", "100.5"), ("101", "101"), ("200", "200"), ("300", "200")],
)
def test_g2_the_tier_that_is_reached_prices_everything(units: str, expected: str) -> None:
    assert rate(VOLUME, Fraction(units)) == Fraction(expected)


@pytest.mark.parametrize(
    ("units", "expected"), [(1_000, "10"), (101_000, "101"), (101_001, "51.0"), (300_000, "150.0")]
)
def test_g7_blocks_of_the_tier_that_is_reached(units: int, expected: str) -> None:
    assert rate(TOP_TIER, units) == Fraction(expected)


def test_g7_a_tariff_tells_where_one_unit_more_makes_everything_cheaper() -> None:
    assert cliffs(TOP_TIER) == cliffs(replace(TOP_TIER, free=10)) == [1_000, 101_000]
    assert cliffs(VOLUME) == [100, 200]
    assert cliffs(GRADUATED) == []


def test_g8_tiers_that_cost_so_much_to_reach() -> None:
    assert rate(FLATS, 22) == 182


def test_g11_the_first_units_cost_more() -> None:
    assert rate(Tariff((tier(5, "2"), tier(None, "1"))), 13) == 18


@pytest.mark.parametrize(
    ("rounding", "expected"), [(BlockRounding.UP, 3), (BlockRounding.DOWN, 2), (BlockRounding.NEAREST, 3)]
)
def test_a_block_that_is_begun_counts_as_the_tariff_says(rounding: BlockRounding, expected: int) -> None:
    assert rate(Tariff((tier(None, "1", block=10),), rounding=rounding), 25) == expected


def test_free_units_the_least_and_the_most() -> None:
    tariff = Tariff((tier(None, "1"),), free=10, minimum=Decimal(5), ceiling=Decimal(20))
    assert [rate(tariff, units) for units in (0, 10, 15, 16, 30, 31, 10**12)] == [5, 5, 5, 6, 20, 20, 20]
    assert ceiling_units(tariff) == 30
    assert [ceiling_units(tariff, percent) for percent in (1, 50, 100)] == [
        next(units for units in range(31) if rate(tariff, units) * 100 >= percent * Fraction(tariff.ceiling or 0))
        for percent in (1, 50, 100)
    ]


def test_g10_a_minimum_without_usage() -> None:
    assert rate(Tariff((tier(None, "1"),), minimum=Decimal(1000)), 0) == 1000


PERCENTAGE = Commission(Decimal(1), Decimal(5))
VAT = AppliedTax("vat", TaxCategory.STANDARD, Decimal(20), False)


def amounts(*given: int) -> list[Decimal]:
    return [Decimal(amount) for amount in given]


def test_g4_a_share_of_amounts_and_so_much_for_each_event_of_which_some_are_free() -> None:
    terms = replace(PERCENTAGE, free=3)
    assert commission(terms, amounts(10, 10, 10)) == 0
    assert commission(terms, amounts(10, 10, 10, 10)) == Fraction("5.10")
    assert settle([TaxableLine(510, (VAT,))], TaxRounding.RATE).gross == 612


def test_g5_a_share_of_amounts_of_which_the_first_is_free() -> None:
    terms = replace(PERCENTAGE, free_amount=Decimal(15))
    assert commission(terms, amounts(4, 4, 4)) == 0
    assert commission(terms, amounts(4, 4, 4, 4)) == Fraction("5.01")
    assert commission(terms, amounts(4, 4, 4, 4, 10)) == Fraction("10.11")


def test_a_commission_has_a_least_and_a_most() -> None:
    terms = replace(PERCENTAGE, minimum=Decimal(2), ceiling=Decimal(6))
    assert [commission(terms, amounts(*given)) for given in ((), (10,), (10, 10))] == [2, Fraction("5.10"), 6]


def test_g13_units_that_are_added_within_a_period_cost_their_days() -> None:
    graduated = Tariff((tier(5, "10", "100"), tier(None, "4", "20")))
    share = Fraction(21, 30)
    assert rate_held(graduated, [(Fraction(0), 1 - share), (Fraction(2), share)]) == 100 + 20 * share == 114
    assert rate_held(graduated, [(Fraction(6), Fraction(1))]) == rate(graduated, 6)
    assert rate_held(graduated, [(Fraction(6), share), (Fraction(0), 1 - share)]) == 120 + 54 * share
    assert rate_held(graduated, []) == 0


TIERS = st.lists(
    st.tuples(st.integers(1, 1000), st.integers(0, 500), st.integers(1, 40), st.integers(0, 500)),
    min_size=1,
    max_size=4,
)


@given(TIERS, st.sampled_from(BlockRounding), st.integers(1, 100_000), st.integers(0, 5_000))
def test_a_graduated_tariff_never_falls_and_its_ceiling_is_where_it_is_told(
    given_tiers: list[tuple[int, int, int, int]], rounding: BlockRounding, cents: int, units: int
) -> None:
    until = 0
    tiers = []
    for size, price, block, flat in given_tiers:
        until += size
        tiers.append(Tier(until, Decimal(price) / 100, block, Decimal(flat) / 100))
    last = tiers[-1]
    tiers[-1] = Tier(None, last.price, last.block, last.flat)
    tariff = Tariff(tuple(tiers), rounding=rounding, ceiling=Decimal(cents) / 100)
    assert rate(tariff, units) <= rate(tariff, units + 1) <= Fraction(cents, 100)
    reached = ceiling_units(tariff)
    if reached is not None:
        assert rate(tariff, reached) == Fraction(cents, 100)
        assert reached == 0 or rate(tariff, reached - 1) < Fraction(cents, 100)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 30)), min_size=1, max_size=6), st.randoms())
def test_units_held_for_all_of_a_period_cost_as_much_as_in_any_parts(
    parts: list[tuple[int, int]], random: Random
) -> None:
    whole = sum(days for _, days in parts)
    held = [(Fraction(units), Fraction(days, whole)) for units, days in parts]
    expected = rate_held(GRADUATED, held)
    random.shuffle(held)
    assert rate_held(GRADUATED, held) == expected
    assert rate_held(GRADUATED, [(units, share / 2) for units, share in held for _ in range(2)]) == expected
    assert rate_held(GRADUATED, [(Fraction(7), share) for _, share in held]) == rate(GRADUATED, 7)
