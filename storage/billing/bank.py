"""Entries of the bank: taken in with their file, matched, booked as payments, and what operators say of the others.

Rule: a file is taken whole in one transaction, an entry once for ever by its key. Each that is matched is then booked
in a transaction of its own: the payment, its receipt, what it pays, the state of the lines, and the entry. Whoever is
ended in between leaves matched entries, which the next one books.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any, NamedTuple

from sqlalchemy import RowMapping, text
from sqlalchemy.engine import Connection, Engine

from billing.bank_file import BankEntry, keys
from billing.bank_matching import Claim, Match, Payer, compact, logins, match, numbers, words
from config import billing_terms
from domain.bank import BankCsv
from storage.billing import clock, payments
from storage.errors import OrderRefused

METHOD = "transfer"
BOOKING_LOCK = 7_021_953
"""The advisory lock of whoever books entries."""
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


class Assigned(NamedTuple):
    """An entry that was assigned: its amount, and the payment that it made."""

    amount: int
    payment: payments.Booked


class Booked(NamedTuple):
    """An entry that was tried; `state` is booked, or open with its reason."""

    id: int
    state: str
    why: str


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
    claims, payers = _claims(connection, [*fresh.values()]), _payers(connection, [*fresh.values()])
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


def _claims(connection: Connection, entries: Sequence[BankEntry]) -> dict[str, list[Claim]]:
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


def waiting(engine: Engine) -> list[int]:
    """Return the entries that are matched and not booked, in the order in which they came."""
    with engine.connect() as connection:
        return [*connection.scalars(text("SELECT id FROM bank_entry WHERE state = 'matched' ORDER BY id"))]


def numbers_of(engine: Engine, wanted: Sequence[bytes]) -> list[tuple[int, bytes]]:
    """Return the numbers of entries with their keys, in the order in which they came."""
    with engine.connect() as connection:
        rows = connection.execute(
            text("SELECT id, key FROM bank_entry WHERE key = ANY(CAST(:keys AS bytea[])) ORDER BY id"),
            {"keys": [*wanted]},
        )
        return [(row.id, bytes(row.key)) for row in rows]


@contextmanager
def booking(engine: Engine) -> Iterator[bool]:
    """Tell whether nobody else books entries meanwhile: two at once are right, and only in each other's way."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        alone = bool(connection.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": BOOKING_LOCK}))
        try:
            yield alone
        finally:
            if alone:
                connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": BOOKING_LOCK})


def book_waiting(engine: Engine) -> Iterator[Booked]:
    """Book what an interrupted import left matched, unless somebody books; yield what became of each entry."""
    with booking(engine) as alone:
        for entry_id in waiting(engine) if alone else ():
            yield book(engine, entry_id)


def book(engine: Engine, entry_id: int, made_by: str = "") -> Booked:
    """Book an entry, or tell what another made of it. One that is refused stays open, with the reason."""
    try:
        with engine.begin() as connection:
            row = _locked(connection, entry_id)
            if row.state != "matched":
                return Booked(entry_id, row.state, row.why)
            return _booked(connection, row, made_by)
    except OrderRefused as refused:
        with engine.begin() as connection:
            why = str(refused)
            _set(connection, entry_id, "open", why, only="matched")
        return Booked(entry_id, "open", why)


def _booked(connection: Connection, row: Any, made_by: str) -> Booked:
    today = clock.today(connection)
    if row.amount < 0:
        payment_id = _named_by_reversal(connection, row)
        payments.give_back(connection, payment_id, -row.amount, f"bank/{row.id}", today, is_reversal=True)
        why = f"took back payment {payment_id}"
    else:
        documents = row.entry.get("documents", ())
        payment_id, why = _pay(connection, row, row.customer_id, documents, today, made_by).id, row.why
    _set(connection, row.id, "booked", why, payment_id)
    return Booked(row.id, "booked", why)


def _pay(
    connection: Connection, row: Any, customer_id: int, documents: Sequence[int], today: date, made_by: str
) -> payments.Booked:
    currency = connection.scalar(text("SELECT currency FROM account WHERE customer_id = :id"), {"id": customer_id})
    if currency is not None and currency != row.currency:
        raise BankEntryRefused(f"is in {row.currency}, and the customer's account in {currency}")
    order = payments.Order(
        customer_id,
        row.amount,
        METHOD,
        f"bank/{row.id}",
        row.entry.get("text", "") or ", ".join(row.entry.get("references", ())),
        documents,
        made_by,
    )
    return payments.add(connection, order, today)


def _named_by_reversal(connection: Connection, row: Any) -> int:
    """Return the payment that a reversal takes back: the one that was collected under its name. Raise OrderRefused."""
    found = [
        *connection.scalars(
            text("""SELECT DISTINCT p.id FROM bank_entry AS b JOIN payment AS p ON p.id = b.payment_id
                WHERE b.entry ->> 'end_to_end' = :name AND b.payment_id IS NOT NULL AND b.amount > 0
                    AND coalesce(b.entry ->> 'account', '') = :account AND NOT p.reversed
                    AND p.amount - p.refunded = :amount AND p.currency = :currency"""),
            {
                "name": row.entry.get("end_to_end"),
                "account": row.entry.get("account", ""),
                "amount": -row.amount,
                "currency": row.currency,
            },
        )
    ]
    if not found:
        found = _paid_with(connection, row)
    if len(found) != 1:
        how_many = "several payments" if found else "no payment of this amount that was not given back"
        raise BankEntryRefused(f"takes back a payment, and names {how_many}; see `caudal payment reverse`")
    return int(found[0])


def _paid_with(connection: Connection, row: Any) -> list[int]:
    """Return the transfers of a reversal's amount that paid an invoice which it names."""
    entry = BankEntry(
        0,
        row.booked_on,
        row.amount,
        row.currency,
        text=row.entry.get("text", ""),
        references=tuple(row.entry.get("references", ())),
        end_to_end=row.entry.get("end_to_end", ""),
    )
    named = [claim.document_id for each in _claims(connection, [entry]).values() for claim in each]
    return [
        *connection.scalars(
            text("""SELECT DISTINCT p.id FROM allocation AS a JOIN payment AS p ON p.id = a.payment_id
                WHERE a.document_id = ANY(CAST(:documents AS bigint[])) AND a.amount > 0 AND p.method = :method
                    AND NOT p.reversed AND p.amount - p.refunded = :amount AND p.currency = :currency"""),
            {"documents": named, "method": METHOD, "amount": -row.amount, "currency": row.currency},
        )
    ]


def assign(connection: Connection, entry_id: int, customer_id: int, documents: Sequence[int], made_by: str) -> Assigned:
    """Book an entry that was open as a payment of a customer. Raise BankEntryRefused or PaymentError."""
    row = _unsettled(connection, entry_id)
    if row.amount <= 0 or row.entry.get("is_reversal"):
        raise BankEntryRefused(f"entry {entry_id} is no payment of a customer: it {row.why}; ignore it with a reason")
    paid = _pay(connection, row, customer_id, documents, clock.today(connection), made_by)
    _set(connection, entry_id, "booked", f"assigned by {made_by or 'an operator'}", paid.id)
    return Assigned(row.amount, paid)


def ignore(connection: Connection, entry_id: int, reason: str) -> None:
    """Leave an open entry unbooked for a reason. Raise BankEntryRefused."""
    _unsettled(connection, entry_id)
    _set(connection, entry_id, "ignored", reason)


def _unsettled(connection: Connection, entry_id: int) -> Any:
    row = _locked(connection, entry_id)
    if row is None:
        raise BankEntryRefused(f"there is no entry {entry_id} of the bank; see `caudal bank list`")
    if row.state in ("matched", "booked"):
        done = "is being booked" if row.state == "matched" else f"was booked as payment {row.payment_id}"
        raise BankEntryRefused(f"entry {entry_id} {done}; see `caudal payment reverse`")
    return row


def _locked(connection: Connection, entry_id: int) -> Any:
    query = text("SELECT * FROM bank_entry WHERE id = :id FOR UPDATE")
    return connection.execute(query, {"id": entry_id}).one_or_none()


def _set(
    connection: Connection,
    entry_id: int,
    state: str,
    why: str,
    payment_id: int | None = None,
    *,
    only: str | None = None,
) -> None:
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
