"""Bringing a database to the schema of this release, and telling when that cannot be."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg2
import pytest
import sqlalchemy
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.engine import Connection

from storage.database import create_engine, ensure_database
from storage.errors import DatabaseUnavailableError, SchemaError
from storage.migrate import MIGRATIONS, migrate, pending
from tests.postgres import PostgresForTests


@pytest.fixture
def empty_engine(postgres: PostgresForTests, database_dsn: str) -> Iterator[sqlalchemy.Engine]:
    """Lend an engine over a database without any table."""
    lent = create_engine(database_dsn)
    with lent.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    yield lent
    lent.dispose()


def test_a_new_database_gets_every_migration_once(empty_engine: sqlalchemy.Engine) -> None:
    expected = pending(empty_engine)
    assert expected[0] == "0001"
    assert migrate(empty_engine) == expected
    assert pending(empty_engine) == []
    assert migrate(empty_engine) == []


@contextlib.contextmanager
def migrated_by(engine: sqlalchemy.Engine, revision: str, *before: str) -> Iterator[Connection]:
    """Lend a connection to a database that had rows before a migration, and has been migrated by it."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, str(ScriptDirectory.from_config(config).get_revision(revision).down_revision))
        with connection.begin():
            for statement in ("INSERT INTO partner (name) VALUES ('one') ON CONFLICT DO NOTHING", *before):
                connection.execute(text(statement))
        command.upgrade(config, revision)
        yield connection


def test_0014_counts_who_is_inactive_as_given_up(empty_engine: sqlalchemy.Engine) -> None:
    before = (
        "INSERT INTO customer (login, name, partner_id) SELECT 'ana', 'Ana', id FROM partner LIMIT 1",
        """INSERT INTO rest (customer_id, cause, starts, ends)
            SELECT id, cause, '2026-01-01', ends FROM customer,
            (VALUES ('debt', NULL), ('debt', DATE '2026-01-09'), ('vacation', NULL)) AS v (cause, ends)""",
    )
    with migrated_by(empty_engine, "0014", *before) as connection:
        causes = connection.execute(text("SELECT cause, ends IS NULL FROM rest ORDER BY id")).all()
    assert [tuple(row) for row in causes] == [("given_up", True), ("debt", False), ("vacation", True)]


def test_0015_takes_it_for_always_that_somebody_pays(empty_engine: sqlalchemy.Engine) -> None:
    before = """WITH mother AS (INSERT INTO customer (login, name, partner_id)
            SELECT 'ana', 'Ana', id FROM partner LIMIT 1 RETURNING id, partner_id)
        INSERT INTO customer (login, name, partner_id, payer_id)
        SELECT 'eva', 'Eva', partner_id, id FROM mother"""
    with migrated_by(empty_engine, "0015", before) as connection:
        found = connection.execute(
            text("SELECT login, payer_id IS NULL, paid_since FROM customer ORDER BY login")
        ).all()
    assert [tuple(row) for row in found] == [("ana", True, None), ("eva", False, None)]


def test_daemons_that_migrate_at_once_do_not_race(empty_engine: sqlalchemy.Engine) -> None:
    with ThreadPoolExecutor() as threads:
        applied = list(threads.map(migrate, [empty_engine] * 3))
    assert sorted(map(bool, applied)) == [False, False, True]


def test_a_failing_migration_leaves_no_trace(empty_engine: sqlalchemy.Engine) -> None:
    with empty_engine.begin() as connection:
        connection.execute(text("CREATE TABLE quarantine ()"))
    with pytest.raises(sqlalchemy.exc.ProgrammingError):
        migrate(empty_engine)
    with empty_engine.begin() as connection:
        assert connection.execute(text("SELECT to_regclass('service')")).scalar() is None
        connection.execute(text("DROP TABLE quarantine"))
    assert migrate(empty_engine)[0] == "0001"


def test_a_database_of_a_newer_release_is_refused(engine: sqlalchemy.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaError, match="9999"):
        migrate(engine)
    with pytest.raises(SchemaError, match="9999"):
        pending(engine)


def test_sessions_speak_utc_and_carry_the_products_name(database_dsn: str) -> None:
    engine = create_engine(database_dsn, statement_timeout_seconds=1.5)
    with engine.connect() as connection:
        shown = [
            connection.execute(text(f"SHOW {name}")).scalar()
            for name in ("timezone", "application_name", "client_encoding", "statement_timeout")
        ]
    engine.dispose()
    assert shown == ["UTC", "caudal", "UTF8", "1500ms"]


def test_an_engine_comes_back_after_its_connections_were_ended(engine: sqlalchemy.Engine, database_dsn: str) -> None:
    with engine.connect() as connection:
        ended = connection.execute(text("SELECT pg_backend_pid()")).scalar()
    with contextlib.closing(psycopg2.connect(database_dsn)) as other, other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 30000)", (ended,))
        assert cursor.fetchall() == [(True,)]
    with engine.connect() as connection:
        assert connection.execute(text("SELECT pg_backend_pid()")).scalar() != ended


def test_a_missing_database_is_created_once(postgres: PostgresForTests) -> None:
    dsn = postgres.server.dsn("a database that's new")
    assert ensure_database(dsn) is True
    assert ensure_database(dsn) is False


def test_an_unreachable_database_is_one_sentence_without_the_password() -> None:
    with pytest.raises(DatabaseUnavailableError, match=r"isp at 127\.0\.0\.1 cannot be reached") as raised:
        ensure_database("postgresql://caudal:hidden@127.0.0.1:1/isp")
    assert "hidden" not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("dsn", ["postgresql://caudal:hidden@[::1/isp", "pasword=hidden", "hidden"])
def test_a_malformed_address_is_refused_without_repeating_it(dsn: str) -> None:
    with pytest.raises(DatabaseUnavailableError, match="no address") as raised:
        create_engine(dsn)
    assert "hid" not in str(raised.value)


def test_a_password_with_an_unescaped_at_sign_is_not_shown_as_a_host() -> None:
    with pytest.raises(DatabaseUnavailableError, match="%40") as raised:
        ensure_database("postgresql://caudal:pass@hidden@127.0.0.1:1/isp")
    assert "hidden" not in str(raised.value)
