"""Usage facts -> hourly and daily roll-ups, in bulk and behind the packets.

Rule: a fact is rolled up once. A lane's batches become visible in order, so what one snapshot shows of a lane is a
prefix; that prefix is added to the roll-ups and the lane's mark is moved past it in the same transaction. One process
rolls at a time. Both tables cut a fact with `accounting.split`, so the hours of a day sum to the day.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta, tzinfo
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.engine import Connection, Engine

from accounting.split import HOUR_US, day_of, hour_of, local_midnights, midnight, split
from domain.instants import Microseconds
from storage.literals import integers, texts
from storage.session_rows import LANE_LOCK

FACTS_PER_TRANSACTION = 200_000
"""About a second of work: a roll-up that is interrupted repeats no more than that."""
FACTS_PER_PORTION = 5_000
"""Facts that are split in Python at a time."""
MOST_PARTS = 50_000
"""Sums that are held in Python at a time; a session that was up for months before its first record has thousands."""
ROLL_UP_LOCK = 0x726F_6C6C
"""Advisory lock of the process that rolls up ("roll")."""
LANE_SHIFT = 32
"""usage_fact.batch is lane << 32 | number."""

_SETTINGS = "SET LOCAL enable_seqscan = off; SET LOCAL work_mem = '64MB'; SET LOCAL jit = off"
_LANES = "SELECT id, greatest(rolled_batch, id << 32) FROM lane WHERE NOT retired ORDER BY id"
_US = "(extract(epoch FROM {}) * 1000000)::bigint"
_AT = "'epoch'::timestamptz + {} * '1 microsecond'::interval"
_BUCKET = "width_bucket(from_at, begins)"
_HOUR = f"date_bin('1 hour', from_at, begins[{_BUCKET}])"
"""Hours are counted from the beginning of the local day, so that they are those of the operator's clocks."""
GREATEST_SUM = 2**63 - 1
"""PostgreSQL's bigint: what is garbage in one line's counters must not keep everybody's from being rolled up."""
_FITS_DAY = f"to_at <= begins[{_BUCKET} + 1]"
_FITS_HOUR = f"to_at <= least({_HOUR} + interval '1 hour', begins[{_BUCKET} + 1])"


@dataclass(frozen=True, slots=True)
class RolledUp:
    """What one call did; `without_service` of the `facts` belong to nobody and stay facts only."""

    facts: int
    without_service: int
    lanes: int
    retired: int


class Lane(NamedTuple):
    """A lane and the highest of its batches that is rolled up."""

    id: int
    rolled: int

    @property
    def end(self) -> int:
        """The first batch number of the next lane."""
        return (self.id + 1) << LANE_SHIFT


class _Span(NamedTuple):
    """Facts of one transaction: of each lane what lies above its mark and up to `last`."""

    lanes: list[Lane]
    last: list[int]

    @property
    def condition(self) -> str:
        pairs = zip(self.lanes, self.last, strict=True)
        return " OR ".join(f"batch > {lane.rolled} AND batch <= {last}" for lane, last in pairs)


class Days:
    """The local days that a span touches, in order; SQL and Python look instants up in the same list.

    PostgreSQL is not asked for local time: its rules for time zones may be of another year than ours.
    """

    def __init__(self, first_us: Microseconds, last_us: Microseconds, zone: tzinfo) -> None:
        first = midnight(day_of(first_us, zone), zone)
        end = midnight(day_of(last_us, zone) + timedelta(days=2), zone)
        self.begins = [first, *local_midnights(first, end, zone), end]
        self.dates = [day_of(begin, zone) for begin in self.begins]

    @property
    def cte(self) -> str:
        """Name the arrays `begins` and `dates`; a day's index is width_bucket(instant, begins)."""
        begins = integers(list(self.begins))
        instants = f"SELECT array_agg({_AT.format('u')} ORDER BY u) FROM unnest({begins}::bigint[]) AS u"
        return f"local AS MATERIALIZED (SELECT ({instants}) AS begins, {_dates(self.dates)} AS dates)"

    def midnights(self, from_us: Microseconds, to_us: Microseconds) -> list[Microseconds]:
        """Return the beginnings of days strictly inside the interval."""
        return self.begins[bisect_right(self.begins, from_us) : bisect_left(self.begins, to_us)]

    def hours(self, from_us: Microseconds, to_us: Microseconds) -> Iterator[Microseconds]:
        """Yield the beginnings of hours strictly inside the interval; a day begins one."""
        at_us = from_us
        for end_us in (*self.midnights(from_us, to_us), to_us):
            yield from map(Microseconds, range(self.hour_of(at_us) + HOUR_US, end_us, HOUR_US))
            yield end_us
            at_us = end_us

    def hour_of(self, instant_us: Microseconds) -> Microseconds:
        """Return the beginning of the hour of an instant of the span."""
        return hour_of(instant_us, self.begins[bisect_right(self.begins, instant_us) - 1])

    def date(self, instant_us: Microseconds) -> date:
        """Return the local date of an instant of the span."""
        return self.dates[bisect_right(self.begins, instant_us) - 1]


def lanes(connection: Connection) -> list[Lane]:
    """Return the lanes that may hold facts beyond their mark."""
    return [Lane(*row) for row in connection.execute(text(_LANES))]


def unrolled(found: Sequence[Lane]) -> str:
    """Return the condition on usage_fact for what lies beyond the marks of `found`."""
    return " OR ".join(f"batch > {lane.rolled} AND batch < {lane.end}" for lane in found) or "false"


def roll_up(engine: Engine, zone: tzinfo, *, facts_per_transaction: int = FACTS_PER_TRANSACTION) -> RolledUp:
    """Bring the roll-ups up to the facts that are committed now, and retire lanes whose workers are gone.

    Does nothing while another process does it. `zone` is the operator's; days are its local days.
    """
    facts = without_service = retired = 0
    moved: set[int] = set()
    with engine.connect() as connection, _alone(connection) as alone:
        full = alone
        while full:
            with _snapshot(connection):
                span, full = _next_span(connection, facts_per_transaction)
                if span.lanes:
                    count, nobody = _roll(connection, span, zone)
                    facts, without_service = facts + count, without_service + nobody
                    moved.update(lane.id for lane in span.lanes)
        if alone:
            retired = _retire(connection)
    return RolledUp(facts, without_service, len(moved), retired)


@contextlib.contextmanager
def _alone(connection: Connection) -> Iterator[bool]:
    """Hold the lock of the roll-up, outside of any transaction: a snapshot must not be older than the lock."""
    locked = bool(connection.scalar(text(f"SELECT pg_try_advisory_lock({ROLL_UP_LOCK})")))
    connection.commit()
    try:
        yield locked
    finally:
        # A connection that broke has lost its lock already.
        if locked and not connection.invalidated:
            connection.rollback()
            connection.execute(text(f"SELECT pg_advisory_unlock({ROLL_UP_LOCK})"))
            connection.commit()


@contextlib.contextmanager
def _snapshot(connection: Connection) -> Iterator[None]:
    """Run a transaction that sees one state of the database throughout."""
    with connection.begin():
        connection.exec_driver_sql(f"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; {_SETTINGS}")
        yield


def _next_span(connection: Connection, most: int) -> tuple[_Span, bool]:
    """Return the oldest facts that are not rolled up, whole batches, and whether more may follow them."""
    found = lanes(connection)
    each = max(1, most // max(1, len(found)))
    span, full = _Span([], []), False
    for lane in found:
        beyond = f"SELECT batch FROM usage_fact WHERE {unrolled([lane])}"
        oldest = f"SELECT max(batch), count(*) FROM ({beyond} ORDER BY batch LIMIT {each}) AS oldest"
        last, count = connection.execute(text(oldest)).one()
        if count:
            span.lanes.append(lane)
            span.last.append(last)
            full = full or count == each
    return span, full


def _roll(connection: Connection, span: _Span, zone: tzinfo) -> tuple[int, int]:
    """Add the facts of `span` to the roll-ups and move its marks; return how many there were, and of nobody."""
    summary = f"""SELECT count(*), count(*) FILTER (WHERE service_id IS NULL),
        {_US.format("min(from_at)")}, {_US.format("max(to_at)")} FROM usage_fact WHERE {span.condition}"""
    count, nobody, first_us, last_us = connection.execute(text(summary)).one()
    days = Days(first_us, last_us, zone)
    for statement in _whole_facts(span.condition, days.cte):
        connection.exec_driver_sql(statement)
    _add_crossing(connection, span.condition, days)
    _revise_late(connection, span.condition, days)
    marks = ",".join(f"({lane.id},{last})" for lane, last in zip(span.lanes, span.last, strict=True))
    connection.exec_driver_sql(
        f"UPDATE lane SET rolled_batch = m.last FROM (VALUES {marks}) AS m(id, last) WHERE lane.id = m.id"
    )
    return count, nobody


def _whole_facts(condition: str, days: str) -> tuple[str, str]:
    """Return the statements that add the facts which lie in one hour, and those which lie in one local day."""
    source = f"FROM usage_fact, local WHERE ({condition}) AND service_id IS NOT NULL"
    hour = f"""SELECT service_id, {_HOUR} AS hour, traffic_class, {_summed("octets_up")}, {_summed("octets_down")}
        {source} AND {_FITS_HOUR} GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"""
    day = f"""SELECT service_id, (SELECT dates FROM local)[bucket], traffic_class, up, down FROM (
        SELECT service_id, {_BUCKET} AS bucket, traffic_class, {_summed("octets_up")} AS up,
            {_summed("octets_down")} AS down {source} AND {_FITS_DAY} GROUP BY 1, 2, 3 ORDER BY 1, 2, 3) AS summed"""
    return (_upsert("usage_hour", "hour", days, hour), _upsert("usage_day", "day", days, day))


def _add_crossing(connection: Connection, condition: str, days: Days) -> None:
    """Split the facts that cross an hour or a local midnight, and add their parts."""
    crossing = f"""WITH {days.cte} SELECT service_id, traffic_class, from_us, to_us, octets_up, octets_down,
            crosses_hour, crosses_day FROM (
        SELECT service_id, traffic_class, {_US.format("from_at")} AS from_us, {_US.format("to_at")} AS to_us,
            octets_up, octets_down, NOT ({_FITS_HOUR}) AS crosses_hour,
            NOT ({_FITS_DAY}) AS crosses_day
        FROM usage_fact, local WHERE ({condition}) AND service_id IS NOT NULL) AS fact
        WHERE crosses_hour OR crosses_day"""
    rows = connection.execute(text(crossing).execution_options(yield_per=FACTS_PER_PORTION))
    sums = _Sums(connection)
    for portion in rows.partitions():
        for service, traffic_class, from_us, to_us, up, down, crosses_hour, crosses_day in portion:
            if crosses_hour:
                for at_us, _, part_up, part_down in split(from_us, to_us, up, down, days.hours(from_us, to_us)):
                    sums.add_hour((service, days.hour_of(at_us), traffic_class), part_up, part_down)
            if crosses_day:
                for at_us, _, part_up, part_down in split(from_us, to_us, up, down, days.midnights(from_us, to_us)):
                    sums.add_day((service, days.date(at_us), traffic_class), part_up, part_down)
    sums.flush()


class _Sums:
    """Parts of split facts by service, hour or day, and class; written whenever there are many."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._hours: dict[tuple[int, int, int], tuple[int, int]] = {}
        self._days: dict[tuple[int, date, int], tuple[int, int]] = {}

    def add_hour(self, key: tuple[int, int, int], up: int, down: int) -> None:
        """Add octets to an hour."""
        old_up, old_down = self._hours.get(key, (0, 0))
        self._hours[key] = old_up + up, old_down + down
        if len(self._hours) >= MOST_PARTS:
            self.flush()

    def add_day(self, key: tuple[int, date, int], up: int, down: int) -> None:
        """Add octets to a local day."""
        old_up, old_down = self._days.get(key, (0, 0))
        self._days[key] = old_up + up, old_down + down

    def flush(self) -> None:
        """Write everything."""
        if self._hours:
            rows = _rows(self._hours, _AT.format("at"), f"{integers([at for _, at, _ in self._hours])}::bigint[]")
            self._connection.exec_driver_sql(_upsert("usage_hour", "hour", None, rows))
        if self._days:
            rows = _rows(self._days, "at", _dates(at for _, at, _ in self._days))
            self._connection.exec_driver_sql(_upsert("usage_day", "day", None, rows))
        self._hours, self._days = {}, {}


def _rows(sums: Mapping[tuple[int, Any, int], tuple[int, int]], at: str, begins: str) -> str:
    """Return the query for the rows of `sums`; `begins` is the array of their hours or days, which `at` converts."""
    columns = (
        integers([service for service, _, _ in sums]),
        integers([traffic_class for _, _, traffic_class in sums]),
        integers([min(up, GREATEST_SUM) for up, _ in sums.values()]),
        integers([min(down, GREATEST_SUM) for _, down in sums.values()]),
    )
    service, kind, up, down = (f"{column}::bigint[]" for column in columns)
    return f"""SELECT service_id, {at}, class, up, down
        FROM unnest({service}, {begins}, {kind}, {up}, {down}) AS u(service_id, at, class, up, down) ORDER BY 1, 2, 3"""


def _dates(values: Iterable[date]) -> str:
    return f"{texts(map(str, values))}::date[]"


def _upsert(table: str, key: str, with_days: str | None, rows: str) -> str:
    """Return the statement that adds `rows` (service, hour or day, class, up, down) to `table`."""
    return f"""{"" if with_days is None else f"WITH {with_days} "}
        INSERT INTO {table} AS old (service_id, {key}, traffic_class, octets_up, octets_down) {rows}
        ON CONFLICT (service_id, {key}, traffic_class) DO UPDATE
        SET octets_up = {_added("octets_up")}, octets_down = {_added("octets_down")}"""


def _summed(column: str) -> str:
    return f"least(sum({column}), {GREATEST_SUM})::bigint"


def _added(column: str) -> str:
    return f"""CASE WHEN old.{column} <= {GREATEST_SUM} - excluded.{column} THEN old.{column} + excluded.{column}
        ELSE {GREATEST_SUM} END"""


def _retire(connection: Connection) -> int:
    """Retire the lanes whose worker is gone and whose facts are all rolled up; return how many.

    A worker holds its lane's lock for as long as its connection can commit. Whether facts are left is asked after the
    lock was got, by a statement with a snapshot of its own.
    """
    with connection.begin():
        connection.exec_driver_sql(f"SET TRANSACTION ISOLATION LEVEL READ COMMITTED; {_SETTINGS}")
        abandoned = connection.scalars(
            text(f"SELECT id FROM lane WHERE NOT retired AND pg_try_advisory_xact_lock({LANE_LOCK}, id::integer)")
        ).all()
        if not abandoned:
            return 0
        left = "SELECT FROM usage_fact WHERE batch > greatest(rolled_batch, id << 32) AND batch < (id + 1) << 32"
        return connection.execute(
            text(f"UPDATE lane SET retired = true WHERE id = ANY(:abandoned) AND NOT EXISTS ({left})"),
            {"abandoned": list(abandoned)},
        ).rowcount


def _revise_late(connection: Connection, condition: str, days: Days) -> None:
    """Let billing look again at days that it may have charged before these facts came."""
    found = connection.execute(
        text(f"""WITH {days.cte}, told AS (
                SELECT service_id, (SELECT dates FROM local)[min(width_bucket(from_at, begins))] AS day
                FROM usage_fact, local WHERE ({condition}) AND service_id IS NOT NULL GROUP BY service_id
            )
            SELECT DISTINCT told.service_id, told.day FROM told
            JOIN subscription AS s ON s.service_id = told.service_id AND told.day < s.billed_to""")
    )
    late = [(service_id, day) for service_id, day in found]
    if late:
        revise(connection, late)


def revise(connection: Connection, days: Sequence[tuple[int, date]]) -> None:
    """Let billing look again at the usage of services (id) from a day on; what was billed by then may differ.

    The rows of the accounts are taken first, as everybody does who writes what is sold.
    """
    given = {"ids": [service_id for service_id, _ in days], "days": [day for _, day in days]}
    connection.execute(
        text(f"""UPDATE account AS a SET next_bill_on = least(a.next_bill_on, x.billed_to) {_REVISED}
        AND a.customer_id = coalesce(c.payer_id, c.id)"""),
        given,
    )
    connection.execute(
        text(f"""UPDATE subscription AS y SET revised_from = least(y.revised_from, u.day) {_REVISED}
        AND y.id = x.id"""),
        given,
    )


_REVISED = """FROM (SELECT id, min(day) AS day FROM unnest(CAST(:ids AS bigint[]), CAST(:days AS date[]))
        AS each(id, day) GROUP BY id) AS u
    JOIN subscription AS x ON x.service_id = u.id JOIN customer AS c ON c.id = x.customer_id
    WHERE u.day < x.billed_to"""
