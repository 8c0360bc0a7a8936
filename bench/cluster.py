"""The one PostgreSQL that both servers use, and the quiet that each measurement starts from.

Rule: fsync on; a run begins after a checkpoint and only when nothing of an earlier run still works in the database.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg2
import psycopg2.sql

from bench.errors import BenchError
from storage.embedded import EmbeddedPostgres

SETTLE_TIMEOUT_SECONDS: Final = 60.0
# Roll-ups and vacuum pause between their steps: so many quiet looks, 0.1 s apart, mean that they are done.
QUIET_LOOKS: Final = 15
BUSY: Final = """
SELECT count(*) FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND (
    (backend_type = 'client backend' AND state <> 'idle') OR backend_type = 'autovacuum worker'
)
"""


@dataclass(frozen=True, slots=True)
class Cluster:
    """The running PostgreSQL."""

    server: EmbeddedPostgres

    def create(self, database: str) -> str:
        """Create an empty database and return its DSN."""
        with self._cursor("postgres") as cursor:
            cursor.execute(psycopg2.sql.SQL("CREATE DATABASE {}").format(psycopg2.sql.Identifier(database)))
        return self.server.dsn(database)

    def tidy(self, database: str) -> None:
        """Vacuum and analyse, so that no server pays for how its tables were filled."""
        with self._cursor(database) as cursor:
            # Shared catalogues belong to the superuser; PostgreSQL skips them with a warning.
            cursor.execute("VACUUM (ANALYZE)")

    def settle(self) -> None:
        """Wait until no statement runs, then make a checkpoint; give up waiting after a minute."""
        quiet = 0
        deadline = time.monotonic() + SETTLE_TIMEOUT_SECONDS
        with self._cursor("postgres") as cursor:
            while quiet < QUIET_LOOKS and time.monotonic() < deadline:
                cursor.execute(BUSY)
                quiet = 0 if cursor.fetchone()[0] else quiet + 1
                time.sleep(0.1)
            cursor.execute("CHECKPOINT")

    def facts(self) -> str:
        """Return the version and the settings that decide about durability and speed."""
        with self._cursor("postgres") as cursor:
            shown = {}
            for setting in ("server_version", "fsync", "synchronous_commit", "shared_buffers"):
                cursor.execute(psycopg2.sql.SQL("SHOW {}").format(psycopg2.sql.Identifier(setting)))
                shown[setting] = cursor.fetchone()[0]
        if shown["fsync"] != "on" or shown["synchronous_commit"] != "on":
            raise BenchError(f"this PostgreSQL does not commit durably: {shown}; remove the settings that say so")
        return "PostgreSQL {server_version}, fsync {fsync}, shared_buffers {shared_buffers}".format(**shown)

    @contextlib.contextmanager
    def _cursor(self, database: str) -> Iterator[Any]:
        connection = psycopg2.connect(self.server.dsn(database))
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                yield cursor
        finally:
            connection.close()


@contextlib.contextmanager
def running(directory: Path) -> Iterator[Cluster]:
    """Run a fresh cluster in `directory` and remove it afterwards."""
    server = EmbeddedPostgres(directory)
    # A run that was killed may have left one.
    server.stop()
    shutil.rmtree(directory, ignore_errors=True)
    server.start()
    try:
        yield Cluster(server)
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)
