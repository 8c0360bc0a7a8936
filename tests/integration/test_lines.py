"""Lines: what is desired, what is proven, and octets at which no crossing can be missed."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg2
import pytest
import sqlalchemy
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from accounting.record import SessionKey
from domain.plan_rules import Direction
from enforcement.reconcile import Problem, Proof
from storage import lines, outbox, session_rows
from storage.lines import Desire, Failure, Line, Overshoot, Proven, Wake
from storage.pipeline import SESSION_OPTIONS

NOW = datetime(2026, 1, 10, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)
OLD, NEW, THIRD = b"old fing", b"new fing", b"third fi"
STARTED = datetime(2026, 1, 10, 9, tzinfo=UTC)
SESSIONS = """INSERT INTO session (id, router_id, nas, acct_session_id, generation, version, service_id, login, state,
    started_at, updated_at, heard_at, session_seconds, octets_up, octets_down, base_up, base_down, gigawords)
SELECT i, i % 2 + 1, '', 's' || i, 0, 1, i * 10, 'u' || i, 0, :at, :at, :at, 0, 0, 0, 0, 0, false
FROM generate_series(1, :count) AS i"""


def add_sessions(engine: sqlalchemy.Engine, count: int = 4) -> None:
    """Open sessions 1 to `count`, of service 10 times their id, on routers 1 and 2."""
    with engine.begin() as connection:
        connection.execute(text(SESSIONS), {"count": count, "at": STARTED})


def desire(session_id: int, fingerprint: bytes, recompute_at: datetime | None = None, *, told: bool = False) -> Desire:
    return Desire(session_id, session_id * 10, session_id % 2 + 1, fingerprint, recompute_at, told)


def line(engine: sqlalchemy.Engine, session_id: int) -> Line:
    with engine.connect() as connection:
        return next(each.line for each in lines.listing(connection) if each.line.session_id == session_id)


def upsert(engine: sqlalchemy.Engine, *desires: Desire, now: datetime = NOW) -> list[int]:
    """Write desires; return the sessions whose lines are not proven."""
    with engine.begin() as connection:
        return [each.session_id for each in lines.upsert(connection, desires, now)]


def prove(engine: sqlalchemy.Engine, session_id: int, fingerprint: bytes) -> None:
    with engine.begin() as connection:
        lines.prove(connection, [Proven(session_id, fingerprint, Proof.COA, LATER)])


def topics(engine: sqlalchemy.Engine) -> list[tuple[str, int | None]]:
    with engine.begin() as connection:
        return [(event.topic.value, event.session_id) for event in outbox.take(connection, 100)]


def test_new_line_is_unproven_unless_its_login_told_the_same(engine: sqlalchemy.Engine) -> None:
    add_sessions(engine)
    assert upsert(engine, desire(1, NEW), desire(2, NEW, told=True)) == [1]
    assert line(engine, 1).proven is None
    told = line(engine, 2)
    assert (told.proven, told.proven_by, told.proven_at) == (NEW, Proof.LOGIN, STARTED)
    assert told.is_proven


def test_line_that_desires_the_same_again_keeps_its_age_and_attempts(engine: sqlalchemy.Engine) -> None:
    add_sessions(engine)
    upsert(engine, desire(1, NEW))
    with engine.begin() as connection:
        lines.fail(connection, [Failure(1, NEW, 3, LATER, Problem.NO_ANSWER)])
    assert upsert(engine, desire(1, NEW, LATER), now=LATER) == [1]
    found = line(engine, 1)
    assert (found.desired_since, found.attempts, found.problem) == (NOW, 3, Problem.NO_ANSWER)
    assert (found.next_attempt_at, found.recompute_at) == (LATER, LATER)


def test_another_desire_begins_anew_and_what_was_proven_counts_on(engine: sqlalchemy.Engine) -> None:
    add_sessions(engine)
    upsert(engine, desire(1, OLD))
    prove(engine, 1, OLD)
    assert upsert(engine, desire(1, NEW), now=LATER) == [1]
    found = line(engine, 1)
    assert (found.proven, found.desired_since, found.attempts) == (OLD, LATER, 0)


def test_return_to_what_was_proven_over_an_unproven_line_is_proven_again(engine: sqlalchemy.Engine) -> None:
    """The change to NEW may be on its way to the router when OLD is desired again."""
    add_sessions(engine)
    upsert(engine, desire(1, OLD))
    prove(engine, 1, OLD)
    upsert(engine, desire(1, NEW))
    assert upsert(engine, desire(1, OLD)) == [1]
    assert line(engine, 1).proven is None


def test_proof_of_what_is_no_longer_desired_leaves_the_line_unproven(engine: sqlalchemy.Engine) -> None:
    add_sessions(engine)
    upsert(engine, desire(1, OLD))
    upsert(engine, desire(1, NEW))
    with engine.begin() as connection:
        lines.fail(connection, [Failure(1, NEW, 2, LATER, Problem.ROUTER_AWAY)])
    prove(engine, 1, OLD)
    found = line(engine, 1)
    assert not found.is_proven
    assert (found.attempts, found.problem) == (2, Problem.ROUTER_AWAY)
    prove(engine, 1, NEW)
    found = line(engine, 1)
    assert (found.is_proven, found.attempts, found.next_attempt_at, found.problem) == (True, 0, None, None)


def test_failure_at_what_is_no_longer_desired_says_nothing(engine: sqlalchemy.Engine) -> None:
    add_sessions(engine)
    upsert(engine, desire(1, OLD))
    upsert(engine, desire(1, NEW))
    with engine.begin() as connection:
        lines.fail(connection, [Failure(1, OLD, 5, LATER, Problem.NO_ANSWER)])
    assert (line(engine, 1).attempts, line(engine, 1).problem) == (0, None)


def test_services_are_due_in_order_and_once(engine: sqlalchemy.Engine) -> None:
    add_sessions(engine)
    with engine.connect() as connection:
        assert lines.next_due(connection) is None
    instants = [NOW, NOW - timedelta(minutes=2), NOW + timedelta(seconds=1), None]
    upsert(engine, *(desire(number, NEW, at) for number, at in enumerate(instants, 1)))
    with engine.connect() as connection:
        assert lines.due(connection, NOW, 10) == [20, 10]
        assert lines.due(connection, NOW, 1) == [20]
        assert lines.next_due(connection) == NOW - timedelta(minutes=2)


def test_lines_are_listed_by_router_page_by_page(engine: sqlalchemy.Engine) -> None:
    add_sessions(engine, 5)
    with engine.begin() as connection:
        connection.execute(
            text("""INSERT INTO router (name, address, secret, profile, require_message_authenticator, flip_counters)
                VALUES ('north', '127.0.0.1', '', 'generic', 'auto', false)""")
        )
    upsert(engine, *(desire(number, NEW) for number in range(1, 6)))
    prove(engine, 4, NEW)
    with engine.connect() as connection:
        router = connection.scalar(text("SELECT id FROM router"))
        assert router == 1
        first = lines.unproven(connection, limit=2)
        assert [(each.line.session_id, each.router) for each in first] == [(2, "north"), (1, None)]
        last = first[-1].line
        rest = lines.unproven(connection, after=(last.router_id, last.session_id), limit=9)
        assert [each.line.session_id for each in rest] == [3, 5]
        north = lines.listing(connection, router="north")
    assert [(each.line.session_id, each.login, each.acct_session_id) for each in north] == [
        (2, "u2", "s2"),
        (4, "u4", "s4"),
    ]


def test_overshoots_are_kept(engine: sqlalchemy.Engine) -> None:
    add_sessions(engine)
    upsert(engine, desire(1, NEW))
    with engine.begin() as connection:
        lines.record_overshoots(connection, [Overshoot(1, NOW, 12_345)])
    assert (line(engine, 1).crossed_at, line(engine, 1).overshoot_octets) == (NOW, 12_345)


def test_closed_sessions_get_no_line_and_lose_theirs(engine: sqlalchemy.Engine) -> None:
    add_sessions(engine)
    upsert(engine, desire(1, NEW), desire(2, NEW), desire(3, NEW))
    with engine.begin() as connection:
        connection.execute(text("UPDATE session SET state = 1 WHERE id IN (1, 2, 4)"))
    assert upsert(engine, desire(4, NEW)) == []
    with engine.begin() as connection:
        assert lines.forget_closed(connection, [2, 3]) == 1
        assert lines.forget_closed(connection) == 1
        assert [each.line.session_id for each in lines.listing(connection)] == [3]


def test_open_sessions_of_plans_with_rules_that_nobody_watches_are_found(engine: sqlalchemy.Engine) -> None:
    add_sessions(engine)
    with engine.begin() as connection:
        connection.execute(
            text("""WITH p AS (INSERT INTO plan (name, kind, interim_seconds, rules)
                    VALUES ('a', 'internet', 300, '{"priority": 1}'), ('b', 'internet', 300, '{}') RETURNING id, name)
                INSERT INTO service (id, login, secret, plan_id, macs, router_ids, enabled, attributes, reply_octets)
                OVERRIDING SYSTEM VALUE SELECT i * 10, 'u' || i, '', id, '{}', '{}', true, '[]', ''
                FROM p, generate_series(1, 4) AS i WHERE name = CASE WHEN i < 4 THEN 'a' ELSE 'b' END""")
        )
    upsert(engine, desire(2, NEW))
    with engine.connect() as connection:
        assert lines.unwatched(connection, NOW, 0, 10) == [(1, 10), (3, 30)]
        assert lines.unwatched(connection, NOW, 0, 1) == [(1, 10)]
        assert lines.unwatched(connection, NOW, 1, 10) == [(3, 30)]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("UPDATE service SET enabled = false", [(1, 10)]),
        ("UPDATE service SET account_state = 'blocked'", [(1, 10)]),
        ("UPDATE service SET expires_at = '2026-01-10 12:00+00'", [(1, 10)]),
        ("UPDATE service SET expires_at = '2026-01-10 12:01+00'", []),
        (
            "INSERT INTO override (service_id, change, operator, reason, made_at) VALUES (10, '{}', '', '', now())",
            [(1, 10)],
        ),
        ("SELECT 1", []),
    ],
)
def test_an_open_session_that_may_not_be_used_so_is_found_whatever_its_plan(
    engine: sqlalchemy.Engine, change: str, found: list[tuple[int, int]]
) -> None:
    add_sessions(engine, 1)
    with engine.begin() as connection:
        connection.execute(
            text("""WITH p AS (
                    INSERT INTO plan (name, kind, interim_seconds) VALUES ('b', 'internet', 300) RETURNING id)
                INSERT INTO service (id, login, secret, plan_id, macs, router_ids, enabled, attributes, reply_octets)
                OVERRIDING SYSTEM VALUE SELECT 10, 'u1', '', id, '{}', '{}', true, '[]', '' FROM p""")
        )
        connection.execute(text(change))
        assert lines.unwatched(connection, NOW, 0, 10) == found


def test_sessions_that_were_ended_and_are_open_are_found_and_doubted(engine: sqlalchemy.Engine) -> None:
    add_sessions(engine)
    ended = Proven(1, NEW, Proof.DISCONNECT, LATER)
    upsert(engine, *(desire(number, NEW) for number in (1, 2, 3)))
    with engine.begin() as connection:
        lines.prove(connection, [ended, ended._replace(session_id=2, how=Proof.COA), ended._replace(session_id=3)])
        connection.execute(text("UPDATE session SET state = 1 WHERE id = 3"))
        assert lines.lingering(connection, LATER - timedelta(seconds=1), 0, 10) == []
        assert lines.lingering(connection, LATER, 0, 10) == [(1, 10)]
        assert lines.lingering(connection, LATER, 1, 10) == []
        lines.doubt(connection, [1], LATER)
        (unproven,) = lines.unproven(connection)
        assert lines.lingering(connection, LATER, 0, 10) == []
    assert (unproven.line.session_id, unproven.line.problem) == (1, Problem.STILL_ON_LINE)
    assert (unproven.line.proven, unproven.line.desired_since) == (None, LATER)


@pytest.mark.parametrize("direction", list(Direction))
def test_session_is_armed_without_moving_its_version(engine: sqlalchemy.Engine, direction: Direction) -> None:
    add_sessions(engine)
    with engine.begin() as connection:
        assert lines.arm(connection, [Wake(1, 1, direction), Wake(2, None)]) == 0
        rows = connection.execute(
            text("SELECT wake_octets, wake_direction, version, watched FROM session WHERE id < 4 ORDER BY id")
        )
        code = lines.WAKE_DIRECTION[direction]
        assert rows.all() == [(1, code, 1, True), (None, 0, 1, True), (None, 0, 1, False)]
    assert topics(engine) == []


@pytest.mark.parametrize(("direction", "reached"), [(Direction.BOTH, 30), (Direction.DOWN, 20), (Direction.UP, 10)])
def test_session_that_has_reached_its_octets_already_is_looked_at_again(
    engine: sqlalchemy.Engine, direction: Direction, reached: int
) -> None:
    add_sessions(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE session SET octets_up = 10, octets_down = 20"))
        assert lines.arm(connection, [Wake(1, reached, direction), Wake(2, reached + 1, direction)]) == 1
        assert connection.scalar(text("SELECT wake_octets FROM session WHERE id = 1")) is None
    assert topics(engine) == [("crossed", 1)]


def test_session_that_a_packet_holds_is_neither_armed_nor_waited_for(
    database_dsn: str, engine: sqlalchemy.Engine
) -> None:
    """Two connections: while a batch holds the row of session 1, both of its sessions are to be armed and written."""
    add_sessions(engine)
    with contextlib.closing(psycopg2.connect(database_dsn)) as batch, batch.cursor() as cursor:
        cursor.execute("UPDATE session SET octets_up = 100, version = version + 1 WHERE id = 1")
        with engine.begin() as connection:
            connection.execute(text("SET LOCAL lock_timeout = '100ms'"))
            assert [each.session_id for each in lines.upsert(connection, [desire(1, NEW), desire(2, NEW)], NOW)] == [2]
            assert lines.arm(connection, [Wake(1, 50), Wake(2, 50)]) == 1
        batch.commit()
    assert topics(engine) == [("crossed", 1), ("crossed", 1)]
    assert upsert(engine, desire(1, NEW)) == [1]


def test_end_of_a_session_whose_line_was_just_written_is_told(database_dsn: str, engine: sqlalchemy.Engine) -> None:
    """The session opened before anybody watched it; its Stop waits for the transaction that writes its line."""
    add_sessions(engine)
    with contextlib.closing(connect(database_dsn)) as batch, engine.connect() as connection:
        lines.upsert(connection, [desire(1, NEW)], NOW)
        with batch.cursor() as cursor:
            cursor.execute("SET lock_timeout = '100ms'")
            with pytest.raises(psycopg2.errors.LockNotAvailable):
                cursor.execute(restated(session(batch, 1), state=1))
            batch.rollback()
            lines.arm(connection, [Wake(1, None)])
            connection.commit()
            cursor.execute(restated(session(batch, 1), state=1))
            batch.commit()
    assert topics(engine) == [("stopped", 1)]


def connect(dsn: str) -> Any:
    """Return a connection that has the statements of the packet path."""
    connection = psycopg2.connect(dsn, options=SESSION_OPTIONS)
    with connection.cursor() as cursor:
        for statement in session_rows.PREPARED.values():
            cursor.execute(statement)
    connection.commit()
    return connection


def session(connection: Any, session_id: int) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(session_rows.read_sessions([SessionKey(session_id % 2 + 1, "", f"s{session_id}")]))
        return session_rows.session_of(cursor.fetchone())


def restated(changed: Any, state: int) -> str:
    changed.state, changed.restated = state, True
    return session_rows.write_batch(1, [], [changed], [])


def test_a_share_is_never_nothing() -> None:
    assert lines.share(0, 3) == 1
    assert lines.share(7, 3) == 2
    assert lines.share(7, 0) == 7
    assert lines.share(100, 1, 200) == 49


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    limit=st.integers(1, 500),
    moves=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 120), st.integers(0, 120)), max_size=25),
    direction=st.sampled_from(Direction),
)
@example(limit=4, moves=[(1, 0, 1), (2, 0, 1), (3, 0, 1), (4, 0, 1)], direction=Direction.BOTH)
def test_whatever_the_sessions_of_a_service_use_no_crossing_is_missed(
    database_dsn: str,
    engine: sqlalchemy.Engine,
    limit: int,
    moves: Sequence[tuple[int, int, int]],
    direction: Direction,
) -> None:
    """Four sessions are armed at an equal share of what is left; the one that wakes leads to all being armed anew."""
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE session, outbox"))
    add_sessions(engine, 4)
    with contextlib.closing(connect(database_dsn)) as batch:
        arm_all(engine, limit, direction)
        sessions = {number: session(batch, number) for number in range(1, 5)}
        for number, up, down in moves:
            moved = sessions[number]
            moved.octets_up += up
            moved.octets_down += down
            with batch.cursor() as cursor:
                cursor.execute(session_rows.write_batch(1, [], [moved], []))
            batch.commit()
            moved.version += 1
            woken = topics(engine)
            if total(engine, direction) >= limit:
                assert woken == [("crossed", number)]
                return
            if woken:
                arm_all(engine, limit, direction)


def total(engine: sqlalchemy.Engine, direction: Direction) -> int:
    counted = {Direction.BOTH: "octets_up + octets_down", Direction.UP: "octets_up", Direction.DOWN: "octets_down"}
    with engine.connect() as connection:
        return int(connection.scalar(text(f"SELECT sum({counted[direction]}) FROM session")) or 0)


def arm_all(engine: sqlalchemy.Engine, limit: int, direction: Direction) -> None:
    share = lines.share(limit - total(engine, direction), 4)
    with engine.begin() as connection:
        rows = connection.execute(text("SELECT id, octets_up, octets_down FROM session")).all()
        present = {Direction.BOTH: (1, 1), Direction.UP: (1, 0), Direction.DOWN: (0, 1)}[direction]
        lines.arm(
            connection,
            [Wake(number, up * present[0] + down * present[1] + share, direction) for number, up, down in rows],
        )


@given(
    left=st.integers(1, 10_000),
    fraction=st.integers(0, 5_999),
    percents=st.lists(st.integers(0, 300), min_size=1, max_size=4),
    shares=st.lists(st.integers(0, 100), min_size=1, max_size=5),
)
def test_weighed_octets_cannot_cross_before_a_share_is_used(
    left: int, fraction: int, percents: Sequence[int], shares: Sequence[int]
) -> None:
    """Each session used at most its share less one octet; the usage known before may hide a part of an octet."""
    heaviest = max(100, *percents)
    share = lines.share(left, len(shares), heaviest)
    used = sum((share - 1) * part // 100 for part in shares)
    assert (fraction + used * heaviest * 60) // 6_000 < left
