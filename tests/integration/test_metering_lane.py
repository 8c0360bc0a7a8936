"""The metering lane against a real PostgreSQL: conflicts of workers, refusals, what a lane holds on to and tells."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from zoneinfo import ZoneInfo

import psycopg2
import pytest
import sqlalchemy

from accounting.record import Record
from accounting.session import Delta, Outcome, Session, advance
from daemon.drops import Drop
from domain.plan_rules import Direction
from radius.class_token import build
from radius.codes import AcctStatus
from storage import lines, outbox, rollup
from storage.lines import Wake
from storage.pipeline import DatabaseAway
from tests.integration.metered import CLASS_KEY, Told, add_service, lane, record, rows, settle

ZONE = ZoneInfo("Europe/Madrid")
ALWAYS_FIRST = """
CREATE FUNCTION always_first() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM refuse_stale_batch(); END $$;
CREATE TRIGGER always_first BEFORE INSERT ON session EXECUTE FUNCTION always_first()"""
FULL_DISK = """
CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = '53100'; END $$;
CREATE TRIGGER full_disk BEFORE INSERT ON session EXECUTE FUNCTION full_disk()"""


def test_stop_that_commits_meanwhile_is_not_overwritten_by_the_next_session_of_the_line(database_dsn: str) -> None:
    """Two workers: one holds the Stop of a session in an open transaction while the other opens its successor."""

    async def main() -> None:
        told = Told()
        async with lane(database_dsn) as other:
            await other.settle([record(told, AcctStatus.START, "first", 0)])
            stopping = psycopg2.connect(database_dsn)
            with contextlib.closing(stopping), stopping.cursor() as cursor:
                cursor.execute(
                    "UPDATE session SET state = 1, version = version + 1, stopped_at = now(), terminate_cause = 'User'"
                )
                opening = asyncio.create_task(other.settle([record(told, AcctStatus.START, "second", 60)]))
                await waits_for_a_lock(database_dsn)
                stopping.commit()
                await opening
        assert told.acknowledged == 2

    asyncio.run(main())
    assert rows(database_dsn, "SELECT acct_session_id, state, terminate_cause FROM session ORDER BY id") == [
        ("first", 1, "User"),
        ("second", 0, None),
    ]


def test_lane_of_a_living_worker_is_never_retired(database_dsn: str, engine: sqlalchemy.Engine) -> None:
    """A lane is retired when all its facts are rolled up and nobody can write to it any more: not before."""

    async def main() -> None:
        told = Told()
        async with lane(database_dsn) as metering:
            for seconds in (60, 120):
                await metering.settle([record(told, AcctStatus.INTERIM, "one", seconds, octets=seconds * 1000)])
                assert rollup.roll_up(engine, ZONE).retired == 0

    asyncio.run(main())
    assert rows(database_dsn, "SELECT count(*) FROM lane WHERE retired") == [(0,)]
    assert rollup.roll_up(engine, ZONE).retired == 1


def test_defect_in_the_fold_of_one_record_quarantines_it_and_books_the_others(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails_on_seven(session: Session, read: Record) -> tuple[Outcome, Delta | None]:
        told = advance(session, read)
        if read.octets_up == 7:
            raise ZeroDivisionError
        return told

    monkeypatch.setattr("daemon.metering.advance", fails_on_seven)

    async def main() -> None:
        told = Told()
        async with lane(database_dsn) as metering_lane:
            await metering_lane.settle([record(told, AcctStatus.INTERIM, "good", 60, octets=1_000)])
            await metering_lane.settle(
                [
                    record(told, AcctStatus.INTERIM, "good", 120, octets=2_000),
                    record(told, AcctStatus.INTERIM, "bad", 60, octets=7, port=2),
                    record(told, AcctStatus.INTERIM, "good", 180, octets=3_000),
                ]
            )
            assert told.acknowledged == 4
            assert metering_lane.quarantined == {"defect": 1}

    asyncio.run(main())
    assert rows(database_dsn, "SELECT octets_up FROM session WHERE acct_session_id = 'good'") == [(3_000,)]
    assert rows(database_dsn, "SELECT sum(octets_up)::bigint FROM usage_fact") == [(3_000,)]
    assert rows(database_dsn, "SELECT reason FROM quarantine") == [("defect",)]


def test_batch_that_loses_every_race_is_left_to_retransmission_and_costs_no_connection(database_dsn: str) -> None:
    async def main() -> None:
        told = Told()
        async with lane(database_dsn) as metering:
            with contextlib.closing(psycopg2.connect(database_dsn)) as rival, rival.cursor() as cursor:
                cursor.execute(ALWAYS_FIRST)
                rival.commit()
                await metering.settle([record(told, AcctStatus.START, "one", 0)])
                assert told.given_up == [Drop.DEFERRED]
                cursor.execute("DROP TRIGGER always_first ON session")
                rival.commit()
            await metering.settle([record(told, AcctStatus.START, "one", 0)])
            assert told.acknowledged == 1
            assert not metering.quarantined

    asyncio.run(main())
    assert rows(database_dsn, "SELECT count(*) FROM lane") == [(1,)]


def test_record_is_never_quarantined_because_the_database_stores_nothing(database_dsn: str) -> None:
    """What can be booked once the disk has room again must not be acknowledged as unusable now."""

    async def main() -> None:
        told = Told()
        async with lane(database_dsn) as metering:
            with contextlib.closing(psycopg2.connect(database_dsn)) as operator, operator.cursor() as cursor:
                cursor.execute(FULL_DISK)
                operator.commit()
                with pytest.raises(DatabaseAway):
                    await metering.settle([record(told, AcctStatus.START, "one", 0)])
                assert told.given_up == []
                cursor.execute("DROP TRIGGER full_disk ON session")
                operator.commit()
            await metering.open()
            await metering.settle([record(told, AcctStatus.START, "one", 0)])
            assert told.acknowledged == 1, "it was acknowledged without being booked, or not at all"
            assert not metering.quarantined

    asyncio.run(main())


def told_topics(engine: sqlalchemy.Engine) -> list[tuple[str, str]]:
    """Take what is in the outbox, as (topic, Acct-Session-Id)."""
    with engine.begin() as connection:
        names = dict(
            tuple(row) for row in connection.execute(sqlalchemy.text("SELECT id, acct_session_id FROM session"))
        )
        return [(event.topic.value, names[event.session_id or 0]) for event in outbox.take(connection, 100)]


@contextlib.contextmanager
def listening(dsn: str) -> Iterator[Callable[[], int]]:
    """Lend what tells how often the outbox was announced since it was asked last."""
    with contextlib.closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f"LISTEN {outbox.CHANNEL}")

            def heard() -> int:
                cursor.execute("SELECT 1")
                count = len(connection.notifies)
                connection.notifies.clear()
                return count

            yield heard


RULES = '{"schedule": [{"hours": "0-6", "percent": 200}]}'


def test_services_without_rules_leave_nothing_in_the_outbox(database_dsn: str, engine: sqlalchemy.Engine) -> None:
    add_service(database_dsn)
    told = Told()
    with listening(database_dsn) as heard:
        settle(
            database_dsn,
            [record(told, AcctStatus.START, "one", 0)],
            [record(told, AcctStatus.INTERIM, "one", 60, octets=1_000)],
            [record(told, AcctStatus.START, "two", 120)],
            [record(told, AcctStatus.STOP, "two", 180, octets=1_000)],
        )
        assert heard() == 0
    assert told.acknowledged == 4
    assert told_topics(engine) == []


def test_openings_and_stops_of_a_service_with_rules_are_told(database_dsn: str, engine: sqlalchemy.Engine) -> None:
    add_service(database_dsn, RULES)
    told = Told()
    with listening(database_dsn) as heard:
        settle(database_dsn, [record(told, AcctStatus.START, "one", 0)])
        assert heard() == 1
        assert told_topics(engine) == [("opened", "one")]
        settle(database_dsn, [record(told, AcctStatus.INTERIM, "one", 60, octets=1_000)])
        assert heard() == 0
        settle(database_dsn, [record(told, AcctStatus.STOP, "one", 120, octets=2_000)])
        assert heard() == 1
    assert told_topics(engine) == [("stopped", "one")]


def test_session_that_only_a_stop_makes_known_is_told_as_stopped(database_dsn: str, engine: sqlalchemy.Engine) -> None:
    add_service(database_dsn, RULES)
    settle(database_dsn, [record(Told(), AcctStatus.STOP, "one", 120, octets=2_000)])
    assert told_topics(engine) == [("stopped", "one")]


@pytest.mark.parametrize("together", [False, True])
def test_session_that_gives_way_to_the_next_of_its_line_is_told_as_stopped(
    database_dsn: str, engine: sqlalchemy.Engine, together: bool
) -> None:
    add_service(database_dsn, RULES)
    told = Told()
    first, second = record(told, AcctStatus.START, "one", 0), record(told, AcctStatus.START, "two", 60)
    batches = [[first, second]] if together else [[first], [second]]
    settle(database_dsn, *batches)
    states = rows(database_dsn, "SELECT acct_session_id, state FROM session ORDER BY id")
    assert states == [("one", 2), ("two", 0)]
    expected = [("stopped", "one"), ("opened", "two")]
    assert sorted(told_topics(engine)) == sorted(expected if together else [("opened", "one"), *expected])


def test_sessions_that_a_restart_of_their_router_closes_are_told_and_again_when_they_revive(
    database_dsn: str, engine: sqlalchemy.Engine
) -> None:
    add_service(database_dsn, RULES)
    told = Told()
    with listening(database_dsn) as heard:
        settle(database_dsn, [record(told, AcctStatus.START, "one", 0)])
        assert heard() == 1
        settle(database_dsn, [record(told, AcctStatus.ACCOUNTING_ON, "", 60)])
        assert heard() == 1
        assert told_topics(engine) == [("opened", "one"), ("stopped", "one")]
        settle(database_dsn, [record(told, AcctStatus.INTERIM, "one", 120, octets=1_000)])
        assert heard() == 1
    assert rows(database_dsn, "SELECT state FROM session") == [(0,)]
    assert told_topics(engine) == [("opened", "one")]


def test_service_under_an_override_is_watched_although_its_plan_has_no_rules(
    database_dsn: str, engine: sqlalchemy.Engine
) -> None:
    service_id = add_service(database_dsn)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"INSERT INTO override VALUES ({service_id}, '{{}}', now(), 'eva', 'outage', now())")
    settle(database_dsn, [record(Told(), AcctStatus.START, "one", 0)])
    assert told_topics(engine) == [("opened", "one")]


def test_our_class_is_kept_for_watched_sessions_alone(database_dsn: str) -> None:
    plain, watched = add_service(database_dsn), add_service(database_dsn, RULES, "eva")
    told = Told()
    tokens = [build(CLASS_KEY, service_id, bytes(8)) for service_id in (plain, watched)]
    settle(
        database_dsn,
        [
            record(told, AcctStatus.START, "plain", 0, port=1, class_values=tokens[:1]),
            record(told, AcctStatus.START, "watched", 0, port=2, class_values=tokens[1:]),
        ],
    )
    kept = rows(database_dsn, "SELECT service_id, watched, class_token FROM session ORDER BY id")
    assert [(service, flag, token and bytes(token)) for service, flag, token in kept] == [
        (plain, False, None),
        (watched, True, tokens[1]),
    ]


@pytest.mark.parametrize(
    ("direction", "octets"), [(Direction.BOTH, 2_000), (Direction.DOWN, 1_000), (Direction.UP, 1_000)]
)
@pytest.mark.parametrize("status", [AcctStatus.INTERIM, AcctStatus.STOP])
def test_record_that_reaches_the_octets_wakes_once(
    database_dsn: str, engine: sqlalchemy.Engine, direction: Direction, octets: int, status: AcctStatus
) -> None:
    add_service(database_dsn)
    told = Told()
    settle(database_dsn, [record(told, AcctStatus.START, "one", 0)])
    session_id = rows(database_dsn, "SELECT id FROM session")[0][0]
    with engine.begin() as connection:
        assert lines.arm(connection, [Wake(session_id, octets, direction)]) == 0
    with listening(database_dsn) as heard:
        settle(database_dsn, [record(told, AcctStatus.INTERIM, "one", 60, octets=999)])
        assert heard() == 0
        assert told_topics(engine) == []
        settle(database_dsn, [record(told, status, "one", 120, octets=1_000)])
        assert heard() == 1
    assert ("crossed", "one") in told_topics(engine)
    assert rows(database_dsn, "SELECT wake_octets FROM session") == [(None,)]
    settle(database_dsn, [record(told, AcctStatus.INTERIM, "one", 180, octets=5_000)])
    assert told_topics(engine) == []


def test_batch_that_is_refused_tells_nothing(database_dsn: str, engine: sqlalchemy.Engine) -> None:
    add_service(database_dsn, RULES)

    async def main() -> None:
        told = Told()
        async with lane(database_dsn) as metering:
            with contextlib.closing(psycopg2.connect(database_dsn)) as rival, rival.cursor() as cursor:
                cursor.execute(ALWAYS_FIRST)
                rival.commit()
                await metering.settle([record(told, AcctStatus.START, "one", 0)])
                assert told.given_up == [Drop.DEFERRED]

    asyncio.run(main())
    assert rows(database_dsn, "SELECT count(*) FROM outbox") == [(0,)]


def test_record_behind_an_arming_that_is_not_committed_yet_sees_its_octets(
    database_dsn: str, engine: sqlalchemy.Engine
) -> None:
    """Two connections: the row is armed in an open transaction when the record that reaches the octets arrives."""
    add_service(database_dsn)

    async def main() -> None:
        told = Told()
        async with lane(database_dsn) as metering:
            await metering.settle([record(told, AcctStatus.START, "one", 0)])
            with engine.connect() as arming:
                session_id = arming.scalar(sqlalchemy.text("SELECT id FROM session"))
                lines.arm(arming, [Wake(int(session_id or 0), 2_000)])
                counting = asyncio.create_task(
                    metering.settle([record(told, AcctStatus.INTERIM, "one", 60, octets=1_000)])
                )
                await waits_for_a_lock(database_dsn)
                arming.commit()
                await counting
        assert told.acknowledged == 2

    asyncio.run(main())
    assert told_topics(engine) == [("crossed", "one")]


async def waits_for_a_lock(dsn: str) -> None:
    """Return when a lane waits for a lock."""
    for _ in range(1_000):
        if rows(dsn, "SELECT 1 FROM pg_stat_activity WHERE application_name = 'lane' AND wait_event_type = 'Lock'"):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the lane never came to wait for the row")
