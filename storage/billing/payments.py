"""Payments: what came in, what it pays, and the lines that it lets in again.

Rule: a payment, its receipt, what it pays and the state of the lines are one transaction under the account's row; one
key is one payment, for ever. A refund or a reversal is a transfer of its own and takes back what was paid. What came in
another currency is in the books as it came; the payment itself is what it was worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Connection

from billing.allocation import Allocation, Claimed, Money, allocate, take_back
from billing.digests import Said, digest
from billing.exchange import Foreign
from billing.ledger import WRITTEN_OFF, Posting, Transfer, receivable, received, wallet
from domain.billing_terms import BillingType, DocumentKind
from storage import outbox
from storage.billing import accounts, allocations, gate, issuing, ledger, numbers, proformas, run
from storage.errors import OrderRefused
from storage.outbox import Topic
from storage.row_staging import copy


class PaymentError(OrderRefused):
    """A payment cannot be booked, refunded or reversed so."""


@dataclass(frozen=True, slots=True)
class Order:
    """A payment to book; `documents` are to be paid first, in this order."""

    customer_id: int
    amount: int
    method: str
    key: str
    reference: str = ""
    documents: Sequence[int] = ()
    made_by: str = ""
    foreign: Foreign | None = None
    """What came in, where that is another currency than the account's; `amount` is what it is worth."""


@dataclass(frozen=True, slots=True)
class Booked:
    """A payment that was booked; `again` when its key had been used for it before."""

    id: int
    receipt: str | None
    allocated: tuple[allocations.Allocated, ...]
    unused: int
    again: bool = False


def add(connection: Connection, order: Order, today: date) -> Booked:
    """Book a payment that came in today. Raise PaymentError or BooksClosed."""
    account = _lock(connection, order.customer_id)
    before = connection.execute(text("SELECT * FROM payment WHERE key = :key"), {"key": order.key}).one_or_none()
    if before is not None:
        return _again(connection, order, before)
    ledger.require_open(connection, today)
    is_prepaid = BillingType(account.billing).is_prepaid
    payment_id = int(
        connection.execute(
            text("""INSERT INTO payment (customer_id, method, currency, amount, unused, received_on, reference, key,
                    made_by)
                VALUES (:customer, :method, :currency, :amount, :unused, :on, :reference, :key, :by) RETURNING id"""),
            {
                "customer": order.customer_id,
                "method": order.method,
                "currency": account.currency,
                "amount": order.amount,
                "unused": 0 if is_prepaid else order.amount,
                "on": today,
                "reference": order.reference,
                "key": order.key,
                "by": order.made_by,
            },
        ).scalar_one()
    )
    credited = (wallet if is_prepaid else receivable)(order.customer_id, -order.amount, account.currency)
    _post(connection, account, payment_id, "payment", f"payment/{order.key}", credited, order, today)
    allocated: list[allocations.Allocated] = []
    if not is_prepaid:
        allocated += _pay(connection, payment_id, order, today)
    number = None
    if order.method != WRITTEN_OFF:
        number = _receipt(connection, account, payment_id, order, today)
    if is_prepaid:
        run.bill_one(connection, order.customer_id, today)
        _look_again(connection, order.customer_id)
    gate.reassess(connection, [order.customer_id], today)
    return Booked(payment_id, number, tuple(allocated), _unused(connection, payment_id))


def give_back(
    connection: Connection, payment_id: int, amount: int | None, key: str, today: date, *, is_reversal: bool = False
) -> int:
    """Refund a part of a payment (None: all that is left), or reverse it; return what was given back.

    Raise PaymentError.
    """
    row = connection.execute(text("SELECT * FROM payment WHERE id = :id"), {"id": payment_id}).one_or_none()
    if row is None:
        raise PaymentError(f"there is no payment {payment_id}; see `caudal payment list`")
    account = _lock(connection, row.customer_id)
    row = connection.execute(text("SELECT * FROM payment WHERE id = :id FOR UPDATE"), {"id": payment_id}).one()
    known = connection.scalar(text("SELECT id FROM transfer WHERE key = :key"), {"key": f"refund/{key}"})
    if known is not None:
        return 0
    left = row.amount - row.refunded
    given = left if amount is None else amount
    if not 0 < given <= left:
        raise PaymentError(f"of payment {payment_id} {left} minor units are left to give back, not {given}")
    ledger.require_open(connection, today)
    is_prepaid = BillingType(account.billing).is_prepaid
    if not is_prepaid and row.unused < given:
        _free(connection, payment_id, given - row.unused)
    connection.execute(
        text("""UPDATE payment SET refunded = refunded + :given, unused = unused - :unused, reversed = :reversed
            WHERE id = :id"""),
        {"given": given, "unused": 0 if is_prepaid else given, "reversed": is_reversal, "id": payment_id},
    )
    came = foreign_of(connection, row.key, row.currency)
    returned = None if came is None else came.given_back(row.amount, row.refunded, given)
    order = Order(row.customer_id, -given, row.method, key, foreign=returned)
    debited = (wallet if is_prepaid else receivable)(row.customer_id, given, row.currency)
    kind = "reversal" if is_reversal else "refund"
    _post(connection, account, payment_id, kind, f"refund/{key}", debited, order, today)
    allocations.use_credit(connection, [row.customer_id])
    if is_prepaid:
        run.bill_one(connection, row.customer_id, today)
    gate.reassess(connection, [row.customer_id], today)
    return given


def currency_of(connection: Connection, payment_id: int) -> str:
    """Return the currency of a payment. Raise PaymentError."""
    found = connection.scalar(text("SELECT currency FROM payment WHERE id = :id"), {"id": payment_id})
    if found is None:
        raise PaymentError(f"there is no payment {payment_id}; see `caudal payment list`")
    return str(found)


def foreign_of(connection: Connection, key: str, currency: str) -> Foreign | None:
    """Return what came in for a payment, as the books have it, where that is not its own currency."""
    row = connection.execute(
        text("""SELECT p.amount, a.currency FROM transfer AS t JOIN posting AS p ON p.transfer_id = t.id
            JOIN ledger_account AS a ON a.id = p.ledger_account_id
            WHERE t.key = 'payment/' || :key AND a.kind = 'cash' AND a.currency <> :currency"""),
        {"key": key, "currency": currency},
    ).one_or_none()
    return None if row is None else Foreign(row.amount, row.currency)


def _again(connection: Connection, order: Order, before: Any) -> Booked:
    same = (before.customer_id, before.amount, before.method) == (order.customer_id, order.amount, order.method)
    if not same or foreign_of(connection, before.key, before.currency) != order.foreign:
        raise PaymentError(f"the key {order.key!r} belongs to another payment; send each payment with a key of its own")
    number = connection.scalar(text("SELECT number FROM document WHERE payment_id = :id"), {"id": before.id})
    return Booked(before.id, number, (), before.unused, again=True)


def _lock(connection: Connection, customer_id: int) -> Any:
    row = connection.execute(
        text("""SELECT a.*, c.partner_id, c.name, c.login, c.email, c.details FROM account AS a
            JOIN customer AS c ON c.id = a.customer_id WHERE a.customer_id = :id FOR UPDATE OF a"""),
        {"id": customer_id},
    ).one_or_none()
    if row is None:
        raise PaymentError(f"customer {customer_id} has no account; sell something to it first")
    return row


def _post(
    connection: Connection,
    account: Any,
    payment_id: int,
    kind: str,
    key: str,
    opposite: Posting,
    order: Order,
    today: date,
) -> None:
    transfer = Transfer(
        today,
        kind,
        key,
        (*received(order.method, order.amount, account.currency, order.customer_id, order.foreign), opposite),
        partner_id=account.partner_id,
        customer_id=order.customer_id,
        payment_id=payment_id,
        text=order.reference,
        made_by=order.made_by,
    )
    ledger.post(connection, [transfer])


def _pay(connection: Connection, payment_id: int, order: Order, today: date) -> list[allocations.Allocated]:
    """Let a payment pay what was chosen, then what is open; proformas that are paid so become invoices."""
    series = numbers.SeriesBook(connection)
    chosen = proformas.accept(connection, order.documents, order.amount, today, series)
    paid = _pay_chosen(connection, payment_id, replace(order, documents=chosen))
    paid += allocations.use_credit(connection, [order.customer_id])
    return paid + run.settle(connection, order.customer_id, today, series)


def _look_again(connection: Connection, payer_id: int) -> None:
    """Let enforcement look at lines that may buy now what the wallet could not pay before."""
    services = connection.scalars(
        text("""SELECT s.id FROM service AS s JOIN customer AS c ON c.id = s.customer_id
            JOIN plan AS l ON l.id = s.plan_id
            WHERE coalesce(c.payer_id, c.id) = :payer AND l.rules ? 'top_up' ORDER BY s.id"""),
        {"payer": payer_id},
    )
    outbox.add(connection, Topic.TERMS, list(services))


def _pay_chosen(connection: Connection, payment_id: int, order: Order) -> list[allocations.Allocated]:
    if not order.documents:
        return []
    rows = connection.execute(
        text("""SELECT id, open_amount FROM document
            WHERE id = ANY(CAST(:ids AS bigint[])) AND customer_id = :customer AND kind = 'invoice'"""),
        {"ids": [*order.documents], "customer": order.customer_id},
    )
    opened = dict(map(tuple, rows))
    for document_id in order.documents:
        if document_id not in opened:
            raise PaymentError(f"document {document_id} is no invoice of this customer; see `caudal invoice list`")
    claimed = [Claimed(document_id, opened[document_id]) for document_id in order.documents]
    return allocations.write(connection, [*allocate([Money(True, payment_id, order.amount)], claimed)])


def _free(connection: Connection, payment_id: int, amount: int) -> None:
    """Take back what a payment has paid, the latest first."""
    rows = connection.execute(
        text("""SELECT document_id, sum(amount)::bigint AS amount, max(id) AS last FROM allocation
            WHERE payment_id = :id GROUP BY document_id HAVING sum(amount) > 0 ORDER BY last"""),
        {"id": payment_id},
    )
    money = Money(True, payment_id, 0)
    paid = [Allocation(money, row.document_id, row.amount) for row in rows]
    allocations.write(connection, list(take_back(paid, amount)))


def _unused(connection: Connection, payment_id: int) -> int:
    return int(connection.execute(text("SELECT unused FROM payment WHERE id = :id"), {"id": payment_id}).scalar_one())


def _pays(connection: Connection, payment_id: int) -> list[list[object]]:
    """Return the numbers of the documents that a payment pays, with the amounts."""
    rows = connection.execute(
        text("""SELECT coalesce(d.number, CAST(d.id AS text)), sum(a.amount)::bigint FROM allocation AS a
            JOIN document AS d ON d.id = a.document_id WHERE a.payment_id = :id
            GROUP BY d.id ORDER BY d.due_on, d.id"""),
        {"id": payment_id},
    )
    return [[number, amount] for number, amount in rows]


def _receipt(connection: Connection, account: Any, payment_id: int, order: Order, today: date) -> str:
    """Issue the receipt of a payment, with its number, and with those of what it pays."""
    terms = run.terms_of(account.terms, account.currency, connection, account.partner_id)
    series_id = numbers.series_of(connection, account.partner_id, DocumentKind.RECEIPT)
    (document_id,) = list(ledger.Ids(connection, "document_id", issuing.DOCUMENT_STEP, 1))[:1]
    frozen = {
        "seller": accounts.seller(terms),
        "buyer": {"login": account.login, "name": account.name, "email": account.email} | account.details,
        "payment": {
            "method": order.method,
            "reference": order.reference,
            "amount": order.amount,
            "pays": _pays(connection, payment_id),
        }
        | ({} if order.foreign is None else {"foreign": [*order.foreign]}),
    }
    said = Said(
        DocumentKind.RECEIPT.value, account.partner_id, order.customer_id, account.currency, today, None, order.amount,
        0, order.amount, terms.language, frozen, payment_id=payment_id,
    )  # fmt: skip
    copy(
        connection,
        "document",
        (
            "id", "kind", "partner_id", "customer_id", "currency", "dated", "net", "tax", "gross", "open_amount",
            "series_id", "digest", "language", "frozen", "payment_id",
        ),
        [
            (
                document_id, DocumentKind.RECEIPT.value, account.partner_id, order.customer_id, account.currency, today,
                order.amount, 0, order.amount, 0, series_id, digest(said), terms.language, frozen, payment_id,
            )
        ],
    )  # fmt: skip
    numbers.number_documents(connection, [series_id], today)
    return str(connection.execute(text("SELECT number FROM document WHERE id = :id"), {"id": document_id}).scalar_one())
