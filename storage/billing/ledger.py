"""The ledger: transfers that are posted once, and the balances that move with them.

Rule: whoever posts holds the row of the customer's account, so that a balance that was read is still right when it is
moved. An account that everybody posts to has several slots: a writer that has one of its own waits for nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.engine import Connection, Engine

from billing.ledger import NOBODY, PER_CUSTOMER, AccountKind, LedgerAccount, Posting, Transfer, check
from storage.billing import book_checks
from storage.errors import OrderRefused
from storage.literals import integers
from storage.row_staging import copy

MOST_SLOTS = 16
ID_STEP = 100
"""How many ids of transfers one value of the sequence stands for."""

_TRANSFER = (
    "id", "posted_on", "kind", "partner_id", "customer_id", "document_id", "payment_id", "text", "key", "made_by",
)  # fmt: skip
_POSTING = ("transfer_id", "number", "ledger_account_id", "customer_id", "amount")


class BooksClosed(OrderRefused):
    """Something was to be posted on a day whose books are closed."""

    def __init__(self, day: date, through: date) -> None:
        super().__init__(f"the books are closed through {through}, so nothing can be posted on {day}; use a later day")
        self.through = through


class Difference(NamedTuple):
    """An account whose balance is not the sum of its postings, or a transfer that is not balanced."""

    what: str
    kept: int
    computed: int
    currency: str


@dataclass(frozen=True, slots=True)
class BalanceRow:
    """What an account sums to; `customers` counts those who have a part in it."""

    account: LedgerAccount
    amount: int
    customers: int


class Ids:
    """Numbers of a sequence whose values stand for many."""

    def __init__(self, connection: Connection, sequence: str, step: int, count: int) -> None:
        blocks = -(-count // step)
        self._firsts = list(
            connection.scalars(
                text(f"SELECT nextval('{sequence}') FROM generate_series(1, :blocks)"), {"blocks": blocks}
            )
        )
        self._step = step

    def __iter__(self) -> Iterator[int]:
        for first in self._firsts:
            yield from range(first, first + self._step)


def post(connection: Connection, transfers: Sequence[Transfer], *, slot: int = 0) -> list[int]:
    """Post new transfers and move the balances; return their ids, in order.

    `slot` is the writer's own in accounts that everybody posts to. Raise Unbalanced; a key that was used already ends
    the transaction.
    """
    if not transfers:
        return []
    accounts = account_ids(connection, {posting.account for each in transfers for posting in each.postings})
    numbers = Ids(connection, "transfer_id", ID_STEP, len(transfers))
    ids = [number for number, _ in zip(numbers, transfers, strict=False)]
    numbered = list(zip(ids, transfers, strict=True))
    copy(connection, "transfer", _TRANSFER, (_transfer_row(id_, check(each)) for id_, each in numbered))
    copy(
        connection,
        "posting",
        _POSTING,
        (
            (id_, number, accounts[posting.account], posting.customer_id, posting.amount)
            for id_, each in numbered
            for number, posting in enumerate(each.postings, 1)
        ),
    )
    _move(connection, (posting for each in transfers for posting in each.postings), accounts, slot % MOST_SLOTS)
    return ids


def _transfer_row(id_: int, each: Transfer) -> tuple[object, ...]:
    return (
        id_, each.posted_on, each.kind, each.partner_id, each.customer_id, each.document_id, each.payment_id,
        each.text, each.key, each.made_by,
    )  # fmt: skip


def _move(connection: Connection, postings: Iterable[Posting], accounts: dict[LedgerAccount, int], slot: int) -> None:
    sums: dict[tuple[int, int, int], int] = {}
    for posting in postings:
        own = posting.account.kind in PER_CUSTOMER
        place = (accounts[posting.account], posting.customer_id, 0 if own else slot)
        sums[place] = sums.get(place, 0) + posting.amount
    rows = sorted((*place, amount) for place, amount in sums.items())
    columns = ",".join(f"{integers([row[column] for row in rows])}::bigint[]" for column in range(4))
    # In the order of the key, so that two writers never wait for each other.
    connection.exec_driver_sql(f"""INSERT INTO balance AS b (ledger_account_id, customer_id, slot, amount)
        SELECT account, customer, slot, amount FROM unnest({columns}) AS u(account, customer, slot, amount)
        ORDER BY account, customer, slot
        ON CONFLICT (ledger_account_id, customer_id, slot) DO UPDATE SET amount = b.amount + excluded.amount""")


def account_ids(connection: Connection, wanted: set[LedgerAccount]) -> dict[LedgerAccount, int]:
    """Return the ids of accounts; those that are missing are opened."""
    found = _account_ids(connection)
    missing = sorted(wanted - found.keys(), key=lambda each: (each.kind.value, each.name, each.currency))
    if missing:
        connection.execute(
            text("""INSERT INTO ledger_account (kind, name, currency)
                SELECT * FROM unnest(CAST(:kinds AS text[]), CAST(:names AS text[]), CAST(:currencies AS text[]))
                ON CONFLICT DO NOTHING"""),
            {
                "kinds": [each.kind.value for each in missing],
                "names": [each.name for each in missing],
                "currencies": [each.currency for each in missing],
            },
        )
        found = _account_ids(connection)
    return found


def _account_ids(connection: Connection) -> dict[LedgerAccount, int]:
    rows = connection.execute(text("SELECT id, kind, name, currency FROM ledger_account"))
    return {LedgerAccount(AccountKind(kind), name, currency): id_ for id_, kind, name, currency in rows}


def balances(connection: Connection) -> list[BalanceRow]:
    """Return what every account sums to."""
    rows = connection.execute(
        text("""SELECT a.kind, a.name, a.currency, coalesce(sum(b.amount), 0)::bigint,
                count(*) FILTER (WHERE b.customer_id <> 0 AND b.amount <> 0)
            FROM ledger_account AS a LEFT JOIN balance AS b ON b.ledger_account_id = a.id
            GROUP BY a.id ORDER BY a.kind, a.name, a.currency""")
    )
    return [
        BalanceRow(LedgerAccount(AccountKind(kind), name, currency), amount, customers)
        for kind, name, currency, amount, customers in rows
    ]


def accounts(connection: Connection) -> list[dict[str, str]]:
    """Return the kind, name and currency of every account."""
    rows = connection.execute(text("SELECT kind, name, currency FROM ledger_account ORDER BY 1, 2, 3"))
    return [dict(row) for row in rows.mappings()]


def close_through(connection: Connection, day: date) -> None:
    """Let nothing more be posted on `day` or before. Raise BooksClosed where they are closed further already."""
    through = closed_through(connection)
    if through is not None and through > day:
        raise BooksClosed(day, through)
    connection.execute(text("UPDATE closed_books SET through = :day"), {"day": day})


def closed_through(connection: Connection) -> date | None:
    """Return until when the books are closed."""
    found: date | None = connection.scalar(text("SELECT through FROM closed_books"))
    return found


def require_open(connection: Connection, day: date) -> None:
    """Raise BooksClosed where nothing can be posted on a day any more."""
    through = closed_through(connection)
    if through is not None and day <= through:
        raise BooksClosed(day, through)


def check_books(engine: Engine) -> list[Difference]:
    """Compute everything anew, in one snapshot, and return what differs from what is kept."""
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection, connection.begin():
        return list(differences(connection))


def differences(connection: Connection) -> Iterator[Difference]:
    """Yield what differs, as the present transaction sees it."""
    yield from _unequal_balances(connection)
    yield from _unbalanced(connection)
    yield from _unequal_documents(connection)
    for query in book_checks.QUERIES:
        for row in connection.execute(text(query)):
            yield Difference(*row)


def _unequal_balances(connection: Connection) -> Iterator[Difference]:
    rows = connection.execute(
        text("""SELECT a.kind, a.name, a.currency, customer_id, coalesce(kept, 0)::bigint, coalesce(computed, 0)::bigint
            FROM (SELECT ledger_account_id, customer_id, sum(amount) AS kept FROM balance GROUP BY 1, 2) AS b
            FULL JOIN (SELECT ledger_account_id, customer_id, sum(amount) AS computed FROM posting GROUP BY 1, 2) AS p
                USING (ledger_account_id, customer_id)
            JOIN ledger_account AS a ON a.id = ledger_account_id
            WHERE coalesce(kept, 0) <> coalesce(computed, 0) ORDER BY 1, 2, 4""")
    )
    for kind, name, currency, customer, kept, computed in rows:
        whose = f" of customer {customer}" if customer != NOBODY else ""
        yield Difference(f"balance {kind} {name}".rstrip() + whose, kept, computed, currency)


def _unbalanced(connection: Connection) -> Iterator[Difference]:
    rows = connection.execute(
        text("""SELECT t.id, a.currency, sum(p.amount)::bigint FROM transfer AS t
            JOIN posting AS p ON p.transfer_id = t.id JOIN ledger_account AS a ON a.id = p.ledger_account_id
            GROUP BY t.id, a.currency HAVING sum(p.amount) <> 0 ORDER BY t.id""")
    )
    for transfer, currency, amount in rows:
        yield Difference(f"transfer {transfer}", 0, amount, currency)


def _unequal_documents(connection: Connection) -> Iterator[Difference]:
    """Yield documents that differ from their lines, or from what was posted for them, or whose open amount is wrong."""
    rows = connection.execute(
        text("""SELECT d.id, d.currency, d.gross, coalesce(l.gross, 0)::bigint FROM document AS d
            LEFT JOIN (SELECT document_id, sum(net + tax) AS gross FROM document_line GROUP BY 1) AS l
                ON l.document_id = d.id
            WHERE d.kind IN ('invoice', 'credit-note')
                AND d.gross <> CASE d.kind WHEN 'credit-note' THEN -1 ELSE 1 END * coalesce(l.gross, 0)""")
    )
    for document, currency, kept, computed in rows:
        yield Difference(f"document {document} and its lines", kept, computed, currency)
    rows = connection.execute(
        text("""SELECT d.id, d.currency, CASE d.kind WHEN 'credit-note' THEN -d.gross ELSE d.gross END,
                coalesce(p.gross, 0)::bigint FROM document AS d
            LEFT JOIN (SELECT t.document_id, -sum(p.amount) AS gross FROM transfer AS t
                JOIN posting AS p ON p.transfer_id = t.id JOIN ledger_account AS a ON a.id = p.ledger_account_id
                WHERE t.kind = 'document' AND a.kind IN ('revenue', 'tax') GROUP BY 1) AS p ON p.document_id = d.id
            WHERE d.kind IN ('invoice', 'credit-note') AND NOT d.posted_daily
                AND CASE d.kind WHEN 'credit-note' THEN -d.gross ELSE d.gross END <> coalesce(p.gross, 0)""")
    )
    for document, currency, kept, computed in rows:
        yield Difference(f"document {document} and the ledger", kept, computed, currency)
    rows = connection.execute(
        text("""SELECT d.id, d.currency, d.open_amount, (d.gross - d.paid_at_once - coalesce(a.paid, 0))::bigint
            FROM document AS d
            LEFT JOIN (SELECT document_id, sum(amount) AS paid FROM (
                    SELECT document_id, amount FROM allocation
                    UNION ALL SELECT credit_document_id, amount FROM allocation WHERE credit_document_id IS NOT NULL
                ) AS each GROUP BY 1) AS a ON a.document_id = d.id
            WHERE d.kind IN ('invoice', 'credit-note')
                AND d.open_amount <> d.gross - d.paid_at_once - coalesce(a.paid, 0)""")
    )
    for document, currency, kept, computed in rows:
        yield Difference(f"document {document}: what is open", kept, computed, currency)
