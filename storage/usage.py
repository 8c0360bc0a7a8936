"""What a service used, by hour, by local day or in total: the roll-ups, and the facts beyond their marks.

Rule: both are read in one snapshot and cut by the same code, so the answer is exact at every moment and does not jump
when the roll-up catches up. A row is a whole hour or day; those that the asked time touches are in the answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from enum import Enum
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.engine import Connection, Engine

from accounting.split import day_of, hour_of, hours, local_midnights, midnight, split
from domain.instants import Microseconds, to_datetime, to_microseconds
from storage import rollup
from storage.errors import StorageError

_SNAPSHOT = """SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;
SET LOCAL enable_seqscan = off; SET LOCAL jit = off"""
_US = "(extract(epoch FROM {}) * 1000000)::bigint"

Sums = dict[Microseconds, tuple[int, int]]
Fact = tuple[Microseconds, Microseconds, int, int]


class UnknownService(StorageError):
    """No service has this login."""

    def __init__(self, login: str) -> None:
        super().__init__(f"there is no service {login!r}; `caudal service list` shows those there are")
        self.login = login


class Step(Enum):
    """The length of a row."""

    HOUR = "hour"
    DAY = "day"
    TOTAL = "total"
    """No rows: whole local days where the asked time begins and ends with one, else whole hours."""


@dataclass(frozen=True, slots=True)
class UsageRow:
    """Usage of the hour or local day that begins at `start`, in UTC."""

    start: datetime
    octets_up: int
    octets_down: int


@dataclass(frozen=True, slots=True)
class UsageReport:
    """Usage of a service; hours and days without traffic have no row."""

    service: str
    octets_up: int
    octets_down: int
    rows: tuple[UsageRow, ...]


def usage(engine: Engine, service_login: str, by: str, start: datetime, end: datetime, timezone: str) -> UsageReport:
    """Return what a service used in the hours or local days which [start, end) touches; `by` is a value of `Step`.

    `timezone` is the operator's, in which the days were rolled up. Raises UnknownService.
    """
    step, zone = Step(by), ZoneInfo(timezone)
    start_us, end_us = to_microseconds(start), to_microseconds(end)
    with engine.connect() as connection, connection.begin():
        connection.exec_driver_sql(_SNAPSHOT)
        service_id = connection.scalar(text("SELECT id FROM service WHERE login = :login"), {"login": service_login})
        if service_id is None:
            raise UnknownService(service_login)
        if step is Step.DAY or (step is Step.TOTAL and _is_midnight(start_us, zone) and _is_midnight(end_us, zone)):
            sums = _by_day(connection, service_id, start_us, end_us, zone)
        else:
            sums = _by_hour(connection, service_id, start_us, end_us)
    rows = [UsageRow(to_datetime(at), *sums[at]) for at in sorted(sums) if any(sums[at])]
    up, down = sum(row.octets_up for row in rows), sum(row.octets_down for row in rows)
    return UsageReport(service_login, up, down, () if step is Step.TOTAL else tuple(rows))


def _is_midnight(instant_us: Microseconds, zone: tzinfo) -> bool:
    return midnight(day_of(instant_us, zone), zone) == instant_us


def _by_hour(connection: Connection, service_id: int, start_us: Microseconds, end_us: Microseconds) -> Sums:
    first_us = hour_of(start_us)
    rows = connection.execute(
        text(f"""SELECT {_US.format("hour")}, sum(octets_up)::bigint, sum(octets_down)::bigint FROM usage_hour
            WHERE service_id = :service AND hour >= :first AND hour < :end GROUP BY hour"""),
        {"service": service_id, "first": to_datetime(first_us), "end": to_datetime(end_us)},
    )
    sums = _sums((at, up, down) for at, up, down in rows)
    for from_us, to_us, up, down in _facts_beyond(connection, service_id):
        for part in split(from_us, to_us, up, down, hours(from_us, to_us)):
            if first_us <= part.from_us < end_us:
                _add(sums, hour_of(part.from_us), part.octets_up, part.octets_down)
    return sums


def _by_day(
    connection: Connection, service_id: int, start_us: Microseconds, end_us: Microseconds, zone: tzinfo
) -> Sums:
    first, end = day_of(start_us, zone), day_of(Microseconds(end_us - 1), zone) + timedelta(days=1)
    rows = connection.execute(
        text("""SELECT day, sum(octets_up)::bigint, sum(octets_down)::bigint FROM usage_day
            WHERE service_id = :service AND day >= :first AND day < :end GROUP BY day"""),
        {"service": service_id, "first": first, "end": end},
    )
    sums = _sums((midnight(day, zone), up, down) for day, up, down in rows)
    for from_us, to_us, up, down in _facts_beyond(connection, service_id):
        for part in split(from_us, to_us, up, down, local_midnights(from_us, to_us, zone)):
            day = day_of(part.from_us, zone)
            if first <= day < end:
                _add(sums, midnight(day, zone), part.octets_up, part.octets_down)
    return sums


def _facts_beyond(connection: Connection, service_id: int) -> list[Fact]:
    """Return (from, to, up, down) of what is not rolled up yet.

    No index leads from a service to its facts: it would cost every packet,
    and beyond the marks there is little to read.
    """
    condition = rollup.unrolled(rollup.lanes(connection))
    rows = connection.execute(
        text(f"""SELECT {_US.format("from_at")}, {_US.format("to_at")}, octets_up, octets_down FROM usage_fact
            WHERE service_id = :service AND ({condition})"""),
        {"service": service_id},
    )
    return [(from_us, to_us, up, down) for from_us, to_us, up, down in rows]


def _sums(rows: Iterable[tuple[Microseconds, int, int]]) -> Sums:
    sums: Sums = {}
    for at, up, down in rows:
        _add(sums, at, up, down)
    return sums


def _add(sums: Sums, at: Microseconds, up: int, down: int) -> None:
    old_up, old_down = sums.get(at, (0, 0))
    sums[at] = old_up + up, old_down + down
