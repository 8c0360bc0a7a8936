"""What is known of services when their entitlements are computed: standings, open sessions, meter rows.

Rule: usage is read together with the octets of the open sessions by one statement, so that both are of the same moment
in any transaction. However many services are asked for, the statements are the same two. What an operator ordered about
an account goes before what billing says of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy.engine import Connection

from domain.instants import to_microseconds
from domain.network import Plan
from domain.plan_rules import NO_RULES, PlanRules
from domain.plan_rules import Period as CountedPeriod
from enforcement.periods import EVER, Span, almanac, cap_span
from enforcement.standing import BurstLevel, Counter, Standing, Usage
from storage.literals import integers, texts
from storage.online_time import OnlineTime
from storage.standing_rows import (
    Contract,
    OpenSession,
    burst_document,
    contract_of,
    session_of,
    usage_document,
)
from storage.usage import PLANNING, Period, PeriodUsage

ENDED_TOP_UP_DAYS = 32
"""A top-up that ended may have paid a part of the present period: from when it was settled, else of a month at most."""

_US = "(extract(epoch FROM {}) * 1000000)::bigint"
_AT = "'epoch'::timestamptz + {} * '1 microsecond'::interval"

_STANDINGS = f"""
SELECT s.id, s.plan_id, s.login, s.enabled, coalesce(nullif(s.account_state, 'active'), s.billing_state),
    {_US.format("s.expires_at")}, s.period_day,
    {_US.format("m.as_of")}, m.usage, m.burst, {_US.format("m.carried_for")}, m.carried_lots, m.warned,
    o.change, {_US.format("o.until_at")}, o.operator, o.reason,
    (SELECT json_agg(json_build_array(t.id, t.name, t.kind, {_US.format("t.begins_at")}, {_US.format("t.ends_at")},
            t.octets, t.spent_octets, t.boost, t.before_plan, t.covered_octets) ORDER BY t.id)
        FROM top_up AS t WHERE t.service_id = s.id AND t.ends_at > least(m.carried_for, {_AT.format("{now}")}
            - interval '{ENDED_TOP_UP_DAYS} days'))
FROM unnest({{ids}}) AS k(id) JOIN service AS s USING (id) LEFT JOIN meter AS m ON m.service_id = s.id
LEFT JOIN override AS o ON o.service_id = s.id"""

PREPARED: Mapping[str, str] = MappingProxyType(
    {"login_standing": "\nPREPARE login_standing(bigint[], bigint) AS" + _STANDINGS.format(now="$2", ids="$1")}
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A service with everything its entitlement needs; `standing.usage` is None where the plan does not ask for it."""

    contract: Contract
    standing: Standing
    warned: tuple[int, ...]
    """Percentages of the cap already warned of in its present period."""
    sessions: tuple[OpenSession, ...]
    ceiling_warned: tuple[int, ...] = ()
    """Percentages of what its overage costs at most already warned of in that period."""


class Meter(NamedTuple):
    """A meter row to write: what logins are decided by until somebody looks again."""

    service_id: int
    usage: Usage
    burst: BurstLevel | None = None
    warned: tuple[int, ...] = ()
    ceiling_warned: tuple[int, ...] = ()


def load(
    connection: Connection, service_ids: Iterable[int], plans: Mapping[int, Plan], zone: tzinfo, now: datetime
) -> dict[int, Loaded]:
    """Return what is known of the services at `now`; one that is gone, or whose plan is not in `plans`, is left out.

    `plans` are those of the present snapshot, `zone` is the operator's.
    """
    ids = sorted(set(service_ids))
    if not ids:
        return {}
    statement = _STANDINGS.format(now=to_microseconds(now), ids=f"{integers(ids)}::bigint[]")
    rows = connection.exec_driver_sql(f"{PLANNING};{statement}")
    contracts = [contract for contract in map(contract_of, rows) if contract.plan_id in plans]
    if not contracts:
        return {}
    reading = _Reading(zone, now)
    spans = {
        each.service_id: _ask_periods(reading, each, plans[each.plan_id].rules, now)
        for each in contracts
        if plans[each.plan_id].rules.depends_on_usage
    }
    reading.read(connection, [each.service_id for each in contracts])
    reading.read_over_before(connection, contracts, plans)
    return {
        each.service_id: _loaded(each, plans[each.plan_id].rules, spans.get(each.service_id), reading, now)
        for each in contracts
    }


def meters(service_ids: Sequence[int], now: datetime) -> str:
    """Return the query for the rows from which `standing_of` makes standings, for a connection with `PREPARED`."""
    return f"EXECUTE login_standing({integers(list(service_ids))},{to_microseconds(now)})"


def standing_of(row: Sequence[Any], rules: PlanRules, zone: tzinfo, now: datetime) -> Standing:
    """Return the standing of a service as its meter knew it last; `rules` are those of its plan."""
    contract = contract_of(row)
    return _standing(contract, rules, contract.metered, zone, now)


def write_meters(connection: Connection, rows: Sequence[Meter]) -> None:
    """Write meter rows; one that is newer already stays."""
    if rows:
        columns = (
            f"{integers([each.service_id for each in rows])}::bigint[]",
            f"{integers([to_microseconds(each.usage.as_of) for each in rows])}::bigint[]",
            f"{texts([usage_document(each.usage) for each in rows])}::jsonb[]",
            f"{texts([burst_document(each.burst) for each in rows])}::jsonb[]",
            f"{texts([_array(_marks(each)) for each in rows])}::text[]",
        )
        connection.exec_driver_sql(f"""INSERT INTO meter AS old (service_id, as_of, usage, burst, warned)
            SELECT service_id, {_AT.format("as_of")}, usage, burst, warned::integer[]
            FROM unnest({",".join(columns)}) AS u(service_id, as_of, usage, burst, warned) ORDER BY service_id
            ON CONFLICT (service_id) DO UPDATE SET as_of = excluded.as_of, usage = excluded.usage,
                burst = excluded.burst, warned = excluded.warned
                WHERE old.as_of IS NULL OR excluded.as_of >= old.as_of""")


def _marks(meter: Meter) -> tuple[int, ...]:
    return (*meter.warned, *(-percent for percent in meter.ceiling_warned))


class _Reading:
    """What one statement answers: octets and seconds of periods, and open sessions."""

    def __init__(self, zone: tzinfo, now: datetime) -> None:
        self.zone = zone
        self.now = now
        self.usage = PeriodUsage(zone, now)
        self.online = OnlineTime(zone, now)
        self._sessions: dict[int, list[OpenSession]] = defaultdict(list)
        self._over_before: dict[int, tuple[int, ...]] = {}

    def over_before(self, service_id: int) -> tuple[int, ...]:
        """Return the octets beyond the cap in periods of the month that are settled, where they share a ceiling."""
        return self._over_before.get(service_id, ())

    def seconds(self, service_id: int, number: int) -> tuple[int, int]:
        """Return the answer to a question about the time on line of a service."""
        return self.online.seconds(number, [session.started_at for session in self.sessions(service_id)])

    def sessions(self, service_id: int) -> Sequence[OpenSession]:
        """Return the open sessions of a service."""
        return self._sessions.get(service_id, ())

    def read(self, connection: Connection, service_ids: Sequence[int]) -> None:
        """Get all answers, and the open sessions of `service_ids`."""
        statement = f"{PLANNING};SELECT {self.usage.columns},{self.online.column},{_open(service_ids)}"
        *octets, seconds, sessions = connection.exec_driver_sql(statement).one()
        self.usage.take(*octets)
        self.online.take(seconds)
        for service_id, *session in sessions or ():
            self._sessions[service_id].append(session_of(service_id, session))

    def read_over_before(
        self, connection: Connection, contracts: Iterable[Contract], plans: Mapping[int, Plan]
    ) -> None:
        """Get what ran over before in the month in which the present period of the cap began."""
        asked: dict[int, tuple[int, int]] = {}
        for each in contracts:
            rules = plans[each.plan_id].rules
            if rules.shares_ceiling:
                begins = cap_span(rules, self.zone, self.now, each.period_day).begins
                month = almanac(self.zone).month(begins, each.period_day)
                asked[each.service_id] = to_microseconds(month.begins), to_microseconds(begins)
        if not asked:
            return
        columns = (list(asked), *([bounds[place] for bounds in asked.values()] for place in (0, 1)))
        given = ",".join(f"{integers(column)}::bigint[]" for column in columns)
        for service_id, octets in connection.exec_driver_sql(f"""SELECT p.service_id,
                array_agg(greatest(0, p.used_octets - p.limit_octets) ORDER BY p.begins)
            FROM unnest({given}) AS u(id, since, before) JOIN usage_period AS p ON p.service_id = u.id
                AND p.begins >= {_AT.format("u.since")} AND p.begins < {_AT.format("u.before")}
            GROUP BY p.service_id"""):
            self._over_before[service_id] = tuple(octets)


def _open(service_ids: Sequence[int]) -> str:
    """Return the query for the open sessions of the services, each behind its service."""
    return f"""(SELECT json_agg(json_build_array(s.service_id, s.id, s.router_id, s.nas, s.acct_session_id, s.login,
            host(s.address), s.mac, s.nas_port_id, encode(s.class_token, 'hex'), s.octets_up, s.octets_down,
            s.traffic_class, {_US.format("s.started_at")}, {_US.format("s.heard_at")},
            l.router_id, encode(l.desired, 'hex'), {_US.format("l.desired_since")},
            encode(l.proven, 'hex'), {_US.format("l.proven_at")}, l.proven_by, l.attempts,
            {_US.format("l.next_attempt_at")}, l.problem, {_US.format("l.recompute_at")},
            {_US.format("l.crossed_at")}, l.overshoot_octets) ORDER BY s.id)
        FROM unnest({integers(list(service_ids))}::bigint[]) AS k(id)
        CROSS JOIN LATERAL (SELECT * FROM session AS s WHERE s.service_id = k.id AND s.state = 0 OFFSET 0) AS s
        LEFT JOIN line AS l ON l.session_id = s.id)"""


class _Period(NamedTuple):
    """The questions about one period of one service; `seconds` None where the plan does not count them."""

    service_id: int
    begins: datetime
    octets: int
    seconds: int | None

    def counter(self, reading: _Reading) -> Counter:
        """Return the answers."""
        seconds = (0, 0) if self.seconds is None else reading.seconds(self.service_id, self.seconds)
        return Counter(self.begins, *reading.usage.octets(self.octets), *seconds)


class _Periods(NamedTuple):
    """The questions about the present periods of one service."""

    day: _Period
    week: _Period
    month: _Period
    fup_month: _Period | None
    line: _Period | None
    ever: _Period | None

    def usage(self, reading: _Reading, sessions: int, now: datetime) -> Usage:
        """Return the answers."""
        return Usage(
            as_of=now,
            day=self.day.counter(reading),
            week=self.week.counter(reading),
            month=self.month.counter(reading),
            fup_month=None if self.fup_month is None else self.fup_month.counter(reading),
            sessions=sessions,
            line=None if self.line is None else self.line.counter(reading),
            ever=None if self.ever is None else self.ever.counter(reading),
            over_before=reading.over_before(self.day.service_id),
        )


def _ask_periods(reading: _Reading, contract: Contract, rules: PlanRules, now: datetime) -> _Periods:
    calendar = almanac(reading.zone)
    counts_time, windows = rules.counts_time, rules.weighing_time

    def ask(span: Span) -> _Period:
        counts = counts_time and span != EVER
        seconds = reading.online.ask(contract.service_id, span, windows) if counts else None
        octets = reading.usage.ask(Period(contract.service_id, span, rules))
        return _Period(contract.service_id, span.begins, octets, seconds)

    reset_day = None if rules.fup is None else rules.fup.reset_day
    month = calendar.month(now, contract.period_day)
    line = None
    if rules.burst_budget is not None:
        octets = reading.usage.ask(Period(contract.service_id, month, NO_RULES))
        line = _Period(contract.service_id, month.begins, octets, None)
    return _Periods(
        day=ask(calendar.day(now)),
        week=ask(calendar.week(now, rules.week_starts)),
        month=ask(month),
        fup_month=None if reset_day is None else ask(calendar.month(now, reset_day)),
        line=line,
        ever=ask(EVER) if rules.uses(CountedPeriod.EVER) else None,
    )


def _loaded(contract: Contract, rules: PlanRules, periods: _Periods | None, reading: _Reading, now: datetime) -> Loaded:
    sessions = tuple(reading.sessions(contract.service_id))
    usage = None if periods is None else periods.usage(reading, len(sessions), now)
    warned = contract.warned if _is_settled(contract, rules, reading.zone, now) else ()
    return Loaded(
        contract,
        _standing(contract, rules, usage, reading.zone, now),
        tuple(percent for percent in warned if percent > 0),
        sessions,
        tuple(-percent for percent in warned if percent < 0),
    )


def _standing(contract: Contract, rules: PlanRules, usage: Usage | None, zone: tzinfo, now: datetime) -> Standing:
    return Standing(
        service_id=contract.service_id,
        enabled=contract.enabled,
        account=contract.account,
        expires_at=contract.expires_at,
        period_day=contract.period_day,
        usage=usage,
        carried_octets=sum(contract.carried_lots) if _is_settled(contract, rules, zone, now) else 0,
        top_ups=contract.top_ups,
        burst=contract.burst,
        override=contract.override,
    )


def _is_settled(contract: Contract, rules: PlanRules, zone: tzinfo, now: datetime) -> bool:
    """Tell whether what the meter says of the cap's period is of the present one."""
    if rules.cap is None or contract.carried_for is None:
        return False
    return contract.carried_for == cap_span(rules, zone, now, contract.period_day).begins


def _array(values: Iterable[int]) -> str:
    return f"{{{','.join(map(str, values))}}}"
