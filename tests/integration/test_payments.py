"""Payments against a real database: what they pay, what they let in again, and what giving them back undoes."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import text

from storage.billing import credit_notes, discounts, gate, ledger, payments, reading
from storage.billing.credit_notes import CreditRefused
from storage.billing.discounts import NewDiscount
from storage.billing.payments import Booked, Order, PaymentError
from storage.exporting import export
from tests.integration.billed_isp import (
    HEAD,
    VAULT,
    assert_books_are_right,
    bill,
    customer,
    documents,
    provide,
    rows,
    sold,
)

PLAN = """
[[plan]]
name = "home"
download = "20M"
"""
LINE = """
[[service]]
login = "ana-line"
password = "a-password"
plan = "home"
customer = "ana"
"""
STRICT = 'billing = { slow_after = 5, block_after = 10, reactivation_fee = "3", late_fee_after = 3, late_fee = "2" }'


@pytest.fixture
def ana(engine: sqlalchemy.Engine) -> int:
    """Provide a customer with a television and a line, and return its id."""
    provide(engine, HEAD, PLAN, customer("ana", STRICT), LINE, sold("ana", "television", "2026-01-01"))
    return int(rows(engine, "SELECT id FROM customer")[0][0])


def pay(engine: sqlalchemy.Engine, order: Order, on: str) -> Booked:
    with engine.begin() as connection:
        return payments.add(connection, order, date.fromisoformat(on))


def give_back(engine: sqlalchemy.Engine, payment: int, amount: int | None, on: str, **more: Any) -> int:
    with engine.begin() as connection:
        return payments.give_back(connection, payment, amount, f"back-{payment}", date.fromisoformat(on), **more)


def look(engine: sqlalchemy.Engine, on: str) -> list[gate.Reminder]:
    with engine.begin() as connection:
        return gate.look_at_due(connection, date.fromisoformat(on), 100)[1]


def line_state(engine: sqlalchemy.Engine) -> str:
    return str(rows(engine, "SELECT billing_state FROM service")[0][0])


def told(engine: sqlalchemy.Engine) -> int:
    return int(rows(engine, "SELECT count(*) FROM outbox WHERE topic = 'terms'")[0][0])


def test_a_payment_pays_the_oldest_invoice_and_has_a_receipt(engine: sqlalchemy.Engine, ana: int) -> None:
    bill(engine, "2026-01-01")
    bill(engine, "2026-02-01")
    booked = pay(engine, Order(ana, 1500, "cash", "one"), "2026-02-02")
    assert [each.amount for each in booked.allocated] == [1210, 290]
    assert (booked.receipt, booked.unused) == ("R2026-000001", 0)
    pays = "SELECT frozen->'payment'->'pays' FROM document WHERE kind = 'receipt'"
    assert rows(engine, pays) == [([["F2026-000001", 1210], ["F2026-000002", 290]],)]
    assert [(each[1], each[5]) for each in documents(engine, "ana")] == [
        ("F2026-000001", 0), ("F2026-000002", 920), ("R2026-000001", 0),
    ]  # fmt: skip
    assert_books_are_right(engine)


def test_one_key_is_one_payment(engine: sqlalchemy.Engine, ana: int) -> None:
    first = pay(engine, Order(ana, 500, "cash", "one"), "2026-01-02")
    again = pay(engine, Order(ana, 500, "cash", "one"), "2026-01-03")
    assert (again.id, again.again, again.receipt) == (first.id, True, first.receipt)
    with pytest.raises(PaymentError, match="belongs to another payment"):
        pay(engine, Order(ana, 501, "cash", "one"), "2026-01-03")
    assert rows(engine, "SELECT count(*) FROM transfer") == [(1,)]


def test_payments_are_listed_by_the_page_of_everybody_or_of_one(engine: sqlalchemy.Engine, ana: int) -> None:
    provide(engine, customer("eva"))
    eva = int(rows(engine, "SELECT id FROM customer WHERE login = 'eva'")[0][0])
    for who, amount in ((ana, 1), (eva, 2), (ana, 3), (eva, 4)):
        pay(engine, Order(who, amount, "cash", str(amount)), "2026-01-02")

    def listed(customer_id: int | None, before: int | None, limit: int = 9) -> list[tuple[int, int]]:
        with engine.connect() as connection:
            found = reading.payments(connection, customer=customer_id, before=before, limit=limit)
        return [(row["id"], row["amount"]) for row in found]

    everybody = listed(None, None)
    assert [amount for _, amount in everybody] == [4, 3, 2, 1]
    assert listed(None, None, 2) == everybody[:2]
    assert listed(None, everybody[1][0]) == everybody[2:]
    assert [amount for _, amount in listed(ana, None)] == [3, 1]
    assert [amount for _, amount in listed(ana, everybody[1][0])] == [1]


def test_what_was_paid_too_much_pays_the_next_invoice(engine: sqlalchemy.Engine, ana: int) -> None:
    assert pay(engine, Order(ana, 2000, "card", "one"), "2026-01-01").unused == 2000
    bill(engine, "2026-01-01")
    assert documents(engine, "ana")[-1][5] == 0
    assert rows(engine, "SELECT unused FROM payment") == [(790,)]
    assert_books_are_right(engine)


def test_a_chosen_invoice_is_paid_before_older_ones(engine: sqlalchemy.Engine, ana: int) -> None:
    bill(engine, "2026-01-01")
    bill(engine, "2026-02-01")
    newer = rows(engine, "SELECT max(id) FROM document")[0][0]
    booked = pay(engine, Order(ana, 1210, "cash", "one", documents=(newer,)), "2026-02-02")
    assert [(each.document_id, each.amount) for each in booked.allocated] == [(newer, 1210)]
    with pytest.raises(PaymentError, match="no invoice of this customer"):
        pay(engine, Order(ana, 10, "cash", "two", documents=(10**9,)), "2026-02-02")


def test_an_invoice_that_is_named_twice_is_paid_once(engine: sqlalchemy.Engine, ana: int) -> None:
    bill(engine, "2026-01-01")
    (invoice,) = rows(engine, "SELECT id FROM document")[0]
    booked = pay(engine, Order(ana, 2000, "cash", "one", documents=(invoice, invoice)), "2026-01-02")
    assert [(each.document_id, each.amount) for each in booked.allocated] == [(invoice, 1210)]
    assert booked.unused == 790
    assert_books_are_right(engine)


def test_a_debt_slows_then_blocks_the_line_and_a_payment_lets_it_in_at_once(
    engine: sqlalchemy.Engine, ana: int
) -> None:
    bill(engine, "2026-01-01")
    look(engine, "2026-01-18")
    assert line_state(engine) == "active"
    look(engine, "2026-01-21")
    assert line_state(engine) == "slowed"
    look(engine, "2026-01-26")
    assert line_state(engine) == "blocked"
    assert rows(engine, "SELECT state FROM account") == [("blocked",)]
    before = told(engine)
    fees = "SELECT key, unit_price FROM one_off ORDER BY id"
    assert [price for _, price in rows(engine, fees)] == [2]
    pay(engine, Order(ana, 1210, "cash", "one"), "2026-01-27")
    assert line_state(engine) == "active"
    assert told(engine) == before + 1
    assert [float(price) for _, price in rows(engine, fees)] == [2, 3]
    look(engine, "2026-01-28")
    assert len(rows(engine, fees)) == 2
    bill(engine, "2026-02-01")
    assert documents(engine, "ana")[-1][2] == 1000 + 200 + 300
    told_fees = rows(engine, "SELECT text FROM document_line WHERE one_off_id IS NOT NULL ORDER BY id")
    assert told_fees == [("Recargo por demora",), ("Gastos de reconexión",)]
    assert provide(engine, export(engine, VAULT)).changes == ()
    assert_books_are_right(engine)


def test_a_refund_opens_what_was_paid_and_the_line_is_looked_at_again(engine: sqlalchemy.Engine, ana: int) -> None:
    bill(engine, "2026-01-01")
    booked = pay(engine, Order(ana, 1210, "cash", "one"), "2026-01-30")
    assert line_state(engine) == "active"
    assert give_back(engine, booked.id, 210, "2026-01-31") == 210
    assert documents(engine, "ana")[0][5] == 210
    assert line_state(engine) == "blocked"
    assert give_back(engine, booked.id, 210, "2026-01-31") == 0, "the key was used"
    assert_books_are_right(engine)


def test_a_reversal_takes_back_everything(engine: sqlalchemy.Engine, ana: int) -> None:
    bill(engine, "2026-01-01")
    booked = pay(engine, Order(ana, 2000, "card", "one"), "2026-01-02")
    assert give_back(engine, booked.id, None, "2026-01-03", is_reversal=True) == 2000
    assert documents(engine, "ana")[0][5] == 1210
    assert rows(engine, "SELECT unused, refunded, reversed FROM payment") == [(0, 2000, True)]
    with pytest.raises(PaymentError, match="0 minor units are left"), engine.begin() as connection:
        payments.give_back(connection, booked.id, 1, "another", date(2026, 1, 4))
    with pytest.raises(PaymentError, match="there is no payment 999"):
        give_back(engine, 999, 1, "2026-01-04")
    assert_books_are_right(engine)


def test_c9_a_refund_uses_up_the_credit_that_was_left(engine: sqlalchemy.Engine) -> None:
    """10.00 paid, all of it credited, 5.00 of the credit used by another invoice, then the payment given back."""
    provide(
        engine,
        HEAD.replace('percent = "21"', 'percent = "0"'),
        customer("ana"),
        sold("ana", "television", "2026-01-01"),
    )
    bill(engine, "2026-01-01")
    ana = int(rows(engine, "SELECT id FROM customer")[0][0])
    booked = pay(engine, Order(ana, 1000, "cash", "one"), "2026-01-01")
    with engine.begin() as connection:
        connection.execute(text("UPDATE subscription SET revised_from = '2026-01-01'"))
        connection.execute(
            text("""INSERT INTO subscription_event (subscription_id, on_day, kind)
                SELECT id, '2026-01-01', 'stop' FROM subscription""")
        )
        connection.execute(
            text("""INSERT INTO one_off (customer_id, product_id, on_day, unit_price)
            SELECT :ana, id, '2026-02-01', 5 FROM product WHERE code = 'rent'"""),
            {"ana": ana},
        )
    assert bill(engine, "2026-01-15", "ana").parked == 0, rows(engine, "SELECT parked FROM account")
    assert [each[0] for each in documents(engine, "ana")] == ["invoice", "receipt", "credit-note"]
    bill(engine, "2026-02-01", "ana")
    opened = "SELECT kind, open_amount FROM document WHERE kind <> 'receipt' ORDER BY id"
    assert rows(engine, opened) == [("invoice", 0), ("credit-note", 500), ("invoice", 0)]
    give_back(engine, booked.id, 1000, "2026-02-02")
    assert rows(engine, opened) == [("invoice", 500), ("credit-note", 0), ("invoice", 0)]
    assert_books_are_right(engine)


def test_nothing_is_booked_on_a_day_whose_books_are_closed(engine: sqlalchemy.Engine, ana: int) -> None:
    with engine.begin() as connection:
        ledger.close_through(connection, date(2026, 1, 31))
    with pytest.raises(ledger.BooksClosed, match="closed through 2026-01-31"):
        pay(engine, Order(ana, 500, "cash", "one"), "2026-01-15")
    assert pay(engine, Order(ana, 500, "cash", "one"), "2026-02-01").receipt is not None
    with engine.begin() as connection:
        ledger.close_through(connection, date(2026, 1, 31))
        with pytest.raises(ledger.BooksClosed, match="closed through 2026-01-31"):
            ledger.close_through(connection, date(2026, 1, 30))


def test_l5_a_credit_by_hand_takes_its_share_of_the_tax_and_no_more_than_the_line(engine: sqlalchemy.Engine) -> None:
    head = HEAD.replace('percent = "21"', 'percent = "10"').replace('price = "10"', 'price = "29.95"')
    provide(engine, head, customer("ana"), sold("ana", "television", "2026-01-01"))
    bill(engine, "2026-01-01")
    (line,) = rows(engine, "SELECT id FROM document_line")[0]

    def credit(amount: int | None, key: str) -> str:
        with engine.begin() as connection:
            return credit_notes.credit(connection, line, amount, key, date(2026, 1, 2), "two days off")

    number = credit(1000, "one")
    assert credit(1000, "one") == number
    assert documents(engine, "ana")[-1] == ("credit-note", "A2026-000001", 1000, 100, 1100, 0)
    assert documents(engine, "ana")[0][5] == 2995 + 300 - 1100, "the credit pays its invoice"
    with pytest.raises(credit_notes.CreditRefused, match="1995 minor units are left"):
        credit(1996, "two")
    with pytest.raises(credit_notes.CreditRefused, match="not 0"):
        credit(0, "two")
    assert bill(engine, "2026-01-02", "ana").documents == 0
    assert credit(None, "two") == "A2026-000002"
    assert documents(engine, "ana")[-1][2:5] == (1995, 200, 2195)
    assert documents(engine, "ana")[0][5] == 0
    assert_books_are_right(engine)


def test_a_credit_by_hand_of_what_was_owed_lets_the_line_in_at_once(engine: sqlalchemy.Engine, ana: int) -> None:
    bill(engine, "2026-01-01")
    look(engine, "2026-01-26")
    assert line_state(engine) == "blocked"
    (line,) = rows(engine, "SELECT id FROM document_line")[0]
    with engine.begin() as connection:
        credit_notes.credit(connection, line, None, "one", date(2026, 1, 26), "a mistake")
    assert line_state(engine) == "active"
    assert ana


def test_a_credit_by_hand_is_given_to_whom_the_line_was_billed(engine: sqlalchemy.Engine) -> None:
    hija = customer("hija"), sold("hija", "television", "2026-01-01")
    provide(engine, HEAD, customer("mama"), sold("mama", "rent", "2026-01-01"), *hija)
    bill(engine, "2026-01-01")
    provide(engine, customer("hija", 'payer = "mama"'))
    (line,) = rows(engine, "SELECT id FROM document_line WHERE amount = 1000")[0]
    with engine.begin() as connection:
        assert credit_notes.credit(connection, line, 500, "one", date(2026, 1, 5)) == "A2026-000001"
    assert documents(engine, "hija") == [
        ("invoice", "F2026-000002", 1000, 210, 1210, 605), ("credit-note", "A2026-000001", 500, 105, 605, 0),
    ]  # fmt: skip
    assert documents(engine, "mama") == [("invoice", "F2026-000001", 490, 103, 593, 593)]
    assert_books_are_right(engine)


@pytest.mark.parametrize(
    ("kind", "value", "left"), [("percent", "60", 400), ("amount", "6", 400), ("coupon", "6", 890)]
)
def test_no_more_is_credited_by_hand_than_discounts_have_left(
    engine: sqlalchemy.Engine, ana: int, kind: str, value: str, left: int
) -> None:
    provide(engine, HEAD, sold("ana", "rent", "2026-01-01"))
    (television,) = rows(engine, "SELECT id FROM subscription WHERE code = 'television of ana'")[0]
    sale = None if kind == "coupon" else television
    given = NewDiscount("less", ana, sale, kind, Decimal(value), date(2026, 1, 1))
    with engine.begin() as connection:
        discounts.give(connection, given, date(2026, 1, 1))
    bill(engine, "2026-01-01")
    (line,) = rows(engine, "SELECT id FROM document_line WHERE amount = 1000")[0]
    with engine.begin() as connection, pytest.raises(CreditRefused, match=f" {left} minor units are left to credit"):
        credit_notes.credit(connection, line, left + 1, "one", date(2026, 1, 2))
    with engine.begin() as connection:
        credit_notes.credit(connection, line, None, "two", date(2026, 1, 2))
    credited = rows(engine, "SELECT net FROM document WHERE kind = 'credit-note'")
    assert credited == [(left,)]
    with engine.begin() as connection, pytest.raises(CreditRefused, match=" 0 minor units are left to credit"):
        credit_notes.credit(connection, line, None, "three", date(2026, 1, 2))
    assert_books_are_right(engine)


def test_c1_what_was_credited_by_hand_is_not_credited_again_by_history(engine: sqlalchemy.Engine) -> None:
    """12.00 for a month less 2.00 by hand, ended after 22 of 31 days: 9/31 of 12.00 are given back."""
    provide(
        engine,
        HEAD.replace('price = "10"', 'price = "12"').replace('percent = "21"', 'percent = "0"'),
        customer("ana", "billing = { at_once = true }"),
        sold("ana", "television", "2026-01-01"),
    )
    bill(engine, "2026-01-01")
    (line,) = rows(engine, "SELECT id FROM document_line")[0]
    with engine.begin() as connection:
        credit_notes.credit(connection, line, 200, "one", date(2026, 1, 2))
        connection.execute(
            text("""INSERT INTO subscription_event (subscription_id, on_day, kind)
                SELECT id, '2026-01-23', 'stop' FROM subscription""")
        )
        connection.execute(text("UPDATE subscription SET revised_from = '2026-01-23'"))
    bill(engine, "2026-01-23", "ana")
    assert documents(engine, "ana")[-1][2] == 348
    assert_books_are_right(engine)
