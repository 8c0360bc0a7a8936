"""The reminders that fell due: whom to tell what about which document.

Rule: a reminder is one row from the moment collections came to it, whoever asked them; it is told here as often as
somebody asks.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import RowMapping, text
from sqlalchemy.engine import Connection


def listed(
    connection: Connection, *, customer: int | None, only_open: bool, before: int | None, limit: int
) -> Sequence[RowMapping]:
    """Return reminders with what they are about, the newest first; `only_open`: where something is still owed."""
    return (
        connection.execute(
            text("""SELECT r.id, c.login AS customer, c.name, c.email, c.phone, d.language, r.number,
                    r.due_on AS on_day, d.number AS document, d.due_on, d.currency, d.gross, d.open_amount
                FROM collection_step AS r JOIN customer AS c ON c.id = r.customer_id
                    JOIN document AS d ON d.id = r.document_id
                WHERE r.kind = 'reminder' AND (CAST(:customer AS bigint) IS NULL OR r.customer_id = :customer)
                    AND (NOT :open OR d.open_amount > 0) AND (CAST(:before AS bigint) IS NULL OR r.id < :before)
                ORDER BY r.id DESC LIMIT :limit"""),
            {"customer": customer, "open": only_open, "before": before, "limit": limit},
        )
        .mappings()
        .all()
    )
