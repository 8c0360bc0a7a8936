"""The metering lane against a real PostgreSQL: conflicts between workers, refusals, and what a lane holds on to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, cast
from zoneinfo import ZoneInfo

import psycopg2
import pytest
import sqlalchemy

from accounting.record import Record
from accounting.session import Delta, Outcome, Session, advance
from daemon.drops import Drop
from daemon.metering import MeteringLane, SessionMemory
from daemon.requests import AccountingRequest, Peer
from domain.instants import SECOND_US, Microseconds
from domain.network import MessageAuthenticatorPolicy, Router, RouterId
from domain.secret import Secret
from radius.codes import AcctStatus, Code, Type
from radius.packet import attribute, decode, encode_request, integer_attribute
from storage import rollup, session_rows
from storage.pipeline import DatabaseAway, PipelineConnection

if TYPE_CHECKING:
    from daemon.listener import Listener

ROUTER = Router(
    id=RouterId(1),
    name="tower",
    network="127.0.0.1/32",
    identifier=None,
    secret=Secret(b"secret"),
    profile="generic",
    coa_port=3799,
    require_message_authenticator=MessageAuthenticatorPolicy.AUTO,
    flip_counters=False,
    api=None,
)
PEER = Peer(("127.0.0.1", 50_000), None)
BEGIN_US = 1_760_000_000 * SECOND_US
ZONE = ZoneInfo("Europe/Madrid")
ALWAYS_FIRST = """
CREATE FUNCTION always_first() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM refuse_stale_batch(); END $$;
CREATE TRIGGER always_first BEFORE INSERT ON session EXECUTE FUNCTION always_first()"""
FULL_DISK = """
CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = '53100'; END $$;
CREATE TRIGGER full_disk BEFORE INSERT ON session EXECUTE FUNCTION full_disk()"""


class Told:
    """Notes what becomes of requests."""

    def __init__(self) -> None:
        self.acknowledged = 0
        self.given_up: list[Drop] = []

    def send_answer(self, _request: AccountingRequest, _code: int, _reply: bytes) -> None:
        """Count an answer."""
        self.acknowledged += 1

    def forget(self, _request: AccountingRequest, reason: Drop) -> None:
        """Note why a request stays unanswered."""
        self.given_up.append(reason)


def record(
    told: Told, status: AcctStatus, session: str, seconds: int, octets: int = 0, port: int = 1
) -> AccountingRequest:
    """Return a record of a session that began `seconds` ago; each names its line."""
    attributes = [
        integer_attribute(Type.ACCT_STATUS_TYPE, status),
        attribute(Type.ACCT_SESSION_ID, session.encode()),
        attribute(Type.USER_NAME, b"ana"),
        attribute(Type.CALLING_STATION_ID, b"02:00:00:00:00:01"),
        integer_attribute(Type.NAS_PORT, port),
    ]
    if status is not AcctStatus.START:
        attributes.append(integer_attribute(Type.ACCT_SESSION_TIME, seconds))
        attributes.append(integer_attribute(Type.ACCT_INPUT_OCTETS, octets))
        attributes.append(integer_attribute(Type.ACCT_OUTPUT_OCTETS, octets))
    packet = decode(encode_request(Code.ACCOUNTING_REQUEST, 1, b"".join(attributes), b"secret", sign=False))
    return AccountingRequest(packet, ROUTER, Microseconds(BEGIN_US + seconds * SECOND_US), PEER, cast("Listener", told))


@contextlib.asynccontextmanager
async def lane(dsn: str) -> AsyncIterator[MeteringLane]:
    """Lend a lane that is connected."""
    connection = PipelineConnection(dsn, session_rows.PREPARED, application_name="lane")
    metering = MeteringLane(connection, SessionMemory(), bytes(32))
    await metering.open()
    try:
        yield metering
    finally:
        connection.close()


def rows(dsn: str, statement: str) -> list[tuple[Any, ...]]:
    """Return the rows of one query."""
    with contextlib.closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall())


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


async def waits_for_a_lock(dsn: str) -> None:
    """Return when a lane waits for a lock."""
    for _ in range(1_000):
        if rows(dsn, "SELECT 1 FROM pg_stat_activity WHERE application_name = 'lane' AND wait_event_type = 'Lock'"):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the lane never came to wait for the row")
