"""What somebody changes in the books, or beside them, behind the database's back: the check finds each of it."""

from __future__ import annotations

from datetime import date

import pytest
import sqlalchemy

from storage.billing import credit_notes, ledger, payments, verification
from storage.billing.payments import Order
from tests.integration.billed_isp import HEAD, assert_books_are_right, bill, customer, provide, rows, sold

DAY = date(2026, 2, 3)
TABLES = ("allocation", "balance", "document", "document_line", "payment", "posting", "series_counter", "transfer")


@pytest.fixture
def busy(engine: sqlalchemy.Engine) -> sqlalchemy.Engine:
    """Provide a debt that is paid in part, money that waits, a refund, a credit by hand, and a wallet by the day."""
    wallet = 'billing = { type = "prepaid-daily" }'
    provide(
        engine, HEAD, customer("ana"), customer("eva"), customer("luis", wallet),
        *(sold(name, "rent", "2026-01-01") for name in ("ana", "eva", "luis")),
    )  # fmt: skip
    ids = dict(rows(engine, "SELECT login, id FROM customer"))
    with engine.begin() as connection:
        payments.add(connection, Order(ids["luis"], 5000, "cash", "one"), date(2026, 1, 1))
    for day in ("2026-01-01", "2026-02-01", "2026-02-02"):
        bill(engine, day)
    with engine.begin() as connection:
        payments.add(connection, Order(ids["ana"], 500, "cash", "two"), DAY)
        eva = payments.add(connection, Order(ids["eva"], 9000, "cash", "three"), DAY).id
        payments.give_back(connection, eva, 100, "four", DAY)
        line = "SELECT l.id FROM document_line AS l WHERE l.customer_id = :id ORDER BY l.id LIMIT 1"
        credit_notes.credit(connection, rows(engine, line, id=ids["ana"])[0][0], 100, "five", DAY)
    assert_books_are_right(engine)
    assert verification.check_chains(engine) == []
    return engine


# Whoever takes out what was paid also changes what would give it away at once.
OPEN_AGAIN = """UPDATE document AS d SET open_amount = gross - coalesce((SELECT sum(amount) FROM allocation AS a
    WHERE d.id IN (a.document_id, a.credit_document_id)), 0) WHERE kind = 'invoice'"""
GONE = "SELECT id FROM transfer WHERE key = 'payment/three'"
TAKEN_OUT = [
    f"""UPDATE balance AS b SET amount = b.amount - p.amount FROM posting AS p WHERE p.transfer_id = ({GONE})
        AND p.ledger_account_id = b.ledger_account_id AND p.customer_id = b.customer_id""",
    f"DELETE FROM posting WHERE transfer_id = ({GONE})",
    "DELETE FROM transfer WHERE key = 'payment/three'",
]
CHANGES = [
    ("balance receivable", ["UPDATE balance SET amount = amount - 1 WHERE customer_id = 1"]),
    ("balance cash", ["UPDATE balance SET amount = amount - 1 WHERE amount > 5000"]),
    ("transfer", ["UPDATE posting SET amount = amount - 1 WHERE amount = 500"]),
    ("what is open", ["DELETE FROM allocation WHERE payment_id IS NOT NULL"]),
    ("what pays nothing yet", ["DELETE FROM allocation WHERE payment_id IS NOT NULL", OPEN_AGAIN]),
    ("and its lines", ["UPDATE document_line SET net = net - 1 WHERE document_id IS NOT NULL"]),
    ("and the ledger", ["UPDATE document SET net = net - 1, gross = gross - 1 WHERE kind = 'invoice'"]),
    ("owes", ["UPDATE document SET paid_at_once = open_amount, open_amount = 0 WHERE open_amount > 0"]),
    ("what is left of it", ["UPDATE payment SET refunded = 0, unused = unused + refunded WHERE refunded > 0"]),
    ("what is left of it", TAKEN_OUT),
    ("what pays nothing yet", ["UPDATE payment SET unused = unused - 1 WHERE unused > 0"]),
    ("what was credited by hand", ["UPDATE document_line SET adjusted = 0 WHERE adjusted <> 0"]),
    ("what wallets paid by day", ["DELETE FROM document_line WHERE document_id IS NULL"]),
    ("counters of series", ["UPDATE series_counter SET last_number = last_number + 5"]),
]


def found_after(engine: sqlalchemy.Engine, *statements: str) -> list[str]:
    """Change rows as the owner of the database can, return what is found, and take the changes back."""
    with engine.connect() as connection, connection.begin() as transaction:
        for table in TABLES:
            connection.exec_driver_sql(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        connection.exec_driver_sql("ALTER TABLE transfer DROP CONSTRAINT transfer_pkey CASCADE")
        for statement in statements:
            assert connection.exec_driver_sql(statement).rowcount > 0
        found = [each.what for each in (*ledger.differences(connection), *verification.differences(connection))]
        transaction.rollback()
    return found


@pytest.mark.parametrize(("told", "statements"), CHANGES)
def test_what_is_changed_in_the_books_is_found(busy: sqlalchemy.Engine, told: str, statements: list[str]) -> None:
    found = found_after(busy, *statements)
    assert any(told in what for what in found), found
