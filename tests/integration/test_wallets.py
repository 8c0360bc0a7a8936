"""Reservations of a wallet against a real database."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
import sqlalchemy

from billing.ledger import AccountKind, LedgerAccount, Posting, Transfer, wallet
from storage.billing import payments, wallets
from storage.billing.payments import Order
from storage.billing.wallets import BalanceTooLow
from tests.integration.billed_isp import HEAD, assert_books_are_right, customer, provide, rows

DAY = date(2026, 1, 1)
SOON = datetime.now(UTC) + timedelta(hours=1)


@pytest.fixture
def ana(engine: sqlalchemy.Engine) -> int:
    """Provide a prepaid customer with 100 and posted debits of 70."""
    provide(engine, HEAD, customer("ana", 'billing = { type = "prepaid-period" }'))
    id_ = int(rows(engine, "SELECT id FROM customer")[0][0])
    with engine.begin() as connection:
        payments.add(connection, Order(id_, 100, "cash", "one"), DAY)
        first = wallets.reserve(connection, id_, 70, "first", SOON, DAY)
        wallets.spend(connection, first, spent(id_, 70), 70)
    return id_


def spent(customer_id: int, amount: int) -> Transfer:
    revenue = Posting(LedgerAccount(AccountKind.REVENUE, "voice", "EUR"), -amount)
    return Transfer(
        DAY, "call", f"call {amount}", (wallet(customer_id, amount, "EUR"), revenue), customer_id=customer_id
    )


def test_m18_a_reservation_beyond_the_balance_is_refused_when_it_is_made(engine: sqlalchemy.Engine, ana: int) -> None:
    told = "50 minor units were to be reserved, and 30 are available"
    with pytest.raises(BalanceTooLow, match=told), engine.begin() as connection:
        wallets.reserve(connection, ana, 50, "second", SOON, DAY)
    assert_books_are_right(engine)


def test_what_is_reserved_cannot_be_reserved_again_until_it_is_free(engine: sqlalchemy.Engine, ana: int) -> None:
    with engine.begin() as connection:
        held = wallets.reserve(connection, ana, 20, "second", SOON, DAY)
        assert wallets.reserve(connection, ana, 20, "second", SOON, DAY) == held, "one key is one reservation"
    with pytest.raises(BalanceTooLow, match="10 are available"), engine.begin() as connection:
        wallets.reserve(connection, ana, 11, "third", SOON, DAY)
    with engine.begin() as connection:
        wallets.release(connection, held)
        wallets.reserve(connection, ana, 30, "third", SOON, DAY)


def test_a_reservation_that_has_run_out_holds_nothing(engine: sqlalchemy.Engine, ana: int) -> None:
    with engine.begin() as connection:
        wallets.reserve(connection, ana, 30, "second", datetime.now(UTC) - timedelta(seconds=1), DAY)
        assert wallets.reserve(connection, ana, 30, "third", SOON, DAY)
