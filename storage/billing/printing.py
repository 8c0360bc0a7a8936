"""Documents as they are printed: what was frozen, the usage of their days, the partner's logo.

Rule: only the chart of usage and the logo are read when a document is printed; everything that it says is its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Connection

from billing.printing import MOST_DAYS, USUAL_COLOUR, Printed
from config import billing_terms
from storage.billing import reading


def printed(connection: Connection, document_id: int) -> Printed:
    """Return a document with what it prints."""
    head, lines = reading.document(connection, document_id)
    row = connection.execute(
        text("""SELECT i.billing, r.document, i.currency FROM isp AS i CROSS JOIN partner AS r WHERE r.id = :id"""),
        {"id": head["partner_id"]},
    ).one()
    terms = billing_terms.resolve(row.billing, row.document, currency=row.currency)
    return Printed(
        dict(head),
        [dict(line) for line in lines],
        _usage(connection, head["customer_id"], [dict(line) for line in lines]),
        terms.seller.logo,
        terms.seller.colour or USUAL_COLOUR,
        terms.e_invoice and head["kind"] in ("invoice", "credit-note") and head["number"] is not None,
        head["frozen"],
    )


def _usage(
    connection: Connection, customer_id: int, lines: Sequence[Mapping[str, Any]]
) -> tuple[tuple[date, int], ...]:
    """Return what the customer's lines carried on the days before the document."""
    if not lines:
        return ()
    last = max(line["starts"] for line in lines)
    rows = connection.execute(
        text("""SELECT u.day, sum(u.octets_up + u.octets_down)::bigint FROM usage_day AS u
            JOIN service AS s ON s.id = u.service_id JOIN customer AS c ON c.id = s.customer_id
            WHERE coalesce(c.payer_id, c.id) = :customer AND u.day BETWEEN :first AND :last
            GROUP BY 1 ORDER BY 1"""),
        {"customer": customer_id, "first": last - timedelta(days=MOST_DAYS // 2), "last": last},
    )
    return tuple((day, octets) for day, octets in rows)
