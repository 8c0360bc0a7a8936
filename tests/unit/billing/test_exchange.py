"""Payments in another currency: what they are worth, and what of them is given back."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as some

from billing.exchange import Foreign


def test_l3_ten_dollars_are_worth_nine_euros_and_twenty_six_cents() -> None:
    assert Foreign(1000, "USD").worth(Decimal("0.926"), "EUR") == 926


def test_a_worth_is_rounded_half_up_between_currencies_of_different_decimals() -> None:
    assert Foreign(1500, "JPY").worth(Decimal("0.00617"), "EUR") == 926  # 9.255
    assert Foreign(1000, "EUR").worth(Decimal("162.05"), "JPY") == 1621  # 1620.5
    assert Foreign(1234, "KWD").worth(Decimal(3), "EUR") == 370  # 3.702


@given(came=some.integers(1, 10**9), parts=some.lists(some.integers(1, 10**7), min_size=1, max_size=6))
def test_what_is_given_back_in_parts_is_what_came_in(came: int, parts: list[int]) -> None:
    worth, before, returned = sum(parts), 0, 0
    for part in parts:
        given_back = Foreign(came, "USD").given_back(worth, before, part)
        assert given_back.currency == "USD"
        assert given_back.amount <= 0
        before, returned = before + part, returned + given_back.amount
    assert returned == -came
