"""Which of the cores that share a database is the active one.

Rule: the active core holds an advisory lock on a connection of its own, so PostgreSQL itself ends its leadership when
the process or the way to it dies; whoever gets the lock next begins from what is stored. A core that loses its
connection stops what it leads before it tries again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import psycopg2
import structlog

from domain.errors import one_line
from storage.pipeline import DatabaseAway, PipelineConnection

LEADER_LOCK = 0x6361_7564_616C_636F
"""The octets of "caudalco": advisory locks share one space with everything else in the database."""
TRY_AGAIN_SECONDS = 1.0
"""How long a core that stands by may take to notice that it is needed."""
PROBE_SECONDS = 1.0

_TRY = f"SELECT pg_try_advisory_lock({LEADER_LOCK})"


class Leadership:
    """Runs `lead` while this core is the active one; `lead` is cancelled when it no longer is."""

    def __init__(self, connection: PipelineConnection, lead: Callable[[], Awaitable[None]]) -> None:
        self._connection = connection
        self._lead = lead
        self._log = structlog.get_logger()
        self.is_active = False

    async def run(self) -> None:
        """Seek leadership for ever, and use it."""
        try:
            while True:
                await self._acquire()
                self._log.info("this core is active")
                await self._hold()
                self._log.warning("this core is no longer active")
                await asyncio.sleep(TRY_AGAIN_SECONDS)
        finally:
            self._connection.close()

    async def _acquire(self) -> None:
        """Wait until the lock is ours."""
        is_told = False
        while not await self._try():
            if self._connection.is_open and not is_told:
                self._log.info("another core is active; this one stands by")
                is_told = True
            await asyncio.sleep(TRY_AGAIN_SECONDS)

    async def _try(self) -> bool:
        try:
            if not self._connection.is_open:
                await self._connection.open()
            return bool((await self._connection.query(_TRY))[0][0])
        except (DatabaseAway, psycopg2.Error):
            return False

    async def _hold(self) -> None:
        """Lead until the connection that holds the lock is lost."""
        leading = asyncio.ensure_future(self._lead())
        self.is_active = True
        try:
            while not leading.done():
                await asyncio.wait({leading}, timeout=PROBE_SECONDS)
                await self._connection.probe()
        except (DatabaseAway, psycopg2.Error) as error:
            self._log.warning("the lock of the active core is lost", error=one_line(error))
        finally:
            self.is_active = False
            # Without the lock nobody may think that it is ours, and with a dead `lead` it is worth nothing.
            self._connection.close()
            leading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({leading})
            if not leading.cancelled() and leading.exception() is not None:
                self._log.error("enforcement failed and begins again", exc_info=leading.exception())
