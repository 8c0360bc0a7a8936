"""The routers, pools and plans as the core knows them, whether it is the active one or not.

Rule: a change is heard by NOTIFY; whoever finds that the database is further asks for a fresh one at once. While the
database is away the last one stays.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import psycopg2
import structlog

from daemon.configuration import POLL_SECONDS, RECONNECT_SECONDS
from domain.errors import CaudalError, one_line
from storage import snapshot as snapshots
from storage.pipeline import DatabaseAway, PipelineConnection
from storage.snapshot import Snapshot
from storage.vault import Vault


class SnapshotKeeper:
    """Keeps `snapshot` current while `run` runs."""

    def __init__(self, connection: PipelineConnection, vault: Vault) -> None:
        self._connection = connection
        self._vault = vault
        self._changed = asyncio.Event()
        self._reading = asyncio.Lock()
        self._log = structlog.get_logger()
        self.snapshot = Snapshot.empty()
        self.on_change: Callable[[], None] | None = None
        connection.on_notify = lambda _channel: self._changed.set()

    async def run(self) -> None:
        """Follow changes for ever."""
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL_SECONDS):
                        await self._changed.wait()
                self._changed.clear()
                await self.refresh()
        finally:
            self._connection.close()

    async def first(self) -> None:
        """Read the configuration, waiting for the database as long as it takes."""
        while self.snapshot.revision < 0:
            await self.refresh()
            if self.snapshot.revision < 0:
                await asyncio.sleep(RECONNECT_SECONDS)

    async def refresh(self) -> None:
        """Read what is stored now, when it is another revision."""
        async with self._reading:
            try:
                if not self._connection.is_open:
                    await self._connection.open(f"LISTEN {snapshots.CHANNEL}")
                rows = await self._connection.query(snapshots.REVISION)
                if rows[0][0] == self.snapshot.revision:
                    return
                self.snapshot = await snapshots.read(self._connection, self._vault)
            except DatabaseAway:
                return
            except (CaudalError, psycopg2.Error) as error:
                self._log.error("the core does not take over the configuration", error=one_line(error))
                return
        if self.on_change is not None:
            self.on_change()
