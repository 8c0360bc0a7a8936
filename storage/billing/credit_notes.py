"""Credit notes by hand: what an operator takes back of a line, outside of any history.

Rule: a credit takes its share of the line's tax, never exceeds what is left of the line, nor what its discounts have
left of it, and is remembered on it, so that what history takes back later does not take it twice. It is given to
whoever was billed the line, also where somebody else pays by now. One key is one credit note.
"""

from __future__ import annotations

from datetime import date

from sqlalchemy import text
from sqlalchemy.engine import Connection

from billing.claims import Key
from billing.cycle import Period
from billing.documents import assemble
from billing.generation import Line
from domain.billing_terms import DocumentKind
from storage.billing import accounts, allocations, drafting, gate, issuing, ledger, numbers, run
from storage.billing.lines import charged_line
from storage.errors import OrderRefused


class CreditRefused(OrderRefused):
    """A line cannot be credited so."""


def credit(connection: Connection, line_id: int, amount: int | None, key: str, today: date, reason: str = "") -> str:
    """Credit a line (None: all that is left), and return the number of the credit note. Raise CreditRefused.

    The amount is as the line's price was stated, with or without tax.
    """
    row = connection.execute(text(_LINE), {"id": line_id}).mappings().one_or_none()
    if row is None or row["kind"] != "invoice" or row["credits_line"] is not None or row["amount"] <= 0:
        raise CreditRefused(f"{line_id} is no charge of an invoice; see `caudal invoice show`")
    connection.execute(text("SELECT FROM account WHERE customer_id = :id FOR UPDATE"), {"id": row["billed"]})
    known = connection.scalar(text("SELECT number FROM document WHERE key = :key"), {"key": key})
    if known is not None:
        return str(known)
    row = connection.execute(text(_LINE), {"id": line_id}).mappings().one()
    left = max(0, min(row["amount"] - row["credited"], row["of_sale"], row["of_document"]))
    taken = left if amount is None else amount
    if not 0 < taken <= left:
        raise CreditRefused(f"of line {line_id} {left} minor units are left to credit, not {taken}")
    ledger.require_open(connection, today)
    catalogue, series = accounts.Catalogue.read(connection), numbers.SeriesBook(connection)
    (account,) = accounts.load(connection, [row["billed"]], today, catalogue)
    line = Line(
        row["customer_id"], None, Key(f"credit-{line_id}", row["rate"]),
        Period(row["period_starts"], row["period_ends"]), Period(row["starts"], row["ends"]), -taken,
        row["product_id"], row["unit_price"], row["quantity"], (), row["includes_tax"], line_id,
    )  # fmt: skip
    charged = {line_id: charged_line(row["amount"], row["net"], row["taxes"], row["credited"])}
    draft = assemble(
        [line],
        account.terms,
        catalogue.products,
        catalogue.applied,
        charged,
        customer_id=account.customer_id,
        partner_id=account.partner_id,
        dated=today,
    )
    draft.lines = [each._replace(text=f"{each.text}: {reason}") if reason else each for each in draft.lines]
    draft.credits_document, draft.key = row["document_id"], key
    draft.frozen = drafting.frozen(account, draft)
    (document_id,) = issuing.issue(connection, [draft], today, series)
    allocations.use_credit(connection, [account.customer_id])
    run.settle(connection, account.customer_id, today, series)
    connection.execute(
        text("UPDATE document_line SET adjusted = adjusted - :taken WHERE id = :id"), {"taken": taken, "id": line_id}
    )
    numbers.number_documents(connection, [series.id_of(account.partner_id, DocumentKind.CREDIT_NOTE)], today)
    if account.terms.billing.is_prepaid:
        # It may pay a line that rests.
        run.bill_one(connection, account.customer_id, today)
    gate.reassess(connection, [account.customer_id], today)
    return str(connection.execute(text("SELECT number FROM document WHERE id = :id"), {"id": document_id}).scalar_one())


_CREDITS = """coalesce((SELECT sum(k.amount) FROM document_line AS k
        WHERE k.credits_line = {line}.id AND k.subscription_id IS NOT NULL), 0)"""
_LINE = f"""SELECT l.*, d.kind, d.customer_id AS billed,
        (-l.adjusted - {_CREDITS.format(line="l")})::bigint AS credited,
        coalesce(o.of_sale, l.amount)::bigint AS of_sale, o.of_document::bigint
    FROM document_line AS l JOIN document AS d ON d.id = l.document_id CROSS JOIN LATERAL (
        SELECT sum(left_of_it) AS of_document,
            sum(left_of_it) FILTER (WHERE subscription_id = l.subscription_id) AS of_sale
        FROM (SELECT o.subscription_id, o.amount + o.adjusted + {_CREDITS.format(line="o")} AS left_of_it
            FROM document_line AS o WHERE o.document_id = l.document_id AND o.credits_line IS NULL
                AND o.includes_tax = l.includes_tax) AS each
    ) AS o WHERE l.id = :id"""
"""A line with what is left of it, and of all that was charged with it: discounts have taken from that."""
