"""What a check of the books finds: whatever is kept and differs from what its parts come to."""

from __future__ import annotations

from datetime import date

import pytest
import sqlalchemy

from storage.billing import ledger, payments
from storage.billing.payments import Order
from tests.integration.billed_isp import HEAD, bill, customer, documents, provide, rows, sold
from tests.integration.test_verification import WALLET

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


def found_after(engine: sqlalchemy.Engine, change: str) -> list[ledger.Difference]:
    """Change rows as the owner of the database can, and return what is found."""
    tables = ("balance", "posting", "transfer", "document", "document_line", "allocation")
    with engine.begin() as connection:
        for table in tables:
            connection.exec_driver_sql(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        assert connection.exec_driver_sql(change).rowcount > 0
    return ledger.check_books(engine)


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
    told = [each.what for each in found_after(booked, change)]
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
    (told,) = [each[1:] for each in found_after(booked, change) if what in each.what]
    assert told == (*amounts, "EUR")
