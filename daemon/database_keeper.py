"""Keeps the database there: starts the embedded PostgreSQL, and starts it again when it was killed.

Rule: an outside database is only looked at; an embedded one is ours to keep running until the daemon ends.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from storage.database import ensure_database
from storage.embedded import EmbeddedPostgres
from storage.errors import StorageError

DIRECTORY = "postgresql"
LOOK_SECONDS = 0.2
"""How long a killed server stays unnoticed at most; looking costs one signal to a process."""
RETRY_SECONDS = 2.0
STOP_SECONDS = 1.2
"""The whole stop of the daemon has three seconds."""
STARTING_SECONDS = 1.5
"""Making a new cluster takes about a second; replaying the log after a crash may take minutes."""


class DatabaseKeeper:
    """The database of this daemon."""

    def __init__(self, url: str, data: Path) -> None:
        self._url = url
        self._embedded = None if url else EmbeddedPostgres(data / DIRECTORY)
        self._starting: asyncio.Task[None] | None = None
        self._log = structlog.get_logger()
        self.restarts = 0

    @property
    def dsn(self) -> str:
        """The connection string, valid once `start` has returned."""
        return self._url if self._embedded is None else self._embedded.dsn()

    async def start(self) -> None:
        """Make the database exist and accept connections; raise `StorageError`."""
        if self._embedded is None:
            await asyncio.to_thread(ensure_database, self._url)
        else:
            self._starting = asyncio.create_task(asyncio.to_thread(self._embedded.start))
            await asyncio.shield(self._starting)

    async def keep(self) -> None:
        """Start the embedded server again whenever it is found dead; runs for ever."""
        embedded = self._embedded
        if embedded is None:
            return
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if embedded.running():
                continue
            self._log.error("embedded PostgreSQL has died; starting it again")
            try:
                await asyncio.to_thread(embedded.start)
            except StorageError as error:
                self._log.error("embedded PostgreSQL does not start", error=str(error))
                await asyncio.sleep(RETRY_SECONDS)
            except Exception:  # noqa: BLE001 - whatever it was, without another attempt nothing is ever served again
                self._log.exception("embedded PostgreSQL does not start")
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self.restarts += 1
                self._log.info("embedded PostgreSQL is back")

    async def stop(self) -> None:
        """Stop the embedded server; one that is still starting is left to be adopted by the next daemon."""
        if self._embedded is None:
            return
        if self._starting is not None:
            await asyncio.wait({self._starting}, timeout=STARTING_SECONDS)
            if not self._starting.done():
                return
        await asyncio.to_thread(self._embedded.stop, STOP_SECONDS)
