"""Payments: what came in, what it pays, and the lines that it lets in again.

Rule: a payment, its receipt, what it pays and the state of the lines are one transaction under the account's row; one
key is one payment, for ever. A refund or a reversal is a transfer of its own and takes back what was paid. What came in
another currency is in the books as it came; the payment itself is what it was worth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Connection

from billing.allocation import Allocation, Claimed, Money, allocate, take_back
from billing.exchange import Foreign
from billing.ledger import WRITTEN_OFF, Posting, Transfer, receivable, received, wallet
from domain.billing_terms import BillingType
from storage import outbox
from storage.billing import allocations, gate, ledger, numbers, proformas, receipts, run
from storage.billing.allocations import Allocated
from storage.billing.receipts import Receipt
from storage.errors import OrderRefused
from storage.outbox import Topic


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
    allocated: tuple[Allocated, ...]
    unused: int
    again: bool = False


def add(connection: Connection, order: Order, today: date) -> Booked:
    """Book a payment that came in today. Raise PaymentError or BooksClosed."""
    (booked,) = add_each(connection, [order], today)
    return booked


def add_each(connection: Connection, orders: Sequence[Order], today: date) -> list[Booked]:
    """Book payments that came in today, of each customer one at most. Raise PaymentError or BooksClosed."""
    found = _lock(connection, [order.customer_id for order in orders])
    before = _before(connection, [order.key for order in orders])
    new = [order for order in orders if order.key not in before]
    made = _book(connection, new, found, today) if new else {}
    return [made.get(order.key) or _again(connection, order, before[order.key]) for order in orders]


def _book(connection: Connection, orders: Sequence[Order], found: Mapping[int, Any], today: date) -> dict[str, Booked]:
    ledger.require_open(connection, today)
    run.ask_anew(connection, [id_ for id_, account in found.items() if not _is_prepaid(account)], today)
    ids = _insert(connection, orders, found, today)
    transfers = []
    for order in orders:
        account = found[order.customer_id]
        credited = _customers(account)(order.customer_id, -order.amount, account.currency)
        transfers.append(_transfer(account, ids[order.key], "payment", f"payment/{order.key}", credited, order, today))
    ledger.post(connection, transfers)
    series = numbers.SeriesOnDemand(connection)
    later = [order for order in orders if not _is_prepaid(found[order.customer_id])]
    paid = _by_customer(connection, _pay(connection, later, ids, today, series)) if later else {}
    wanted = [
        Receipt(ids[each.key], found[each.customer_id], each.amount, each.method, each.reference, each.foreign)
        for each in orders
        if each.method != WRITTEN_OFF
    ]
    receipts.store(connection, wanted, series, today)
    for order in orders:
        if _is_prepaid(found[order.customer_id]):
            run.bill_one(connection, order.customer_id, today)
            _look_again(connection, order.customer_id)
    issued = receipts.number(connection, wanted, series, today)
    gate.reassess(connection, sorted(order.customer_id for order in orders), today)
    unused = _unused(connection, list(ids.values()))
    return {
        order.key: Booked(id_, issued.get(id_), paid.get(order.customer_id, ()), unused[id_])
        for order, id_ in ((order, ids[order.key]) for order in orders)
    }


def _is_prepaid(account: Any) -> bool:
    return BillingType(account.billing).is_prepaid


def _customers(account: Any) -> Callable[[int, int, str], Posting]:
    """Return what makes a posting to the customer's own account in the books."""
    return wallet if _is_prepaid(account) else receivable


def _insert(connection: Connection, orders: Sequence[Order], found: Mapping[int, Any], today: date) -> dict[str, int]:
    """Store payments; return their ids by their keys."""
    accounts_ = [found[order.customer_id] for order in orders]
    rows = connection.execute(
        text("""INSERT INTO payment
                (customer_id, method, currency, amount, unused, received_on, reference, key, made_by)
            SELECT customer, method, currency, amount, unused, :on, reference, key, made_by
            FROM unnest(CAST(:customers AS bigint[]), CAST(:methods AS text[]), CAST(:currencies AS text[]),
                CAST(:amounts AS bigint[]), CAST(:unused AS bigint[]), CAST(:references AS text[]),
                CAST(:keys AS text[]), CAST(:makers AS text[])) WITH ORDINALITY
                AS u(customer, method, currency, amount, unused, reference, key, made_by, place)
            ORDER BY place RETURNING key, id"""),
        {
            "on": today,
            "customers": [order.customer_id for order in orders],
            "methods": [order.method for order in orders],
            "currencies": [account.currency for account in accounts_],
            "amounts": [order.amount for order in orders],
            "unused": [
                0 if _is_prepaid(account) else order.amount for order, account in zip(orders, accounts_, strict=True)
            ],
            "references": [order.reference for order in orders],
            "keys": [order.key for order in orders],
            "makers": [order.made_by for order in orders],
        },
    )
    return {key: int(id_) for key, id_ in rows}


def give_back(
    connection: Connection, payment_id: int, amount: int | None, key: str, today: date, *, is_reversal: bool = False
) -> int:
    """Refund a part of a payment (None: all that is left), or reverse it; return what was given back.

    Raise PaymentError.
    """
    row = connection.execute(text("SELECT * FROM payment WHERE id = :id"), {"id": payment_id}).one_or_none()
    if row is None:
        raise PaymentError(f"there is no payment {payment_id}; see `caudal payment list`")
    account = _lock(connection, [row.customer_id])[row.customer_id]
    row = connection.execute(text("SELECT * FROM payment WHERE id = :id FOR UPDATE"), {"id": payment_id}).one()
    known = connection.scalar(text("SELECT id FROM transfer WHERE key = :key"), {"key": f"refund/{key}"})
    if known is not None:
        return 0
    left = row.amount - row.refunded
    given = left if amount is None else amount
    if not 0 < given <= left:
        raise PaymentError(f"of payment {payment_id} {left} minor units are left to give back, not {given}")
    ledger.require_open(connection, today)
    require_returnable(connection, payment_id)
    is_prepaid = _is_prepaid(account)
    if not is_prepaid and row.unused < given:
        _free(connection, payment_id, given - row.unused)
    connection.execute(
        text("""UPDATE payment SET refunded = refunded + :given, unused = unused - :unused,
                reversed = reversed OR :reversed WHERE id = :id"""),
        {"given": given, "unused": 0 if is_prepaid else given, "reversed": is_reversal, "id": payment_id},
    )
    came = foreign_of(connection, row.key, row.currency)
    returned = None if came is None else came.given_back(row.amount, row.refunded, given)
    order = Order(row.customer_id, -given, row.method, key, foreign=returned)
    debited = _customers(account)(row.customer_id, given, row.currency)
    kind = "reversal" if is_reversal else "refund"
    ledger.post(connection, [_transfer(account, payment_id, kind, f"refund/{key}", debited, order, today)])
    allocations.use_credit(connection, [row.customer_id])
    if is_prepaid:
        run.bill_one(connection, row.customer_id, today)
    gate.reassess(connection, [row.customer_id], today)
    return given


def require_returnable(connection: Connection, payment_id: int) -> None:
    """Raise PaymentError where money went into a wallet, and its account has none any more: no debt would show it."""
    is_lost = connection.scalar(
        text("""SELECT EXISTS (SELECT FROM payment AS y JOIN account AS c ON c.customer_id = y.customer_id
                JOIN transfer AS t ON t.key = 'payment/' || y.key JOIN posting AS p ON p.transfer_id = t.id
                JOIN ledger_account AS a ON a.id = p.ledger_account_id
            WHERE y.id = :id AND a.kind = 'wallet' AND c.billing NOT IN ('prepaid-daily', 'prepaid-period'))"""),
        {"id": payment_id},
    )
    if is_lost:
        raise PaymentError(
            f"payment {payment_id} went into a wallet, and this account has none any more; "
            "let it be prepaid again, then give it back"
        )


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


def _before(connection: Connection, keys: Sequence[str]) -> dict[str, Any]:
    rows = connection.execute(text("SELECT * FROM payment WHERE key = ANY(CAST(:keys AS text[]))"), {"keys": [*keys]})
    return {row.key: row for row in rows}


def _lock(connection: Connection, customer_ids: Sequence[int]) -> dict[int, Any]:
    rows = connection.execute(
        text("""SELECT a.*, c.partner_id, c.name, c.login, c.email, c.details FROM account AS a
            JOIN customer AS c ON c.id = a.customer_id WHERE a.customer_id = ANY(CAST(:ids AS bigint[]))
            ORDER BY a.customer_id FOR UPDATE OF a"""),
        {"ids": [*customer_ids]},
    )
    found = {row.customer_id: row for row in rows}
    for customer_id in customer_ids:
        if customer_id not in found:
            raise PaymentError(f"customer {customer_id} has no account; sell something to it first")
    return found


def _transfer(
    account: Any, payment_id: int, kind: str, key: str, opposite: Posting, order: Order, today: date
) -> Transfer:
    return Transfer(
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


def _pay(
    connection: Connection, orders: Sequence[Order], ids: Mapping[str, int], today: date, series: numbers.SeriesBook
) -> list[Allocated]:
    """Let payments pay what was chosen, then what is open; proformas that are paid so become invoices."""
    orders = _accepted(connection, orders, today, series)
    paid = _pay_chosen(connection, orders, ids)
    customers = sorted(order.customer_id for order in orders)
    paid += allocations.use_credit(connection, customers)
    for customer_id in proformas.asked(connection, customers):
        paid += run.settle(connection, customer_id, today, series)
    return paid


def _by_customer(connection: Connection, paid: Sequence[Allocated]) -> dict[int, tuple[Allocated, ...]]:
    """Return what was paid now by whose it was, also by what had waited as credit."""
    rows = connection.execute(
        text("SELECT id, customer_id FROM document WHERE id = ANY(CAST(:ids AS bigint[]))"),
        {"ids": [each.document_id for each in paid]},
    )
    whose: dict[int, int] = dict(map(tuple, rows))
    found: dict[int, tuple[Allocated, ...]] = {}
    for each in paid:
        customer_id = whose[each.document_id]
        found[customer_id] = (*found.get(customer_id, ()), each)
    return found


def _look_again(connection: Connection, payer_id: int) -> None:
    """Let enforcement look at lines that may buy now what the wallet could not pay before."""
    services = connection.scalars(
        text("""SELECT s.id FROM service AS s JOIN customer AS c ON c.id = s.customer_id
            JOIN plan AS l ON l.id = s.plan_id
            WHERE coalesce(c.payer_id, c.id) = :payer AND l.rules ? 'top_up' ORDER BY s.id"""),
        {"payer": payer_id},
    )
    outbox.add(connection, Topic.TERMS, list(services))


def _accepted(connection: Connection, orders: Sequence[Order], today: date, series: numbers.SeriesBook) -> list[Order]:
    """Return orders for invoices alone, each named once: those of the proformas that were chosen and are paid."""
    asking = proformas.among(connection, [id_ for order in orders for id_ in order.documents])
    accepted = []
    for order in orders:
        documents: Iterable[int] = dict.fromkeys(order.documents)
        if asking.intersection(order.documents):
            # A number that was replaced and the one in its place are one document.
            documents = dict.fromkeys(proformas.accept(connection, [*documents], order.amount, today, series))
        accepted.append(replace(order, documents=[*documents]))
    return accepted


def _pay_chosen(connection: Connection, orders: Sequence[Order], ids: Mapping[str, int]) -> list[Allocated]:
    documents = [id_ for order in orders for id_ in order.documents]
    if not documents:
        return []
    rows = connection.execute(
        text("""SELECT id, customer_id, open_amount FROM document
            WHERE id = ANY(CAST(:ids AS bigint[])) AND kind = 'invoice'"""),
        {"ids": documents},
    )
    opened = {(row.customer_id, row.id): row.open_amount for row in rows}
    paid: list[Allocation] = []
    for order in orders:
        for document_id in order.documents:
            if (order.customer_id, document_id) not in opened:
                raise PaymentError(f"document {document_id} is no invoice of this customer; see `caudal invoice list`")
        claimed = [Claimed(document_id, opened[order.customer_id, document_id]) for document_id in order.documents]
        paid += allocate([Money(True, ids[order.key], order.amount)], claimed)
    return allocations.write(connection, paid)


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


def _unused(connection: Connection, payment_ids: Sequence[int]) -> dict[int, int]:
    rows = connection.execute(
        text("SELECT id, unused FROM payment WHERE id = ANY(CAST(:ids AS bigint[]))"), {"ids": [*payment_ids]}
    )
    return dict(map(tuple, rows))
