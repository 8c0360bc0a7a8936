"""The invoice run: accounts that are due -> their documents, posted; numbers afterwards.

Rule: some accounts at a time, each under its row's lock, in one transaction; what another run works on is left to it. A
run that is killed has done whole transactions or nothing of them, and the next one finds what is missing. An account
that cannot be billed is parked with the reason, and the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import OperationalError

from billing.documents import Draft
from billing.generation import ONE_OFF, Generated
from config import billing_terms
from domain.billing_terms import BillingTerms, BillingType, DocumentKind
from domain.errors import CaudalError
from storage.billing import accounts, allocations, daily, drafting, gate, ledger, numbers, proformas
from storage.billing.accounts import Account, Catalogue
from storage.billing.allocations import Allocated

ACCOUNTS_PER_TRANSACTION = 500
"""About half a second of work: what a killed run repeats, and what another one waits for."""
LONGEST_REASON = 500
CONFLICTS = ("40001", "40P01")
"""SQLSTATEs of transactions that wait for each other."""
MOST_CONFLICTS = 100
"""In one run; more are no accident."""


@dataclass(slots=True)
class Progress:
    """What a run has done so far."""

    accounts: int = 0
    documents: int = 0
    lines: int = 0
    parked: int = 0
    totals: dict[str, int] = field(default_factory=dict)
    """Gross by currency; credit notes count against it."""

    def add(self, drafts: Sequence[Draft]) -> None:
        """Count documents."""
        for draft in drafts:
            self.documents += 1
            self.lines += len(draft.lines)
            sign = -1 if draft.kind is DocumentKind.CREDIT_NOTE else 1
            self.totals[draft.currency] = self.totals.get(draft.currency, 0) + sign * draft.gross


def bill_due(
    engine: Engine,
    on: date,
    *,
    slot: int = 0,
    only_prepaid: bool = False,
    told: Callable[[Progress], None] | None = None,
) -> Progress:
    """Make and post the documents of all accounts that are due on `on`; `slot` tells runs beside each other apart."""
    progress, conflicts, last = Progress(), 0, 0
    with engine.connect() as connection:
        with connection.begin():
            ledger.require_open(connection, on)
            catalogue = Catalogue.read(connection)
            series = numbers.SeriesBook(connection)
        while True:
            done = replace(progress, totals=dict(progress.totals))
            try:
                with connection.begin():
                    taken_now = _take(connection, on, last, only_prepaid=only_prepaid)
                    if not taken_now and not last:
                        return progress
                    for day, ids in taken_now:
                        _bill(connection, ids, day, catalogue, series, slot, done)
                        # It is counted when it has come to the day of the run.
                        done.accounts -= 0 if day == on else len(ids)
            except OperationalError as error:
                conflicts += 1
                if not _is_conflict(error) or conflicts > MOST_CONFLICTS:
                    raise
                continue
            # At the end once more from the beginning: who is due again, and what another run has let go.
            last = max((max(ids) for _, ids in taken_now), default=0)
            progress = done
            if told is not None:
                told(progress)


def bill_one(
    connection: Connection, customer_id: int, on: date, *, asks_first: bool = False, issued_on: date | None = None
) -> Progress:
    """Bill one account, due or not, and number what it makes, within the present transaction. Raise BooksClosed.

    With `asks_first` it is a proforma, whatever the account's terms are; `issued_on` is the day of the run if left out.
    """
    progress = Progress()
    ledger.require_open(connection, on)
    catalogue, series = Catalogue.read(connection), numbers.SeriesOnDemand(connection)
    given, day = {"on": on, "id": customer_id}, None
    while day != on:
        before = day
        (day,) = connection.execute(
            text(f"SELECT coalesce({_DAY}, :on) FROM account WHERE customer_id = :id FOR UPDATE"), given
        ).one()
        if day == before:
            break
        _bill(connection, [customer_id], day, catalogue, series, 0, progress, asks_first=asks_first)
    partner_id = connection.execute(
        text("SELECT partner_id FROM customer WHERE id = :id"), {"id": customer_id}
    ).scalar_one()
    kinds = (DocumentKind.INVOICE, DocumentKind.CREDIT_NOTE, DocumentKind.PROFORMA)
    numbers.number_documents(connection, [series.id_of(partner_id, kind) for kind in kinds], issued_on or on)
    return progress


def ask_anew(connection: Connection, customer_ids: Sequence[int], today: date) -> None:
    """Replace the proformas that ask for a charge that was withdrawn: nobody is to pay it."""
    for customer_id in connection.scalars(text(_WITHDRAWN), {"ids": [*customer_ids]}).all():
        bill_one(connection, customer_id, today, asks_first=True)


_WITHDRAWN = f"""SELECT DISTINCT d.customer_id
    FROM document AS d JOIN document_line AS l ON l.document_id = d.id
        JOIN one_off AS o ON o.id = CASE WHEN starts_with(l.component, '{ONE_OFF}')
            THEN CAST(substr(l.component, {len(ONE_OFF) + 1}) AS bigint) END
    WHERE d.customer_id = ANY(CAST(:ids AS bigint[])) AND d.kind = 'proforma' AND d.open_amount > 0
        AND o.withdrawn_at IS NOT NULL ORDER BY 1"""


def terms_of(said: Mapping[str, Any], currency: str, connection: Connection, partner_id: int) -> BillingTerms:
    """Return the terms of an account that says so much itself."""
    row = connection.execute(
        text("SELECT i.billing, r.document FROM isp AS i CROSS JOIN partner AS r WHERE r.id = :id"), {"id": partner_id}
    ).one()
    return billing_terms.resolve(row.billing, row.document, said, currency=currency)


def count_due(engine: Engine, on: date, *, only_prepaid: bool = False) -> int:
    """Return how many accounts are due."""
    given = {"on": on, "prepaid": only_prepaid}
    with engine.connect() as connection:
        return int(connection.scalar(text(f"SELECT count(*) FROM account WHERE {DUE}"), given) or 0)


def pass_over(engine: Engine, ids: Sequence[int], on: date) -> None:
    """Take accounts off the list of a day on which nothing is due of them; one that has something by now stays."""
    with engine.begin() as connection:
        locked = connection.scalars(
            text("""SELECT customer_id FROM account
                WHERE customer_id = ANY(CAST(:ids AS bigint[])) AND next_bill_on <= :on
                ORDER BY customer_id FOR UPDATE SKIP LOCKED"""),
            {"ids": [*ids], "on": on},
        ).all()
        catalogue, idle = Catalogue.read(connection), []
        for account in accounts.load(connection, locked, on, catalogue):
            found, drafts = drafting.draft(account, catalogue, on)
            if not drafts and not account.compared(found.lines).replaced:
                idle.append((account, found))
        _move_subscriptions(connection, [each for each in idle if not each[0].proformas])
        _move_accounts(connection, idle, on)


DUE = """next_bill_on <= :on AND parked IS NULL AND state IN ('new', 'active', 'blocked')
    AND (NOT :prepaid OR billing IN ('prepaid-daily', 'prepaid-period'))"""


# A wallet pays day after day, also those on which nobody ran, until it is empty; all else is billed by the run's day.
_DAY = """CASE WHEN billing IN ('prepaid-daily', 'prepaid-period') AND NOT EXISTS (
        SELECT FROM rest AS r WHERE r.customer_id = account.customer_id AND r.cause = 'no_balance' AND r.ends IS NULL)
    THEN least(greatest(next_bill_on, (SELECT through + 1 FROM closed_books)), :on) ELSE :on END"""


def _take(connection: Connection, on: date, last: int, *, only_prepaid: bool) -> list[tuple[date, list[int]]]:
    """Lock some accounts after `last` that are due and that nobody else works on; return them by the day to bill."""
    rows = connection.execute(
        text(f"""SELECT customer_id, {_DAY} FROM account WHERE {DUE} AND customer_id > :last
            ORDER BY customer_id LIMIT {ACCOUNTS_PER_TRANSACTION} FOR UPDATE SKIP LOCKED"""),
        {"on": on, "prepaid": only_prepaid, "last": last},
    )
    by_day: dict[date, list[int]] = {}
    for customer_id, day in rows:
        by_day.setdefault(day, []).append(customer_id)
    return sorted(by_day.items())


@dataclass(slots=True)
class _Made:
    """What a transaction writes."""

    found: list[tuple[Account, Generated]] = field(default_factory=list)
    drafts: list[Draft] = field(default_factory=list)
    daily: list[Draft] = field(default_factory=list)
    """What is taken from wallets today, and put on a document at the end of the month."""
    starved: list[Account] = field(default_factory=list)
    """Those whose wallet does not pay."""
    fed: list[int] = field(default_factory=list)
    """Those whose wallet pays again."""
    parked: list[tuple[int, str]] = field(default_factory=list)


def _bill(
    connection: Connection,
    ids: Sequence[int],
    on: date,
    catalogue: Catalogue,
    series: numbers.SeriesBook,
    slot: int,
    progress: Progress,
    *,
    asks_first: bool = False,
) -> None:
    """Bill accounts; where together they fail, each by itself."""
    try:
        with connection.begin_nested():
            found = accounts.load(connection, ids, on, catalogue)
            for account in found:
                account.is_asked_first = asks_first
            made = _make(found, catalogue, on)
            _write(connection, made, on, series, slot)
    except Exception as error:
        if _is_conflict(error):
            raise
        if len(ids) > 1:
            for customer_id in ids:
                _bill(connection, [customer_id], on, catalogue, series, slot, progress, asks_first=asks_first)
            return
        if not _is_of_the_account(error):
            raise
        park(connection, ids[0], _reason(error))
        progress.accounts += 1
        progress.parked += 1
        return
    progress.accounts += len(ids)
    progress.parked += len(made.parked)
    progress.add(made.drafts)


def _make(found: Sequence[Account], catalogue: Catalogue, on: date) -> _Made:
    made = _Made()
    for account in found:
        try:
            generated, drafts = drafting.draft(account, catalogue, on)
        except CaudalError as error:
            made.parked.append((account.customer_id, _reason(error)))
            continue
        if account.wallet is not None and not account.wallet.pays(drafting.taken(drafts)):
            made.starved.append(account)
            continue
        if account.starved_since is not None:
            made.fed.append(account.customer_id)
        made.found.append((account, generated))
        if account.terms.billing is BillingType.PREPAID_DAILY:
            made.daily += drafts
        else:
            made.drafts += drafts
    return made


def _is_conflict(error: Exception) -> bool:
    """Tell whether the database has ended a transaction for another one's sake: the same again may do."""
    return isinstance(error, OperationalError) and getattr(error.orig, "pgcode", None) in CONFLICTS


def _is_of_the_account(error: Exception) -> bool:
    """Tell whether an error lies in what the account has, and not in a database that is away."""
    return not (getattr(error, "connection_invalidated", False) or isinstance(error, OSError))


def _reason(error: Exception) -> str:
    described = str(error) if isinstance(error, CaudalError) else f"{type(error).__name__}: {error}"
    return " ".join(described.split())[:LONGEST_REASON]


def park(connection: Connection, customer_id: int, reason: str) -> None:
    """Leave an account out of runs until somebody has looked at it."""
    connection.execute(
        text("UPDATE account SET parked = :reason, parked_at = now() WHERE customer_id = :customer"),
        {"customer": customer_id, "reason": reason},
    )


def _write(connection: Connection, made: _Made, on: date, series: numbers.SeriesBook, slot: int) -> None:
    for customer_id, reason in made.parked:
        park(connection, customer_id, reason)
    waiting = proformas.write(connection, made.found, made.drafts, on, series, slot)
    if made.daily:
        daily.charge(connection, made.daily, on, slot)
    # What a proforma asks for is not billed before it is paid.
    _move_subscriptions(connection, [each for each in made.found if each[0].customer_id not in waiting])
    _move_accounts(connection, made.found, on)
    billed = [account for account, _ in made.found]
    # Also of those that are starved: what their wallets paid before is told when its period is over.
    daily.gather(connection, [*billed, *made.starved], on, series)
    daily.await_documents(connection, billed, on)
    _starve(connection, made, on)


def _starve(connection: Connection, made: _Made, on: date) -> None:
    """Let lines rest whose wallets do not pay, and those go on whose wallets pay again."""
    starved = [account.customer_id for account in made.starved]
    if starved:
        connection.execute(
            text("""INSERT INTO rest (customer_id, cause, starts)
                SELECT id, 'no_balance', :on FROM unnest(CAST(:ids AS bigint[])) AS u(id)
                WHERE NOT EXISTS (SELECT FROM rest AS r
                    WHERE r.customer_id = u.id AND r.cause = 'no_balance' AND r.ends IS NULL)"""),
            {"ids": starved, "on": on},
        )
    if made.fed:
        connection.execute(
            text("""UPDATE rest SET ends = greatest(starts, :on)
                WHERE cause = 'no_balance' AND ends IS NULL AND customer_id = ANY(CAST(:ids AS bigint[]))"""),
            {"ids": made.fed, "on": on},
        )
    if starved or made.fed:
        gate.reassess(connection, sorted([*starved, *made.fed]), on)
    if starved:
        # Last: whatever waits to be charged, this day has nothing to pay it with.
        connection.execute(
            text("UPDATE account SET next_bill_on = :next WHERE customer_id = ANY(CAST(:ids AS bigint[]))"),
            {"ids": starved, "next": on + timedelta(days=1)},
        )


def _move_subscriptions(connection: Connection, found: Sequence[tuple[Account, Generated]]) -> None:
    """Note until when subscriptions are billed; what is in the future of a billing day stays open."""
    rows = [(each.id, generated.horizon) for account, generated in found for each in account.subscriptions]
    if rows:
        connection.execute(
            # A run of a day that is past by now has not seen all that was revised.
            text("""UPDATE subscription AS s SET billed_to = greatest(s.billed_to, u.horizon),
                    revised_from = CASE WHEN s.billed_to > u.horizon THEN s.revised_from END
                FROM unnest(CAST(:ids AS bigint[]), CAST(:horizons AS date[])) AS u(id, horizon) WHERE s.id = u.id"""),
            {"ids": [id_ for id_, _ in rows], "horizons": [horizon for _, horizon in rows]},
        )


def settle(connection: Connection, customer_id: int, on: date, series: numbers.SeriesBook) -> list[Allocated]:
    """Let what a customer has too much pay proformas, and number their invoices; return what was paid."""
    proformas.settle(connection, [customer_id], on, series)
    asked = connection.execute(
        text("""SELECT max(dated) AS day, array_agg(DISTINCT partner_id) AS partners FROM document
            WHERE customer_id = :id AND kind = 'proforma'"""),
        {"id": customer_id},
    ).one()
    if asked.day is None:
        return []
    paid = allocations.use_credit(connection, [customer_id])
    invoices = [series.id_of(partner_id, DocumentKind.INVOICE) for partner_id in asked.partners]
    numbers.number_documents(connection, invoices, on)
    _note_billed(connection, customer_id, asked.day)
    return paid


def _note_billed(connection: Connection, customer_id: int, on: date) -> None:
    """Note until when an account is billed whose proformas are paid; where something is missing, a run will find it."""
    catalogue = Catalogue.read(connection)
    (account,) = accounts.load(connection, [customer_id], on, catalogue)
    found, drafts = drafting.draft(account, catalogue, on)
    if not drafts and not account.proformas:
        _move_subscriptions(connection, [(account, found)])


def _move_accounts(connection: Connection, found: Sequence[tuple[Account, Generated]], on: date) -> None:
    """Say when accounts are to be billed again; what falls due up to today has been."""
    rows = [
        (account.customer_id, None if each.next_on is None else max(each.next_on, on + timedelta(days=1)))
        for account, each in found
    ]
    if rows:
        connection.execute(
            text("""UPDATE account AS a SET next_bill_on = u.next_on, next_look_on = least(a.next_look_on, :on),
                    state = CASE a.state WHEN 'new' THEN 'active' ELSE a.state END
                FROM unnest(CAST(:ids AS bigint[]), CAST(:days AS date[])) AS u(id, next_on)
                WHERE a.customer_id = u.id"""),
            {"ids": [id_ for id_, _ in rows], "days": [day for _, day in rows], "on": on},
        )


def retry(connection: Connection, customer: int | None, today: date) -> int:
    """Let parked accounts be billed again by the next run; return how many."""
    result: Any = connection.execute(
        text("""UPDATE account SET parked = NULL, parked_at = NULL, next_bill_on = least(next_bill_on, :today)
            WHERE parked IS NOT NULL AND (CAST(:customer AS bigint) IS NULL OR customer_id = :customer)"""),
        {"customer": customer, "today": today},
    )
    return int(result.rowcount)
