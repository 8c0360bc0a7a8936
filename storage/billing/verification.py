"""Whether what was issued is still what was issued: every document, and the chain of every series.

Rule: what a document says is digested anew from its rows, and every link from the one before it, so that whoever
changes, takes out or puts in a document is found, even if the database was told to allow it. Read in one snapshot.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Connection, Engine

from billing.digests import Said, SaidLine, digest
from billing.numbering import FIRST_HASH, link
from storage.billing.ledger import Difference

PER_READ = 2_000
AGAIN = 2
"""The form of digests that can be made again from what is stored; older ones are taken as they are."""


def check_chains(engine: Engine) -> list[Difference]:
    """Follow every series from its first document; return what was changed, what is missing, what does not hold."""
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection, connection.begin():
        return list(differences(connection))


def differences(connection: Connection) -> Iterator[Difference]:
    """Yield what is wrong, as the present transaction sees it."""
    ends: dict[int, tuple[bytes, int]] = {}
    rows = connection.execution_options(yield_per=PER_READ).execute(text(_DOCUMENTS))
    for row in rows:
        before, last = ends.get(row.series_id, (FIRST_HASH, 0))
        if row.position != last + 1:
            yield Difference(f"place of {row.number} in its series", row.position, last + 1, "")
        if bytes(row.hash) != link(before, row.number, row.issued_on, bytes(row.digest)):
            yield Difference(f"link of {row.number} to the document before it", row.position, last + 1, "")
        if row.digest_form == AGAIN and _digest(row) != bytes(row.digest):
            yield Difference(f"what {row.number} says, which is not what was issued", row.position, row.position, "")
        ends[row.series_id] = bytes(row.hash), row.position
    for head in connection.execute(text(_HEADS)):
        last_hash, documents = ends.get(head.series_id, (FIRST_HASH, 0))
        if (last_hash, documents) != (bytes(head.last_hash), head.documents):
            yield Difference(f"end of series {head.series_id}", head.documents, documents, "")
        if head.counted != head.documents:
            yield Difference(f"counters of series {head.series_id}", int(head.counted), head.documents, "")


def _digest(row: Any) -> bytes:
    said = Said(
        row.kind, row.partner_id, row.customer_id, row.currency, row.dated, row.due_on, row.net, row.tax, row.gross,
        row.language, row.frozen, row.credits_document, row.payment_id,
    )  # fmt: skip
    return digest(said, map(_line, row.lines or ()))


def _line(values: list[Any]) -> SaidLine:
    told, starts, ends, quantity, unit_price, *others = values
    days = date.fromisoformat(starts), date.fromisoformat(ends)
    return SaidLine(told, *days, Decimal(quantity), Decimal(unit_price), *others)


_HEADS = """SELECT h.*, coalesce((SELECT sum(last_number) FROM series_counter AS c
        WHERE c.series_id = h.series_id), 0) AS counted FROM series_head AS h ORDER BY h.series_id"""
_DOCUMENTS = """SELECT d.*, (
        SELECT json_agg(json_build_array(l.text, l.starts, l.ends, l.quantity::text, l.unit_price::text, l.amount,
            l.net, l.tax, l.taxes, l.credits_line))
        FROM document_line AS l WHERE l.document_id = d.id) AS lines
    FROM document AS d WHERE d.number IS NOT NULL ORDER BY d.series_id, d.position"""
