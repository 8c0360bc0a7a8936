"""What is held for customers and given back, and what is owed and given up.

Rule: a deposit pays nothing by itself, and is no income: it is given back, or used for what is open, and never more of
it than there is. An order is one transaction under the account's row, and is done once for its key.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from sqlalchemy import text
from sqlalchemy.engine import Connection

from billing.ledger import FROM_DEPOSIT, WRITTEN_OFF, Transfer, cash, deposit
from domain.money import decimal_text
from storage.billing import ledger, payments
from storage.billing.payments import Booked
from storage.errors import OrderRefused


@dataclass(frozen=True, slots=True)
class DepositOrder:
    """An amount in minor units (None: all that is held) that comes in or goes out by a method."""

    customer_id: int
    amount: int | None
    method: str
    key: str
    made_by: str = ""


class DepositRefused(OrderRefused):
    """There is not so much of a deposit, or of a debt."""


def held(connection: Connection, customer_id: int) -> int:
    """Return what is held for a customer, in minor units."""
    found = connection.scalar(
        text("""SELECT -sum(b.amount) FROM balance AS b JOIN ledger_account AS l ON l.id = b.ledger_account_id
            WHERE l.kind = 'deposit' AND b.customer_id = :id"""),
        {"id": customer_id},
    )
    return int(found or 0)


def take(connection: Connection, order: DepositOrder, today: date) -> int:
    """Hold what came in; return what is held. Raise BooksClosed."""
    assert order.amount is not None
    return _move(connection, order, order.amount, today)


def give_back(connection: Connection, order: DepositOrder, today: date) -> int:
    """Give back what is held, or a part of it; return what is left. Raise DepositRefused or BooksClosed."""
    if not _is_done(connection, order):
        _lock(connection, order.customer_id)
        return _move(connection, order, -_part(connection, order), today)
    return held(connection, order.customer_id)


def use(connection: Connection, order: DepositOrder, today: date) -> Booked:
    """Pay what is open out of a deposit, the oldest first. Raise DepositRefused, PaymentError or BooksClosed."""
    currency = _lock(connection, order.customer_id)
    known = connection.scalar(text("SELECT amount FROM payment WHERE key = :key"), {"key": order.key})
    amount = known or min(_part(connection, order), _open(connection, order.customer_id))
    if not amount:
        raise DepositRefused(f"nothing is open that a deposit in {currency} could pay; give it back instead")
    paid = payments.Order(order.customer_id, int(amount), FROM_DEPOSIT, order.key, made_by=order.made_by)
    return payments.add(connection, paid, today)


def write_off(
    connection: Connection, document_id: int, amount: int | None, key: str, today: date, *, reason: str, made_by: str
) -> Booked:
    """Give up what is open of an invoice, or a part of it; `payment reverse` takes it back. Raise DepositRefused."""
    query = text("SELECT customer_id, kind, currency, number, open_amount FROM document WHERE id = :id")
    _lock(connection, connection.execute(query, {"id": document_id}).one().customer_id)
    row = connection.execute(query, {"id": document_id}).one()
    known = connection.scalar(text("SELECT amount FROM payment WHERE key = :key"), {"key": key})
    given_up = known or (row.open_amount if amount is None else amount)
    if known is None and (row.kind != "invoice" or not 0 < given_up <= row.open_amount):
        raise DepositRefused(
            f"of {row.kind} {row.number} {decimal_text(row.open_amount, row.currency)} {row.currency} are open; "
            "an invoice is written off by so much at most"
        )
    order = payments.Order(row.customer_id, int(given_up), WRITTEN_OFF, key, reason, [document_id], made_by)
    return payments.add(connection, order, today)


def _part(connection: Connection, order: DepositOrder) -> int:
    there = held(connection, order.customer_id)
    wanted = there if order.amount is None else order.amount
    if not 0 < wanted <= there:
        currency = _lock(connection, order.customer_id)
        raise DepositRefused(f"{decimal_text(there, currency)} {currency} are held of this customer, and no more")
    return wanted


def _open(connection: Connection, customer_id: int) -> int:
    found = connection.scalar(
        text("""SELECT sum(open_amount) FROM document
            WHERE customer_id = :id AND kind IN ('invoice', 'proforma') AND open_amount > 0"""),
        {"id": customer_id},
    )
    return int(found or 0)


def _move(connection: Connection, order: DepositOrder, amount: int, today: date) -> int:
    if not _is_done(connection, order):
        currency = _lock(connection, order.customer_id)
        ledger.require_open(connection, today)
        postings = (cash(order.method, amount, currency), deposit(order.customer_id, -amount, currency))
        partner_id = connection.execute(
            text("SELECT partner_id FROM customer WHERE id = :id"), {"id": order.customer_id}
        ).scalar_one()
        moved = Transfer(
            today, "deposit", f"deposit/{order.key}", postings, partner_id=partner_id, customer_id=order.customer_id,
            made_by=order.made_by,
        )  # fmt: skip
        ledger.post(connection, [moved])
    return held(connection, order.customer_id)


def _is_done(connection: Connection, order: DepositOrder) -> bool:
    found = connection.scalar(text("SELECT id FROM transfer WHERE key = :key"), {"key": f"deposit/{order.key}"})
    return found is not None


def _lock(connection: Connection, customer_id: int) -> str:
    """Take the row of an account; return its currency. Raise PaymentError."""
    found = connection.scalar(
        text("SELECT currency FROM account WHERE customer_id = :id FOR UPDATE"), {"id": customer_id}
    )
    if found is None:
        raise payments.PaymentError(f"customer {customer_id} has no account; sell something to it first")
    return str(found)
