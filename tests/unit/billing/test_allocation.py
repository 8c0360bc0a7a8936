"""Which money pays which document."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from billing.allocation import Claimed, Money, allocate, take_back

AMOUNTS = st.lists(st.integers(0, 10_000), max_size=8)


def test_the_oldest_is_paid_first_and_what_is_left_over_stays() -> None:
    found = allocate([Money(True, 1, 700), Money(False, 2, 500)], [Claimed(10, 400), Claimed(11, 600)])
    assert [(each.money.id, each.document_id, each.amount) for each in found] == [
        (1, 10, 400), (1, 11, 300), (2, 11, 300),
    ]  # fmt: skip


def test_the_latest_is_taken_back_first_and_no_more_than_is_asked_for() -> None:
    paid = list(allocate([Money(True, 1, 900)], [Claimed(10, 400), Claimed(11, 300), Claimed(12, 200)]))
    assert [(each.document_id, each.amount) for each in take_back(paid, 450)] == [(12, -200), (11, -250)]


@given(AMOUNTS, AMOUNTS)
def test_nothing_is_paid_twice_and_nothing_is_lost(money: list[int], claimed: list[int]) -> None:
    moneys = [Money(True, number, amount) for number, amount in enumerate(money)]
    claims = [Claimed(number, amount) for number, amount in enumerate(claimed)]
    found = list(allocate(moneys, claims))
    assert sum(each.amount for each in found) == min(sum(money), sum(claimed))
    for number, amount in enumerate(money):
        assert sum(each.amount for each in found if each.money.id == number) <= amount
    for number, amount in enumerate(claimed):
        assert sum(each.amount for each in found if each.document_id == number) <= amount
    assert all(each.amount > 0 for each in found)


@given(AMOUNTS, st.integers(0, 50_000))
def test_taking_back_frees_what_is_asked_for_as_far_as_there_is(claimed: list[int], amount: int) -> None:
    paid = list(allocate([Money(True, 1, 10**9)], [Claimed(place, each) for place, each in enumerate(claimed)]))
    freed = list(take_back(paid, amount))
    assert -sum(each.amount for each in freed) == min(amount, sum(claimed))
