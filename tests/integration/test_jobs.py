"""The timed jobs run on a real database as soon as they begin."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import chain, repeat

import sqlalchemy
from sqlalchemy import text

from config.settings import Settings, parse
from daemon.billing_day import BillingDay
from daemon.jobs import Jobs
from domain.plan_rules import Change, ChangeKind
from enforcement.standing import Override
from storage import housekeeping, overrides

SECONDS = 10.0
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
MONTHS = """SELECT to_regclass('usage_fact_' || to_char(now() AT TIME ZONE 'UTC' + m * interval '1 month', 'YYYY_MM'))
    FROM generate_series(-1, 2) AS m"""
REFUSED = """INSERT INTO refusal (refused_at, login, service_id, router_id, mac, reason, method, attempts)
VALUES (now() - interval '40 days', 'ana', NULL, 1, NULL, 'wrong_password', 'pap', 1)"""
SILENT = """
INSERT INTO session (id, router_id, nas, acct_session_id, generation, version, login, state, started_at, updated_at,
    heard_at, session_seconds, octets_up, octets_down, base_up, base_down, gigawords)
VALUES (1, 1, '', '81000001', 0, 1, 'ana', 0, now() - interval '1 hour', now() - interval '10 minutes',
    now() - interval '10 minutes', 3000, 1, 2, 0, 0, true)"""


def jobs_of(engine: sqlalchemy.Engine, *settings: Settings) -> Jobs:
    """Return the jobs of a daemon whose configuration is reloaded each time that somebody asks for it."""
    given = chain(settings, repeat(settings[-1]))
    return Jobs(
        engine,
        lambda: next(given),
        lambda: LONG_AGO,
        lambda _counts, _closed: None,
        BillingDay(engine, lambda _on, _prepaid: None, lambda _on: None),
    )


def count(engine: sqlalchemy.Engine, what: str) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(text(f"SELECT count(*) FROM {what}")) or 0)


def test_the_ages_of_retention_are_those_of_the_last_reload(engine: sqlalchemy.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text(REFUSED))
    jobs = jobs_of(engine, parse("[retention]\nrefusal_days = 50", "caudal.toml"), Settings())
    jobs._retain()
    assert count(engine, "refusal") == 1
    jobs._retain()
    assert count(engine, "refusal") == 0, "30 days are the default"


def test_a_session_is_silent_by_the_last_reload(engine: sqlalchemy.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text(SILENT))
    jobs = jobs_of(engine, Settings(), parse("[accounting]\nstale_default_seconds = 300", "caudal.toml"))
    jobs._close_stale()
    assert count(engine, "session WHERE state = 0") == 1
    jobs._close_stale()
    assert count(engine, "session WHERE state = 2") == 1


def test_a_daemon_that_was_down_over_the_end_of_a_month_makes_its_partitions_before_it_serves(
    engine: sqlalchemy.Engine,
) -> None:
    housekeeping.ensure_partitions(engine, datetime.now(UTC) - timedelta(days=200))
    jobs_of(engine, Settings()).prepare()
    with engine.connect() as connection:
        made = connection.scalars(text(MONTHS)).all()
    assert None not in made


def test_an_override_that_ended_by_itself_is_forgotten(engine: sqlalchemy.Engine) -> None:
    now = datetime.now(UTC)
    with engine.begin() as connection:
        for service_id, until in ((1, now - timedelta(seconds=1)), (2, now + timedelta(hours=1)), (3, None)):
            change = Override(Change(ChangeKind.PERCENT, percent=50), until, "eva", "test")
            overrides.set_override(connection, service_id, change, now)

    async def story() -> None:
        jobs = jobs_of(engine, Settings())
        jobs.start()
        try:
            async with asyncio.timeout(SECONDS):
                while len(left(engine)) == 3:  # noqa: ASYNC110 - jobs tell nobody when they are done
                    await asyncio.sleep(0.02)
        finally:
            jobs.stop()

    asyncio.run(story())
    assert left(engine) == [2, 3]


def left(engine: sqlalchemy.Engine) -> list[int]:
    with engine.connect() as connection:
        return list(connection.scalars(text("SELECT service_id FROM override ORDER BY 1")))
