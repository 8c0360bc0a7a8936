"""`caudal check`: what would keep the daemon from serving is found before it is started."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from psycopg2 import sql
from psycopg2.extensions import parse_dsn

from config.settings import LogFormat, LogLevel
from daemon import logs
from daemon.check import Finding, Level, findings
from storage import migrate
from storage.database import create_engine
from storage.embedded import SUPERUSER
from storage.errors import SchemaError


def checked(tmp_path: Path, configuration: str, **held: list[tuple[str, int]]) -> dict[str, Finding]:
    config = tmp_path / "caudal.toml"
    config.write_text(configuration)
    return {finding.subject: finding for finding in findings(config, tmp_path / "data", **held)}


def address(dsn: str, credentials: str) -> str:
    place = parse_dsn(dsn)
    host = place["host"].replace("/", "%2F")
    return f"postgresql://{credentials}@{host}:{place['port']}/{place['dbname']}"


@pytest.fixture
def stranger(database_dsn: str) -> Iterator[str]:
    """Lend the address of the same database for a user without any right in it."""
    name = "stranger_to_tables"
    with contextlib.closing(psycopg2.connect(database_dsn, user=SUPERUSER)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'hush-8841'").format(sql.Identifier(name)))
            try:
                yield address(database_dsn, f"{name}:hush-8841")
            finally:
                cursor.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def test_a_user_without_rights_is_an_error_that_says_what_to_do(tmp_path: Path, stranger: str) -> None:
    found = checked(tmp_path, f'[database]\nurl = "{stranger}"\n')["database rights"]
    assert found.level is Level.ERROR
    assert "may not create tables in the schema public and not change " in found.message
    assert "own the database" in found.hint
    assert "hush" not in f"{found.message}{found.hint}"


def test_migrations_without_the_right_to_them_say_so(database_dsn: str, stranger: str) -> None:
    with contextlib.closing(psycopg2.connect(database_dsn)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public; GRANT USAGE ON SCHEMA public TO public")
    engine = create_engine(stranger)
    try:
        with pytest.raises(SchemaError, match=r"may not bring the schema up to date.*permission denied"):
            migrate.migrate(engine)
    finally:
        engine.dispose()


def test_the_owner_of_everything_has_all_rights(tmp_path: Path, database_dsn: str) -> None:
    url = address(database_dsn, parse_dsn(database_dsn)["user"])
    assert checked(tmp_path, f'[database]\nurl = "{url}"\n')["database schema"].message == "current"


def test_ports_that_somebody_else_has_are_errors_also_beside_a_daemon(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        text = f"""[radius]\nlisten = "127.0.0.1"\nauth_port = 1\nacct_port = 2\ncoa_port = {port}
            coa_clients = ["127.0.0.1"]\ncoa_client_secret = "a-secret-of-ours"\n"""
        subject = f"UDP 127.0.0.1:{port}"
        taken = checked(tmp_path, text, held=[("127.0.0.1", 1), ("127.0.0.1", 2)])
        assert taken[subject].level is Level.ERROR
        assert "coa_port" in taken[subject].hint
        assert taken["UDP 127.0.0.1:1"].message == "held by the daemon that runs here"
        assert checked(tmp_path, text, held=[("127.0.0.1", port)])[subject].level is Level.OK


def test_a_control_socket_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    missing = tmp_path / "missing" / "control.sock"
    found = checked(tmp_path, f'[control]\nsocket = "{missing}"\n')[f"control socket {missing}"]
    assert (found.level, found.message) == (Level.ERROR, f"{missing.parent} is no directory")
    there = tmp_path / "a-file"
    there.write_text("")
    assert checked(tmp_path, f'[control]\nsocket = "{there}"\n')[f"control socket {there}"].level is Level.ERROR


def test_a_job_that_the_end_cut_off_is_no_news(caplog: pytest.LogCaptureFixture) -> None:
    logs.configure(LogLevel.INFO, LogFormat.JSON)
    scheduler = logging.getLogger("apscheduler.executors.default")
    for error in (asyncio.CancelledError(), ValueError("a defect")):
        scheduler.error("Error running job", exc_info=error)
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ValueError]
