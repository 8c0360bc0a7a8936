"""The journal as other programs read it: beancount verifies every transaction and every balance."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from datetime import date
from decimal import Decimal

import sqlalchemy
from beancount import loader
from beancount.core.data import Transaction

from billing import journal
from domain.money import decimal
from storage.billing import ledger, payments, reading
from storage.billing.payments import Order
from tests.integration.billed_isp import HEAD, bill, customer, provide, rows, sold


def played(engine: sqlalchemy.Engine) -> None:
    """Play two months with a payment, a refund and a strange name."""
    provide(
        engine,
        HEAD,
        customer("ana"),
        customer("luis", 'billing = { type = "prepaid-daily" }'),
        sold("ana", "television", "2026-01-01"),
        sold("luis", "rent", "2026-01-01"),
    )
    ids = dict(rows(engine, "SELECT login, id FROM customer"))
    day = date(2026, 1, 1)
    with engine.begin() as connection:
        payments.add(connection, Order(ids["luis"], 2000, "card", "one"), day)
    bill(engine, "2026-01-01")
    with engine.begin() as connection:
        booked = payments.add(connection, Order(ids["ana"], 2000, "cash", "two", '=cmd|"x" \\ 1'), date(2026, 1, 2))
        payments.give_back(connection, booked.id, 300, "three", date(2026, 1, 3))
    bill(engine, "2026-02-01")


def test_beancount_verifies_the_journal_and_has_the_same_balances(engine: sqlalchemy.Engine) -> None:
    played(engine)
    with engine.connect() as connection:
        found = reading.journal(connection, date(2026, 1, 1), date(2026, 12, 31))
        text = "".join(journal.beancount_lines(found, ledger.accounts(connection)))
        kept = {
            journal.account_name(row.account.kind.value, row.account.name): decimal(row.amount, row.account.currency)
            for row in ledger.balances(connection)
        }
    entries, errors, _ = loader.load_string(text)
    assert errors == []
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for entry in entries:
        for posting in entry.postings if isinstance(entry, Transaction) else ():
            assert posting.units is not None
            assert posting.units.number is not None
            sums[posting.account] += posting.units.number
    assert sums == kept
    assert (
        len([entry for entry in entries if isinstance(entry, Transaction)])
        == rows(engine, "SELECT count(*) FROM transfer")[0][0]
    )


def test_a_spreadsheet_computes_nothing_of_what_a_payer_wrote(engine: sqlalchemy.Engine) -> None:
    played(engine)
    with engine.connect() as connection:
        text = "".join(journal.csv_lines(reading.journal(connection, date(2026, 1, 1), date(2026, 12, 31))))
    found = list(csv.DictReader(io.StringIO(text)))
    assert {row["text"] for row in found if row["kind"] == "payment" and row["customer"] == "ana"} == {
        "'" + '=cmd|"x" \\ 1'
    }
    assert sum(round(float(row["amount"]) * 100) for row in found) == 0
