"""What the entries of the bank that are matched become: payments, some of them in one transaction.

Rule: a payment, its receipt, what it pays, the state of the lines, and the entry are one transaction. Whoever is ended
in between leaves matched entries, which the next one books.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.engine import Connection, Engine

from billing.bank_file import BankEntry
from billing.exchange import Foreign
from storage.billing import bank, clock, payments
from storage.billing.bank import BankEntryRefused
from storage.errors import OrderRefused

METHOD = "transfer"
BOOKING_LOCK = 7_021_953
"""The advisory lock of whoever books entries."""
MOST_TOGETHER = 100
"""Entries of one transaction: some tenths of a second, for which their accounts are held."""


class Assigned(NamedTuple):
    """An entry that was assigned: its amount, and the payment that it made."""

    amount: int
    payment: payments.Booked


class Booked(NamedTuple):
    """An entry that was tried; `state` is booked, or open with its reason."""

    id: int
    state: str
    why: str


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
        if alone:
            yield from book_each(engine, waiting(engine))


def book_each(engine: Engine, entry_ids: Sequence[int], made_by: str = "") -> Iterator[Booked]:
    """Book entries, in their order; yield what became of each.

    Neighbours of different customers are one transaction; where one of them is refused, each has its own.
    """
    for run in _runs(engine, entry_ids):
        yield from _book_run(engine, run, made_by)


def _runs(engine: Engine, entry_ids: Sequence[int]) -> Iterator[list[int]]:
    """Divide entries into runs in which no customer is twice; what takes back a payment stands alone."""
    with engine.connect() as connection:
        rows = connection.execute(
            text("""SELECT id, customer_id FROM bank_entry WHERE id = ANY(CAST(:ids AS bigint[])) ORDER BY id"""),
            {"ids": [*entry_ids]},
        ).all()
    run: list[int] = []
    seen: set[int] = set()
    for entry_id, customer_id in rows:
        if customer_id is None or customer_id in seen or len(run) == MOST_TOGETHER:
            if run:
                yield run
            run, seen = [], set()
        if customer_id is None:
            yield [entry_id]
        else:
            run.append(entry_id)
            seen.add(customer_id)
    if run:
        yield run


def _book_run(engine: Engine, run: Sequence[int], made_by: str) -> Sequence[Booked]:
    if len(run) > 1:
        try:
            with engine.begin() as connection:
                return _book_together(connection, run, made_by)
        except OrderRefused:
            # Each by itself tells which of them it is.
            pass
    return [book(engine, entry_id, made_by) for entry_id in run]


def _book_together(connection: Connection, run: Sequence[int], made_by: str) -> list[Booked]:
    rows = connection.execute(
        text("SELECT * FROM bank_entry WHERE id = ANY(CAST(:ids AS bigint[])) ORDER BY id FOR UPDATE"), {"ids": [*run]}
    ).all()
    fresh = [row for row in rows if row.state == "matched"]
    currencies = _currencies(connection, [row.customer_id for row in fresh])
    orders = [
        _order(row, row.customer_id, currencies.get(row.customer_id), row.entry.get("documents", ()), made_by)
        for row in fresh
    ]
    paid = payments.add_each(connection, orders, clock.today(connection)) if orders else []
    connection.execute(
        text("""UPDATE bank_entry AS b SET state = 'booked', payment_id = u.payment
            FROM unnest(CAST(:ids AS bigint[]), CAST(:payments AS bigint[])) AS u(id, payment) WHERE b.id = u.id"""),
        {"ids": [row.id for row in fresh], "payments": [each.id for each in paid]},
    )
    return [Booked(row.id, "booked" if row.state == "matched" else row.state, row.why) for row in rows]


def book(engine: Engine, entry_id: int, made_by: str = "") -> Booked:
    """Book an entry, or tell what another made of it. One that is refused stays open, with the reason."""
    try:
        with engine.begin() as connection:
            row = bank.locked(connection, entry_id)
            if row.state != "matched":
                return Booked(entry_id, row.state, row.why)
            return _booked(connection, row, made_by)
    except OrderRefused as refused:
        with engine.begin() as connection:
            why = str(refused)
            bank.set_state(connection, entry_id, "open", why, only="matched")
        return Booked(entry_id, "open", why)


def _booked(connection: Connection, row: Any, made_by: str) -> Booked:
    today = clock.today(connection)
    if row.amount < 0:
        payment_id = _named_by_reversal(connection, row)
        payments.give_back(connection, payment_id, None, f"bank/{row.id}", today, is_reversal=True)
        why = f"took back payment {payment_id}"
    else:
        currency = _currencies(connection, [row.customer_id]).get(row.customer_id)
        order = _order(row, row.customer_id, currency, row.entry.get("documents", ()), made_by)
        payment_id, why = payments.add(connection, order, today).id, row.why
    bank.set_state(connection, row.id, "booked", why, payment_id)
    return Booked(row.id, "booked", why)


def _order(row: Any, customer_id: int, currency: str | None, documents: Sequence[int], made_by: str) -> payments.Order:
    """Return an entry as the payment of a customer whose account is in `currency`. Raise BankEntryRefused."""
    if currency is not None and currency != row.currency:
        raise BankEntryRefused(
            f"is in {row.currency}, and the customer's account in {currency}: assign it with --rate or --worth"
        )
    return payments.Order(
        customer_id,
        row.amount,
        METHOD,
        f"bank/{row.id}",
        row.entry.get("text", "") or ", ".join(row.entry.get("references", ())),
        documents,
        made_by,
    )


def _currencies(connection: Connection, customer_ids: Sequence[int]) -> dict[int, str]:
    rows = connection.execute(
        text("SELECT customer_id, currency FROM account WHERE customer_id = ANY(CAST(:ids AS bigint[]))"),
        {"ids": [*customer_ids]},
    )
    return dict(map(tuple, rows))


def _named_by_reversal(connection: Connection, row: Any) -> int:
    """Return the payment that a reversal takes back: the one that was collected under its name. Raise OrderRefused."""
    found = [
        *connection.scalars(
            text("""SELECT DISTINCT p.id FROM bank_entry AS b JOIN payment AS p ON p.id = b.payment_id
                WHERE b.entry ->> 'end_to_end' = :name AND b.payment_id IS NOT NULL AND b.amount > 0
                    AND coalesce(b.entry ->> 'account', '') = :account AND NOT p.reversed
                    AND ((p.amount - p.refunded = :amount AND p.currency = :currency)
                        OR (b.amount = :amount AND b.currency = :currency AND p.refunded = 0))"""),
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
    named = [claim.document_id for each in bank.claims_of(connection, [entry]).values() for claim in each]
    return [
        *connection.scalars(
            text("""SELECT DISTINCT p.id FROM allocation AS a JOIN payment AS p ON p.id = a.payment_id
                WHERE a.document_id = ANY(CAST(:documents AS bigint[])) AND a.amount > 0 AND p.method = :method
                    AND NOT p.reversed AND p.amount - p.refunded = :amount AND p.currency = :currency"""),
            {"documents": named, "method": METHOD, "amount": -row.amount, "currency": row.currency},
        )
    ]


def money_of(connection: Connection, entry_id: int) -> tuple[int, str]:
    """Return the amount of an entry that can still be assigned, and its currency. Raise BankEntryRefused."""
    row = bank.unsettled(connection, entry_id)
    if row.amount <= 0 or row.entry.get("is_reversal"):
        raise BankEntryRefused(f"entry {entry_id} is no payment of a customer: it {row.why}; ignore it with a reason")
    return row.amount, row.currency


def assign(
    connection: Connection,
    entry_id: int,
    customer_id: int,
    documents: Sequence[int],
    made_by: str,
    worth: int | None = None,
) -> Assigned:
    """Book an entry that was open as a payment of a customer; what is in another currency as `worth` of the account's.

    Raise BankEntryRefused or PaymentError.
    """
    amount, currency = money_of(connection, entry_id)
    row, foreign = bank.locked(connection, entry_id), None if worth is None else Foreign(amount, currency)
    theirs = currency if foreign else _currencies(connection, [customer_id]).get(customer_id)
    order = replace(_order(row, customer_id, theirs, documents, made_by), amount=worth or amount, foreign=foreign)
    paid = payments.add(connection, order, clock.today(connection))
    bank.set_state(connection, entry_id, "booked", f"assigned by {made_by or 'an operator'}", paid.id)
    return Assigned(order.amount, paid)
