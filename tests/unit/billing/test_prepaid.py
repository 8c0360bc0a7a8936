"""Whether a wallet pays, and for how many days it lasts."""

from __future__ import annotations

from datetime import date

import pytest

from billing.prepaid import MOST_DAYS, Wallet, days_left
from tests.unit.billing.billed_account import day

TODAY = day("2026-01-10")


@pytest.mark.parametrize(
    ("wallet", "available"),
    [
        (Wallet(100), 100),
        (Wallet(100, reserved=30), 70),
        (Wallet(100, minimum=20), 80),
        (Wallet(100, credit=50), 150),
        (Wallet(-10, credit=50), 40),
    ],
)
def test_a_wallet_pays_what_is_available_to_the_cent(wallet: Wallet, available: int) -> None:
    assert wallet.available == available
    assert (wallet.pays(available), wallet.pays(available + 1)) == (True, False)


def test_an_empty_wallet_pays_what_costs_nothing_and_takes_what_is_given_back() -> None:
    assert [Wallet(-5).pays(amount) for amount in (1, 0, -1)] == [False, True, True]
    assert Wallet(-5).after(-7) == Wallet(2)


def test_a_wallet_lasts_from_tomorrow_until_the_day_that_it_does_not_pay() -> None:
    asked: list[date] = []

    def cost(on: date) -> int:
        asked.append(on)
        return 0 if on.day == 12 else 30

    assert days_left(Wallet(70), TODAY, cost) == 3
    assert asked == [day(f"2026-01-{number}") for number in (11, 12, 13, 14)]


def test_what_costs_nothing_lasts_as_long_as_is_shown() -> None:
    assert days_left(Wallet(0), TODAY, lambda _: 0) == MOST_DAYS
