"""What is taken from wallets day by day, and the documents of whole months that say so.

Rule: a day's charge is posted at once, with its lines and without a document; when a billing period is over its lines
become one document, which was paid already and posts nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

from sqlalchemy import text
from sqlalchemy.engine import Connection

from billing.cycle import monthly
from billing.digests import Said, SaidLine, digest
from billing.documents import DAILY_TRANSFER, Draft
from domain.billing_terms import BillingType, DocumentKind
from storage.billing import ledger, lines
from storage.billing.ledger import Ids
from storage.row_staging import copy

if TYPE_CHECKING:
    from storage.billing.accounts import Account
    from storage.billing.numbers import SeriesBook

DOCUMENT_STEP = 100


def charge(connection: Connection, drafts: Sequence[Draft], on: date, slot: int = 0) -> None:
    """Take what is due today from wallets."""
    lines.store(connection, [(None, each) for each in drafts])
    transfers = []
    for each in drafts:
        moved = each.transfer(0, on)
        if moved is not None:
            number = _charges_before(connection, each.customer_id, on)
            key = f"daily/{each.customer_id}/{on.isoformat()}/{number}"
            transfers.append(replace(moved, kind=DAILY_TRANSFER, key=key, document_id=None))
    ledger.post(connection, transfers, slot=slot)


def _charges_before(connection: Connection, customer_id: int, on: date) -> int:
    found = connection.scalar(
        text("SELECT count(*) FROM transfer WHERE customer_id = :customer AND posted_on = :on AND kind = :kind"),
        {"customer": customer_id, "on": on, "kind": DAILY_TRANSFER},
    )
    return int(found or 0)


def gather(connection: Connection, found: Sequence[Account], on: date, series: SeriesBook) -> None:
    """Make the documents of billing periods that are over, and of accounts that do not pay day by day any more."""
    periods = {
        account.customer_id: monthly(account.terms.billing_day).period(on).starts
        for account in found
        if account.terms.billing is BillingType.PREPAID_DAILY
    }
    periods |= dict.fromkeys(_left_over(connection, found), date.max)
    if not periods:
        return
    waiting: dict[int, list[Any]] = defaultdict(list)
    rows = connection.execute(
        text("""SELECT u.id AS payer, l.*
            FROM unnest(CAST(:ids AS bigint[]), CAST(:days AS date[])) AS u(id, before)
            JOIN customer AS c ON c.id = u.id OR c.payer_id = u.id
            JOIN document_line AS l ON l.customer_id = c.id AND l.document_id IS NULL AND l.starts < u.before
            -- What its own wallet has paid is told to a customer, also where somebody else pays by now.
            WHERE (l.starts >= coalesce(c.paid_since, '-infinity')) = (c.payer_id IS NOT DISTINCT FROM u.id)
                OR c.payer_id IS NULL
            ORDER BY l.id"""),
        {"ids": list(periods), "days": list(periods.values())},
    )
    for row in rows:
        waiting[row.payer].append(row)
    by_id = {account.customer_id: account for account in found}
    for customer_id, held in waiting.items():
        _issue(connection, by_id[customer_id], held, on, series)


def _left_over(connection: Connection, found: Sequence[Account]) -> set[int]:
    """Return the accounts that do not pay day by day, and have something of the time in which they did."""
    payers = {
        id_: account.customer_id
        for account in found
        if account.terms.billing is not BillingType.PREPAID_DAILY
        for id_ in (account.customer_id, *account.members)
    }
    rows = connection.scalars(
        text("""SELECT customer_id FROM document_line
            WHERE document_id IS NULL AND customer_id = ANY(CAST(:ids AS bigint[]))"""),
        {"ids": [*payers]},
    )
    return {payers[customer_id] for customer_id in rows}


def await_documents(connection: Connection, found: Sequence[Account], on: date) -> None:
    """Let accounts be billed when the period is over of which something was taken, also where nothing else is due."""
    periods = [
        (account.customer_id, monthly(account.terms.billing_day).next_begin(on))
        for account in found
        if account.terms.billing is BillingType.PREPAID_DAILY
    ]
    if periods:
        connection.execute(
            text("""UPDATE account AS a SET next_bill_on = least(a.next_bill_on, u.over)
                FROM unnest(CAST(:ids AS bigint[]), CAST(:days AS date[])) AS u(id, over)
                WHERE a.customer_id = u.id AND (a.next_bill_on IS NULL OR a.next_bill_on > u.over) AND EXISTS (
                    SELECT FROM customer AS c JOIN document_line AS l ON l.customer_id = c.id AND l.document_id IS NULL
                    WHERE c.id = u.id OR c.payer_id = u.id)"""),
            {"ids": [id_ for id_, _ in periods], "days": [day for _, day in periods]},
        )


def _issue(connection: Connection, account: Account, held: Sequence[Any], on: date, series: SeriesBook) -> None:
    net, tax = sum(row.net for row in held), sum(row.tax for row in held)
    sign = -1 if net + tax < 0 else 1
    kind = DocumentKind.CREDIT_NOTE if sign < 0 else DocumentKind.INVOICE
    rates: dict[tuple[str, str, str, str | None], list[int]] = defaultdict(lambda: [0, 0])
    for row in held:
        before = 0
        for code, category, percent, is_compound, reason, amount in row.taxes:
            rate = rates[code, category, percent, reason]
            rate[0] += sign * (row.net + (before if is_compound else 0))
            rate[1] += sign * amount
            before += amount
    frozen = {
        "seller": account.seller(),
        "buyer": account.buyer(),
        "taxes": [
            [code, category, percent, base, amount, reason]
            for (code, category, percent, reason), (base, amount) in rates.items()
        ],
    }
    gross = sign * (net + tax)
    (document_id,) = list(Ids(connection, "document_id", DOCUMENT_STEP, 1))[:1]
    said = Said(
        kind.value, account.partner_id, account.customer_id, account.terms.currency, on, None, sign * net, sign * tax,
        gross, account.terms.language, frozen,
    )  # fmt: skip
    copy(
        connection,
        "document",
        (
            "id", "kind", "partner_id", "customer_id", "currency", "dated", "net", "tax", "gross", "open_amount",
            "paid_at_once", "posted_daily", "series_id", "digest", "language", "frozen",
        ),
        [
            (
                document_id, kind.value, account.partner_id, account.customer_id, account.terms.currency, on,
                sign * net, sign * tax, gross, 0, gross, True, series.id_of(account.partner_id, kind),
                digest(said, map(_said, held)),
                account.terms.language, frozen,
            )
        ],
    )  # fmt: skip
    connection.execute(
        text("UPDATE document_line SET document_id = :document WHERE id = ANY(CAST(:ids AS bigint[]))"),
        {"document": document_id, "ids": [row.id for row in held]},
    )


def _said(row: Any) -> SaidLine:
    return SaidLine(
        row.text, row.starts, row.ends, row.quantity, row.unit_price, row.amount, row.net, row.tax, row.taxes,
        row.credits_line,
    )  # fmt: skip
