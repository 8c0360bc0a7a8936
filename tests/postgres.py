"""A real PostgreSQL for one test run, and a database of its own for each test.

Rule: the server is the product's own embedded one, but that it does not wait for the disk: what must survive is tested
with servers of the product's own. A test's database is a copy of a template that was migrated once. Servers that a
killed run left behind are ended by the next run.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg2
from psycopg2 import sql

from storage.database import create_engine
from storage.embedded import ROLE, SUPERUSER, EmbeddedPostgres
from storage.migrate import migrate

DIRECTORY_PREFIX = "caudal-test-"
TEMPLATE = "migrated"
MEMORY = Path("/dev/shm")
ENOUGH_OCTETS = 2 * 1024**3
"""With so much free the clusters lie in memory: on a disk a copy of the template takes ten times as long."""


class PostgresForTests:
    """The server of this run; `database` lends a migrated database."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self.server = server
        self._numbers = itertools.count(1)

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """Lend the DSN of a fresh migrated database, and drop it afterwards with whoever is still connected."""
        name = f"test_{next(self._numbers)}"
        # In memory 30 ms; what is written ahead as well takes 40 ms, and soon 300 on a disk.
        self._execute("CREATE DATABASE {} OWNER {} TEMPLATE {} STRATEGY FILE_COPY", name, ROLE, TEMPLATE)
        try:
            yield self.server.dsn(name)
        finally:
            self._execute("DROP DATABASE {} WITH (FORCE)", name)

    def forget_the_disk(self) -> None:
        """Let commits and copies of the template wait for nothing."""
        for setting in ("fsync", "full_page_writes"):
            self._execute(f"ALTER SYSTEM SET {setting} = off")
        self._execute("SELECT pg_reload_conf()")

    def create_template(self) -> None:
        """Migrate the database of which every test gets a copy."""
        self._execute("CREATE DATABASE {} OWNER {}", TEMPLATE, ROLE)
        engine = create_engine(self.server.dsn(TEMPLATE))
        migrate(engine)
        engine.dispose()

    def _execute(self, statement: str, *names: str) -> None:
        # As superuser: an autovacuum worker at work in a test's database would refuse to be ended by anybody else.
        connection = psycopg2.connect(self.server.dsn("postgres"), user=SUPERUSER)
        connection.autocommit = True
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@contextlib.contextmanager
def postgres_for_tests() -> Iterator[PostgresForTests]:
    """Run the server of this run."""
    end_abandoned_servers()
    with directory_for_clusters() as directory:
        server = EmbeddedPostgres(directory / "postgresql")
        server.start()
        postgres = PostgresForTests(server)
        postgres.forget_the_disk()
        postgres.create_template()
        yield postgres


@contextlib.contextmanager
def directory_for_clusters() -> Iterator[Path]:
    """Lend a directory that names this process and is short enough for a socket; end the servers left in it."""
    directory = Path(tempfile.mkdtemp(prefix=f"{DIRECTORY_PREFIX}{os.getpid()}-", dir=_roomy_place()))
    try:
        yield directory
    finally:
        _end_servers(directory)


def _roomy_place() -> Path | None:
    """Return memory that serves as a disk, where there is enough of it."""
    try:
        is_roomy = shutil.disk_usage(MEMORY).free >= ENOUGH_OCTETS and os.access(MEMORY, os.W_OK | os.X_OK)
    except OSError:
        return None
    return MEMORY if is_roomy else None


def end_abandoned_servers() -> None:
    """End the servers of runs that were killed."""
    places = {Path(tempfile.gettempdir()), MEMORY}
    for directory in [each for place in places for each in place.glob(f"{DIRECTORY_PREFIX}*")]:
        process_id = directory.name.removeprefix(DIRECTORY_PREFIX).partition("-")[0]
        # Runs that start at once may both find it.
        with contextlib.suppress(FileNotFoundError):
            if directory.stat().st_uid == os.geteuid() and not Path("/proc", process_id).exists():
                _end_servers(directory)


def _end_servers(directory: Path) -> None:
    for cluster in directory.rglob("postmaster.pid"):
        EmbeddedPostgres(cluster.parent).stop()
    shutil.rmtree(directory)
