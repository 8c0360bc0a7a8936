"""Documents on their way into the database: stored without numbers, and posted.

Rule: the document, its lines and what it moves in the books are one transaction; the number is given afterwards. A
proforma moves nothing. The caller holds the rows of the accounts.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from sqlalchemy.engine import Connection

from billing.digests import Said, SaidLine, digest
from billing.documents import Draft
from billing.ledger import Transfer
from storage.billing import ledger, lines, numbers
from storage.row_staging import copy

DOCUMENT_STEP = 100
"""How many ids of documents one value of the sequence stands for."""

_DOCUMENT = (
    "id", "kind", "partner_id", "customer_id", "currency", "dated", "due_on", "net", "tax", "gross", "open_amount",
    "paid_at_once", "series_id", "digest", "language", "frozen", "credits_document", "key",
)  # fmt: skip


def issue(
    connection: Connection, drafts: Sequence[Draft], on: date, series: numbers.SeriesBook, *, slot: int = 0
) -> list[int]:
    """Store documents without numbers and post them; return their ids."""
    ids = ledger.Ids(connection, "document_id", DOCUMENT_STEP, len(drafts))
    numbered = list(zip(ids, drafts, strict=False))
    copy(connection, "document", _DOCUMENT, [_document_row(id_, each, series) for id_, each in numbered])
    lines.store(connection, [(id_, each) for id_, each in numbered])
    transfers = [each.transfer(id_, on) for id_, each in numbered]
    ledger.post(connection, [transfer for transfer in transfers if isinstance(transfer, Transfer)], slot=slot)
    return [id_ for id_, _ in numbered]


def _document_row(id_: int, each: Draft, series: numbers.SeriesBook) -> tuple[object, ...]:
    at_once = each.gross if each.is_paid else 0
    return (
        id_, each.kind.value, each.partner_id, each.customer_id, each.currency, each.dated, each.due_on, each.net,
        each.tax, each.gross, each.gross - at_once, at_once, series.id_of(each.partner_id, each.kind),
        draft_digest(each), each.language, each.frozen, each.credits_document, each.key,
    )  # fmt: skip


def draft_digest(each: Draft) -> bytes:
    """Return what stands for a document in its chain."""
    said = Said(
        each.kind.value, each.partner_id, each.customer_id, each.currency, each.dated, each.due_on, each.net, each.tax,
        each.gross, each.language, each.frozen, each.credits_document,
    )  # fmt: skip
    return digest(
        said,
        (
            SaidLine(
                line.text, line.line.days.starts, line.line.days.ends, line.line.quantity, line.line.unit_price,
                line.line.amount, line.net, line.tax, lines.tax_rows(line), line.line.credits_line,
            )
            for line in each.lines
        ),
    )  # fmt: skip
