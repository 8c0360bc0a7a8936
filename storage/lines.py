"""The lines: what each open session should get, what its router is proven to give, at which octets to look again.

Rule: what was proven counts on only while the router can have nothing else; over an unproven line a change may be on
its way, so even a return to what was proven before is proven again. A session's row belongs to the packet path: nobody
waits here for one that a packet holds, whose session is in the outbox again instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.engine import Connection

from domain.instants import to_microseconds
from domain.plan_rules import Direction
from enforcement.reconcile import Problem, Proof
from storage.literals import booleans, integers, octet_strings, optional_integers, texts
from storage.outbox import CHANNEL, Topic

WAKE_DIRECTION = {Direction.BOTH: 0, Direction.DOWN: 1, Direction.UP: 2}
"""Directions as session.wake_direction has them."""

_AT = "'epoch'::timestamptz + {} * '1 microsecond'::interval"
_LINE = """l.session_id, l.service_id, l.router_id, l.desired, l.desired_since, l.proven, l.proven_at, l.proven_by,
    l.attempts, l.next_attempt_at, l.problem, l.recompute_at, l.crossed_at, l.overshoot_octets"""


@dataclass(frozen=True, slots=True)
class Line:
    """One row; fingerprints are octets, `problem` None while the first attempt is under way."""

    session_id: int
    service_id: int
    router_id: int
    desired: bytes
    desired_since: datetime
    proven: bytes | None
    proven_at: datetime | None
    proven_by: Proof | None
    attempts: int
    next_attempt_at: datetime | None
    problem: Problem | None
    recompute_at: datetime | None
    crossed_at: datetime | None
    overshoot_octets: int | None

    @property
    def is_proven(self) -> bool:
        """Tell whether the router is known to do what is desired."""
        return self.proven == self.desired


@dataclass(frozen=True, slots=True)
class ListedLine:
    """A line and whose it is; what it should get it has not got since `line.desired_since`, unless it is proven."""

    line: Line
    login: str
    router: str | None
    acct_session_id: str
    address: str | None


class Desire(NamedTuple):
    """What a session should get; `told_at_login` when its Access-Accept said the same, which proves a new line."""

    session_id: int
    service_id: int
    router_id: int
    fingerprint: bytes
    recompute_at: datetime | None = None
    told_at_login: bool = False
    problem: Problem | None = None
    """Of a new line: what is known to be in its way."""


class Wake(NamedTuple):
    """The octets of a session at which its line is looked at again; None for never."""

    session_id: int
    octets: int | None
    direction: Direction = Direction.BOTH


class Proven(NamedTuple):
    """A fingerprint that a router was shown to obey."""

    session_id: int
    fingerprint: bytes
    how: Proof
    at: datetime


class Failure(NamedTuple):
    """An attempt at a fingerprint that did not prove it."""

    session_id: int
    fingerprint: bytes
    attempts: int
    next_attempt_at: datetime | None
    problem: Problem


class Overshoot(NamedTuple):
    """Octets beyond the threshold of `crossed_at` until the change was proven."""

    session_id: int
    crossed_at: datetime
    octets: int


def line_of(row: Sequence[Any]) -> Line:
    """Return the line of a row with the columns of `line`, in their order."""
    values = list(row)
    for position in (3, 5):
        values[position] = None if values[position] is None else bytes(values[position])
    values[7] = None if values[7] is None else Proof(values[7])
    values[10] = None if values[10] is None else Problem(values[10])
    return Line(*values)


def share(octets_left: int, sessions: int, heaviest_percent: int = 100) -> int:
    """Return how far each of the open sessions may go before one of them has to be looked at.

    Pigeonhole: while every session moved by less, all together moved by less than what is left. `heaviest_percent` is
    the highest at which octets count (double is 200); where they are weighed, a part of an octet may be used already.
    """
    if heaviest_percent > 100:
        octets_left = (octets_left - 1) * 100 // heaviest_percent
    return max(1, octets_left // max(1, sessions))


def upsert(connection: Connection, desires: Sequence[Desire], now: datetime) -> list[Line]:
    """Write what sessions should get; return the lines that are not proven. Sessions that ended meanwhile get none.

    In one transaction with `arm`: until its commit no session of these can end, and from then on its end is told.
    """
    if not desires:
        return []
    columns = (
        f"{integers([each.session_id for each in desires])}::bigint[]",
        f"{integers([each.service_id for each in desires])}::bigint[]",
        f"{integers([each.router_id for each in desires])}::integer[]",
        f"{octet_strings([each.fingerprint for each in desires])}::bytea[]",
        f"{_instants([each.recompute_at for each in desires])}::bigint[]",
        f"{booleans([each.told_at_login for each in desires])}::boolean[]",
        f"{texts([None if each.problem is None else each.problem.value for each in desires])}::text[]",
    )
    since = _AT.format(to_microseconds(now))
    rows = connection.exec_driver_sql(f"""WITH wanted AS MATERIALIZED (
            SELECT * FROM unnest({",".join(columns)})
                AS u(session_id, service_id, router_id, desired, recompute, told, problem)
        ), free AS MATERIALIZED (
            SELECT w.*, s.started_at FROM wanted AS w JOIN session AS s ON s.id = w.session_id
            WHERE s.state = 0 FOR NO KEY UPDATE OF s SKIP LOCKED
        ), held AS (
            INSERT INTO outbox (topic, service_id, session_id)
            SELECT '{Topic.CROSSED.value}', s.service_id, s.id FROM wanted AS w JOIN session AS s ON s.id = w.session_id
            WHERE s.state = 0 AND NOT EXISTS (SELECT FROM free AS f WHERE f.session_id = s.id)
            RETURNING pg_notify('{CHANNEL}', '')
        ), written AS (
            INSERT INTO line AS old (session_id, service_id, router_id, desired, desired_since, recompute_at,
                proven, proven_at, proven_by, problem)
            SELECT session_id, service_id, router_id, desired, {since}, {_AT.format("recompute")},
                CASE WHEN told THEN desired END, CASE WHEN told THEN started_at END,
                CASE WHEN told THEN '{Proof.LOGIN.value}' END, problem
            FROM free ORDER BY session_id
            ON CONFLICT (session_id) DO UPDATE SET service_id = excluded.service_id, desired = excluded.desired,
                recompute_at = excluded.recompute_at,
                desired_since = {_unless_changed("desired_since", "excluded.desired_since")},
                proven = {_unless_changed("proven", "CASE WHEN old.proven = old.desired THEN old.proven END")},
                attempts = {_unless_changed("attempts", "0")},
                next_attempt_at = {_unless_changed("next_attempt_at", "NULL")},
                problem = {_unless_changed("problem", "NULL")}
            RETURNING *
        )
        SELECT {_LINE} FROM written AS l WHERE l.proven IS DISTINCT FROM l.desired ORDER BY l.session_id""")
    return [line_of(row) for row in rows]


def _instants(values: Iterable[datetime | None]) -> str:
    return optional_integers(None if value is None else to_microseconds(value) for value in values)


def _unless_changed(column: str, otherwise: str) -> str:
    return f"CASE WHEN old.desired = excluded.desired THEN old.{column} ELSE {otherwise} END"


def arm(connection: Connection, wakes: Sequence[Wake]) -> int:
    """Set where sessions wake, and let their ends be told; return how many are looked at again at once.

    These have reached their octets already, or are held by a packet at this moment: a row that a packet holds is not
    waited for, so packets and arming can never wait for each other. To be called last: packets wait for the commit.
    """
    if not wakes:
        return 0
    columns = (
        f"{integers([each.session_id for each in wakes])}::bigint[]",
        f"{optional_integers([each.octets for each in wakes])}::bigint[]",
        f"{integers([WAKE_DIRECTION[each.direction] for each in wakes])}::smallint[]",
    )
    again = connection.exec_driver_sql(f"""WITH wanted AS MATERIALIZED (
            SELECT * FROM unnest({",".join(columns)}) AS u(id, octets, direction)
        ), free AS MATERIALIZED (
            SELECT s.id, s.service_id, w.octets, w.direction, w.octets <= CASE w.direction WHEN 1 THEN s.octets_down
                WHEN 2 THEN s.octets_up ELSE s.octets_up + s.octets_down END AS reached
            FROM wanted AS w JOIN session AS s ON s.id = w.id FOR NO KEY UPDATE OF s SKIP LOCKED
        ), armed AS (
            UPDATE session AS s SET watched = true, wake_direction = f.direction,
                wake_octets = CASE WHEN f.reached THEN NULL ELSE f.octets END
            FROM free AS f WHERE s.id = f.id
        ), again AS (
            INSERT INTO outbox (topic, service_id, session_id)
            SELECT '{Topic.CROSSED.value}', service_id, id FROM free WHERE reached
            UNION ALL
            SELECT '{Topic.CROSSED.value}', s.service_id, s.id FROM wanted AS w JOIN session AS s ON s.id = w.id
            WHERE NOT EXISTS (SELECT FROM free AS f WHERE f.id = w.id)
            RETURNING 1
        )
        SELECT count(*), CASE WHEN count(*) > 0 THEN pg_notify('{CHANNEL}', '') END FROM again""").scalar_one()
    return int(again)


def due(connection: Connection, now: datetime, limit: int) -> list[int]:
    """Return the services with a line that is to be computed again, the longest due first; `limit` counts lines."""
    rows = connection.scalars(
        text("SELECT service_id FROM line WHERE recompute_at <= :now ORDER BY recompute_at LIMIT :limit"),
        {"now": now, "limit": limit},
    )
    return list(dict.fromkeys(rows))


def next_due(connection: Connection) -> datetime | None:
    """Return when the next line is to be computed again."""
    found: datetime | None = connection.scalar(text("SELECT min(recompute_at) FROM line"))
    return found


def unwatched(connection: Connection, now: datetime, after: int, limit: int) -> list[tuple[int, int]]:
    """Return (session, service) of open sessions without a line that should have one, by id, beyond session `after`.

    Their plan has rules, an operator has overridden it, or they may not be used at all.
    """
    rows = connection.execute(
        text("""SELECT s.id, s.service_id FROM plan AS p JOIN service AS sv ON sv.plan_id = p.id
            JOIN session AS s ON s.service_id = sv.id
            WHERE (p.rules <> '{}' OR NOT sv.enabled OR sv.account_state <> 'active' OR sv.billing_state <> 'active'
                    OR sv.expires_at <= :now
                    OR EXISTS (SELECT FROM override AS o WHERE o.service_id = sv.id))
                AND s.state = 0 AND s.id > :after AND NOT EXISTS (SELECT FROM line AS l WHERE l.session_id = s.id)
            ORDER BY s.id LIMIT :limit"""),
        {"now": now, "after": after, "limit": limit},
    )
    return [(session_id, service_id) for session_id, service_id in rows]


def listing(
    connection: Connection,
    *,
    unproven: bool = False,
    router: str | None = None,
    after: tuple[int, int] = (0, 0),
    limit: int = 1000,
) -> list[ListedLine]:
    """Return a page of the lines, by (router id, session id); `after` is where the page before ended."""
    only = ("AND l.proven IS DISTINCT FROM l.desired " if unproven else "") + ("AND r.name = :router" if router else "")
    rows = connection.execute(
        text(f"""SELECT {_LINE}, s.login, r.name, s.acct_session_id, host(s.address)
            FROM line AS l JOIN session AS s ON s.id = l.session_id LEFT JOIN router AS r ON r.id = l.router_id
            WHERE (l.router_id, l.session_id) > (:after_router, :after_session) {only}
            ORDER BY l.router_id, l.session_id LIMIT :limit"""),
        {"after_router": after[0], "after_session": after[1], "limit": limit, **({"router": router} if router else {})},
    )
    return [ListedLine(line_of(row[:-4]), *row[-4:]) for row in rows]


def unproven(connection: Connection, *, after: tuple[int, int] = (0, 0), limit: int = 1000) -> list[ListedLine]:
    """Return a page of the lines that are not proven."""
    return listing(connection, unproven=True, after=after, limit=limit)


def prove(connection: Connection, proofs: Sequence[Proven]) -> None:
    """Write what routers are proven to do; a line that desires something else by now stays unproven."""
    if proofs:
        columns = (
            f"{integers([each.session_id for each in proofs])}::bigint[]",
            f"{octet_strings([each.fingerprint for each in proofs])}::bytea[]",
            f"{texts([each.how.value for each in proofs])}::text[]",
            f"{_instants([each.at for each in proofs])}::bigint[]",
        )
        connection.exec_driver_sql(f"""UPDATE line AS l
            SET proven = u.fingerprint, proven_at = {_AT.format("u.at")}, proven_by = u.how,
                attempts = CASE WHEN l.desired = u.fingerprint THEN 0 ELSE l.attempts END,
                next_attempt_at = CASE WHEN l.desired = u.fingerprint THEN NULL ELSE l.next_attempt_at END,
                problem = CASE WHEN l.desired = u.fingerprint THEN NULL ELSE l.problem END
            FROM unnest({",".join(columns)}) AS u(session_id, fingerprint, how, at)
            WHERE l.session_id = u.session_id""")


def doubt(connection: Connection, session_ids: Sequence[int], now: datetime) -> None:
    """Take back the proof that sessions were ended: they go on."""
    if session_ids:
        connection.execute(
            text("""UPDATE line SET proven = NULL, proven_at = NULL, proven_by = NULL, desired_since = :now,
                attempts = 0, next_attempt_at = NULL, problem = :problem WHERE session_id = ANY(:ids)"""),
            {"ids": sorted(session_ids), "now": now, "problem": Problem.STILL_ON_LINE.value},
        )


def disprove(connection: Connection, session_ids: Sequence[int], now: datetime) -> None:
    """Take back what is proven of sessions: another system has changed something of them."""
    if session_ids:
        connection.execute(
            text("""UPDATE line SET proven = NULL, proven_at = NULL, proven_by = NULL,
                desired_since = CASE WHEN proven = desired THEN :now ELSE desired_since END,
                problem = CASE WHEN proven = desired THEN :problem ELSE problem END
                WHERE session_id = ANY(:ids) AND proven IS NOT NULL"""),
            {"ids": sorted(session_ids), "now": now, "problem": Problem.CHANGED_ELSEWHERE.value},
        )


def lingering(connection: Connection, ended_before: datetime, after: int, limit: int) -> list[tuple[int, int]]:
    """Return (session, service) of open sessions that were ended before that instant, by id, beyond `after`."""
    rows = connection.execute(
        text("""SELECT l.session_id, l.service_id FROM line AS l JOIN session AS s ON s.id = l.session_id
            WHERE l.proven_by = :ended AND l.proven = l.desired AND l.proven_at <= :before AND s.state = 0
                AND l.session_id > :after
            ORDER BY l.session_id LIMIT :limit"""),
        {"ended": Proof.DISCONNECT.value, "before": ended_before, "after": after, "limit": limit},
    )
    return [(session_id, service_id) for session_id, service_id in rows]


def fail(connection: Connection, failures: Sequence[Failure]) -> None:
    """Write what attempts came to nothing; one at what is no longer desired says nothing."""
    if failures:
        columns = (
            f"{integers([each.session_id for each in failures])}::bigint[]",
            f"{octet_strings([each.fingerprint for each in failures])}::bytea[]",
            f"{integers([each.attempts for each in failures])}::integer[]",
            f"{_instants([each.next_attempt_at for each in failures])}::bigint[]",
            f"{texts([each.problem.value for each in failures])}::text[]",
        )
        connection.exec_driver_sql(f"""UPDATE line AS l
            SET attempts = u.attempts, next_attempt_at = {_AT.format("u.next_attempt")}, problem = u.problem
            FROM unnest({",".join(columns)}) AS u(session_id, fingerprint, attempts, next_attempt, problem)
            WHERE l.session_id = u.session_id AND l.desired = u.fingerprint""")


def record_overshoots(connection: Connection, overshoots: Sequence[Overshoot]) -> None:
    """Write by how much lines ran over the threshold that they crossed last."""
    if overshoots:
        columns = (
            f"{integers([each.session_id for each in overshoots])}::bigint[]",
            f"{_instants([each.crossed_at for each in overshoots])}::bigint[]",
            f"{integers([each.octets for each in overshoots])}::bigint[]",
        )
        connection.exec_driver_sql(f"""UPDATE line AS l
            SET crossed_at = {_AT.format("u.crossed")}, overshoot_octets = u.octets
            FROM unnest({",".join(columns)}) AS u(session_id, crossed, octets) WHERE l.session_id = u.session_id""")


def forget_closed(connection: Connection, session_ids: Iterable[int] | None = None) -> int:
    """Delete the lines of sessions that are not open, of those given or of all; return how many."""
    only = "" if session_ids is None else "l.session_id = ANY(:ids) AND"
    return connection.execute(
        text(f"""DELETE FROM line AS l WHERE {only} NOT EXISTS (
            SELECT FROM session AS s WHERE s.id = l.session_id AND s.state = 0)"""),
        {} if session_ids is None else {"ids": list(session_ids)},
    ).rowcount
