"""The timed jobs run on a real database as soon as they begin."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import sqlalchemy
from sqlalchemy import text

from config.settings import Settings
from daemon.jobs import Jobs
from domain.plan_rules import Change, ChangeKind
from enforcement.standing import Override
from storage import overrides

SECONDS = 10.0


def test_an_override_that_ended_by_itself_is_forgotten(engine: sqlalchemy.Engine) -> None:
    now = datetime.now(UTC)
    with engine.begin() as connection:
        for service_id, until in ((1, now - timedelta(seconds=1)), (2, now + timedelta(hours=1)), (3, None)):
            change = Override(Change(ChangeKind.PERCENT, percent=50), until, "eva", "test")
            overrides.set_override(connection, service_id, change, now)

    async def story() -> None:
        jobs = Jobs(
            engine, Settings, lambda: now, lambda _counts, _closed: None, lambda _on, _prepaid: None, lambda _on: None
        )
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
