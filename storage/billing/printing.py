"""Documents as they are printed: what was frozen, the usage of their days, the partner's logo.

Rule: only the chart of usage and the logo are read when a document is printed; everything that it says is its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Connection

from billing.printed import USUAL_COLOUR, Printed
from billing.printing import MOST_DAYS
from config import billing_terms
from domain.billing_terms import BillingTerms
from storage.billing import reading


def template_of(connection: Connection, partner: str) -> str:
    """Return a partner's template, or the ISP's; empty where ours is used. Raise NoSuch."""
    found = connection.scalar(text("SELECT id FROM partner WHERE name = :name"), {"name": partner})
    if found is None:
        raise reading.NoSuch("partner", partner)
    return terms_of(connection, int(found)).template


def terms_of(connection: Connection, partner_id: int) -> BillingTerms:
    """Return the terms of a partner: how its documents look."""
    currency = connection.execute(text("SELECT currency FROM isp")).scalar_one()
    return billing_terms.resolve(*layers_of(connection, partner_id), currency=currency)


def layers_of(connection: Connection, partner_id: int) -> tuple[dict[str, object], dict[str, object]]:
    """Return what the ISP and a partner say of billing."""
    row = connection.execute(
        text("SELECT i.billing, r.document FROM isp AS i CROSS JOIN partner AS r WHERE r.id = :id"), {"id": partner_id}
    ).one()
    return row.billing, row.document


def printed(connection: Connection, document_id: int) -> Printed:
    """Return a document with what it prints."""
    head, lines = reading.document(connection, document_id)
    terms = terms_of(connection, head["partner_id"])
    return Printed(
        dict(head),
        [dict(line) for line in lines],
        _usage(connection, head["customer_id"], [dict(line) for line in lines]),
        terms.seller.logo,
        terms.seller.colour or USUAL_COLOUR,
        terms.e_invoice and head["kind"] in ("invoice", "credit-note") and head["number"] is not None,
        terms.template,
        _corrected(connection, dict(head)) if head["kind"] == "credit-note" else (),
        head["superseded_by_number"],
        head["frozen"],
    )


def _corrected(connection: Connection, head: Mapping[str, Any]) -> list[str]:
    """Return the numbers of the invoices whose lines a credit note takes back."""
    rows = connection.scalars(
        text("""SELECT number FROM document WHERE id = :credited OR id IN (
                SELECT l.document_id FROM document_line AS k JOIN document_line AS l ON l.id = k.credits_line
                WHERE k.document_id = :id)
            ORDER BY position"""),
        {"id": head["id"], "credited": head["credits_document"]},
    )
    return [number for number in rows if number is not None]


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
