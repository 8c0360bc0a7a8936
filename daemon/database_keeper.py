"""Keeps the database there: starts the embedded PostgreSQL, and starts it again when it was killed.

Rule: an outside database is only looked at; an embedded one is the core's to keep running until it ends. Workers that
run apart from their core wait for it.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg2
import structlog

from storage.database import ensure_database
from storage.embedded import EmbeddedPostgres
from storage.errors import StorageError

DIRECTORY = "postgresql"
LOOK_SECONDS = 0.2
"""How long a killed server stays unnoticed at most; looking costs one signal to a process."""
RETRY_SECONDS = 2.0
CONNECT_SECONDS = 5
STOP_SECONDS = 1.2
"""The whole stop of the daemon has three seconds."""
STARTING_SECONDS = 1.5
"""Making a new cluster takes about a second; replaying the log after a crash may take minutes."""


class DatabaseKeeper:
    """The database of this daemon."""

    def __init__(self, url: str, data: Path, *, is_ours: bool = True) -> None:
        self._url = url
        self._is_ours = is_ours
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
        elif not self._is_ours:
            await self._await_core(self._embedded)
        else:
            self._starting = asyncio.create_task(asyncio.to_thread(self._embedded.start))
            await asyncio.shield(self._starting)

    async def _await_core(self, embedded: EmbeddedPostgres) -> None:
        """Wait until the core has made the database, or found it."""
        is_told = False
        while not await asyncio.to_thread(_takes_us, embedded):
            if not is_told:
                is_told = True
                self._log.info("waiting for the embedded database, which `caudal serve --only core` starts")
            await asyncio.sleep(LOOK_SECONDS)

    async def keep(self) -> None:
        """Start the embedded server again whenever it is found dead; runs for ever."""
        embedded = self._embedded
        if embedded is None or not self._is_ours:
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
        if self._embedded is None or not self._is_ours:
            return
        if self._starting is not None:
            await asyncio.wait({self._starting}, timeout=STARTING_SECONDS)
            if not self._starting.done():
                return
        await asyncio.to_thread(self._embedded.stop, STOP_SECONDS)


def _takes_us(embedded: EmbeddedPostgres) -> bool:
    if not embedded.running():
        return False
    try:
        psycopg2.connect(embedded.dsn(), connect_timeout=CONNECT_SECONDS).close()
    except psycopg2.OperationalError:
        # It is still being made, or recovers.
        return False
    return True
