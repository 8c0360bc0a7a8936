"""What somebody changes in the books, or beside them, behind the database's back: the check finds each of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date

import pytest
import sqlalchemy
from sqlalchemy.engine import Connection

from storage.billing import credit_notes, ledger, payments, verification
from storage.billing.payments import Order
from tests.integration.billed_isp import HEAD, assert_books_are_right, bill, customer, documents, provide, rows, sold

DAY = date(2026, 2, 3)
TABLES = ("allocation", "balance", "document", "document_line", "payment", "posting", "series_counter", "transfer")
WALLET = 'billing = { type = "prepaid-daily" }'


@pytest.fixture
def busy(engine: sqlalchemy.Engine) -> sqlalchemy.Engine:
    """Provide a debt that is paid in part, money that waits, a refund, a credit by hand, and a wallet by the day."""
    provide(
        engine, HEAD, customer("ana"), customer("eva"), customer("luis", WALLET),
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


@contextmanager
def changed(engine: sqlalchemy.Engine, statements: Sequence[str]) -> Iterator[Connection]:
    """Change rows as the owner of the database can, and take the changes back."""
    with engine.connect() as connection, connection.begin() as transaction:
        for table in TABLES:
            connection.exec_driver_sql(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        connection.exec_driver_sql("ALTER TABLE transfer DROP CONSTRAINT transfer_pkey CASCADE")
        for statement in statements:
            assert connection.exec_driver_sql(statement).rowcount > 0
        yield connection
        transaction.rollback()


def books_after(engine: sqlalchemy.Engine, *statements: str) -> list[ledger.Difference]:
    """Return what is found in the books after rows were changed."""
    with changed(engine, statements) as connection:
        return [*ledger.differences(connection)]


def found_after(engine: sqlalchemy.Engine, *statements: str) -> list[str]:
    """Return what is found in the books and the chains of documents after rows were changed."""
    with changed(engine, statements) as connection:
        return [each.what for each in (*ledger.differences(connection), *verification.differences(connection))]


@pytest.mark.parametrize(("told", "statements"), CHANGES)
def test_what_is_changed_in_the_books_is_found(busy: sqlalchemy.Engine, told: str, statements: list[str]) -> None:
    found = found_after(busy, *statements)
    assert any(told in what for what in found), found


INVOICE = "kind = 'invoice' AND NOT posted_daily"
NOTE = "kind = 'credit-note'"
ACCOUNT = "ledger_account_id IN (SELECT id FROM ledger_account WHERE kind = '{}')"


@pytest.fixture
def booked(engine: sqlalchemy.Engine) -> sqlalchemy.Engine:
    """Provide an invoice that is paid, in part by a credit note, and the document of a wallet's month."""
    provide(
        engine, HEAD, customer("ana"), customer("luis", WALLET), sold("ana", "television", "2026-01-01"),
        sold("luis", "rent", "2026-01-01"),
    )  # fmt: skip
    ids = dict(rows(engine, "SELECT login, id FROM customer"))
    with engine.begin() as connection:
        payments.add(connection, Order(ids["luis"], 5000, "cash", "one"), date(2026, 1, 1))
        payments.add(connection, Order(ids["ana"], 637, "transfer", "two"), date(2026, 1, 1))
    bill(engine, "2026-01-01")
    bill(engine, "2026-02-01")
    provide(engine, sold("ana", "television", "2026-01-01", "ends = 2026-01-16"))
    bill(engine, "2026-02-01", "ana")
    assert [(kind, opened) for kind, *_, opened in documents(engine, "ana") if kind != "receipt"] == [
        ("invoice", 0), ("invoice", 0), ("credit-note", 51),
    ]  # fmt: skip
    assert rows(engine, "SELECT count(*) FROM document WHERE posted_daily") == [(1,)]
    return engine


def test_what_nobody_changed_is_right(booked: sqlalchemy.Engine) -> None:
    assert ledger.check_books(booked) == []


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (f"UPDATE balance SET amount = amount + 1 WHERE {ACCOUNT.format('wallet')}", ["balance wallet of customer"]),
        (f"UPDATE balance SET amount = amount + 1 WHERE {ACCOUNT.format('tax')}", ["balance tax iva 21"]),
        (
            f"DELETE FROM balance WHERE {ACCOUNT.format('receivable')} AND amount <> 0",
            ["balance receivable of", "owes"],
        ),
        (
            f"DELETE FROM posting WHERE {ACCOUNT.format('wallet')} AND amount < 0",
            ["balance wallet of customer", "transfer", "what is left of it"],
        ),
        (
            f"UPDATE posting SET amount = amount + 1 WHERE {ACCOUNT.format('cash')} AND amount = 637",
            ["balance cash transfer", "transfer"],
        ),
        (
            f"UPDATE document SET net = net + 1, gross = gross + 1, open_amount = 1 WHERE {INVOICE}",
            ["and its lines", "and its lines", "and the ledger", "and the ledger", "owes"],
        ),
        (
            f"UPDATE document SET net = net + 1, gross = gross + 1, open_amount = open_amount + 1 WHERE {NOTE}",
            ["and its lines", "and the ledger", "owes"],
        ),
        (
            "UPDATE document SET net = net + 1, gross = gross + 1, paid_at_once = paid_at_once + 1 WHERE posted_daily",
            ["and its lines"],
        ),
        (f"UPDATE document_line SET net = net + 1 WHERE document_id = (SELECT id FROM document WHERE {NOTE})",
         ["and its lines"]),
        (f"DELETE FROM document_line WHERE document_id = (SELECT id FROM document WHERE {NOTE})", ["and its lines"]),
        (f"UPDATE document SET open_amount = open_amount + 1 WHERE {NOTE}", ["what is open", "owes"]),
        (f"UPDATE document SET open_amount = 1 WHERE {INVOICE} AND dated = '2026-01-01'", ["what is open", "owes"]),
        ("DELETE FROM allocation WHERE payment_id IS NOT NULL", ["what is open", "what pays nothing yet"]),
        ("DELETE FROM allocation WHERE credit_document_id IS NOT NULL", ["what is open"] * 3),
    ],
)  # fmt: skip
def test_what_was_changed_is_found(booked: sqlalchemy.Engine, change: str, found: list[str]) -> None:
    told = [each.what for each in books_after(booked, change)]
    assert len(told) == len(found), told
    assert all(part in what for part, what in zip(found, told, strict=True)), told


@pytest.mark.parametrize(
    ("change", "what", "amounts"),
    [
        (f"UPDATE balance SET amount = amount + 1 WHERE {ACCOUNT.format('tax')}", "balance tax", (-208, -209)),
        (f"UPDATE document SET open_amount = open_amount + 1 WHERE {NOTE}", "what is open", (52, 51)),
        (f"UPDATE document SET open_amount = open_amount + 1 WHERE {NOTE}", "owes", (-51, -52)),
        ("UPDATE document SET open_amount = 1 WHERE posted_daily", "what is open", (1, 0)),
        (
            f"UPDATE posting SET amount = amount + 1 WHERE {ACCOUNT.format('cash')} AND amount = 637",
            "transfer 2",
            (0, 1),
        ),
    ],
)
def test_what_is_kept_is_told_beside_what_it_comes_to(
    booked: sqlalchemy.Engine, change: str, what: str, amounts: tuple[int, int]
) -> None:
    (told,) = [each[1:] for each in books_after(booked, change) if what in each.what]
    assert told == (*amounts, "EUR")
