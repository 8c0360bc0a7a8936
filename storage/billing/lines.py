"""Lines of documents, as they are stored.

Rule: a line has its place (subscription, component, rate, days) and counts how many came before it there; the database
refuses the same one twice. What was charged once is marked as billed with it. A line of a proforma charges nothing yet:
it has no place of its own, and what it is of is kept beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Connection

from billing.documents import ChargedLine, Draft, DraftLine
from billing.tax import CreditedLine
from domain.billing_terms import DocumentKind
from domain.tax import AppliedTax, TaxCategory
from storage.billing.ledger import Ids
from storage.row_staging import copy

LINE_STEP = 1000
"""How many ids of lines one value of the sequence stands for."""

_LINE = (
    "id", "document_id", "position", "customer_id", "subscription_id", "component", "rate", "period_starts",
    "period_ends", "starts", "ends", "revision", "amount", "net", "tax", "taxes", "includes_tax", "product_id",
    "unit_price", "quantity", "text", "credits_line", "one_off_id", "discount_id", "usage",
)  # fmt: skip


def store(connection: Connection, drafts: Sequence[tuple[int | None, Draft]]) -> None:
    """Store the lines of drafts; the document is None where it is made later."""
    found = [
        (id_, position, _charging_nothing(line) if each.kind is DocumentKind.PROFORMA else line)
        for id_, each in drafts
        for position, line in enumerate(each.lines, 1)
    ]
    ids = [id_ for id_, _ in zip(Ids(connection, "document_line_id", LINE_STEP, len(found)), found, strict=False)]
    revisions = _revisions(connection, [line for _, _, line in found])
    copy(
        connection,
        "document_line",
        _LINE,
        [
            _line_row(line_id, document_id, position, line, revision)
            for line_id, (document_id, position, line), revision in zip(ids, found, revisions, strict=True)
        ],
    )
    _keep_subscriptions(connection, ids, drafts)
    one_offs = [line.line.one_off.id for _, _, line in found if line.line.one_off is not None]
    if one_offs:
        connection.execute(
            text("UPDATE one_off SET billed = true WHERE id = ANY(CAST(:ids AS bigint[]))"), {"ids": one_offs}
        )


def _keep_subscriptions(connection: Connection, ids: Sequence[int], drafts: Sequence[tuple[int | None, Draft]]) -> None:
    """Note of which subscriptions the lines of proformas are."""
    of_lines = [
        line.line.subscription_id if each.kind is DocumentKind.PROFORMA else None
        for _, each in drafts
        for line in each.lines
    ]
    kept = [(line_id, of) for line_id, of in zip(ids, of_lines, strict=True) if of is not None]
    if kept:
        copy(connection, "proforma_line", ("line_id", "subscription_id"), kept)


def _charging_nothing(each: DraftLine) -> DraftLine:
    return each._replace(line=each.line._replace(subscription_id=None, one_off=None, discount_id=None))


def _line_row(id_: int, document_id: int | None, position: int, each: DraftLine, revision: int) -> tuple[object, ...]:
    line = each.line
    return (
        id_, document_id, position, line.customer_id, line.subscription_id, line.key.component, line.key.rate,
        line.period.starts, line.period.ends, line.days.starts, line.days.ends, revision, line.amount, each.net,
        each.tax, tax_rows(each), line.price_includes_tax, line.product_id, line.unit_price, line.quantity, each.text,
        line.credits_line, None if line.one_off is None else line.one_off.id, line.discount_id,
        None if line.usage is None else line.usage.facts,
    )  # fmt: skip


def tax_rows(each: DraftLine) -> tuple[tuple[object, ...], ...]:
    """Return the taxes of a line as they are stored."""
    return tuple(
        (
            applied.code, applied.category.value, str(applied.percent), applied.compound, applied.exemption_reason, tax,
        )
        for applied, tax in each.taxes
    )  # fmt: skip


def _revisions(connection: Connection, lines: Sequence[DraftLine]) -> list[int]:
    """Return of each line how many came before it in the same place."""
    places = [
        (line.line.subscription_id, *line.line.key, *line.line.days) for line in lines if line.line.subscription_id
    ]
    before: dict[tuple[object, ...], int] = {}
    if places:
        columns = list(zip(*places, strict=True))
        rows = connection.execute(
            text("""SELECT subscription_id, component, rate, starts, ends, count(*) FROM document_line
                WHERE (subscription_id, component, rate, starts, ends) IN (
                    SELECT * FROM unnest(CAST(:s AS bigint[]), CAST(:c AS text[]), CAST(:r AS text[]),
                        CAST(:b AS date[]), CAST(:e AS date[]))
                ) GROUP BY 1, 2, 3, 4, 5"""),
            dict(zip("scrbe", map(list, columns), strict=True)),
        )
        before = {tuple(place): count for *place, count in rows}
    revisions = []
    for line in lines:
        place = (line.line.subscription_id, *line.line.key, *line.line.days)
        revisions.append(before.get(place, 0))
        before[place] = revisions[-1] + 1
    return revisions


def charged_line(amount: int, net: int, taxes: Iterable[Sequence[Any]], credited: int) -> ChargedLine:
    """Return a line that was issued, so that it can be credited."""
    applied, amounts = [], []
    for code, category, percent, compound, reason, tax in taxes:
        applied.append(AppliedTax(code, TaxCategory(category), Decimal(percent), compound, reason))
        amounts.append(tax)
    return ChargedLine(tuple(applied), CreditedLine(amount, net, tuple(amounts), credited))
