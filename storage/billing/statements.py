"""Statements of account, as the books have them.

Rule: every posting to what a customer owes, or has in the wallet, is a movement; a document that moved nothing, because
its days were charged before or it costs nothing, stands among them. Read in one snapshot.
"""

from __future__ import annotations

from datetime import date

from sqlalchemy import text
from sqlalchemy.engine import Connection

from billing.statement import Movement, Statement, balanced
from billing.statement_printing import PrintedStatement
from config import billing_terms
from storage.billing import accounts, printing


def read(connection: Connection, customer_id: int, first: date, last: date) -> Statement:
    """Return the statement of an account for the days [first, last]."""
    customer, currency = connection.execute(
        text("""SELECT c.login, a.currency FROM account AS a JOIN customer AS c ON c.id = a.customer_id
            WHERE a.customer_id = :id"""),
        {"id": customer_id},
    ).one()
    given = {"id": customer_id, "currency": currency, "first": first, "last": last}
    opening = int(connection.scalar(text(_OPENING), given) or 0)
    movements = (Movement(*row) for row in connection.execute(text(_MOVEMENTS), given))
    return Statement(customer, currency, first, last, opening, balanced(opening, movements))


def printed(connection: Connection, customer_id: int, first: date, last: date, today: date) -> PrintedStatement:
    """Return a statement with what it prints, as seller and customer are now."""
    row = connection.execute(
        text("""SELECT a.terms, a.currency, c.partner_id, c.login, c.name, c.email, c.details FROM account AS a
            JOIN customer AS c ON c.id = a.customer_id WHERE a.customer_id = :id"""),
        {"id": customer_id},
    ).one()
    layers = printing.layers_of(connection, row.partner_id)
    terms = billing_terms.resolve(*layers, row.terms, currency=row.currency)
    buyer = {"login": row.login, "name": row.name, "email": row.email, **row.details}
    return PrintedStatement(
        read(connection, customer_id, first, last),
        today,
        terms.language,
        accounts.seller(terms),
        buyer,
        terms.seller.logo,
        terms.seller.colour,
        terms.template,
    )


_POSTED = """FROM posting AS p JOIN ledger_account AS a ON a.id = p.ledger_account_id
    JOIN transfer AS t ON t.id = p.transfer_id
    WHERE p.customer_id = :id AND a.kind IN ('receivable', 'wallet') AND a.currency = :currency"""
_OPENING = f"SELECT sum(p.amount)::bigint {_POSTED} AND t.posted_on < :first"
_MOVEMENTS = f"""SELECT day, kind, number, method, told, amount FROM (
        SELECT m.posted_on AS day, coalesce(d.kind, m.kind) AS kind,
            coalesce(d.number, CASE m.kind WHEN 'payment' THEN (SELECT r.number FROM document AS r
                WHERE r.customer_id = :id AND r.kind = 'receipt' AND r.payment_id = m.payment_id) END) AS number,
            coalesce(y.method, '') AS method, coalesce(nullif(y.reference, ''), m.text) AS told, m.amount, m.id
        FROM (SELECT t.id, t.posted_on, t.kind, t.document_id, t.payment_id, t.text, sum(p.amount)::bigint AS amount
            {_POSTED} AND t.posted_on BETWEEN :first AND :last GROUP BY t.id) AS m
        LEFT JOIN document AS d ON d.id = m.document_id LEFT JOIN payment AS y ON y.id = m.payment_id
        UNION ALL
        SELECT d.dated, d.kind, d.number, '', '', 0, 0 FROM document AS d
        WHERE d.customer_id = :id AND d.currency = :currency AND d.dated BETWEEN :first AND :last
            AND d.kind IN ('invoice', 'credit-note') AND (d.posted_daily OR d.gross = 0)
    ) AS each ORDER BY day, id, number"""
