"""The connection of the packet path against a real PostgreSQL: what is refused, what is away, and how it comes back."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import psycopg2
import pytest

from storage.pipeline import DatabaseAway, PipelineConnection

PROMPT_SECONDS = 3.0
"""Less than a connection attempt may take: who waits longer was not woken."""


def run(dsn: str, *statements: str) -> list[object]:
    """Run statements over one connection; return the rows of each, or the error in their place."""

    async def main() -> list[object]:
        connection = PipelineConnection(dsn, {}, application_name="test")
        await asyncio.wait_for(connection.open(), PROMPT_SECONDS)
        told: list[object] = []
        for statement in statements:
            try:
                told.append(await connection.query(statement))
            except (psycopg2.Error, DatabaseAway) as error:
                told.append(error)
        connection.close()
        return told

    return asyncio.run(main())


def test_refused_statement_leaves_the_connection_usable(database_dsn: str) -> None:
    refused, rows = run(database_dsn, "SELECT 1 / 0", "SELECT 7")
    assert isinstance(refused, psycopg2.errors.DivisionByZero)
    assert rows == [(7,)]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT pg_terminate_backend(pg_backend_pid())",
        "SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(10)",
        "SET default_transaction_read_only = on; INSERT INTO lane DEFAULT VALUES",
        "SET lock_timeout = 1; LOCK TABLE lane; SET statement_timeout = 1; SELECT pg_sleep(10)",
    ],
    ids=["terminated", "cancelled", "read-only after a failover", "timed out"],
)
def test_database_that_stores_nothing_is_away(database_dsn: str, statement: str) -> None:
    *_, away, later = run(database_dsn, *statement.split("; "), "SELECT 7")
    assert isinstance(away, DatabaseAway)
    assert isinstance(later, DatabaseAway), "a connection whose fate is unknown was used again"


def test_connection_opens_again_after_it_was_given_up(database_dsn: str) -> None:
    async def main() -> None:
        connection = PipelineConnection(database_dsn, {}, application_name="test")
        for _ in range(3):
            await connection.open()
            assert await connection.query("SELECT 7") == [(7,)]

    asyncio.run(main())


def test_second_host_is_tried_when_the_first_is_not_ready(database_dsn: str) -> None:
    """As after a failover: libpq closes one socket and opens the next, which often gets the same number."""
    place = urlsplit(database_dsn)
    directory, port = (parse_qs(place.query)[key][0] for key in ("host", "port"))
    with server_that_is_not_ready() as refusing:
        dsn = (
            f"host=127.0.0.1,{directory} port={refusing},{port} user={place.username} dbname={place.path[1:]} "
            "sslmode=disable gssencmode=disable"
        )
        assert run(dsn, "SELECT 7") == [[(7,)]]


@contextlib.contextmanager
def server_that_is_not_ready() -> Iterator[int]:
    """Lend the port of a server that refuses everybody as a PostgreSQL that starts does (SQLSTATE 57P03)."""
    fields = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0"
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    with client:
                        client.recv(4096)
                        client.sendall(b"E" + (len(fields) + 4).to_bytes(4) + fields)

        thread = threading.Thread(target=refuse, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def test_statement_that_was_slow_is_planned_again(database_dsn: str) -> None:
    prepared = {"nap": "PREPARE nap(float8) AS SELECT pg_sleep($1)"}

    async def main() -> None:
        connection = PipelineConnection(database_dsn, prepared, application_name="planner")
        await connection.open()
        await connection.query("EXECUTE nap(0)")
        assert last_statement(database_dsn) == "EXECUTE nap(0)"
        assert await connection.query("EXECUTE nap(0.25)") == [("",)]
        assert last_statement(database_dsn) == "DISCARD PLANS"
        assert await connection.query("EXECUTE nap(0)") == [("",)]
        connection.close()

    asyncio.run(main())


def last_statement(dsn: str) -> str:
    """Return what the connection under test ran last."""
    with contextlib.closing(psycopg2.connect(dsn)) as other, other.cursor() as cursor:
        cursor.execute("SELECT query FROM pg_stat_activity WHERE application_name = 'planner'")
        ((query,),) = cursor.fetchall()
        return str(query)
