"""The routers, pools and plans that a worker answers by, always of one revision.

Rule: a change reaches every worker by NOTIFY within milliseconds of its commit; a poll of the revision makes up for a
notification that was lost with its connection. While the database is away the last revision stays: nothing is answered
by it, since nothing can be committed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable

import psycopg2
import structlog

from domain.errors import CaudalError, one_line
from storage import snapshot as snapshots
from storage.pipeline import DatabaseAway, PipelineConnection
from storage.snapshot import Snapshot
from storage.vault import Vault

POLL_SECONDS = 2.0
RECONNECT_SECONDS = 0.5


MOST_SIGNERS = 100_000
"""Sources that are remembered; all of them know the secret of a router."""


class Signers:
    """Sources that have signed an Access-Request; the workers share them, and they outlive a restart."""

    def __init__(self) -> None:
        self._known: set[tuple[int, str]] = set()
        self._unsaved: set[tuple[int, str]] = set()
        self.on_new: Callable[[], None] | None = None

    def __contains__(self, source: tuple[int, str]) -> bool:
        return source in self._known

    def add(self, router_id: int, host: str) -> None:
        """Remember a source."""
        source = (router_id, host)
        if source not in self._known and len(self._known) < MOST_SIGNERS:
            self._known.add(source)
            self._unsaved.add(source)
            if self.on_new is not None:
                self.on_new()

    def unsaved(self) -> set[tuple[int, str]]:
        """Return what is to be saved, and count it as saved."""
        unsaved, self._unsaved = self._unsaved, set()
        return unsaved

    def take_back(self, unsaved: set[tuple[int, str]]) -> None:
        """Count sources as unsaved again."""
        self._unsaved |= unsaved

    def take(self, sources: Iterable[tuple[int, str]]) -> None:
        """Learn of what any worker has saved."""
        self._known.update(sources)


class ConfigurationWatch:
    """Keeps `snapshot` and `signers` current."""

    def __init__(self, connection: PipelineConnection, vault: Vault) -> None:
        self._connection = connection
        self._vault = vault
        self._changed = asyncio.Event()
        self._log = structlog.get_logger()
        self.snapshot = Snapshot.empty()
        self.signers = Signers()
        self.signers.on_new = self._changed.set
        self._saved_signers = 0
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
                await self._connection.open(f"LISTEN {snapshots.CHANNEL}")
            await self._save_signers()
            revision, signers = (await self._connection.query(snapshots.POSITION))[0]
            if signers != self._saved_signers:
                self.signers.take(await self._connection.query(snapshots.SIGNERS))
                self._saved_signers = signers
            if revision != self.snapshot.revision:
                self.snapshot = await snapshots.read(self._connection, self._vault)
                self._log.info("configuration in force", revision=self.snapshot.revision)
                if self.on_change is not None:
                    self.on_change()
        except DatabaseAway:
            return False
        except (CaudalError, psycopg2.Error) as error:
            self._log.error("configuration not taken over", error=one_line(error))
            return False
        return True

    async def _save_signers(self) -> None:
        unsaved = self.signers.unsaved()
        if not unsaved:
            return
        try:
            await self._connection.query(snapshots.save_signers(sorted(unsaved)))
        except (DatabaseAway, psycopg2.Error):
            self.signers.take_back(unsaved)
            raise
