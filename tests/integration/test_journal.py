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
from billing.exchange import Foreign
from domain.money import decimal
from storage.billing import credit_notes, deposits, ledger, payments, reading, sales, vouchers
from storage.billing.deposits import DepositOrder
from storage.billing.payments import Order
from storage.billing.vouchers import SaleOrder, VoucherRefused
from tests.integration.billed_isp import HEAD, assert_books_are_right, bill, customer, provide, rows, sold
from tests.integration.test_vouchers import make as make_vouchers
from tests.integration.test_vouchers import redeem


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


def test_every_kind_of_posting_is_verified_and_has_the_same_balances(engine: sqlalchemy.Engine) -> None:
    """Money of several currencies, vouchers, cards, refunds, reversals, credit notes, wallets, and odd names."""
    strange = '[[tax]]\ncode = "igic 7"\npercent = "7.5"\n[[product]]\nname = "visit"\nkind = "one-time"\n'
    yen = '[[partner]]\nname = "edo"\nbilling = { currency = "JPY" }\n'
    provide(
        engine, HEAD, strange + 'price = "3.33"\ntaxes = ["iva", "igic 7"]\n', yen,
        customer("ana"), customer("luis", 'billing = { type = "prepaid-daily" }'), customer("aki", 'partner = "edo"'),
        sold("ana", "television", "2026-01-01"), sold("luis", "rent", "2026-01-01"),
        sold("aki", "rent", "2026-01-01", 'price = "1200"'),
    )  # fmt: skip
    ids = dict(rows(engine, "SELECT login, id FROM customer"))
    day = date(2026, 1, 1)
    with engine.begin() as connection:
        sales.charge(connection, sales.Charge(ids["ana"], "visit", day, Decimal(3), None, None), "visit", day)
        payments.add(connection, Order(ids["luis"], 2000, "card", "one"), day)
    bill(engine, "2026-01-01")
    codes = make_vouchers(engine, "autumn", 3)
    with engine.begin() as connection:
        sale = SaleOrder("autumn", 1800, 200, "tarjeta de crédito", "sale")
        assert not vouchers.sold(connection, sale, day)
        payments.add(connection, Order(ids["ana"], 500, "cash", "two", foreign=Foreign(540, "USD")), day)
        dollars = payments.add(connection, Order(ids["ana"], 926, "cash", "three", foreign=Foreign(1000, "USD")), day)
        payments.give_back(connection, dollars.id, 100, "four", day)
        payments.give_back(connection, dollars.id, None, "five", day, is_reversal=True)
        payments.add(connection, Order(ids["aki"], 1452, "transfer", "six", '"; option "x'), day)
        line = connection.scalar(sqlalchemy.text("SELECT min(id) FROM document_line WHERE component LIKE 'one-off%'"))
        credit_notes.credit(connection, line, 100, "seven", day)
        deposits.take(connection, DepositOrder(ids["ana"], 6000, "transfer", "eight"), day)
        deposits.use(connection, DepositOrder(ids["ana"], 100, "", "nine"), day)
        owed = connection.scalar(
            sqlalchemy.text("SELECT min(id) FROM document WHERE kind = 'invoice' AND open_amount > 0")
        )
        deposits.write_off(connection, owed, 1, "ten", day, reason='-1 "cent"', made_by="eva")
    for customer_id, code in ((ids["ana"], codes[0]), (ids["luis"], codes[1])):
        assert not isinstance(redeem(engine, customer_id, code, on=day), VoucherRefused)
    bill(engine, "2026-02-01")
    kinds = {kind for (kind,) in rows(engine, "SELECT DISTINCT kind FROM transfer")}
    assert kinds == {"document", "daily", "payment", "refund", "reversal", "voucher-sale", "deposit"}
    with engine.connect() as connection:
        found = reading.journal(connection, date(2026, 1, 1), date(2026, 12, 31))
        text = "".join(journal.beancount_lines(found, ledger.accounts(connection)))
        kept: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
        for row in ledger.balances(connection):
            name = journal.account_name(row.account.kind.value, row.account.name)
            kept[name, row.account.currency] += decimal(row.amount, row.account.currency)
    entries, errors, _ = loader.load_string(text)
    assert errors == []
    sums: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for entry in entries:
        for posting in entry.postings if isinstance(entry, Transaction) else ():
            assert posting.units is not None
            assert posting.units.number is not None
            sums[posting.account, posting.units.currency] += posting.units.number
    assert sums == kept
    assert {currency for _, currency in sums} == {"EUR", "USD", "JPY"}
    assert_books_are_right(engine)


def test_a_spreadsheet_computes_nothing_of_what_a_payer_wrote(engine: sqlalchemy.Engine) -> None:
    played(engine)
    with engine.connect() as connection:
        text = "".join(journal.csv_lines(reading.journal(connection, date(2026, 1, 1), date(2026, 12, 31))))
    found = list(csv.DictReader(io.StringIO(text)))
    assert {row["text"] for row in found if row["kind"] == "payment" and row["customer"] == "ana"} == {
        "'" + '=cmd|"x" \\ 1'
    }
    assert sum(round(float(row["amount"]) * 100) for row in found) == 0
