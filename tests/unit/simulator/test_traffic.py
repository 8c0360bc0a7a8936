"""How much a household moves."""

from __future__ import annotations

from random import Random

import pytest

from domain.instants import SECOND_US, Microseconds
from simulator.rates import UNLIMITED, Rates
from simulator.traffic import (
    HABITS,
    INSATIABLE_BITS_PER_SECOND,
    Habit,
    daily_share,
    demanded_octets,
    download_demand,
    octets,
)


@pytest.mark.parametrize("habit", HABITS)
@pytest.mark.parametrize("duration_us", [1, 999_999, 60 * SECOND_US, 86_400 * SECOND_US])
def test_no_line_carries_more_than_its_rates_allow(habit: Habit, duration_us: int) -> None:
    up, down = octets(habit, Rates(100_000, 300_000), duration_us, 1.0, Random(1))
    assert up * 8 * SECOND_US <= 100_000 * duration_us
    assert down * 8 * SECOND_US <= 300_000 * duration_us


def test_a_heavy_line_fills_a_slow_plan_to_the_octet() -> None:
    assert octets(Habit.HEAVY, Rates(8_000, 80_000), 10 * SECOND_US, 1.0, Random(1)) == (10_000, 100_000)


def test_evening_carries_more_than_the_hour_before_dawn() -> None:
    assert daily_share(Microseconds(21 * 3_600 * SECOND_US)) == 1.0
    assert daily_share(Microseconds(9 * 3_600 * SECOND_US)) < 0.31


def test_the_same_chance_moves_the_same_octets() -> None:
    moved = [octets(Habit.STREAM, UNLIMITED, SECOND_US, 1.0, Random(seed)) for seed in (7, 7, 8)]
    assert moved[0] == moved[1] != moved[2]


def test_who_downloads_without_a_rest_fills_the_line_to_the_octet() -> None:
    demand = download_demand(INSATIABLE_BITS_PER_SECOND)
    assert demanded_octets(demand, Rates(1_000_000, 20_000_000), 8 * SECOND_US) == (500_000, 20_000_000)
    assert demanded_octets(demand, Rates(8_000, 20_000_000), 8 * SECOND_US) == (8_000, 20_000_000)


def test_a_demand_below_the_line_is_all_that_flows() -> None:
    assert demanded_octets(download_demand(4_000_000), UNLIMITED, 2 * SECOND_US) == (25_000, 1_000_000)
