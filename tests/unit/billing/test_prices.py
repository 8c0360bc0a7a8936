"""What new customers pay, and whom a change of a price moves."""

from __future__ import annotations

from decimal import Decimal

import pytest

from billing.prices import Holder, NoPrice, PriceScope, PriceVersion, moved, price_on
from tests.unit.billing.billed_account import day

NORTH, SOUTH = 2, 3
LIST = [
    PriceVersion(day("2026-01-01"), Decimal(10)),
    PriceVersion(day("2026-02-01"), Decimal(8), NORTH),
    PriceVersion(day("2026-03-01"), Decimal(12)),
    PriceVersion(day("2026-04-01"), Decimal(9), NORTH),
]


@pytest.mark.parametrize(
    ("on", "partner", "price"),
    [
        ("2026-01-01", None, 10), ("2026-02-28", None, 10), ("2026-03-01", None, 12), ("2026-05-01", SOUTH, 12),
        # A partner's own list goes first, also where everybody's price is newer.
        ("2026-01-31", NORTH, 10), ("2026-02-01", NORTH, 8), ("2026-03-31", NORTH, 8), ("2026-04-01", NORTH, 9),
    ],
)  # fmt: skip
def test_a_new_customer_pays_what_holds_on_the_day(on: str, partner: int | None, price: int) -> None:
    for versions in (LIST, LIST[::-1]):
        assert price_on(versions, day(on), partner, "fibre") == price


def test_what_has_no_price_yet_is_not_sold() -> None:
    with pytest.raises(NoPrice, match="fibre has no price on 2025-12-31"):
        price_on(LIST, day("2025-12-31"), NORTH, "fibre")
    with pytest.raises(NoPrice):
        price_on(LIST[1:2], day("2026-02-01"), SOUTH, "fibre")


@pytest.mark.parametrize(("scope", "who"), [("new", []), ("all", [1, 3]), ("old-price", [1])])
def test_a_change_moves_whom_it_concerns_and_nobody_who_pays_that_already(scope: str, who: list[int]) -> None:
    holders = [Holder(number, Decimal(price), Decimal(1), None) for number, price in enumerate(("10", "12", "7.50"), 1)]
    found = moved(holders, Decimal(10), Decimal(12), PriceScope(scope))
    assert [each.subscription_id for each in found] == who
