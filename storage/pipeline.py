"""A PostgreSQL connection that the event loop drives, for the packet path.

Rule: one query is in flight; what it did is known only when it answered. A lost or silent connection raises
`DatabaseAway`, after which the outcome of that query is unknown and the connection is not used again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

import psycopg2
from psycopg2.extensions import POLL_OK, POLL_READ, POLL_WRITE

from domain.errors import CaudalError, one_line

QUERY_SECONDS = 10.0
"""A batch takes milliseconds; a database silent for this long is away (every router has given up by then)."""
SLOW_SECONDS = 0.2
"""Twenty times what the largest batch takes; a statement that was slower is planned anew."""
CONNECT_SECONDS = 5.0
AWAY_CLASSES = ("08", "25", "53", "55", "57", "58")
"""SQLSTATE classes that say nothing of what was asked: no connection, read-only after a failover, full, locked by its
operator, shut down or cancelled, disk failed."""

SESSION_OPTIONS = " ".join(
    f"-c {setting}"
    for setting in (
        "standard_conforming_strings=on",
        "timezone=UTC",
        # The packet path only ever looks rows up by key. Without these, statistics taken while the network slept let
        # the planner scan whole tables for each batch of the morning.
        "jit=off",
        "plan_cache_mode=force_generic_plan",
        "enable_seqscan=off",
        "enable_bitmapscan=off",
        "enable_hashjoin=off",
        "enable_mergejoin=off",
    )
)


class DatabaseAway(CaudalError):
    """The database cannot be reached or went away; nothing may be answered until it is back."""


class PipelineConnection:
    """One asynchronous psycopg2 connection; `prepared` statements are made when it opens."""

    def __init__(self, dsn: str, prepared: Mapping[str, str], *, application_name: str) -> None:
        self._dsn = dsn
        self._prepared = prepared
        self._application_name = application_name
        self._connection: Any = None
        self._cursor: Any = None
        self._waiter: asyncio.Future[None] | None = None
        self._fileno = -1
        self._writing = False
        self.on_notify: Callable[[str], None] | None = None

    @property
    def is_open(self) -> bool:
        """Tell whether queries can be sent."""
        return self._connection is not None

    async def open(self, *statements: str) -> None:
        """Connect, prepare the statements, then run `statements`; raise `DatabaseAway` when that fails."""
        self.close()
        self._cursor = None
        try:
            self._connection = psycopg2.connect(
                self._dsn,
                async_=1,
                application_name=self._application_name,
                connect_timeout=int(CONNECT_SECONDS),
                keepalives_idle=5,
                keepalives_interval=2,
                keepalives_count=3,
                options=SESSION_OPTIONS,
            )
            await self._settle(CONNECT_SECONDS)
            self._cursor = self._connection.cursor()
            for text in (*self._prepared.values(), *statements):
                await self.query(text)
        except psycopg2.Error as error:
            self.close()
            # The lines after the first guess at causes, and guess wrong while a server is being started again.
            raise DatabaseAway(f"the database does not take us in: {_first_line(error)}") from error

    async def query(self, sql: str, *, seconds: float = QUERY_SECONDS) -> list[Any]:
        """Run `sql` and return the rows of its last statement; several statements are one transaction.

        Raises `DatabaseAway` when the connection fails, `psycopg2.Error` when the database refuses.
        """
        if self._connection is None:
            raise DatabaseAway("the database connection is closed")
        cursor = self._cursor
        begun = monotonic()
        try:
            cursor.execute(sql)
            await self._settle(seconds)
            rows = cursor.fetchall() if cursor.description is not None else []
            if monotonic() - begun > SLOW_SECONDS:
                # Most likely planned when the tables were small; planned again it knows their size of now.
                cursor.execute("DISCARD PLANS")
                await self._settle(seconds)
        except psycopg2.Error as error:
            # With an error code the server is alive and has refused; without, the connection is gone or we are wrong.
            if error.pgcode is None:
                is_ours = isinstance(error, psycopg2.ProgrammingError)
            else:
                is_ours = not error.pgcode.startswith(AWAY_CLASSES)
            if is_ours and self.is_open and self._connection.closed == 0:
                raise
            self.close()
            raise DatabaseAway(f"the database went away: {one_line(error)}") from error
        else:
            return rows

    async def probe(self) -> None:
        """Ask for nothing; raise `DatabaseAway` when no answer comes."""
        await self.query("SELECT")

    def close(self) -> None:
        """Close the connection; a query in flight fails with `DatabaseAway`."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        self._unwatch()
        connection.close()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(DatabaseAway("the database connection was closed"))

    async def _settle(self, seconds: float) -> None:
        """Let the loop drive the connection until its present operation is complete."""
        loop = asyncio.get_running_loop()
        waiter = self._waiter = loop.create_future()
        self._drive()
        if not waiter.done():
            timer = loop.call_later(seconds, self._time_out, waiter)
            try:
                await waiter
            finally:
                timer.cancel()
                self._waiter = None
        else:
            self._waiter = None
            waiter.result()

    def _time_out(self, waiter: asyncio.Future[None]) -> None:
        if not waiter.done():
            waiter.set_exception(DatabaseAway("the database does not answer"))
            self.close()

    def _drive(self) -> None:
        """Advance libpq as far as the socket allows and tell the waiter when it is done."""
        connection = self._connection
        if connection is None:
            return
        waiter = self._waiter
        if self._cursor is None:
            # libpq tries one address after the other; each new socket may get the number of the one before.
            self._unwatch()
        try:
            state = connection.poll()
        except psycopg2.Error as error:
            if waiter is not None and not waiter.done():
                waiter.set_exception(error)
            if connection.closed or waiter is None:
                self.close()
            return
        self._watch(state)
        if connection.notifies:
            self._announce(connection)
        if state == POLL_OK and waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _announce(self, connection: Any) -> None:
        channels = {notify.channel for notify in connection.notifies}
        connection.notifies.clear()
        if self.on_notify is not None:
            for channel in channels:
                self.on_notify(channel)

    def _watch(self, state: int) -> None:
        loop = asyncio.get_running_loop()
        fileno = self._connection.fileno()
        if fileno != self._fileno:
            self._unwatch()
            self._fileno = fileno
            loop.add_reader(fileno, self._drive)
        if (state == POLL_WRITE) != self._writing:
            self._writing = state == POLL_WRITE
            if self._writing:
                loop.add_writer(fileno, self._drive)
            else:
                loop.remove_writer(fileno)
        assert state in (POLL_OK, POLL_READ, POLL_WRITE)

    def _unwatch(self) -> None:
        if self._fileno < 0:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._fileno)
        loop.remove_writer(self._fileno)
        self._fileno, self._writing = -1, False


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0]
