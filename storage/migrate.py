"""The schema of the database, brought to what this release expects.

Rule: migrations run in order, each in its own transaction, and under an advisory lock, so that two processes which
start at once do not race. A database of a newer release is refused, never changed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError
from sqlalchemy import text

from storage.errors import SchemaError

MIGRATIONS = Path(__file__).parent / "migrations"
# The octets of "caudalmi" as a bigint: advisory locks share one space with everything else in the database.
LOCK_KEY = int.from_bytes(b"caudalmi")


def migrate(engine: sqlalchemy.Engine) -> list[str]:
    """Apply what is pending and return the applied revisions, oldest first; raises SchemaError."""
    with engine.connect() as connection, _lock(connection):
        config = _config()
        revisions = _pending(connection, config)
        if revisions:
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except sqlalchemy.exc.ProgrammingError as error:
                if not isinstance(error.orig, psycopg2.errors.InsufficientPrivilege):
                    raise
                raise SchemaError(
                    f"the user of [database] url may not bring the schema up to date "
                    f"({' '.join(str(error.orig).split())}); let it own the database, and everything in it"
                ) from error
        return revisions


def missing_rights(engine: sqlalchemy.Engine) -> list[str]:
    """Return what the user may not do that migrations and the daemon do."""
    with engine.connect() as connection:
        rights = connection.execute(text(_RIGHTS)).one()
    found = [] if rights.creates else ["create tables in the schema public"]
    if rights.strange:
        found.append(f"change {', '.join(rights.strange[:_NAMED])}")
    return found


_NAMED = 3
_RIGHTS = """SELECT has_schema_privilege('public', 'CREATE') AND has_schema_privilege('public', 'USAGE') AS creates,
    (SELECT array_agg(tablename::text ORDER BY tablename) FROM pg_tables WHERE schemaname = 'public'
        AND NOT pg_has_role(tableowner, 'USAGE')) AS strange"""


def pending(engine: sqlalchemy.Engine) -> list[str]:
    """Return the revisions that `migrate` would apply, oldest first; raises SchemaError."""
    with engine.connect() as connection:
        return _pending(connection, _config())


@contextlib.contextmanager
def _lock(connection: sqlalchemy.Connection) -> Iterator[None]:
    """Hold the lock of migrations for the session: each migration commits by itself, and a crash releases it."""
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK_KEY})
    connection.commit()
    try:
        yield
    finally:
        connection.rollback()
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": LOCK_KEY})
        connection.commit()


def _pending(connection: sqlalchemy.Connection, config: Config) -> list[str]:
    current = MigrationContext.configure(connection).get_current_revision()
    # The question opened a transaction, and a migration begins its own.
    connection.rollback()
    try:
        revisions = ScriptDirectory.from_config(config).iterate_revisions("head", current or "base")
        return [script.revision for script in revisions][::-1]
    except RevisionError as error:
        raise SchemaError(
            f"the database has schema {current}, which this release does not know; "
            "start the release that wrote it, or a newer one"
        ) from error


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    return config
