"""What a service used, by hour, by local day or in total: the roll-ups, and the facts beyond their marks.

Rule: both are read in one snapshot and cut by the same code, so the answer is exact at every moment and does not jump
when the roll-up catches up. A row is a whole hour or day; those that the asked time touches are in the answer. What
counts in the periods of plans is read by one statement, for any number of services; weighed octets are added up whole
and rounded down once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.engine import Connection, Engine

from accounting.split import HOUR_US, day_of, hour_of, hours, local_midnights, midnight, split
from domain.instants import SECOND_US, Microseconds, to_datetime, to_microseconds
from domain.plan_rules import CountingWindow, PlanRules
from enforcement.periods import Span, almanac, timetable
from storage import rollup
from storage.errors import StorageError
from storage.literals import integers, texts

MINUTE_US = 60 * SECOND_US
FULL_WEIGHT = 60 * 100
"""The weight of an hour in which every octet counts as one: minutes times percent."""
MOST_TARIFFS = 256
"""Sets of weights that are remembered: counting windows and the spans in which they were asked for."""
PLANNING = "SET LOCAL enable_seqscan = off; SET LOCAL jit = off"

_SNAPSHOT = f"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; {PLANNING}"
_US = "(extract(epoch FROM {}) * 1000000)::bigint"
_AT = "'epoch'::timestamptz + {} * '1 microsecond'::interval"

Row = Sequence[int]
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
            sums = _by_hour(connection, service_id, start_us, end_us, zone)
    rows = [UsageRow(to_datetime(at), *sums[at]) for at in sorted(sums) if any(sums[at])]
    up, down = sum(row.octets_up for row in rows), sum(row.octets_down for row in rows)
    return UsageReport(service_login, up, down, () if step is Step.TOTAL else tuple(rows))


def _is_midnight(instant_us: Microseconds, zone: tzinfo) -> bool:
    return midnight(day_of(instant_us, zone), zone) == instant_us


def _by_hour(
    connection: Connection, service_id: int, start_us: Microseconds, end_us: Microseconds, zone: tzinfo
) -> Sums:
    first_us = _hour_of(start_us, zone)
    rows = connection.execute(
        text(f"""SELECT {_US.format("hour")}, sum(octets_up), sum(octets_down) FROM usage_hour
            WHERE service_id = :service AND hour >= :first AND hour < :end GROUP BY hour"""),
        {"service": service_id, "first": to_datetime(first_us), "end": to_datetime(end_us)},
    )
    sums = _sums((at, up, down) for at, up, down in rows)
    for from_us, to_us, up, down in _facts_beyond(connection, service_id):
        for part in split(from_us, to_us, up, down, hours(from_us, to_us, zone)):
            hour_us = _hour_of(part.from_us, zone)
            if first_us <= hour_us < end_us:
                _add(sums, hour_us, part.octets_up, part.octets_down)
    return sums


def _hour_of(instant_us: Microseconds, zone: tzinfo) -> Microseconds:
    return hour_of(instant_us, midnight(day_of(instant_us, zone), zone))


def _by_day(
    connection: Connection, service_id: int, start_us: Microseconds, end_us: Microseconds, zone: tzinfo
) -> Sums:
    first, end = day_of(start_us, zone), day_of(Microseconds(end_us - 1), zone) + timedelta(days=1)
    rows = connection.execute(
        text("""SELECT day, sum(octets_up), sum(octets_down) FROM usage_day
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


def _sums(rows: Iterable[tuple[Microseconds, Decimal, Decimal]]) -> Sums:
    sums: Sums = {}
    for at, up, down in rows:
        _add(sums, at, int(up), int(down))
    return sums


def _add(sums: Sums, at: Microseconds, up: int, down: int) -> None:
    old_up, old_down = sums.get(at, (0, 0))
    sums[at] = old_up + up, old_down + down


class Period(NamedTuple):
    """Whole local days of a service, of which what `rules` let count is asked for."""

    service_id: int
    span: Span
    rules: PlanRules


@lru_cache(maxsize=MOST_TARIFFS)
def hour_weights(
    counting: tuple[CountingWindow, ...], zone: tzinfo, begins: datetime, ends: datetime
) -> Mapping[int, int]:
    """Return the weight of each hour of a span of local days, where it is not nothing: minutes times percent.

    Hours are counted from the beginning of the span. Where clocks are set by half an hour (Lord Howe), those after that
    are half an hour off.
    """
    windows = timetable(tuple(each.window for each in counting), zone)
    begins_us = to_microseconds(begins)
    weights: dict[int, int] = defaultdict(int)
    at = begins
    while at < ends:
        segment = windows.at(at)
        until = min(segment.ends, ends)
        percent = 100 if segment.window is None else counting[segment.window].percent
        if percent:
            at_us, until_us = to_microseconds(at), to_microseconds(until)
            for hour_us in range(hour_of(at_us, begins_us), until_us, HOUR_US):
                held_us = min(until_us, hour_us + HOUR_US) - max(at_us, hour_us)
                weights[hour_us] += held_us // MINUTE_US * percent
        at = until
    return MappingProxyType(dict(weights))


class _Ask(NamedTuple):
    """Local days [first, ends) of a service; by the hour where they are weighed, by the weights of number `tariff`."""

    service_id: int
    first: date
    ends: date
    uncounted: frozenset[int]
    tariff: int | None


class _Fact(NamedTuple):
    """Octets beyond the marks."""

    from_us: Microseconds
    to_us: Microseconds
    octets_up: int
    octets_down: int


class PeriodUsage:
    """Octets that count in periods of many services, by one statement.

    Ask for all, put `columns` into a SELECT, give its answers to `take`, and read the octets.
    """

    def __init__(self, zone: tzinfo, now: datetime) -> None:
        self._zone = zone
        self._today = almanac(zone).day(now)
        self._asks: list[_Ask] = []
        self._shapes: dict[tuple[Span, int], tuple[date, date, frozenset[int], int | None]] = {}
        self._by_service: dict[int, list[int]] = defaultdict(list)
        self._sums: list[list[int]] = []
        self._tariffs: dict[tuple[object, ...], int] = {}
        self._weights: list[Mapping[int, int]] = []

    def ask(self, period: Period) -> int:
        """Ask for the octets of a period, as far as it is not in the future; return the question's number."""
        service_id, span, rules = period
        # Thousands ask for the same span of the same plan, whose rules take long to compare.
        key = (span, id(rules))
        shape = self._shapes.get(key)
        if shape is None:
            shape = self._shapes[key] = self._shape(span, rules)
        number = len(self._asks)
        self._asks.append(_Ask(service_id, *shape))
        self._by_service[service_id].append(number)
        self._sums.append([0, 0])
        return number

    def octets(self, number: int) -> tuple[int, int]:
        """Return the answer to a question: octets up and down."""
        up, down = self._sums[number]
        return (up, down) if self._asks[number].tariff is None else (up // FULL_WEIGHT, down // FULL_WEIGHT)

    @property
    def columns(self) -> str:
        """Return the three columns of the one row that `take` wants."""
        if not self._asks:
            return "NULL,NULL,NULL"
        plain, weighed = self._plain, self._weighed
        return ",".join(
            (
                _days_of([self._asks[number] for number in plain]) if plain else "NULL",
                self._hours_of([self._asks[number] for number in weighed]) if weighed else "NULL",
                _beyond(list(self._by_service)),
            )
        )

    def take(self, rolled: Sequence[Row] | None, weighed: Sequence[Row] | None, facts: Sequence[Row] | None) -> None:
        """Take the answers to all questions."""
        self._add(self._plain, rolled or ())
        self._add(self._weighed, weighed or ())
        if facts:
            self._add_facts(facts)

    @property
    def _plain(self) -> list[int]:
        return [number for number, ask in enumerate(self._asks) if ask.tariff is None]

    @property
    def _weighed(self) -> list[int]:
        return [number for number, ask in enumerate(self._asks) if ask.tariff is not None]

    def _shape(self, span: Span, rules: PlanRules) -> tuple[date, date, frozenset[int], int | None]:
        ends = min(span.ends, self._today.ends)
        uncounted = frozenset(number for number, each in enumerate(rules.classes, 1) if not each.counts)
        windows = rules.weighing_octets
        tariff = self._tariff(windows, span.begins, ends) if windows else None
        return self._date(span.begins), self._date(ends), uncounted, tariff

    def _date(self, instant: datetime) -> date:
        return instant.astimezone(self._zone).date()

    def _tariff(self, counting: tuple[CountingWindow, ...], begins: datetime, ends: datetime) -> int:
        """Return the number of the weights of these windows in this span."""
        key = (counting, begins, ends)
        if key not in self._tariffs:
            self._tariffs[key] = len(self._weights)
            self._weights.append(hour_weights(counting, self._zone, begins, ends))
        return self._tariffs[key]

    def _hours_of(self, asks: Sequence[_Ask]) -> str:
        """Return the query for (place of the question from 1, class, weighed octets) of the hourly roll-ups."""
        tariffs = [ask.tariff or 0 for ask in asks]
        begins = [min(weights, default=0) for weights in self._weights]
        ends = [max(weights, default=-HOUR_US) + HOUR_US for weights in self._weights]
        # Dense from the first hour on: the weight of an hour is found by its place.
        dense = [
            f"{{{','.join(str(weights.get(hour_us, 0)) for hour_us in range(first_us, end_us, HOUR_US))}}}"
            for weights, first_us, end_us in zip(self._weights, begins, ends, strict=True)
        ]
        columns = (
            f"{integers([ask.service_id for ask in asks])}::bigint[]",
            f"{integers(tariffs)}::bigint[]",
            f"{integers([begins[tariff] for tariff in tariffs])}::bigint[]",
            f"{integers([ends[tariff] for tariff in tariffs])}::bigint[]",
        )
        place = f"({_US.format('h.hour')} - u.first_us) / {HOUR_US} + 1"
        return f"""(WITH tariff AS MATERIALIZED (
                SELECT number - 1 AS id, weights::bigint[] AS weights
                FROM unnest({texts(dense)}::text[]) WITH ORDINALITY AS t(weights, number)
            )
            SELECT json_agg(json_build_array(u.place, h.traffic_class, h.up, h.down))
            FROM unnest({",".join(columns)}) WITH ORDINALITY AS u(service_id, tariff, first_us, end_us, place)
            JOIN tariff AS t ON t.id = u.tariff
            CROSS JOIN LATERAL (
                SELECT traffic_class, sum(octets_up * t.weights[{place}]) AS up,
                    sum(octets_down * t.weights[{place}]) AS down
                FROM usage_hour AS h WHERE h.service_id = u.service_id
                    AND h.hour >= {_AT.format("u.first_us")} AND h.hour < {_AT.format("u.end_us")}
                GROUP BY traffic_class
            ) AS h)"""

    def _add(self, numbers: Sequence[int], rows: Iterable[Row]) -> None:
        for place, traffic_class, up, down in rows:
            number = numbers[place - 1]
            if traffic_class not in self._asks[number].uncounted:
                self._sums[number][0] += up
                self._sums[number][1] += down

    def _add_facts(self, facts: Sequence[Row]) -> None:
        """Add what lies beyond the roll-ups, cut as they would cut it."""
        first_us, last_us = min(fact[2] for fact in facts), max(fact[3] for fact in facts)
        days = rollup.Days(Microseconds(first_us), Microseconds(last_us), self._zone)
        for service_id, traffic_class, from_us, to_us, up, down in facts:
            fact = _Fact(Microseconds(from_us), Microseconds(to_us), up, down)
            for number in self._by_service[service_id]:
                ask = self._asks[number]
                if traffic_class not in ask.uncounted:
                    parts = _by_days(ask, fact, days) if ask.tariff is None else self._by_hours(ask.tariff, fact, days)
                    for part_up, part_down in parts:
                        self._sums[number][0] += part_up
                        self._sums[number][1] += part_down

    def _by_hours(self, tariff: int, fact: _Fact, days: rollup.Days) -> Iterator[tuple[int, int]]:
        weights = self._weights[tariff]
        first_us = Microseconds(min(weights, default=0))
        for at_us, _, up, down in split(*fact, days.hours(fact.from_us, fact.to_us)):
            weight = weights.get(hour_of(at_us, first_us), 0)
            yield up * weight, down * weight


def _by_days(ask: _Ask, fact: _Fact, days: rollup.Days) -> Iterator[tuple[int, int]]:
    for at_us, _, up, down in split(*fact, days.midnights(fact.from_us, fact.to_us)):
        if ask.first <= days.date(at_us) < ask.ends:
            yield up, down


def _days_of(asks: Sequence[_Ask]) -> str:
    """Return the query for (place of the question from 1, class, octets) of the daily roll-ups."""
    services = f"{integers([ask.service_id for ask in asks])}::bigint[]"
    first = f"{texts([ask.first.isoformat() for ask in asks])}::date[]"
    ends = f"{texts([ask.ends.isoformat() for ask in asks])}::date[]"
    return f"""(SELECT json_agg(json_build_array(u.place, d.traffic_class, d.up, d.down))
        FROM unnest({services}, {first}, {ends}) WITH ORDINALITY AS u(service_id, first, ends, place)
        CROSS JOIN LATERAL (
            SELECT traffic_class, sum(octets_up) AS up, sum(octets_down) AS down FROM usage_day AS d
            WHERE d.service_id = u.service_id AND d.day >= u.first AND d.day < u.ends GROUP BY traffic_class
        ) AS d)"""


def _beyond(service_ids: list[int]) -> str:
    """Return the query for the facts of the services that are not rolled up yet.

    No index leads from a service to its facts (it would cost every packet), so each lane is read from its mark on.
    """
    return f"""(SELECT json_agg(json_build_array(service_id, traffic_class, {_US.format("from_at")},
            {_US.format("to_at")}, octets_up, octets_down))
        FROM lane AS l CROSS JOIN LATERAL (
            SELECT * FROM usage_fact AS f WHERE f.batch > greatest(l.rolled_batch, l.id << 32)
                AND f.batch < (l.id + 1) << 32 AND f.service_id = ANY({integers(service_ids)}::bigint[]) OFFSET 0
        ) AS f WHERE NOT l.retired)"""


def used(connection: Connection, periods: Sequence[Period], zone: tzinfo, now: datetime) -> list[tuple[int, int]]:
    """Return the octets (up, down) that count in each period, exactly, as far as it is not in the future."""
    reading = PeriodUsage(zone, now)
    numbers = [reading.ask(period) for period in periods]
    if periods:
        reading.take(*connection.exec_driver_sql(f"{PLANNING};SELECT {reading.columns}").one())
    return [reading.octets(number) for number in numbers]
