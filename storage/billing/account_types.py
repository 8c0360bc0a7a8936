"""How accounts are billed that do not say so themselves, and when that may become different.

Rule: what an account leaves out its partner says, else the ISP, as of all terms of billing. Between a wallet and
documents that are paid afterwards an account moves only when nothing is owed and nothing is held: money of the one
would pay nothing of the other.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import date

from sqlalchemy import text
from sqlalchemy.engine import Connection

from config.checks import show

USUAL = "coalesce(r.document ->> 'type', i.billing ->> 'type', 'recurring')"
"""SQL: how accounts of a partner `r` are billed, the ISP being `i`."""
PREPAID = "('prepaid-daily', 'prepaid-period')"


def refused(connection: Connection, logins: Collection[str] | None = None) -> dict[str, str]:
    """Return, of accounts that would be billed in another way, by login, why that cannot be; `logins` None is all."""
    rows = connection.execute(text(_REFUSED), _given(logins))
    return {
        row.login: f"{show(row.login)} is {row.billing} and cannot be {row.wanted} while its account has {row.what}"
        for row in rows
    }


def follow(connection: Connection, today: date, logins: Collection[str] | None = None) -> list[str]:
    """Let accounts be billed as they, their partner or the ISP say; return those that moved; `logins` None is all."""
    rows = connection.scalars(text(_FOLLOW), {**_given(logins), "today": today})
    return sorted(rows.all())


def _given(logins: Collection[str] | None) -> dict[str, object]:
    return {"logins": None if logins is None else [*logins]}


_MOVING = f"""FROM (SELECT c.id, c.login, {USUAL} AS usual FROM customer AS c
        JOIN partner AS r ON r.id = c.partner_id CROSS JOIN isp AS i
        WHERE CAST(:logins AS text[]) IS NULL OR c.login = ANY(CAST(:logins AS text[]))) AS u
    WHERE a.customer_id = u.id AND a.billing <> coalesce(a.terms ->> 'type', u.usual)"""
_FOLLOW = f"""UPDATE account AS a SET billing = coalesce(a.terms ->> 'type', u.usual), next_bill_on = :today,
        next_look_on = :today
    {_MOVING} RETURNING u.login"""
_HELD = """SELECT string_agg(what, ' and ' ORDER BY place) FROM (VALUES
        (1, 'money in its wallet', (SELECT sum(b.amount) FROM balance AS b
            JOIN ledger_account AS l ON l.id = b.ledger_account_id
            WHERE b.customer_id = a.customer_id AND l.kind = 'wallet') <> 0),
        (2, 'invoices or proformas that are open', EXISTS (SELECT FROM document AS d
            WHERE d.customer_id = a.customer_id AND d.kind <> 'credit-note' AND d.open_amount > 0)),
        (3, 'credit that pays nothing yet', EXISTS (SELECT FROM document AS d
            WHERE d.customer_id = a.customer_id AND d.kind = 'credit-note' AND d.open_amount > 0)
            OR EXISTS (SELECT FROM payment AS p WHERE p.customer_id = a.customer_id AND p.unused > 0))
    ) AS held (place, what, is_there) WHERE is_there"""
_REFUSED = f"""SELECT * FROM (
        SELECT u.login, a.billing, coalesce(a.terms ->> 'type', u.usual) AS wanted, ({_HELD}) AS what
        FROM account AS a, {_MOVING.removeprefix("FROM ")}
            AND (a.billing IN {PREPAID}) <> (coalesce(a.terms ->> 'type', u.usual) IN {PREPAID})
    ) AS each WHERE what IS NOT NULL ORDER BY login"""
