"""What usage costs."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.tariff import BlockRounding, Tariff, Tier, TierModel, ceiling_units, rate


def tier(up_to: int | None, price: str, flat: str = "0", block: int = 1) -> Tier:
    return Tier(up_to, Decimal(price), block, Decimal(flat))


GRADUATED = Tariff((tier(10, "10", "2"), tier(20, "5", "3"), tier(None, "5", "3")))
VOLUME = Tariff((tier(100, "2", "10"), tier(200, "1"), tier(None, "0.5", "50")), TierModel.VOLUME)
TOP_TIER = Tariff(
    (tier(1_000, "1", block=100), tier(101_000, "1", block=1_000), tier(None, "0.5", block=1_000)), TierModel.VOLUME
)
FLATS = Tariff((tier(5, "0", "100"), tier(10, "0", "50"), tier(15, "5"), tier(None, "1")))


@pytest.mark.parametrize(
    ("tariff", "units", "expected"),
    [
        *(
            pytest.param(GRADUATED, units, amount, id=f"G1-{units}")
            for units, amount in ((0, 2), (1, 12), (10, 102), (11, 110), (12, 115), (21, 163))
        ),
        *(
            pytest.param(VOLUME, Fraction(units), Fraction(amount), id=f"G2-{units}")
            for units, amount in (
                ("0", "10"), ("1", "12"), ("100", "210"), ("100.5", "100.5"), ("101", "101"), ("200", "200"),
                ("300", "200"),
            )
        ),
        *(
            pytest.param(TOP_TIER, units, Fraction(amount), id=f"G7-{units}")
            for units, amount in ((1_000, "10"), (101_000, "101"), (101_001, "51"), (300_000, "150"))
        ),
        pytest.param(FLATS, 22, 182, id="G8"),
        pytest.param(Tariff((tier(5, "2"), tier(None, "1"))), 13, 18, id="G11"),
        pytest.param(Tariff((tier(None, "0.067"),)), 55, Fraction("3.685"), id="I2"),
    ],
)  # fmt: skip
def test_worked_examples(tariff: Tariff, units: int | Fraction, expected: int | Fraction) -> None:
    assert rate(tariff, units) == expected


@pytest.mark.parametrize(
    ("rounding", "expected"), [(BlockRounding.UP, 3), (BlockRounding.DOWN, 2), (BlockRounding.NEAREST, 3)]
)
def test_a_block_that_is_begun_counts_as_the_tariff_says(rounding: BlockRounding, expected: int) -> None:
    assert rate(Tariff((tier(None, "1", block=10),), rounding=rounding), 25) == expected


def test_free_units_the_least_and_the_most() -> None:
    tariff = Tariff((tier(None, "1"),), free=10, minimum=Decimal(5), ceiling=Decimal(20))
    assert [rate(tariff, units) for units in (0, 10, 15, 16, 30, 31, 10**12)] == [5, 5, 5, 6, 20, 20, 20]
    assert ceiling_units(tariff) == 30


def test_g10_a_minimum_without_usage() -> None:
    assert rate(Tariff((tier(None, "1"),), minimum=Decimal(1000)), 0) == 1000


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
