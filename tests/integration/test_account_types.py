"""How accounts are billed: what partner and ISP say, and the moves that would leave money behind."""

from __future__ import annotations

from datetime import date

import pytest
import sqlalchemy

from config.provisioning import ProvisioningError
from storage.billing import payments
from storage.billing.payments import Order, PaymentError
from tests.integration.billed_isp import HEAD, assert_books_are_right, bill, customer, documents, provide, rows, sold
from tests.integration.test_prepaid import wallet

DAILY = 'billing = { type = "prepaid-daily" }'
NORTH = '[[partner]]\nname = "north"\nbilling = { type = "prepaid-daily" }\n'


def types(engine: sqlalchemy.Engine) -> list[str]:
    return [billing for (billing,) in rows(engine, "SELECT billing FROM account ORDER BY customer_id")]


def refused(engine: sqlalchemy.Engine, *parts: str) -> str:
    with pytest.raises(ProvisioningError) as caught:
        provide(engine, *parts)
    (problem,) = caught.value.problems
    return str(problem)


def pay(engine: sqlalchemy.Engine, amount: int, on: str) -> int:
    ana = rows(engine, "SELECT id FROM customer WHERE login = 'ana'")[0][0]
    with engine.begin() as connection:
        return payments.add(connection, Order(ana, amount, "cash", on), date.fromisoformat(on)).id


def test_who_says_nothing_is_billed_as_the_partner_says_else_the_isp(engine: sqlalchemy.Engine) -> None:
    who = [customer("ana"), customer("eva", 'partner = "north"'), customer("leo", 'billing = { type = "postpaid" }')]
    provide(engine, HEAD, NORTH, *who)
    assert types(engine) == ["recurring", "prepaid-daily", "postpaid"]
    usual = HEAD.replace("due_days = 15", 'due_days = 15, type = "prepaid-period"')
    changed = provide(engine, usual).changes
    assert [(change.kind, change.name) for change in changed if change.kind == "account"] == [("account", "ana")]
    assert types(engine) == ["prepaid-period", "prepaid-daily", "postpaid"]
    provide(engine, customer("eva", "billing = { due_days = 3 }"), customer("leo", "billing = { }"))
    assert types(engine) == ["prepaid-period"] * 3


def test_an_account_with_a_wallet_gets_no_invoices_before_the_wallet_is_empty(engine: sqlalchemy.Engine) -> None:
    provide(engine, HEAD, customer("ana", DAILY), sold("ana", "television", "2026-01-01"))
    payment = pay(engine, 2000, "2026-01-01")
    for day in range(2, 11):
        bill(engine, f"2026-01-{day:02}")
    assert "cannot be recurring while its account has money in its wallet" in refused(
        engine, customer("ana", 'billing = { type = "recurring" }')
    )
    with engine.begin() as connection:
        payments.give_back(connection, payment, wallet(engine), "rest", date(2026, 1, 10))
    provide(engine, customer("ana", 'billing = { type = "recurring" }'))
    bill(engine, "2026-01-11", "ana")
    bill(engine, "2026-02-01", "ana")
    # What is left of the month fell due on its first day, so it is billed at once, as the ten days are told.
    found = [(net, left) for kind, _, net, _, _, left in documents(engine, "ana") if kind == "invoice"]
    assert found == [(677, 819), (323, 0), (1000, 1210)]
    assert_books_are_right(engine)


def test_an_account_with_debts_or_credit_gets_no_wallet(engine: sqlalchemy.Engine) -> None:
    provide(engine, HEAD, customer("ana"), sold("ana", "television", "2026-01-01"))
    bill(engine, "2026-01-01")
    assert "invoices or proformas that are open" in refused(engine, customer("ana", DAILY))
    pay(engine, 2000, "2026-01-02")
    assert "credit that pays nothing yet" in refused(engine, customer("ana", DAILY))
    assert types(engine) == ["recurring"]
    with engine.begin() as connection:
        payments.give_back(connection, 1, 790, "too much", date(2026, 1, 3))
    provide(engine, customer("ana", DAILY))
    assert types(engine) == ["prepaid-daily"]


def test_what_a_wallet_has_paid_is_not_given_back_beside_it(engine: sqlalchemy.Engine) -> None:
    provide(engine, HEAD, customer("ana", DAILY), sold("ana", "television", "2026-01-01"))
    payment = pay(engine, 2000, "2026-01-01")
    bill(engine, "2026-01-02")
    with engine.begin() as connection:
        payments.give_back(connection, payment, wallet(engine), "rest", date(2026, 1, 2))
    provide(engine, customer("ana", 'billing = { type = "recurring" }'))
    with engine.begin() as connection, pytest.raises(PaymentError, match="has none any more; let it be prepaid again"):
        payments.give_back(connection, payment, None, "bounced", date(2026, 1, 3), is_reversal=True)
    provide(engine, customer("ana", DAILY))
    with engine.begin() as connection:
        assert payments.give_back(connection, payment, None, "bounced", date(2026, 1, 3), is_reversal=True) == 79
    # Two days: 0.65 and its tax.
    assert wallet(engine) == -79
    assert_books_are_right(engine)
