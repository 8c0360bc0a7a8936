"""One core is active, and another takes over when it is gone."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy

from daemon import leadership
from daemon.leadership import Leadership
from storage.pipeline import PipelineConnection

SECONDS = 10.0


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leadership, "TRY_AGAIN_SECONDS", 0.02)
    monkeypatch.setattr(leadership, "PROBE_SECONDS", 0.02)


class Core:
    """A core that tells when it leads."""

    def __init__(self, dsn: str, name: str) -> None:
        self.began = asyncio.Event()
        self.ended = asyncio.Event()
        self.fails = False
        self.leadership = Leadership(PipelineConnection(dsn, {}, application_name=name), self._lead)
        self.task = asyncio.create_task(self.leadership.run())

    async def _lead(self) -> None:
        self.began.set()
        try:
            if self.fails:
                self.fails = False
                raise ValueError("a defect")
            await asyncio.Event().wait()
        finally:
            self.ended.set()

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})


def test_only_one_of_two_cores_is_active_and_the_other_takes_over(database_dsn: str) -> None:
    async def story() -> None:
        async with asyncio.timeout(SECONDS):
            first = Core(database_dsn, "first core")
            await first.began.wait()
            second = Core(database_dsn, "second core")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(second.began.wait(), 0.3)
            await first.stop()
            await second.began.wait()
            assert first.ended.is_set()
            assert not first.leadership.is_active
            assert second.leadership.is_active
            await second.stop()

    asyncio.run(story())


def test_a_core_whose_connection_is_cut_stops_what_it_leads(database_dsn: str, engine: sqlalchemy.Engine) -> None:
    async def story() -> None:
        async with asyncio.timeout(SECONDS):
            core = Core(database_dsn, "cut core")
            await core.began.wait()
            core.began.clear()
            with engine.begin() as connection:
                connection.execute(
                    sqlalchemy.text(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'cut core'"
                    )
                )
            await core.ended.wait()
            await core.began.wait()
            await core.stop()

    asyncio.run(story())


def test_a_defect_of_what_it_leads_does_not_end_a_core(database_dsn: str) -> None:
    async def story() -> None:
        async with asyncio.timeout(SECONDS):
            core = Core(database_dsn, "failing core")
            core.fails = True
            await core.began.wait()
            await core.ended.wait()
            core.began.clear()
            await core.began.wait()
            assert core.leadership.is_active
            await core.stop()

    asyncio.run(story())
