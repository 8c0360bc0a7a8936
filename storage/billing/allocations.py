"""Which payment or credit note pays which document.

Rule: what is allocated is a row; what is open of a document, and unused of a payment, is moved in the same transaction.
The oldest document is paid first, by the oldest money. The caller holds the rows of the accounts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.engine import Connection

from billing.allocation import Allocation, Claimed, Money, allocate


class Allocated(NamedTuple):
    """How much of a document was paid."""

    document_id: int
    amount: int


def use_credit(connection: Connection, customer_ids: Sequence[int]) -> list[Allocated]:
    """Let what customers have paid, and what was credited to them, pay their open invoices, oldest first."""
    ids = {"ids": [*customer_ids]}
    money: dict[tuple[int, str], list[Money]] = defaultdict(list)
    for row in connection.execute(text(_MONEY), ids):
        money[row.customer_id, row.currency].append(Money(row.is_payment, row.id, row.amount))
    if not money:
        return []
    claimed: dict[tuple[int, str], list[Claimed]] = defaultdict(list)
    for row in connection.execute(text(_OPEN), {"ids": sorted({customer_id for customer_id, _ in money})}):
        claimed[row.customer_id, row.currency].append(Claimed(row.id, row.amount))
    rows = [each for key, found in money.items() for each in allocate(found, claimed.get(key, ()))]
    return write(connection, rows)


def write(connection: Connection, rows: Sequence[Allocation]) -> list[Allocated]:
    """Store allocations, and move what is open and unused."""
    if not rows:
        return []
    connection.execute(
        text("""INSERT INTO allocation (payment_id, credit_document_id, document_id, amount)
            SELECT * FROM unnest(CAST(:payments AS bigint[]), CAST(:credits AS bigint[]), CAST(:documents AS bigint[]),
                CAST(:amounts AS bigint[]))"""),
        {
            "payments": [each.money.id if each.money.is_payment else None for each in rows],
            "credits": [None if each.money.is_payment else each.money.id for each in rows],
            "documents": [each.document_id for each in rows],
            "amounts": [each.amount for each in rows],
        },
    )
    opened: dict[int, int] = defaultdict(int)
    unused: dict[int, int] = defaultdict(int)
    for each in rows:
        opened[each.document_id] += each.amount
        (unused if each.money.is_payment else opened)[each.money.id] += each.amount
    for table, column, sums in (("document", "open_amount", opened), ("payment", "unused", unused)):
        if sums:
            connection.execute(
                text(f"""UPDATE {table} AS t SET {column} = t.{column} - u.amount
                    FROM unnest(CAST(:ids AS bigint[]), CAST(:amounts AS bigint[])) AS u(id, amount)
                    WHERE t.id = u.id"""),
                {"ids": list(sums), "amounts": list(sums.values())},
            )
    return [Allocated(each.document_id, each.amount) for each in rows]


_AMONG = "customer_id = ANY(CAST(:ids AS bigint[]))"
_MONEY = f"""SELECT customer_id, currency, is_payment, id, amount FROM (
        SELECT customer_id, currency, true AS is_payment, id, unused AS amount, received_on AS day FROM payment
            WHERE {_AMONG} AND unused > 0
        UNION ALL
        SELECT customer_id, currency, false, id, open_amount, dated FROM document
            WHERE {_AMONG} AND kind = 'credit-note' AND open_amount > 0
    ) AS each ORDER BY day, is_payment, id"""
_OPEN = f"""SELECT customer_id, currency, id, open_amount AS amount FROM document
    WHERE {_AMONG} AND kind = 'invoice' AND open_amount > 0 ORDER BY due_on, id"""
