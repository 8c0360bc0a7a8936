"""Changes of prices against a real database: whom they move, and what the next run makes of it."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
import sqlalchemy

from billing.prices import PriceScope
from storage.billing import prices
from storage.errors import OrderRefused
from tests.integration.billed_isp import HEAD, assert_books_are_right, bill, customer, documents, provide, sold

FEBRUARY = date(2026, 2, 1)


@pytest.fixture(autouse=True)
def isp(engine: sqlalchemy.Engine) -> None:
    """Provide three customers: at the list's price, at one of his own, and at the partner's list."""
    provide(
        engine,
        HEAD.replace('price = "10"', 'price = "10"\nprices = { north = "8" }').replace(
            "[[product]]", '[[partner]]\nname = "north"\n[[product]]', 1
        ),
        customer("ana"),
        customer("eva"),
        customer("leo", 'partner = "north"'),
        sold("ana", "television", "2026-01-01"),
        sold("eva", "television", "2026-01-01", 'price = "9"', 'quantity = "2"'),
        sold("leo", "television", "2026-01-01"),
    )


def change(
    engine: sqlalchemy.Engine, amount: str, scope: PriceScope, partner: str | None = None
) -> tuple[tuple[str, Decimal], ...]:
    with engine.begin() as connection:
        return prices.change(connection, "television", Decimal(amount), FEBRUARY, scope, FEBRUARY, partner).moved


@pytest.mark.parametrize(
    ("scope", "partner", "moved"),
    [
        (PriceScope.NEW, None, {}),
        (PriceScope.ALL, None, {"ana": 2, "eva": 6}),
        (PriceScope.OLD_PRICE, None, {"ana": 2}),
        (PriceScope.ALL, "north", {"leo": 4}),
    ],
)
def test_a_change_moves_whom_it_concerns(
    engine: sqlalchemy.Engine, scope: PriceScope, partner: str | None, moved: dict[str, int]
) -> None:
    assert dict(change(engine, "12", scope, partner)) == moved
    bill(engine, "2026-01-01")
    bill(engine, "2026-02-01")
    before = {"ana": 1000, "eva": 1800, "leo": 800}
    for login, net in before.items():
        assert [each[2] for each in documents(engine, login)] == [net, net + 100 * moved.get(login, 0)]
    assert_books_are_right(engine)


def test_a_change_after_the_bill_is_charged_by_the_next_run(engine: sqlalchemy.Engine) -> None:
    bill(engine, "2026-02-01")
    change(engine, "12", PriceScope.ALL)
    bill(engine, "2026-03-01")
    assert [each[2] for each in documents(engine, "ana")] == [2000, 1200 + 200]
    assert_books_are_right(engine)


def test_a_change_of_nothing_that_is_sold_is_refused(engine: sqlalchemy.Engine) -> None:
    with pytest.raises(OrderRefused, match="there is no product"), engine.begin() as connection:
        prices.change(connection, "radio", Decimal(1), FEBRUARY, PriceScope.NEW, FEBRUARY)
    with pytest.raises(OrderRefused, match="there is no partner"):
        change(engine, "12", PriceScope.ALL, "south")
