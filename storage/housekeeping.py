"""What is done by the clock: partitions made ahead and dropped, the past deleted, silent sessions closed.

Rule: packets come first. Work goes in bounded portions that skip locked rows, a table is locked for moments or not at
all, and whatever could not be done now is done by the next call. No fact is dropped before it is rolled up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple

from psycopg2.errors import LockNotAvailable
from sqlalchemy import text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import OperationalError

from storage import rollup
from storage.open_sessions import closing

PORTION = 5_000
"""Rows of one transaction: some tens of milliseconds."""
LOCK_MILLISECONDS = 500
"""Accounting queues behind a lock that waits; a router sends again after a second or more."""
MONTHS_BEHIND = 1
"""Facts reach back a day (`accounting.record`), so at the beginning of a month into the month before."""
ADMISSION_AGE = timedelta(hours=1)
"""An Access-Accept whose Start has not come by then leads to no session."""
STALE_CAUSE = "Stale"

_PREFIX = "usage_fact_"
_MONTHS = f"""SELECT c.relname::text FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid
WHERE inhparent = 'usage_fact'::regclass AND c.relname ~ '^{_PREFIX}[0-9]{{4}}_[0-9]{{2}}$' ORDER BY 1"""
_LOCK = f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}; LOCK TABLE ONLY usage_fact IN ACCESS EXCLUSIVE MODE"


@dataclass(frozen=True, slots=True)
class Deleted:
    """How many rows a call deleted."""

    refusals: int
    quarantined: int
    sessions: int
    admissions: int


@dataclass(frozen=True, slots=True)
class Gauges:
    """What the metrics show of the database; sessions of a router that was removed are under an empty name."""

    open_sessions: Mapping[str, int]
    database_octets: int
    unrolled_facts: int


class Month(NamedTuple):
    """A calendar month in UTC."""

    begin: datetime
    end: datetime

    @property
    def partition(self) -> str:
        """The partition that holds the facts which end in it."""
        return f"{_PREFIX}{self.begin:%Y_%m}"


def month(instant: datetime, after: int = 0) -> Month:
    """Return the month that comes `after` months after the one of `instant`; negative is before it."""
    utc = instant.astimezone(UTC)
    number = utc.year * 12 + utc.month - 1 + after
    begin, end = (datetime(each // 12, each % 12 + 1, 1, tzinfo=UTC) for each in (number, number + 1))
    return Month(begin, end)


def ensure_partitions(engine: Engine, now: datetime, months_ahead: int = 2) -> tuple[str, ...]:
    """Make the partitions of usage_fact from last month to `months_ahead`; return the names of those that were made.

    Facts that fell into the default partition meanwhile move into theirs in the same transaction. A partition for which
    the table could not be locked at once is left for the next call.
    """
    present = _months(engine)
    wanted = [month(now, after) for after in range(-MONTHS_BEHIND, months_ahead + 1)]
    missing = [each for each in wanted if each.partition not in present]
    return tuple(each.partition for each in missing if _locked(engine, partial(_make_partition, each)))


def drop_old_partitions(engine: Engine, now: datetime, keep_months: int) -> tuple[str, ...]:
    """Drop the facts of months before the `keep_months` last whole ones; return the partitions that were dropped.

    A partition with a fact that is not rolled up stays, and one for which the table could not be locked at once.
    """
    first_kept = month(now, -keep_months)
    # Both sides have the year and month at fixed width.
    old = [name for name in _months(engine) if name < first_kept.partition]
    dropped = tuple(name for name in old if _locked(engine, partial(_drop_partition, name)))
    _delete(
        engine,
        """DELETE FROM usage_fact_default WHERE ctid = ANY(ARRAY(SELECT ctid FROM usage_fact_default AS fact
        WHERE to_at < :before AND NOT EXISTS (SELECT FROM lane WHERE id = batch >> 32 AND NOT retired
            AND batch > rolled_batch) LIMIT :most))""",
        first_kept.begin,
    )
    return dropped


def delete_old(
    engine: Engine, now: datetime, *, refusal_days: int, quarantine_days: int, session_months: int
) -> Deleted:
    """Delete refusals, quarantined records, ended sessions and unused admissions that are older than that."""
    refusals = _delete(engine, _old("refusal", "id", "refused_at"), now - timedelta(days=refusal_days))
    quarantined = _delete(engine, _old("quarantine", "id", "received_at"), now - timedelta(days=quarantine_days))
    admissions = _delete(engine, _old("admission", "service_id, client", "granted_at"), now - ADMISSION_AGE)
    sessions = _delete_sessions(engine, month(now, -session_months).begin)
    return Deleted(refusals, quarantined, sessions, admissions)


def close_stale(engine: Engine, now: datetime, intervals: int, default_seconds: int, listening_since: datetime) -> int:
    """Close, provisionally, the sessions that were silent for `intervals` interim intervals; return how many.

    Sessions without a known interval are given `default_seconds`. Silence counts from `listening_since` at the
    earliest: the instant since which accounting has been received and stored without a break. Octets stay as they are.
    """
    silent = """state = 0 AND greatest(heard_at, :since)
        + coalesce(interim_seconds * :intervals, :default) * interval '1 second' < :now"""
    parameters = {"now": now, "since": listening_since, "intervals": intervals, "default": default_seconds}
    with engine.connect() as connection:
        found = connection.scalars(text(f"SELECT id FROM session WHERE {silent}"), parameters).all()
    closed = 0
    for at in range(0, len(found), PORTION):
        # A row that a packet holds is not silent; one that was heard meanwhile does not match any more.
        with engine.begin() as connection:
            closed += connection.execute(
                text(closing(silent, STALE_CAUSE)), {**parameters, "ids": found[at : at + PORTION]}
            ).scalar_one()
    return closed


def gauges(engine: Engine) -> Gauges:
    """Measure the database: tens of milliseconds with a million open sessions, so ask now and then."""
    with engine.connect() as connection:
        sessions = connection.execute(
            text("""SELECT coalesce(name, ''), sum(coalesce(sessions, 0))::bigint FROM router
                FULL JOIN (SELECT router_id, count(*) AS sessions FROM session WHERE state = 0 GROUP BY 1) AS open
                ON router.id = router_id GROUP BY 1""")
        )
        by_router = {name: int(count) for name, count in sessions}
        octets = connection.scalar(text("SELECT pg_database_size(current_database())"))
        beyond = rollup.unrolled(rollup.lanes(connection))
        facts = connection.scalar(text(f"SELECT count(*) FROM usage_fact WHERE {beyond}"))
    return Gauges(by_router, octets, facts)


def _months(engine: Engine) -> list[str]:
    """Return the names of the monthly partitions."""
    with engine.connect() as connection:
        return list(connection.scalars(text(_MONTHS)))


def _locked(engine: Engine, work: Callable[[Connection], bool]) -> bool:
    """Do `work` while nobody else reads or writes usage_fact; return False when it has to wait.

    Were only the default partition locked, an insert that waits for it would fail once its rows belong elsewhere.
    """
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql(_LOCK)
            return work(connection)
    except OperationalError as error:
        if isinstance(error.orig, LockNotAvailable):
            return False
        raise


def _make_partition(wanted: Month, connection: Connection) -> bool:
    """Make the partition, unless another process has, and fill it from the default one."""
    name, (begin, end) = wanted.partition, (f"'{instant.isoformat()}'" for instant in wanted)
    if connection.scalar(text(f"SELECT to_regclass('{name}')")) is not None:
        return False
    connection.exec_driver_sql(f"""CREATE TABLE {name} (LIKE usage_fact INCLUDING ALL);
        WITH moved AS (DELETE FROM usage_fact_default WHERE to_at >= {begin} AND to_at < {end} RETURNING *)
        INSERT INTO {name} SELECT * FROM moved;
        ALTER TABLE usage_fact ATTACH PARTITION {name} FOR VALUES FROM ({begin}) TO ({end})""")
    return True


def _drop_partition(name: str, connection: Connection) -> bool:
    """Drop the partition, unless another process has, or not all of it is rolled up."""
    if connection.scalar(text(f"SELECT to_regclass('{name}')")) is None:
        return False
    beyond = rollup.unrolled(rollup.lanes(connection))
    if connection.scalar(text(f"SELECT EXISTS (SELECT FROM {name} WHERE {beyond})")):
        return False
    connection.exec_driver_sql(f"DROP TABLE {name}")
    return True


def _old(table: str, key: str, instant: str) -> str:
    return f"""DELETE FROM {table} WHERE ({key}) IN (
        SELECT {key} FROM {table} WHERE {instant} < :before ORDER BY {instant} LIMIT :most FOR UPDATE SKIP LOCKED)"""


def _delete(engine: Engine, statement: str, before: datetime) -> int:
    """Repeat `statement`, which deletes at most `most` rows, until it finds fewer; return how many it deleted."""
    total, deleted = 0, PORTION
    while deleted == PORTION:
        with engine.begin() as connection:
            deleted = connection.execute(text(statement), {"before": before, "most": PORTION}).rowcount
        total += deleted
    return total


def _delete_sessions(engine: Engine, before: datetime) -> int:
    """Delete ended sessions and their addresses, from the lowest id up to where all were opened after `before`.

    Ids are given in the order of time, give or take the thousand a worker draws at once; no index on time is needed.
    """
    portion = f"""WITH portion AS MATERIALIZED (
            SELECT id, started_at FROM session WHERE id > :after ORDER BY id LIMIT {PORTION}
        ), gone AS (
            DELETE FROM session AS s USING portion WHERE s.id = portion.id AND state <> 0 AND updated_at < :before
            RETURNING s.id
        ), addresses AS (DELETE FROM session_address USING gone WHERE session_id = gone.id)
        SELECT max(id), min(started_at), (SELECT count(*) FROM gone) FROM portion"""
    total, last, oldest = 0, 0, None
    while oldest is None or oldest < before:
        with engine.begin() as connection:
            last, oldest, deleted = connection.execute(text(portion), {"after": last, "before": before}).one()
        total += deleted
        if last is None:
            break
    return total
