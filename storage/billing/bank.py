"""Entries of the bank: taken in with their file, matched, listed, and ignored by operators.

Rule: a file is taken whole in one transaction, an entry once for ever by its key. What is matched waits for
`storage.billing.bank_booking`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import RowMapping, text
from sqlalchemy.engine import Connection

from billing.bank_file import BankEntry, keys
from billing.bank_matching import Claim, Match, Payer, compact, logins, match, numbers, words
from config import billing_terms
from domain.bank import BankCsv
from storage.errors import OrderRefused

PAID_OUT = "was paid out"


class BankEntryRefused(OrderRefused):
    """An entry of the bank cannot be assigned or ignored so."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A new entry of a file, and what becomes of it."""

    entry: BankEntry
    key: bytes
    state: str
    found: Match


@dataclass(frozen=True, slots=True)
class Intake:
    """What a file brought: entries that are new, and how many were known."""

    new: tuple[Taken, ...]
    known: int


def csv_form(connection: Connection) -> tuple[BankCsv, str]:
    """Return how the ISP's bank writes CSV, and the ISP's currency."""
    row = connection.execute(text("SELECT billing, currency FROM isp")).one()
    return billing_terms.resolve(row.billing, currency=row.currency).bank, row.currency


def take(connection: Connection, file: str, entries: Sequence[BankEntry], *, dry_run: bool = False) -> Intake:
    """Match the entries of a file that are new, and store them; a dry run stores nothing."""
    by_key = dict(zip(keys(entries), entries, strict=True))
    known = set(
        connection.scalars(
            text("SELECT key FROM bank_entry WHERE key = ANY(CAST(:keys AS bytea[]))"), {"keys": [*by_key]}
        ).all()
    )
    known = {bytes(key) for key in known}
    fresh = {key: entry for key, entry in by_key.items() if key not in known}
    claims, payers = claims_of(connection, [*fresh.values()]), _payers(connection, [*fresh.values()])
    new = [Taken(entry, key, *_judged(entry, claims, payers)) for key, entry in fresh.items()]
    if not dry_run:
        stored = _store(connection, file, new)
        new = [each for each in new if each.key in stored]
    return Intake(tuple(new), len(entries) - len(new))


def _judged(entry: BankEntry, claims: dict[str, list[Claim]], payers: dict[str, list[Payer]]) -> tuple[str, Match]:
    """Return the state in which an entry begins, and why."""
    if entry.is_reversal and entry.amount < 0:
        return "matched", Match(None, (), "takes back a payment")
    if entry.is_reversal:
        return "open", Match(None, (), "gives back what was paid out")
    if entry.amount <= 0:
        return "ignored", Match(None, (), PAID_OUT)
    found = match(entry, claims, payers)
    return ("open" if found.customer_id is None else "matched"), found


def _store(connection: Connection, file: str, new: Sequence[Taken]) -> set[bytes]:
    """Insert entries in their order; return the keys of those that nobody inserted meanwhile."""
    stored = connection.scalars(
        text("""INSERT INTO bank_entry (key, file, entry, booked_on, amount, currency, customer_id, state, why)
            SELECT key, :file, CAST(entry AS jsonb), booked_on, amount, currency, customer_id, state, why
            FROM unnest(CAST(:keys AS bytea[]), CAST(:entries AS text[]), CAST(:days AS date[]),
                CAST(:amounts AS bigint[]), CAST(:currencies AS text[]), CAST(:customers AS bigint[]),
                CAST(:states AS text[]), CAST(:reasons AS text[])) WITH ORDINALITY
                AS u(key, entry, booked_on, amount, currency, customer_id, state, why, place)
            ORDER BY place ON CONFLICT (key) DO NOTHING RETURNING key"""),
        {
            "file": file,
            "keys": [each.key for each in new],
            "entries": [_document(each) for each in new],
            "days": [each.entry.booked_on for each in new],
            "amounts": [each.entry.amount for each in new],
            "currencies": [each.entry.currency for each in new],
            "customers": [each.found.customer_id for each in new],
            "states": [each.state for each in new],
            "reasons": [each.found.why for each in new],
        },
    )
    return {bytes(key) for key in stored}


def _document(taken: Taken) -> str:
    document = {name: value for name, value in asdict(taken.entry).items() if value}
    for column in ("booked_on", "amount", "currency"):
        document.pop(column, None)
    return json.dumps(document | {"documents": taken.found.document_ids}, ensure_ascii=False)


def claims_of(connection: Connection, entries: Sequence[BankEntry]) -> dict[str, list[Claim]]:
    """Return the invoices that entries may name: the open ones however written, the others as they are numbered."""
    found: dict[str, list[Claim]] = {}
    parameters = {
        "compact": sorted({number for entry in entries for number in numbers(entry)}),
        "words": sorted({word for entry in entries for word in words(entry)}),
    }
    for row in connection.execute(text(_CLAIMS), parameters):
        found.setdefault(compact(row.number), []).append(Claim(*row))
    return found


def _payers(connection: Connection, entries: Sequence[BankEntry]) -> dict[str, list[Payer]]:
    """Return who pays for the logins that entries may name."""
    found: dict[str, list[Payer]] = {}
    rows = connection.execute(
        text("""SELECT lower(c.login) AS login, p.id, p.login AS payer FROM customer AS c
            JOIN customer AS p ON p.id = coalesce(c.payer_id, c.id)
            WHERE lower(c.login) = ANY(CAST(:logins AS text[])) ORDER BY c.login"""),
        {"logins": sorted({login for entry in entries for login in logins(entry)})},
    )
    for row in rows:
        found.setdefault(row.login, []).append(Payer(row.id, row.payer))
    return found


def ignore(connection: Connection, entry_id: int, reason: str) -> None:
    """Leave an open entry unbooked for a reason. Raise BankEntryRefused."""
    unsettled(connection, entry_id)
    set_state(connection, entry_id, "ignored", reason)


def unsettled(connection: Connection, entry_id: int) -> Any:
    """Return and lock an entry that is open or ignored. Raise BankEntryRefused."""
    row = locked(connection, entry_id)
    if row is None:
        raise BankEntryRefused(f"there is no entry {entry_id} of the bank; see `caudal bank list`")
    if row.state in ("matched", "booked"):
        done = "is being booked" if row.state == "matched" else f"was booked as payment {row.payment_id}"
        raise BankEntryRefused(f"entry {entry_id} {done}; see `caudal payment reverse`")
    return row


def locked(connection: Connection, entry_id: int) -> Any:
    """Return and lock an entry."""
    query = text("SELECT * FROM bank_entry WHERE id = :id FOR UPDATE")
    return connection.execute(query, {"id": entry_id}).one_or_none()


def set_state(
    connection: Connection,
    entry_id: int,
    state: str,
    why: str,
    payment_id: int | None = None,
    *,
    only: str | None = None,
) -> None:
    """Say what became of an entry; `only`: if it was in that state."""
    connection.execute(
        text("""UPDATE bank_entry SET state = :state, why = :why, payment_id = coalesce(:payment, payment_id),
                customer_id = coalesce((SELECT customer_id FROM payment AS p WHERE p.id = :payment), customer_id)
            WHERE id = :id AND (CAST(:only AS text) IS NULL OR state = :only)"""),
        {"state": state, "why": why, "payment": payment_id, "id": entry_id, "only": only},
    )


def entries(connection: Connection, *, state: str | None, before: int | None, limit: int) -> Sequence[RowMapping]:
    """Return entries, the newest first."""
    return (
        connection.execute(
            text("""SELECT b.id, b.file, b.booked_on, b.amount, b.currency, b.state, b.why, b.payment_id,
                    c.login AS customer, b.entry
                FROM bank_entry AS b LEFT JOIN customer AS c ON c.id = b.customer_id
                WHERE (CAST(:state AS text) IS NULL OR b.state = :state)
                    AND (CAST(:before AS bigint) IS NULL OR b.id < :before)
                ORDER BY b.id DESC LIMIT :limit"""),
            {"state": state, "before": before, "limit": limit},
        )
        .mappings()
        .all()
    )


_CLAIM = """d.id, d.customer_id, c.login, d.number, d.open_amount FROM document AS d
        JOIN customer AS c ON c.id = d.customer_id"""
_CLAIMS = f"""SELECT {_CLAIM}
    WHERE d.kind IN ('invoice', 'proforma') AND d.open_amount > 0 AND d.number IS NOT NULL
        AND upper(regexp_replace(d.number, '[^A-Za-z0-9]', '', 'g')) = ANY(CAST(:compact AS text[]))
    UNION SELECT d.id, d.customer_id, c.login, d.number, d.open_amount
    FROM unnest(CAST(:words AS text[])) AS w(number) JOIN series AS s ON s.kind IN ('invoice', 'proforma')
        JOIN document AS d ON d.series_id = s.id AND d.number = w.number
        JOIN customer AS c ON c.id = d.customer_id
    ORDER BY 1"""
