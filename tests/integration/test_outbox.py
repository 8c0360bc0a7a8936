"""The outbox: nothing that happened is lost, nothing is taken twice, and what operators order is in it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg2
import pytest
import sqlalchemy
from sqlalchemy import text

from domain.plan_rules import Change, ChangeKind
from enforcement.standing import AccountState, Override
from storage import outbox, overrides
from storage.outbox import Topic
from tests.integration.usage_facts import add_service

NOW = datetime(2026, 1, 10, 12, tzinfo=UTC)


def add(engine: sqlalchemy.Engine, *service_ids: int | None) -> None:
    with engine.begin() as connection:
        outbox.add(connection, Topic.CHANGED, service_ids)


def take(engine: sqlalchemy.Engine, limit: int = 100) -> list[tuple[Topic, int | None]]:
    with engine.begin() as connection:
        return [(event.topic, event.service_id) for event in outbox.take(connection, limit)]


def test_events_are_taken_once_and_in_order(engine: sqlalchemy.Engine) -> None:
    add(engine, 3, 1)
    add(engine, None)
    assert take(engine, 2) == [(Topic.CHANGED, 3), (Topic.CHANGED, 1)]
    assert take(engine) == [(Topic.CHANGED, None)]
    assert take(engine) == []


def test_events_of_a_transaction_that_fails_come_back(engine: sqlalchemy.Engine) -> None:
    add(engine, 1, 2)
    with engine.connect() as connection:
        assert len(outbox.take(connection, 100)) == 2
        connection.rollback()
    assert take(engine) == [(Topic.CHANGED, 1), (Topic.CHANGED, 2)]


def test_two_that_take_at_once_share_the_events(engine: sqlalchemy.Engine) -> None:
    add(engine, 1, 2, 3)
    with engine.connect() as one, engine.connect() as other:
        assert [event.service_id for event in outbox.take(one, 2)] == [1, 2]
        assert [event.service_id for event in outbox.take(other, 100)] == [3]
        one.commit()
        other.rollback()
    assert take(engine) == [(Topic.CHANGED, 3)]


def test_an_event_is_announced_when_it_is_committed(database_dsn: str, engine: sqlalchemy.Engine) -> None:
    listener = psycopg2.connect(database_dsn)
    listener.autocommit = True
    with listener.cursor() as cursor:
        cursor.execute(f"LISTEN {outbox.CHANNEL}")
        with engine.begin() as connection:
            outbox.add(connection, Topic.CHANGED, [1, 2])
            cursor.execute("SELECT 1")
            assert listener.notifies == []
        cursor.execute("SELECT 1")
        assert [notify.channel for notify in listener.notifies] == [outbox.CHANNEL]
    listener.close()


def test_no_service_is_no_event(engine: sqlalchemy.Engine) -> None:
    add(engine)
    assert take(engine) == []


def test_the_backlog_tells_how_many_wait_and_since_when(engine: sqlalchemy.Engine) -> None:
    with engine.begin() as connection:
        assert outbox.backlog(connection) == outbox.Backlog(0, None)
        connection.execute(text("INSERT INTO outbox (topic, happened_at) VALUES ('changed', :at)"), {"at": NOW})
        outbox.add(connection, Topic.CHANGED, [1])
        assert outbox.backlog(connection) == outbox.Backlog(2, NOW)


CHANGES = [
    Change(ChangeKind.FIXED, 10_000_000, None),
    Change(ChangeKind.PERCENT, percent=50),
    Change(ChangeKind.BLOCK),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_rates_is_read_as_it_was_written(engine: sqlalchemy.Engine, change: Change) -> None:
    with engine.connect() as connection:
        stored = connection.scalar(text("SELECT CAST(:it AS jsonb)"), {"it": overrides.change_document(change)})
    assert overrides.change_of(stored) == change


def test_an_override_replaces_the_one_before_and_each_is_told(engine: sqlalchemy.Engine) -> None:
    until = NOW + timedelta(hours=1)
    with engine.begin() as connection:
        overrides.set_override(connection, 7, Override(CHANGES[0], None, "eva", "outage"), NOW)
        overrides.set_override(connection, 7, Override(CHANGES[1], until, "luis", "fair"), NOW)
        rows = connection.execute(text("SELECT service_id, change, until_at, operator, reason FROM override")).all()
    assert rows == [(7, {"kind": "percent", "percent": 50}, until, "luis", "fair")]
    assert take(engine) == [(Topic.TERMS, 7), (Topic.TERMS, 7)]
    with engine.begin() as connection:
        assert overrides.clear_override(connection, 7)
        assert not overrides.clear_override(connection, 7)
    assert take(engine) == [(Topic.TERMS, 7)]


def test_what_is_to_be_looked_at_again_waits_for_its_time_and_ages_nothing(engine: sqlalchemy.Engine) -> None:
    with engine.begin() as connection:
        outbox.look_again(connection, [7, None], timedelta(hours=1))
        outbox.add(connection, Topic.CHANGED, [8])
    assert take(engine) == [(Topic.CHANGED, 8)]
    with engine.begin() as connection:
        assert outbox.backlog(connection) == outbox.Backlog(0, None)
        connection.execute(text("UPDATE outbox SET happened_at = happened_at - interval '1 hour'"))
    assert take(engine) == [(Topic.AGAIN, 7), (Topic.AGAIN, None)]


def test_overrides_that_ended_are_deleted_without_a_word(engine: sqlalchemy.Engine) -> None:
    with engine.begin() as connection:
        for service_id, until in ((1, NOW), (2, NOW + timedelta(seconds=1)), (3, None)):
            overrides.set_override(connection, service_id, Override(CHANGES[0], until, "eva", "test"), NOW)
    take(engine)
    with engine.begin() as connection:
        assert overrides.forget_ended(connection, NOW) == 1
        assert connection.scalars(text("SELECT service_id FROM override ORDER BY 1")).all() == [2, 3]
    assert take(engine) == []


def test_the_state_of_an_account_is_told_when_it_changes(engine: sqlalchemy.Engine) -> None:
    ana, eva = add_service(engine, "ana"), add_service(engine, "eva")
    with engine.begin() as connection:
        assert overrides.set_account_state(connection, [ana, eva], AccountState.BLOCKED) == [ana, eva]
        assert overrides.set_account_state(connection, [ana], AccountState.ACTIVE) == [ana]
        assert overrides.set_account_state(connection, [ana, eva], AccountState.ACTIVE) == [eva]
        assert overrides.set_account_state(connection, [ana, eva], AccountState.ACTIVE) == []
    assert take(engine) == [(Topic.TERMS, each) for each in (ana, eva, ana, eva)]
