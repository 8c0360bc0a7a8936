"""The routers, pools and plans that a worker answers by, always of one revision.

Rule: a change reaches every worker by NOTIFY within milliseconds of its commit; a poll of the revision makes up for a
notification that was lost with its connection. While the database is away the last revision stays: nothing is answered
by it, since nothing can be committed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import psycopg2
import structlog

from domain.errors import CaudalError
from storage import snapshot as snapshots
from storage.pipeline import DatabaseAway, PipelineConnection
from storage.snapshot import Snapshot
from storage.vault import Vault

CHANNEL = "caudal_configuration"
POLL_SECONDS = 2.0
RECONNECT_SECONDS = 0.5


class ConfigurationWatch:
    """Keeps `snapshot` current."""

    def __init__(self, connection: PipelineConnection, vault: Vault) -> None:
        self._connection = connection
        self._vault = vault
        self._changed = asyncio.Event()
        self._log = structlog.get_logger()
        self.snapshot = Snapshot.empty()
        self.on_change: Callable[[], None] | None = None
        connection.on_notify = lambda _channel: self._changed.set()

    async def first(self) -> None:
        """Read the configuration, waiting for the database as long as it takes."""
        while not await self._reload():  # noqa: ASYNC110 - the database sends no event when it comes back
            await asyncio.sleep(RECONNECT_SECONDS)

    async def run(self) -> None:
        """Follow changes for ever."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), POLL_SECONDS)
            self._changed.clear()
            await self._reload()

    async def _reload(self) -> bool:
        try:
            if not self._connection.is_open:
                await self._connection.open(f"LISTEN {CHANNEL}")
            rows = await self._connection.query(snapshots.REVISION)
            if rows[0][0] != self.snapshot.revision:
                self.snapshot = await snapshots.read(self._connection, self._vault)
                self._log.info("configuration in force", revision=self.snapshot.revision)
                if self.on_change is not None:
                    self.on_change()
        except DatabaseAway:
            return False
        except (CaudalError, psycopg2.Error) as error:
            self._log.error("configuration not taken over", error=" ".join(str(error).split()))
            return False
        return True
