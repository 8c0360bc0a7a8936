"""How Caudal connects to PostgreSQL, its own or the operator's.

Rule: the URL goes to libpq as it was written, so that everything libpq understands works (several hosts, TLS files,
services), and no copy of its password is kept where it could be printed. Every session speaks UTC and UTF-8.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import psycopg2
import sqlalchemy
from psycopg2 import extensions, sql

from domain.errors import one_line
from storage.errors import DatabaseUnavailableError

APPLICATION_NAME = "caudal"
MAINTENANCE_DATABASE = "postgres"
CONNECT_TIMEOUT_SECONDS = 5
POOL_SIZE = 8
POOL_TIMEOUT_SECONDS = 10.0
# A primary that vanished without a word is noticed within these, so that the next connection finds its successor.
KEEPALIVES: Mapping[str, int] = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}


def create_engine(
    dsn: str,
    *,
    pool_size: int = POOL_SIZE,
    statement_timeout_seconds: float | None = None,
    application_name: str = APPLICATION_NAME,
) -> sqlalchemy.Engine:
    """Return an engine over libpq URL or keywords `dsn`; it connects at the first use, and again after each failure."""
    arguments = connection_arguments(
        dsn, statement_timeout_seconds=statement_timeout_seconds, application_name=application_name
    )
    return sqlalchemy.create_engine(
        "postgresql+psycopg2://",
        creator=lambda: psycopg2.connect(dsn, **arguments),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=POOL_TIMEOUT_SECONDS,
        pool_pre_ping=True,
        pool_use_lifo=True,
        # Parameters carry passwords and names; an error that shows them would carry them into the log.
        hide_parameters=True,
    )


def connection_arguments(
    dsn: str, *, statement_timeout_seconds: float | None = None, application_name: str = APPLICATION_NAME
) -> dict[str, Any]:
    """Return what Caudal adds to `dsn` when it connects; raises DatabaseUnavailableError for one that is malformed."""
    given = _parse(dsn)
    options = [given.get("options", ""), "-c timezone=UTC"]
    if statement_timeout_seconds is not None:
        options.append(f"-c statement_timeout={round(statement_timeout_seconds * 1000)}")
    ours = {
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        "application_name": application_name,
        "client_encoding": "UTF8",
        **KEEPALIVES,
    }
    return {name: value for name, value in ours.items() if name not in given} | {"options": " ".join(options).strip()}


def ensure_database(dsn: str) -> bool:
    """Create the database that `dsn` names where it is missing; tell whether it was created.

    Raises DatabaseUnavailableError when the server cannot be reached, or does not let us in or create it.
    """
    try:
        _connect(dsn).close()
    except psycopg2.OperationalError as error:
        if not _create_if_missing(dsn):
            raise DatabaseUnavailableError(
                f"the database {describe(dsn)} cannot be reached: {one_line(error)}; "
                "check [database] url and that PostgreSQL runs there"
            ) from error
        return True
    return False


def describe(dsn: str) -> str:
    """Return where `dsn` leads, without its password."""
    given = _parse(dsn)
    host = given.get("host") or given.get("hostaddr") or given.get("service") or "the local socket"
    return f"{given.get('dbname') or given.get('user') or 'default'} at {host}"


def _create_if_missing(dsn: str) -> bool:
    name = _parse(dsn).get("dbname")
    if not name or name == MAINTENANCE_DATABASE:
        return False
    try:
        connection = _connect(dsn, dbname=MAINTENANCE_DATABASE)
    except psycopg2.OperationalError:
        return False
    connection.autocommit = True
    with contextlib.closing(connection), connection.cursor() as cursor:
        cursor.execute("SELECT FROM pg_database WHERE datname = %s", (name,))
        if cursor.rowcount:
            return False
        try:
            cursor.execute(
                sql.SQL("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0").format(sql.Identifier(name))
            )
        except psycopg2.errors.DuplicateDatabase:
            return True
        except psycopg2.errors.InsufficientPrivilege as error:
            raise DatabaseUnavailableError(
                f"the database {describe(dsn)} does not exist and this user may not create it; "
                "create it by hand, or grant the user CREATEDB"
            ) from error
    return True


def _connect(dsn: str, **more: str) -> extensions.connection:
    return psycopg2.connect(dsn, **(connection_arguments(dsn) | more))


def _parse(dsn: str) -> dict[str, str]:
    try:
        parts: dict[str, str] = extensions.parse_dsn(dsn)
    except psycopg2.ProgrammingError:
        # libpq's message repeats the text, and with it the password.
        raise DatabaseUnavailableError(
            "[database] url is no address of a PostgreSQL database; write postgresql://user:password@host/database"
        ) from None
    if "@" in parts.get("host", ""):
        # What libpq takes for the host is the rest of the password, and its messages would show it.
        raise DatabaseUnavailableError("the password in [database] url contains an @ as it is; write it as %40")
    return parts
