"""What operators read of billing: documents, payments, accounts that wait for somebody.

Rule: a page is cut by key, the newest first; amounts are minor units with their currency.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

from sqlalchemy import RowMapping, text
from sqlalchemy.engine import Connection

from storage.billing import clock
from storage.errors import OrderRefused

LONGEST_ID = 18
"""Digits that every id in the database has at most."""


class NoSuch(OrderRefused):
    """Nothing has this name."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"there is no {kind} {name!r}; see `caudal {kind} list`")


def isp(connection: Connection) -> RowMapping:
    """Return the name and the currency of the ISP."""
    return connection.execute(text("SELECT name, currency FROM isp")).mappings().one()


def customer_id(connection: Connection, login: str) -> int:
    """Return the id of a customer. Raise NoSuch."""
    found = connection.scalar(text("SELECT id FROM customer WHERE login = :login"), {"login": login})
    if found is None:
        raise NoSuch("customer", login)
    return int(found)


def payer_id(connection: Connection, login: str) -> int:
    """Return the id of the customer who pays for one. Raise NoSuch."""
    found = connection.scalar(
        text("SELECT coalesce(payer_id, id) FROM customer WHERE login = :login"), {"login": login}
    )
    if found is None:
        raise NoSuch("customer", login)
    return int(found)


class Ambiguous(OrderRefused):
    """Several documents have a number: those of different partners, or kinds."""


def document_id(connection: Connection, number: str, customer: int | None = None) -> int:
    """Return the id of the document with a number, else of that with this id; of a customer's where he has one.

    Raise NoSuch or Ambiguous.
    """
    rows = connection.execute(
        text("""SELECT d.id, d.customer_id, r.name AS partner FROM series AS s
            JOIN document AS d ON d.series_id = s.id AND d.number = :number JOIN partner AS r ON r.id = d.partner_id
            ORDER BY d.id"""),
        {"number": number},
    ).all()
    found = [row for row in rows if row.customer_id == customer] or rows
    if len(found) > 1:
        ids = ", ".join(f"{row.id} of {row.partner}" for row in found)
        raise Ambiguous(f"{len(found)} documents have the number {number}: name one by its id: {ids}")
    if found:
        return int(found[0].id)
    id_ = int(number) if number.isdecimal() and len(number) <= LONGEST_ID else 0
    if connection.scalar(text("SELECT id FROM document WHERE id = :id"), {"id": id_}) is None:
        raise NoSuch("invoice", number)
    return id_


def paid_for(connection: Connection, login: str, numbers: Sequence[str]) -> tuple[int, list[int]]:
    """Return whose account a payment for a customer is, and the documents that it is for. Raise NoSuch or Ambiguous.

    It is the account of who pays for the customer, but of the customer where those are his own documents, as those of
    the time before.
    """
    own, payer = customer_id(connection, login), payer_id(connection, login)
    documents = [document_id(connection, number, own) for number in numbers]
    if own != payer:
        owners = connection.scalars(
            text("SELECT DISTINCT customer_id FROM document WHERE id = ANY(CAST(:ids AS bigint[]))"), {"ids": documents}
        ).all()
        if owners == [own]:
            return own, documents
        documents = [document_id(connection, number, payer) for number in numbers]
    return payer, documents


def documents(
    connection: Connection,
    *,
    customer: int | None,
    kind: str | None,
    only_open: bool,
    before: int | None,
    limit: int,
) -> Sequence[RowMapping]:
    """Return documents, the newest first."""
    return (
        connection.execute(
            text("""SELECT d.id, d.kind, d.number, c.login AS customer, d.currency, d.dated, d.issued_on, d.due_on,
                    d.net, d.tax, d.gross, d.open_amount
                FROM document AS d JOIN customer AS c ON c.id = d.customer_id
                WHERE (CAST(:customer AS bigint) IS NULL OR d.customer_id = :customer)
                    AND (CAST(:kind AS text) IS NULL OR d.kind = :kind)
                    AND (NOT :open OR (d.open_amount > 0 AND d.kind IN ('invoice', 'proforma')))
                    AND (CAST(:before AS bigint) IS NULL OR d.id < :before)
                ORDER BY d.id DESC LIMIT :limit"""),
            {"customer": customer, "kind": kind, "open": only_open, "before": before, "limit": limit},
        )
        .mappings()
        .all()
    )


def document(connection: Connection, id_: int) -> tuple[RowMapping, Sequence[RowMapping]]:
    """Return a document with everything that it prints, and its lines."""
    head = (
        connection.execute(
            text("""SELECT d.*, c.login AS customer, p.number AS credits_number, r.name AS partner,
                    h.number AS superseded_by_number
                FROM document AS d JOIN customer AS c ON c.id = d.customer_id JOIN partner AS r ON r.id = d.partner_id
                    LEFT JOIN document AS p ON p.id = d.credits_document
                    LEFT JOIN document AS h ON h.id = d.superseded_by WHERE d.id = :id"""),
            {"id": id_},
        )
        .mappings()
        .one()
    )
    lines = (
        connection.execute(
            text("""SELECT l.*, p.code AS product, p.document ->> 'unit' AS unit FROM document_line AS l
                JOIN product AS p ON p.id = l.product_id
                WHERE l.document_id = :id ORDER BY l.position, l.starts, l.id"""),
            {"id": id_},
        )
        .mappings()
        .all()
    )
    return head, lines


def payments(connection: Connection, *, customer: int | None, before: int | None, limit: int) -> Sequence[RowMapping]:
    """Return payments, the newest first."""
    return (
        connection.execute(
            text("""SELECT p.id, c.login AS customer, p.method, p.currency, p.amount, p.unused, p.refunded,
                    p.received_on, p.reference, p.reversed, p.key,
                    (SELECT number FROM document AS d WHERE d.payment_id = p.id) AS receipt,
                    f.amount AS foreign_amount, f.currency AS foreign_currency
                FROM payment AS p JOIN customer AS c ON c.id = p.customer_id LEFT JOIN LATERAL (
                    SELECT g.amount, l.currency FROM transfer AS t JOIN posting AS g ON g.transfer_id = t.id
                        JOIN ledger_account AS l ON l.id = g.ledger_account_id
                    WHERE t.key = 'payment/' || p.key AND l.kind = 'cash' AND l.currency <> p.currency) AS f ON true
                WHERE (CAST(:customer AS bigint) IS NULL OR p.customer_id = :customer)
                    AND (CAST(:before AS bigint) IS NULL OR p.id < :before)
                ORDER BY p.id DESC LIMIT :limit"""),
            {"customer": customer, "before": before, "limit": limit},
        )
        .mappings()
        .all()
    )


def parked(connection: Connection) -> Sequence[RowMapping]:
    """Return the accounts that runs leave out until somebody has looked."""
    return (
        connection.execute(
            text("""SELECT c.login AS customer, a.parked AS reason, a.parked_at FROM account AS a
                JOIN customer AS c ON c.id = a.customer_id WHERE a.parked IS NOT NULL ORDER BY c.login""")
        )
        .mappings()
        .all()
    )


def account(connection: Connection, id_: int) -> RowMapping:
    """Return what an account owes, has in its wallet, and how it stands."""
    return (
        connection.execute(
            text(f"""SELECT c.login AS customer, a.currency, a.billing, a.state, a.next_bill_on, a.parked,
                    ARRAY(SELECT m.login FROM customer AS m WHERE m.payer_id = c.id ORDER BY m.login) AS pays_for,
                    coalesce((SELECT sum(b.amount) FROM balance AS b JOIN ledger_account AS l
                        ON l.id = b.ledger_account_id WHERE l.kind = 'receivable' AND b.customer_id = c.id), 0)::bigint
                        AS owed,
                    coalesce((SELECT -sum(b.amount) FROM balance AS b JOIN ledger_account AS l
                        ON l.id = b.ledger_account_id WHERE l.kind = 'wallet' AND b.customer_id = c.id), 0)::bigint
                        AS wallet,
                    coalesce((SELECT sum(v.amount) FROM reservation AS v WHERE v.customer_id = c.id
                        AND v.state = 'pending' AND v.expires_at > {clock.NOW}), 0)::bigint AS reserved
                FROM account AS a JOIN customer AS c ON c.id = a.customer_id WHERE a.customer_id = :id"""),
            {"id": id_},
        )
        .mappings()
        .one()
    )


def journal(connection: Connection, first: date, last: date) -> Iterator[dict[str, Any]]:
    """Yield the postings of the days [first, last], in order."""
    rows = connection.execution_options(yield_per=5000).execute(
        text("""SELECT t.id, t.posted_on, t.kind, t.text, t.key, c.login AS customer, d.number AS document,
                a.kind AS account, a.name, a.currency, p.amount, k.login AS whose
            FROM transfer AS t JOIN posting AS p ON p.transfer_id = t.id
                JOIN ledger_account AS a ON a.id = p.ledger_account_id
                LEFT JOIN customer AS c ON c.id = t.customer_id
                LEFT JOIN customer AS k ON k.id = p.customer_id AND p.customer_id <> 0
                LEFT JOIN document AS d ON d.id = t.document_id
            WHERE t.posted_on BETWEEN :first AND :last ORDER BY t.posted_on, t.id, p.number"""),
        {"first": first, "last": last},
    )
    for row in rows.mappings():
        yield dict(row)
