"""Payments in another currency than the account's: each currency is balanced by itself, and given back as it came."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import pytest
import sqlalchemy
from beancount import loader
from sqlalchemy import text

from billing import journal
from billing.exchange import Foreign
from storage.billing import ledger, payments, reading
from storage.billing.payments import Order, PaymentError
from tests.integration.billed_isp import HEAD, assert_books_are_right, bill, customer, documents, provide, rows, sold
from tests.integration.billing_command import Command, commands

DAY = date(2026, 1, 2)
DOLLARS = Foreign(1000, "USD")


@pytest.fixture
def ana(engine: sqlalchemy.Engine) -> int:
    """Provide a customer who owes 12.10 EUR, and return its id."""
    provide(engine, HEAD, customer("ana"), sold("ana", "television", "2026-01-01"))
    bill(engine, "2026-01-01")
    return int(rows(engine, "SELECT id FROM customer")[0][0])


@pytest.fixture
def caudal(
    engine: sqlalchemy.Engine, ana: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Command]:
    with commands(engine, monkeypatch, capsys) as command:
        yield command


def balances(engine: sqlalchemy.Engine) -> dict[tuple[str, str], int]:
    with engine.connect() as connection:
        found = ledger.balances(connection)
    return {(row.account.kind.value, row.account.currency): row.amount for row in found if row.amount}


def pay(engine: sqlalchemy.Engine, customer_id: int, *, foreign: Foreign = DOLLARS, worth: int = 926) -> int:
    with engine.begin() as connection:
        order = Order(customer_id, worth, "cash", "till-1", foreign=foreign)
        return payments.add(connection, order, DAY).id


def cross(engine: sqlalchemy.Engine) -> None:
    """Try to balance dollars by euros."""
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO transfer (id, posted_on, kind, partner_id, key) VALUES (7, '2026-01-02', 'move', 1, 'x')")
        )
        connection.execute(
            text("""INSERT INTO posting (transfer_id, number, ledger_account_id, amount)
                SELECT 7, row_number() OVER (), id, CASE currency WHEN 'USD' THEN 1000 ELSE -1000 END
                FROM ledger_account WHERE kind = 'exchange'""")
        )


def test_l3_ten_dollars_pay_nine_euros_and_each_currency_sums_to_nothing(engine: sqlalchemy.Engine, ana: int) -> None:
    pay(engine, ana)
    moved = rows(
        engine,
        """SELECT l.kind, l.currency, p.amount FROM transfer AS t JOIN posting AS p ON p.transfer_id = t.id
        JOIN ledger_account AS l ON l.id = p.ledger_account_id WHERE t.kind = 'payment' ORDER BY p.number""",
    )
    assert moved == [
        ("cash", "USD", 1000), ("exchange", "USD", -1000), ("exchange", "EUR", 926), ("receivable", "EUR", -926),
    ]  # fmt: skip
    assert documents(engine, "ana")[0][5] == 1210 - 926
    assert_books_are_right(engine)


def test_l3_the_database_refuses_one_currency_against_another(engine: sqlalchemy.Engine, ana: int) -> None:
    pay(engine, ana)
    with pytest.raises(sqlalchemy.exc.DBAPIError, match="not balanced"):
        cross(engine)


def test_beancount_verifies_an_exchange(engine: sqlalchemy.Engine, ana: int) -> None:
    pay(engine, ana)
    with engine.connect() as connection:
        found = reading.journal(connection, date(2026, 1, 1), date(2026, 12, 31))
        written = "".join(journal.beancount_lines(found, ledger.accounts(connection)))
    _, errors, _ = loader.load_string(written)
    assert errors == []
    assert "Equity:Exchange:All  -10.00 USD" in written
    assert "Equity:Exchange:All  9.26 EUR" in written


def test_one_key_is_one_payment_and_no_other_currency(engine: sqlalchemy.Engine, ana: int) -> None:
    assert pay(engine, ana) == pay(engine, ana)
    with pytest.raises(PaymentError, match="belongs to another payment"):
        pay(engine, ana, foreign=Foreign(1000, "GBP"))
    with engine.begin() as connection, pytest.raises(PaymentError, match="belongs to another payment"):
        payments.add(connection, Order(ana, 926, "cash", "till-1"), DAY)
    assert len(rows(engine, "SELECT id FROM payment")) == 1


def test_a_refund_is_given_as_it_came_and_what_is_left_by_a_reversal(engine: sqlalchemy.Engine, ana: int) -> None:
    payment = pay(engine, ana)
    with engine.begin() as connection:
        payments.give_back(connection, payment, 100, "back-1", DAY)
    assert balances(engine)["cash", "USD"] == 1000 - 108  # 10.00 x 1.00 / 9.26 = 1.0799
    assert_books_are_right(engine)
    with engine.begin() as connection:
        payments.give_back(connection, payment, None, "back-2", DAY, is_reversal=True)
    assert {kind for kind, _ in balances(engine)} == {"receivable", "revenue", "tax"}
    assert documents(engine, "ana")[0][5] == 1210
    assert_books_are_right(engine)


def test_a_wallet_is_filled_from_another_currency(engine: sqlalchemy.Engine) -> None:
    provide(engine, HEAD, customer("luis", 'billing = { type = "prepaid-daily" }'), sold("luis", "rent", "2026-01-02"))
    pay(engine, int(rows(engine, "SELECT id FROM customer")[0][0]))
    assert balances(engine)["wallet", "EUR"] == -926 + 19  # 4.90 and its tax over 31 days
    assert_books_are_right(engine)


def test_the_command_books_a_payment_by_rate_or_by_worth(caudal: Command) -> None:
    first = caudal("payment", "add", "ana", "10", "--currency", "usd", "--rate", "0.926", "--key", "a")
    assert first.status == 0
    assert "9.26 EUR of ana, came as 10.00 USD" in first.out
    again = caudal("payment", "add", "ana", "10", "--currency", "usd", "--rate", "0.926", "--key", "a")
    assert again.out.startswith("was booked before")
    second = caudal("payment", "add", "ana", "100", "--currency", "JPY", "--worth", "0.62", "--json").json
    assert (second["amount"], second["foreign_amount"], second["foreign_currency"]) == ("0.62", "100", "JPY")
    listed = caudal("payment", "list", "--customer", "ana", "--json").json
    assert [(each["amount"], each["foreign_amount"], each["foreign_currency"]) for each in listed] == [
        ("0.62", "100", "JPY"), ("9.26", "10.00", "USD"),
    ]  # fmt: skip
    assert "10.00 USD" in caudal("payment", "list").out
    assert caudal("ledger", "check").status == 0


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (("--currency", "USD"), "say what 10.00 USD are worth"),
        (("--currency", "USD", "--rate", "0.9", "--worth", "9"), "either --rate or --worth"),
        (("--rate", "0.9"), "the account is in EUR itself"),
        (("--currency", "USD", "--rate", "0.00001"), "more than nothing"),
    ],
)
def test_the_command_refuses_what_does_not_say_what_it_is_worth(
    caudal: Command, told: tuple[str, ...], why: str
) -> None:
    refused = caudal("payment", "add", "ana", "10", *told)
    assert refused.status != 0
    assert why in refused.err
