"""Series of documents, and the numbers that they give.

Rule: a number is given in a short transaction at the end, under the lock of its series, to what was posted before; the
documents of a series get them in the order of their ids. So there is no gap, whoever is killed when.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from sqlalchemy import text
from sqlalchemy.engine import Connection, Engine

from billing.numbering import DEFAULT_SERIES, FIRST_HASH, SeriesState, Unnumbered, assign
from config import billing_terms
from domain.billing_terms import DocumentKind, SeriesTerms

PER_TRANSACTION = 2_000
"""Documents that are numbered at a time: some tenths of a second under the lock of their series."""


class SeriesBook:
    """The series of all partners, opened with what their terms say, in a transaction that is to be committed."""

    def __init__(self, connection: Connection) -> None:
        self._ids: dict[tuple[int, DocumentKind], int] = {}
        for partner_id in connection.scalars(text("SELECT id FROM partner ORDER BY id")).all():
            self._ids |= _of_partner(connection, partner_id)

    def id_of(self, partner_id: int, kind: DocumentKind) -> int:
        """Return the id of a series."""
        return self._ids[partner_id, kind]


class SeriesOnDemand(SeriesBook):
    """The same for the present transaction alone: those of a partner are opened when one is asked for."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._ids = {}

    def id_of(self, partner_id: int, kind: DocumentKind) -> int:
        """Return the id of a series."""
        if (partner_id, kind) not in self._ids:
            self._ids |= _of_partner(self._connection, partner_id)
        return self._ids[partner_id, kind]


def _of_partner(connection: Connection, partner_id: int) -> dict[tuple[int, DocumentKind], int]:
    """Return the series of a partner, opened and changed to what its terms say, always in the same order.

    What is as it should be is not written, so that nobody waits for it.
    """
    wanted = terms_of(connection, partner_id)
    rows = connection.execute(
        text("SELECT id, kind, pattern, reset FROM series WHERE partner_id = :id"), {"id": partner_id}
    )
    found = {DocumentKind(row.kind): row for row in rows}
    ids = {}
    for kind, terms in wanted.items():
        row = found.get(kind)
        is_right = row is not None and (row.pattern, row.reset) == (terms.pattern, terms.reset)
        ids[partner_id, kind] = row.id if row is not None and is_right else _open(connection, partner_id, kind, terms)
    return ids


def _open(connection: Connection, partner_id: int, kind: DocumentKind, terms: SeriesTerms) -> int:
    return int(
        connection.execute(
            text("""INSERT INTO series AS s (partner_id, kind, pattern, reset)
                VALUES (:partner, :kind, :pattern, :reset)
                ON CONFLICT (partner_id, kind) DO UPDATE SET pattern = excluded.pattern, reset = excluded.reset
                RETURNING id"""),
            {"partner": partner_id, "kind": kind.value, "pattern": terms.pattern, "reset": terms.reset},
        ).scalar_one()
    )


def terms_of(connection: Connection, partner_id: int) -> dict[DocumentKind, SeriesTerms]:
    """Return how a partner's numbers are written, by kind."""
    row = connection.execute(
        text("SELECT i.billing, r.document, i.currency FROM isp AS i CROSS JOIN partner AS r WHERE r.id = :id"),
        {"id": partner_id},
    ).one()
    said = billing_terms.resolve(row.billing, row.document, currency=row.currency).series
    return {kind: said.get(kind.value) or DEFAULT_SERIES[kind] for kind in DocumentKind}


def number_waiting(engine: Engine, on: date) -> int:
    """Give numbers to all documents that wait for one; return how many. `on` is the day of issue."""
    with engine.connect() as connection:
        with connection.begin():
            waiting = list(
                connection.scalars(
                    text("SELECT DISTINCT series_id FROM document WHERE number IS NULL AND series_id IS NOT NULL")
                )
            )
        total = 0
        for series_id in sorted(waiting):
            while True:
                with connection.begin():
                    numbered = number_some(connection, series_id, on)
                total += numbered
                if numbered < PER_TRANSACTION:
                    break
    return total


def number_documents(connection: Connection, series_ids: Iterable[int], on: date) -> None:
    """Number what waits in some series within the present transaction."""
    for series_id in sorted(set(series_ids)):
        while number_some(connection, series_id, on) == PER_TRANSACTION:
            pass


def number_some(connection: Connection, series_id: int, on: date) -> int:
    """Number the oldest documents of a series that wait; the date of issue never falls behind the one before."""
    head = connection.execute(
        text("""INSERT INTO series_head AS h (series_id, last_hash, last_on, documents)
            VALUES (:series, :first, :on, 0) ON CONFLICT (series_id) DO UPDATE SET documents = h.documents
            RETURNING last_hash, last_on, documents"""),
        {"series": series_id, "first": FIRST_HASH, "on": on},
    ).one()
    rows = connection.execute(
        text(f"""SELECT id, customer_id, digest FROM document WHERE series_id = :series AND number IS NULL
            ORDER BY id LIMIT {PER_TRANSACTION}"""),
        {"series": series_id},
    ).all()
    if not rows:
        return 0
    day = max(on, head.last_on)
    terms = connection.execute(text("SELECT pattern, reset FROM series WHERE id = :id"), {"id": series_id}).one()
    counters = connection.execute(
        text("SELECT period, last_number FROM series_counter WHERE series_id = :id"), {"id": series_id}
    )
    before = dict(map(tuple, counters))
    state = SeriesState(SeriesTerms(*terms), dict(before), bytes(head.last_hash), head.documents)
    numbered = list(assign(state, [Unnumbered(row.id, row.customer_id, bytes(row.digest)) for row in rows], day))
    connection.execute(
        text("""UPDATE document AS d SET number = u.number, position = u.position, hash = u.hash, issued_on = :on
            FROM unnest(CAST(:ids AS bigint[]), CAST(:numbers AS text[]), CAST(:positions AS bigint[]),
                CAST(:hashes AS bytea[])) AS u(id, number, position, hash) WHERE d.id = u.id"""),
        {
            "on": day,
            "ids": [each.id for each in numbered],
            "numbers": [each.number for each in numbered],
            "positions": [each.position for each in numbered],
            "hashes": [each.hash for each in numbered],
        },
    )
    moved = {period: last for period, last in state.counters.items() if before.get(period) != last}
    connection.execute(
        text("""INSERT INTO series_counter (series_id, period, last_number)
            SELECT :series, period, last FROM unnest(CAST(:periods AS text[]), CAST(:lasts AS bigint[]))
                AS u(period, last)
            ON CONFLICT (series_id, period) DO UPDATE SET last_number = excluded.last_number"""),
        {"series": series_id, "periods": list(moved), "lasts": list(moved.values())},
    )
    connection.execute(
        text("UPDATE series_head SET last_hash = :hash, last_on = :on, documents = :n WHERE series_id = :series"),
        {"hash": state.last_hash, "on": day, "n": state.documents, "series": series_id},
    )
    return len(numbered)
