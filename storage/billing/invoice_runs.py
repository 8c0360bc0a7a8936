"""Runs that can be seen before they are issued: previews, their confirmation, and when they are issued without one.

Rule: a preview is computed from what is there and binds nobody; only a run that was confirmed, or whose time to do so
is over, is issued, and never before its day. A run is marked as issued when all of it is, so one that was killed is
done again, and finds what is missing. Wallets pay day by day and wait for no run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import Connection, Engine

from config import billing_terms
from domain.billing_terms import BillingTerms
from storage.billing import clock, run, trial
from storage.errors import OrderRefused

MOST_DIFFERENCES = 1000
"""Of a preview; more nobody reads."""
_LOCK = 0x6361_7564_6269_6C6C
"""The octets of "caudbill"; advisory locks share one space."""


class RunRefused(OrderRefused):
    """A run cannot be confirmed."""


@dataclass(slots=True)
class Seen:
    """What a run would be, as far as it was computed."""

    progress: run.Progress = field(default_factory=run.Progress)
    differences: list[trial.Preview] = field(default_factory=list)
    """The largest first."""

    def add(self, some: Sequence[trial.Preview]) -> None:
        """Take in what some accounts would be billed."""
        self.differences += [each for each in some if each.difference]
        self.differences.sort(key=lambda each: (-abs(each.difference), each.login))
        del self.differences[MOST_DIFFERENCES:]


@dataclass(frozen=True, slots=True)
class Planned:
    """A run that was seen."""

    on: date
    state: str
    """`preview`, `confirmed` or `issued`."""
    automatic_on: date | None
    """When it is issued without confirmation; None: never."""
    totals: dict[str, Any]
    """Accounts, documents, those that are parked, and gross in minor units by currency."""
    made_at: datetime
    confirmed_by: str | None
    issued_at: datetime | None


@contextmanager
def alone(engine: Engine, *, waits: bool = False) -> Iterator[bool]:
    """Tell whether nobody else plans and issues runs, or wait for that, and let nobody else do so meanwhile."""
    taking = "pg_advisory_lock(:lock) IS NOT NULL" if waits else "pg_try_advisory_lock(:lock)"
    with engine.connect() as connection:
        is_ours = bool(connection.scalar(text(f"SELECT {taking}"), {"lock": _LOCK}))
        # The lock is the session's; a run takes longer than a transaction should stay open.
        connection.commit()
        try:
            yield is_ours
        finally:
            if is_ours:
                connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _LOCK})
                connection.commit()


def terms(connection: Connection) -> BillingTerms:
    """Return what the ISP says of runs."""
    row = connection.execute(text("SELECT billing, currency FROM isp")).one()
    return billing_terms.resolve(row.billing, currency=row.currency)


def next_day(connection: Connection) -> date | None:
    """Return the day of the next run; None where nobody is to be billed."""
    found: date | None = connection.scalar(text(f"SELECT min(day) FROM ({_DAYS}) AS each"), {"until": None})
    return found


def unseen(connection: Connection, until: date) -> list[date]:
    """Return the days through `until` whose runs nobody has computed yet."""
    return list(
        connection.scalars(
            text(f"""SELECT DISTINCT day FROM ({_DAYS}) AS each
                WHERE day <= :until AND NOT EXISTS (SELECT FROM invoice_run AS r WHERE r.on_day = day) ORDER BY 1"""),
            {"until": until},
        )
    )


def make(engine: Engine, on: date) -> Iterator[Seen]:
    """Compute what the run of a day would be, yield how far that is, and keep it at the end if it is anything."""
    seen = Seen()
    for some, seen.progress in trial.preview(engine, on, with_wallets=False):
        seen.add(some)
        idle = [each.customer_id for each in some if each.is_idle]
        if idle:
            run.pass_over(engine, idle, on)
        yield seen
    with engine.begin() as connection:
        if seen.progress.documents or seen.progress.parked or planned(connection, on=on):
            _keep(connection, on, seen.progress)
    yield seen


def _keep(connection: Connection, on: date, progress: run.Progress) -> None:
    said = terms(connection)
    automatic_on = None
    if said.automatic:
        automatic_on = max(on, clock.today(connection)) + timedelta(days=said.confirmation_days)
    connection.execute(
        text("""INSERT INTO invoice_run (on_day, state, automatic_on, totals)
            VALUES (:on, 'preview', :automatic, CAST(:totals AS jsonb))
            ON CONFLICT (on_day) DO UPDATE SET totals = excluded.totals, made_at = now(),
                automatic_on = CASE WHEN excluded.automatic_on IS NULL THEN NULL
                    ELSE coalesce(invoice_run.automatic_on, excluded.automatic_on) END
            WHERE invoice_run.state = 'preview'"""),
        {
            "on": on,
            "automatic": automatic_on,
            "totals": json.dumps(
                {
                    "accounts": progress.accounts,
                    "documents": progress.documents,
                    "parked": progress.parked,
                    "gross": progress.totals,
                }
            ),
        },
    )


def confirm(connection: Connection, on: date, by: str) -> Planned:
    """Let the run of a day be issued, on that day or at once if it has come. Raise RunRefused."""
    connection.execute(
        text("""UPDATE invoice_run SET state = 'confirmed', confirmed_by = :by
            WHERE on_day = :on AND state = 'preview'"""),
        {"on": on, "by": by},
    )
    found = planned(connection, on=on)
    if not found:
        raise RunRefused(
            f"nobody has seen a run of {on}; `caudal invoice preview --date {on}` makes it, "
            "`caudal invoice runs` lists those that are there"
        )
    return found[0]


def planned(connection: Connection, *, on: date | None = None, limit: int = 1) -> list[Planned]:
    """Return runs that were seen, the latest day first; or that of one day."""
    rows = connection.execute(
        text("""SELECT on_day, state, automatic_on, totals, made_at, confirmed_by, issued_at FROM invoice_run
            WHERE CAST(:on AS date) IS NULL OR on_day = :on ORDER BY on_day DESC LIMIT :limit"""),
        {"on": on, "limit": limit},
    )
    return [Planned(*row) for row in rows]


def to_issue(connection: Connection, today: date) -> list[date]:
    """Return the days on which runs that wait no more are to be billed: their own, or the first that is open."""
    return list(
        connection.scalars(
            text("""SELECT greatest(on_day, (SELECT through + 1 FROM closed_books)) AS day FROM invoice_run
                WHERE on_day <= :today AND (state = 'confirmed' OR (state = 'preview' AND automatic_on <= :today))
                ORDER BY on_day"""),
            {"today": today},
        )
    )


def mark_issued(engine: Engine, on: date) -> None:
    """Note that all that was due through a day is billed."""
    with engine.begin() as connection:
        connection.execute(
            text("""UPDATE invoice_run SET state = 'issued', issued_at = now()
                WHERE on_day <= :on AND state <> 'issued'"""),
            {"on": on},
        )


# What falls due on a day whose run is issued already belongs to the next one.
_DAYS = """SELECT greatest(next_bill_on, (SELECT max(on_day) + 1 FROM invoice_run WHERE state = 'issued')) AS day
    FROM account WHERE next_bill_on IS NOT NULL AND parked IS NULL AND state IN ('new', 'active', 'blocked')
        AND billing NOT IN ('prepaid-daily', 'prepaid-period')
        AND (CAST(:until AS date) IS NULL OR next_bill_on <= :until)"""
