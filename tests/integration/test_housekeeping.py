"""What the clock does: no fact is lost, no session is closed that could not be heard, and packets do not wait."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy
from sqlalchemy import text

from storage import housekeeping
from storage.housekeeping import (
    Deleted,
    close_stale,
    delete_old,
    drop_old_partitions,
    ensure_partitions,
    gauges,
    month,
)
from storage.rollup import roll_up
from tests.integration.usage_facts import Fact, hours, lane

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
MADRID = ZoneInfo("Europe/Madrid")
ALL = ("usage_fact_2025_12", "usage_fact_2026_01", "usage_fact_2026_02", "usage_fact_2026_03")


def january(up: int) -> Fact:
    return Fact(1, "2026-01-15T10:00Z", "2026-01-15T10:05Z", up, 0)


def located(engine: sqlalchemy.Engine) -> list[tuple[str, int]]:
    """Return (partition, octets up) of every fact."""
    query = "SELECT tableoid::regclass::text, octets_up FROM usage_fact ORDER BY octets_up"
    with engine.connect() as connection:
        return [(name, up) for name, up in connection.execute(text(query))]


def run(engine: sqlalchemy.Engine, statement: str, rows: Sequence[dict[str, Any]] | dict[str, Any]) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement), rows)


def add_session(engine: sqlalchemy.Engine, number: int, **columns: object) -> None:
    """Add a session that was heard at noon; `columns` are different."""
    row: dict[str, object] = {
        "id": number,
        "router_id": 1,
        "acct_session_id": str(number),
        "state": 0,
        "at": NOW,
        "heard_at": NOW,
        "interim_seconds": 300,
        **columns,
    }
    run(
        engine,
        """INSERT INTO session (id, router_id, nas, acct_session_id, generation, version, login, state, started_at,
            updated_at, heard_at, session_seconds, octets_up, octets_down, base_up, base_down, gigawords,
            interim_seconds)
        VALUES (:id, :router_id, '', :acct_session_id, 0, 3, 'ana', :state, :at, :at, :heard_at, 300, 11, 22, 0, 0,
            false, :interim_seconds)""",
        row,
    )


def ids(engine: sqlalchemy.Engine, condition: str = "true") -> list[int]:
    with engine.connect() as connection:
        return list(connection.scalars(text(f"SELECT id FROM session WHERE {condition} ORDER BY id")))


@pytest.mark.parametrize(
    ("instant", "after", "begin"),
    [
        (datetime(2026, 1, 31, tzinfo=UTC), 0, datetime(2026, 1, 1, tzinfo=UTC)),
        (datetime(2026, 1, 31, tzinfo=UTC), 1, datetime(2026, 2, 1, tzinfo=UTC)),
        (datetime(2026, 1, 1, tzinfo=UTC), -1, datetime(2025, 12, 1, tzinfo=UTC)),
        (datetime(2026, 1, 31, tzinfo=UTC), -25, datetime(2023, 12, 1, tzinfo=UTC)),
        (datetime(2026, 1, 1, 0, 30, tzinfo=MADRID), 0, datetime(2025, 12, 1, tzinfo=UTC)),
    ],
)
def test_months_are_counted_in_utc(instant: datetime, after: int, begin: datetime) -> None:
    assert month(instant, after).begin == begin


def test_partitions_are_made_from_last_month_to_those_ahead_once(engine: sqlalchemy.Engine) -> None:
    assert ensure_partitions(engine, NOW) == ALL
    assert ensure_partitions(engine, NOW) == ()
    assert ensure_partitions(engine, NOW + timedelta(days=1)) == ("usage_fact_2026_04",)


def test_facts_fall_into_the_month_in_which_they_end(engine: sqlalchemy.Engine) -> None:
    ensure_partitions(engine, NOW)
    with lane(engine) as one:
        one.write(
            Fact(1, "2025-12-31T23:55Z", "2025-12-31T23:59:59.999999Z", 1, 0),
            Fact(1, "2025-12-31T23:55Z", "2026-01-01T00:00Z", 2, 0),
            Fact(1, "2020-12-31T23:55Z", "2020-12-31T23:59Z", 3, 0),
        )
    assert located(engine) == [(ALL[0], 1), (ALL[1], 2), ("usage_fact_default", 3)]


def test_facts_in_the_default_partition_move_into_the_one_that_is_made(engine: sqlalchemy.Engine) -> None:
    with lane(engine) as one:
        one.write(january(1), Fact(1, "2020-01-01T10:00Z", "2020-01-01T10:05Z", 2, 0))
        roll_up(engine, MADRID)
        one.write(january(4))
        ensure_partitions(engine, NOW)
        assert located(engine) == [(ALL[1], 1), ("usage_fact_default", 2), (ALL[1], 4)]
        assert roll_up(engine, MADRID).facts == 1
    assert hours(engine)[1, "01-15T10"] == (5, 0)


def test_facts_are_found_in_a_partition_by_their_batch(engine: sqlalchemy.Engine) -> None:
    ensure_partitions(engine, NOW)
    query = "SELECT count(*) FROM pg_indexes WHERE tablename = :name AND indexdef LIKE '%(batch)'"
    with engine.connect() as connection:
        assert [connection.scalar(text(query), {"name": name}) for name in ALL] == [1, 1, 1, 1]


def test_accounting_goes_on_while_partitions_are_made(engine: sqlalchemy.Engine) -> None:
    with lane(engine) as one:
        failures: list[Exception] = []
        made = threading.Event()

        def write() -> None:
            number = 0
            while not made.is_set() or number < 50:
                number += 1
                try:
                    one.write(january(number))
                except sqlalchemy.exc.SQLAlchemyError as error:
                    failures.append(error)
            one.write(january(0))

        writer = threading.Thread(target=write)
        writer.start()
        while "usage_fact_2026_01" not in ensure_partitions(engine, NOW):
            pass
        made.set()
        writer.join()
    assert failures == []
    assert {name for name, _ in located(engine)} == {"usage_fact_2026_01"}


def test_a_table_in_use_is_left_for_the_next_call(engine: sqlalchemy.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "_LOCK", housekeeping._LOCK.replace("500", "10"))
    with engine.connect() as reader:
        reader.execute(text("SELECT count(*) FROM usage_fact"))
        assert ensure_partitions(engine, NOW) == ()
        reader.rollback()
    assert ensure_partitions(engine, NOW) == ALL
    with engine.connect() as reader:
        reader.execute(text("SELECT count(*) FROM usage_fact"))
        assert drop_old_partitions(engine, NOW + timedelta(days=800), 1) == ()


def test_months_before_those_that_are_kept_are_dropped(engine: sqlalchemy.Engine) -> None:
    ensure_partitions(engine, NOW)
    with lane(engine) as one:
        one.write(january(1), Fact(1, "2020-01-01T10:00Z", "2020-01-01T10:05Z", 2, 0))
        roll_up(engine, MADRID)
        assert drop_old_partitions(engine, datetime(2026, 3, 31, tzinfo=UTC), 2) == ALL[:1]
        assert located(engine) == [(ALL[1], 1)]
        assert drop_old_partitions(engine, datetime(2026, 4, 1, tzinfo=UTC), 2) == ALL[1:2]
    assert located(engine) == []
    assert hours(engine)[1, "01-15T10"] == (1, 0)


def test_what_is_not_rolled_up_is_never_dropped(engine: sqlalchemy.Engine) -> None:
    far = datetime(2030, 1, 1, tzinfo=UTC)
    ensure_partitions(engine, NOW)
    with lane(engine) as one, lane(engine) as other:
        one.write(january(1))
        other.write(Fact(None, "2020-01-01T10:00Z", "2020-01-01T10:05Z", 2, 0))
        assert ALL[1] not in drop_old_partitions(engine, far, 1)
        assert located(engine) == [(ALL[1], 1), ("usage_fact_default", 2)]
        roll_up(engine, MADRID)
        assert drop_old_partitions(engine, far, 1) == (ALL[1],)
    assert located(engine) == []


def test_the_past_is_deleted_in_portions_and_the_rest_stays(
    engine: sqlalchemy.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "PORTION", 3)
    for days in (0, 29, *[31] * 7):
        instant = NOW - timedelta(days=days)
        run(
            engine,
            """INSERT INTO refusal (refused_at, login, reason, method, attempts) VALUES (:at, 'a', 'b', 'pap', 1);
            INSERT INTO quarantine (received_at, router_id, reason, datagram) VALUES (:at, 1, 'r', '')""",
            {"at": instant},
        )
    for number, minutes in enumerate((0, 59, *[61] * 4)):
        row = {"service": number, "at": NOW - timedelta(minutes=minutes)}
        run(engine, "INSERT INTO admission (service_id, client, granted_at) VALUES (:service, 'c', :at)", row)
    kept = {"refusal_days": 30, "quarantine_days": 90, "session_months": 24}
    assert delete_old(engine, NOW, **kept) == Deleted(refusals=7, quarantined=0, sessions=0, admissions=4)
    assert delete_old(engine, NOW, **{**kept, "quarantine_days": 30}) == Deleted(0, 7, 0, 0)
    assert delete_old(engine, NOW, **kept) == Deleted(0, 0, 0, 0)


def test_ended_sessions_are_deleted_with_their_addresses_and_open_ones_stay(
    engine: sqlalchemy.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "PORTION", 2)
    for number in range(1, 9):
        # Open, stopped, closed by silence; the last two are of today.
        add_session(engine, number, state=number % 3, at=NOW if number > 6 else LONG_AGO)
        address = "INSERT INTO session_address VALUES (:id, '100.64.0.1', :at)"
        run(engine, address, {"id": number, "at": LONG_AGO})
    deleted = delete_old(engine, NOW, refusal_days=30, quarantine_days=90, session_months=24)
    assert deleted.sessions == 4
    assert ids(engine) == [3, 6, 7, 8]
    with engine.connect() as connection:
        assert list(connection.scalars(text("SELECT session_id FROM session_address ORDER BY 1"))) == [3, 6, 7, 8]


def test_a_session_is_silent_after_so_many_of_its_own_intervals(engine: sqlalchemy.Engine) -> None:
    add_session(engine, 1, interim_seconds=60)
    add_session(engine, 2, interim_seconds=300)
    add_session(engine, 3, interim_seconds=None)
    for minutes, closed in ((3, []), (4, [1]), (15, [1]), (16, [1, 2, 3])):
        close_stale(engine, NOW + timedelta(minutes=minutes), 3, 900, LONG_AGO)
        assert ids(engine, "state = 2") == closed


def test_a_silent_session_closes_with_its_last_counters(engine: sqlalchemy.Engine) -> None:
    """C17; the version is raised, so that a worker which remembers the row reads it again."""
    add_session(engine, 1, at=NOW - timedelta(seconds=7))
    assert close_stale(engine, NOW + timedelta(hours=1), 3, 900, LONG_AGO) == 1
    columns = "state, version, stopped_at = updated_at, terminate_cause, octets_up, octets_down, heard_at"
    with engine.connect() as connection:
        row = connection.execute(text(f"SELECT {columns} FROM session")).one()
    assert tuple(row) == (2, 4, True, "Stale", 11, 22, NOW)
    assert close_stale(engine, NOW + timedelta(hours=2), 3, 900, LONG_AGO) == 0


def test_silence_does_not_count_while_nobody_listened(engine: sqlalchemy.Engine) -> None:
    add_session(engine, 1)
    back = NOW + timedelta(hours=5)
    assert close_stale(engine, back + timedelta(minutes=15), 3, 900, listening_since=back) == 0
    assert close_stale(engine, back + timedelta(minutes=16), 3, 900, listening_since=back) == 1


def test_sessions_are_closed_in_portions_and_one_that_a_packet_holds_is_left(
    engine: sqlalchemy.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "PORTION", 2)
    for number in range(1, 8):
        add_session(engine, number, state=1 if number == 4 else 0)
    with engine.connect() as packet:
        packet.execute(text("UPDATE session SET octets_up = octets_up + 1 WHERE id = 3"))
        assert close_stale(engine, NOW + timedelta(hours=1), 3, 900, LONG_AGO) == 5
        packet.commit()
    assert ids(engine, "state = 0") == [3]


def test_gauges_tell_open_sessions_by_router_and_what_is_not_rolled_up(engine: sqlalchemy.Engine) -> None:
    for name, address in (("north", "10.0.0.1"), ("south", "10.0.0.2")):
        router = """INSERT INTO router (name, address, secret, profile, require_message_authenticator, flip_counters)
            VALUES (:name, :address, '', 'mikrotik', 'auto', false)"""
        run(engine, router, {"name": name, "address": address})
    with engine.connect() as connection:
        north = connection.scalar(text("SELECT id FROM router WHERE name = 'north'"))
    for number, router_id, state in ((1, north, 0), (2, north, 0), (3, north, 1), (4, 99, 0)):
        add_session(engine, number, router_id=router_id, state=state)
    with lane(engine) as one:
        one.write(january(1), january(2))
        found = gauges(engine)
        assert (dict(found.open_sessions), found.unrolled_facts) == ({"": 1, "north": 2, "south": 0}, 2)
        assert found.database_octets > 1_000_000
        roll_up(engine, MADRID)
        assert gauges(engine).unrolled_facts == 0
