"""Reservations of a wallet against a real database."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
import sqlalchemy
from sqlalchemy import text

from storage.billing import clock, payments, wallets
from storage.billing.payments import Order
from storage.billing.wallets import BalanceTooLow
from storage.errors import OrderRefused
from tests.integration.billed_isp import HEAD, assert_books_are_right, bill, customer, documents, provide, rows, sold
from tests.integration.test_payments import LINE, PLAN, line_state

DAY = date(2026, 1, 1)
SOON = datetime.now(UTC) + timedelta(hours=1)
PRODUCTS = """
[[product]]
name = "film"
kind = "one-time"
price = "0"
[[product]]
name = "taxed"
kind = "one-time"
price = "0"
taxes = ["iva"]
"""


@pytest.fixture
def ana(engine: sqlalchemy.Engine) -> int:
    """Provide a prepaid customer with 100 and posted debits of 70."""
    provide(engine, HEAD, PRODUCTS, customer("ana", 'billing = { type = "prepaid-period" }'))
    id_ = int(rows(engine, "SELECT id FROM customer")[0][0])
    with engine.begin() as connection:
        payments.add(connection, Order(id_, 100, "cash", "one"), DAY)
        first = wallets.reserve(connection, id_, 70, "first", SOON, DAY)
        wallets.post(connection, first, "film", 70, DAY)
    return id_


def state(engine: sqlalchemy.Engine, key: str) -> tuple[str, int]:
    ((found, posted),) = rows(engine, "SELECT state, posted FROM reservation WHERE key = :key", key=key)
    return found, posted


def starved(engine: sqlalchemy.Engine) -> int:
    """Let a line rest of whose wallet a half is reserved; return the reservation."""
    provide(
        engine, HEAD, PRODUCTS, PLAN, customer("ana", 'billing = { type = "prepaid-daily" }'), LINE,
        sold("ana", "television", "2026-01-01"),
    )  # fmt: skip
    id_ = int(rows(engine, "SELECT id FROM customer")[0][0])
    with engine.begin() as connection:
        payments.add(connection, Order(id_, 100, "cash", "one"), DAY)
        held = wallets.reserve(connection, id_, 50, "film", SOON, DAY)
    bill(engine, "2026-01-02")
    assert line_state(engine) == "no_balance"
    return held


def test_m18_a_reservation_beyond_the_balance_is_refused_when_it_is_made(engine: sqlalchemy.Engine, ana: int) -> None:
    told = r"0\.50 were to be reserved, and 0\.30 EUR are available"
    with pytest.raises(BalanceTooLow, match=told), engine.begin() as connection:
        wallets.reserve(connection, ana, 50, "second", SOON, DAY)
    assert_books_are_right(engine)


def test_m15_what_was_used_beyond_a_grant_is_taken_from_the_next_one(engine: sqlalchemy.Engine) -> None:
    """Of 100 a day 120 are used on the first: the next day has 80."""
    terms = 'billing = { type = "prepaid-period", credit_limit = "0.20" }'
    provide(engine, HEAD, PRODUCTS, customer("eva", terms))
    eva = int(rows(engine, "SELECT id FROM customer WHERE login = 'eva'")[0][0])
    with engine.begin() as connection:
        payments.add(connection, Order(eva, 100, "cash", "first day"), DAY)
        used = wallets.reserve(connection, eva, 120, "used", SOON, DAY)
        wallets.post(connection, used, "film", 120, DAY)
        with pytest.raises(BalanceTooLow):
            wallets.reserve(connection, eva, 1, "no more", SOON, DAY)
        payments.add(connection, Order(eva, 100, "cash", "second day"), DAY + timedelta(days=1))
    query = """SELECT -b.amount FROM balance AS b JOIN ledger_account AS a ON a.id = b.ledger_account_id
        WHERE a.kind = 'wallet' AND b.customer_id = :eva"""
    assert rows(engine, query, eva=eva) == [(80,)]
    assert_books_are_right(engine)


def test_what_is_reserved_cannot_be_reserved_again_until_it_is_free(engine: sqlalchemy.Engine, ana: int) -> None:
    with engine.begin() as connection:
        held = wallets.reserve(connection, ana, 20, "second", SOON, DAY)
        assert wallets.reserve(connection, ana, 20, "second", SOON, DAY) == held, "one key is one reservation"
        assert [row["id"] for row in wallets.pending(connection, ana)] == [held]
    with pytest.raises(BalanceTooLow, match=r"0\.10 EUR are available"), engine.begin() as connection:
        wallets.reserve(connection, ana, 11, "third", SOON, DAY)
    with engine.begin() as connection:
        wallets.release(connection, held, DAY)
        wallets.reserve(connection, ana, 30, "third", SOON, DAY)
        with pytest.raises(OrderRefused, match="free again"):
            wallets.post(connection, held, "film", 20, DAY)


def test_a_reservation_that_has_run_out_holds_nothing(engine: sqlalchemy.Engine, ana: int) -> None:
    with engine.begin() as connection:
        late = wallets.reserve(connection, ana, 30, "second", datetime.now(UTC) - timedelta(seconds=1), DAY)
        wallets.reserve(connection, ana, 30, "third", SOON, DAY)
        with pytest.raises(OrderRefused, match="free again"):
            wallets.post(connection, late, "film", 30, DAY)
        assert wallets.expire(connection, DAY) == 1
        assert wallets.expire(connection, DAY) == 0
    assert [state(engine, key) for key in ("second", "third")] == [("expired", 0), ("pending", 0)]


def test_a_reservation_runs_out_by_the_clock_of_billing(engine: sqlalchemy.Engine, ana: int) -> None:
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO test_clock (ahead) VALUES (interval '0')"))
        late = wallets.reserve(connection, ana, 30, "second", SOON, DAY)
        assert [row["id"] for row in wallets.pending(connection, ana)] == [late]
        clock.advance(connection, timedelta(hours=2))
        assert wallets.pending(connection, ana) == []
        wallets.reserve(connection, ana, 30, "third", SOON + timedelta(hours=2), DAY)
        with pytest.raises(OrderRefused, match="free again"):
            wallets.post(connection, late, "film", 30, DAY)
        assert wallets.expire(connection, DAY) == 1


@pytest.mark.parametrize("how", ["given back", "run out"])
def test_a_line_that_a_reservation_kept_from_being_paid_goes_on_when_it_is_free(
    engine: sqlalchemy.Engine, how: str
) -> None:
    held = starved(engine)
    next_day = date(2026, 1, 2)
    with engine.begin() as connection:
        if how == "given back":
            wallets.release(connection, held, next_day)
        else:
            connection.execute(text("UPDATE reservation SET expires_at = now()"))
            assert wallets.expire(connection, next_day) == 1
    if how == "run out":
        bill(engine, "2026-01-02")
    assert line_state(engine) == "active"
    assert_books_are_right(engine)


def test_what_was_kept_is_charged_also_where_the_wallet_does_not_pay_the_day(engine: sqlalchemy.Engine) -> None:
    held = starved(engine)
    with engine.begin() as connection:
        wallets.post(connection, held, "film", 50, date(2026, 1, 2))
    assert state(engine, "film") == ("posted", 50)
    assert rows(engine, "SELECT amount FROM document_line ORDER BY id DESC LIMIT 1") == [(50,)]
    assert line_state(engine) == "no_balance"
    assert_books_are_right(engine)


def test_a_part_is_charged_with_its_tax_once_and_the_rest_is_free(engine: sqlalchemy.Engine, ana: int) -> None:
    with engine.begin() as connection:
        held = wallets.reserve(connection, ana, 30, "second", SOON, DAY, "El sur")
    for _ in range(2):
        with engine.begin() as connection:
            wallets.post(connection, held, "taxed", 24, DAY)
    assert state(engine, "second") == ("posted", 24)
    assert documents(engine, "ana")[-1][1:] == ("F2026-000002", 20, 4, 24, 0)
    assert rows(engine, "SELECT text FROM document_line ORDER BY id DESC LIMIT 1") == [("El sur",)]
    with engine.begin() as connection:
        wallets.reserve(connection, ana, 6, "third", SOON, DAY)
        with pytest.raises(OrderRefused, match="was charged"):
            wallets.release(connection, held, DAY)
    assert bill(engine, "2026-01-01", "ana").documents == 0
    assert_books_are_right(engine)


@pytest.mark.parametrize("price", ["without its tax", "with its tax"])
def test_of_an_exempt_customer_exactly_what_was_used_is_charged(engine: sqlalchemy.Engine, price: str) -> None:
    products = PRODUCTS + ("price_includes_tax = true\n" if price == "with its tax" else "")
    provide(engine, HEAD, products, customer("eva", 'billing = { type = "prepaid-period", tax_exempt = "mission" }'))
    eva = int(rows(engine, "SELECT id FROM customer")[0][0])
    with engine.begin() as connection:
        payments.add(connection, Order(eva, 100, "cash", "one"), DAY)
        wallets.post(connection, wallets.reserve(connection, eva, 60, "film", SOON, DAY), "taxed", 60, DAY)
    assert documents(engine, "eva")[-1][2:5] == (60, 0, 60)
    assert_books_are_right(engine)


def test_no_more_than_was_reserved_is_charged(engine: sqlalchemy.Engine, ana: int) -> None:
    with engine.begin() as connection:
        held = wallets.reserve(connection, ana, 23, "second", SOON, DAY)
    for product, amount, told in (("film", 24, "keeps less"), ("nothing", 23, "no product")):
        with pytest.raises(OrderRefused, match=told), engine.begin() as connection:
            wallets.post(connection, held, product, amount, DAY)
    assert state(engine, "second") == ("pending", 0)
    with engine.begin() as connection:
        wallets.post(connection, held, "taxed", 23, DAY)
    assert documents(engine, "ana")[-1][2:5] == (19, 4, 23)
    assert_books_are_right(engine)
