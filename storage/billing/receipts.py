"""Receipts of payments: what came in, and what of it pays which documents.

Rule: a receipt has its number in the transaction of its payment, and says what the payment pays then.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.engine import Connection

from billing.digests import Said, digest
from billing.exchange import Foreign
from config import billing_terms
from domain.billing_terms import DocumentKind
from storage.billing import accounts, issuing, ledger, numbers
from storage.row_staging import copy

_DOCUMENT = (
    "id", "kind", "partner_id", "customer_id", "currency", "dated", "net", "tax", "gross", "open_amount", "series_id",
    "digest", "language", "frozen", "payment_id",
)  # fmt: skip


class Receipt(NamedTuple):
    """What a receipt says; `account` is the row of the account with its customer."""

    payment_id: int
    account: Any
    amount: int
    method: str
    reference: str
    foreign: Foreign | None


def store(connection: Connection, wanted: Sequence[Receipt], series: numbers.SeriesBook, today: date) -> None:
    """Store receipts, which `number` has to give their numbers in the same transaction."""
    payment_ids = [each.payment_id for each in wanted]
    paid, layers = _paid(connection, payment_ids), _layers(connection)
    ids = ledger.Ids(connection, "document_id", issuing.DOCUMENT_STEP, len(wanted))
    rows = [
        _row(id_, each, paid[each.payment_id], layers, _series(each, series), today)
        for id_, each in zip(ids, wanted, strict=False)
    ]
    copy(connection, "document", _DOCUMENT, rows)


def number(
    connection: Connection, wanted: Sequence[Receipt], series: numbers.SeriesBook, today: date
) -> dict[int, str]:
    """Give receipts their numbers, and return them by the ids of the payments.

    To be called last: who waits for the head of receipts holds that of invoices already, and never the reverse.
    """
    numbers.number_documents(connection, [_series(each, series) for each in wanted], today)
    payment_ids = [each.payment_id for each in wanted]
    given = connection.execute(
        text("SELECT payment_id, number FROM document WHERE payment_id = ANY(CAST(:ids AS bigint[]))"),
        {"ids": payment_ids},
    )
    return dict(map(tuple, given))


def _series(receipt: Receipt, series: numbers.SeriesBook) -> int:
    return series.id_of(receipt.account.partner_id, DocumentKind.RECEIPT)


def _paid(connection: Connection, payment_ids: Sequence[int]) -> dict[int, list[list[object]]]:
    """Return the numbers of the documents that payments pay, with the amounts."""
    found: dict[int, list[list[object]]] = defaultdict(list)
    rows = connection.execute(
        text("""SELECT a.payment_id, coalesce(d.number, CAST(d.id AS text)), sum(a.amount)::bigint
            FROM allocation AS a JOIN document AS d ON d.id = a.document_id
            WHERE a.payment_id = ANY(CAST(:ids AS bigint[])) GROUP BY a.payment_id, d.id ORDER BY d.due_on, d.id"""),
        {"ids": [*payment_ids]},
    )
    for payment_id, number, amount in rows:
        found[payment_id].append([number, amount])
    return found


def _layers(connection: Connection) -> dict[int, tuple[Any, Any]]:
    """Return what the ISP and its partners say of billing, by partner."""
    rows = connection.execute(text("SELECT r.id, i.billing, r.document FROM isp AS i CROSS JOIN partner AS r"))
    return {partner_id: (isp, partner) for partner_id, isp, partner in rows}


def _row(
    id_: int,
    each: Receipt,
    paid: Sequence[list[object]],
    layers: dict[int, tuple[Any, Any]],
    series_id: int,
    today: date,
) -> tuple[object, ...]:
    account, kind = each.account, DocumentKind.RECEIPT.value
    terms = billing_terms.resolve(*layers[account.partner_id], account.terms, currency=account.currency)
    frozen = {
        "seller": accounts.seller(terms),
        "buyer": {"login": account.login, "name": account.name, "email": account.email} | account.details,
        "payment": {
            "method": each.method,
            "reference": each.reference,
            "amount": each.amount,
            "pays": paid,
        }
        | ({} if each.foreign is None else {"foreign": [*each.foreign]}),
    }
    said = Said(
        kind, account.partner_id, account.customer_id, account.currency, today, None, each.amount, 0, each.amount,
        terms.language, frozen, payment_id=each.payment_id,
    )  # fmt: skip
    return (
        id_, kind, account.partner_id, account.customer_id, account.currency, today, each.amount, 0, each.amount, 0,
        series_id, digest(said), terms.language, frozen, each.payment_id,
    )  # fmt: skip
