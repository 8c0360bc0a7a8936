"""Lanes with facts in them, as workers leave them, and what the roll-ups hold."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import NamedTuple

import sqlalchemy
from sqlalchemy import text
from sqlalchemy.engine import Connection

from storage.session_rows import LANE_LOCK


class Fact(NamedTuple):
    """Octets of a service between two instants, written as 2026-01-01T10:00Z."""

    service_id: int | None
    begin: str
    end: str
    up: int
    down: int


@contextlib.contextmanager
def lane(engine: sqlalchemy.Engine) -> Iterator[Lane]:
    """Lend a lane whose worker is alive until the end."""
    with engine.connect() as connection:
        number = connection.scalar(text("INSERT INTO lane DEFAULT VALUES RETURNING id"))
        connection.execute(text(f"SELECT pg_advisory_lock({LANE_LOCK}, {number})"))
        connection.commit()
        try:
            yield Lane(engine, number)
        finally:
            connection.rollback()
            connection.execute(text(f"SELECT pg_advisory_unlock({LANE_LOCK}, {number})"))
            connection.commit()


class Lane:
    """Commits facts batch after batch."""

    def __init__(self, engine: sqlalchemy.Engine, number: int) -> None:
        self.number = number
        self._engine = engine
        self._batch = 0

    def write(self, *facts: Fact) -> None:
        """Commit the facts of one batch."""
        with self._engine.begin() as connection:
            self.add(connection, facts)

    def add(self, connection: Connection, facts: Sequence[Fact]) -> None:
        """Add the facts of one batch in a transaction of the caller's."""
        self._batch += 1
        connection.execute(
            text("""INSERT INTO usage_fact (batch, service_id, session_id, from_at, to_at, octets_up, octets_down)
                VALUES (:batch, :service_id, 1, :begin, :end, :up, :down)"""),
            [{"batch": self.number << 32 | self._batch, **fact._asdict()} for fact in facts],
        )


def hours(engine: sqlalchemy.Engine) -> dict[tuple[int, str], tuple[int, int]]:
    """Return up and down by (service, hour as 01-31T10)."""
    query = (
        "SELECT service_id, to_char(hour AT TIME ZONE 'UTC', 'MM-DD\"T\"HH24'), octets_up, octets_down FROM usage_hour"
    )
    with engine.connect() as connection:
        return {(service, hour): (up, down) for service, hour, up, down in connection.execute(text(query))}


def days(engine: sqlalchemy.Engine) -> dict[tuple[int, date], tuple[int, int]]:
    """Return up and down by (service, local day)."""
    query = "SELECT service_id, day, octets_up, octets_down FROM usage_day"
    with engine.connect() as connection:
        return {(service, day): (up, down) for service, day, up, down in connection.execute(text(query))}


def add_service(engine: sqlalchemy.Engine, login: str) -> int:
    """Provision a service of that login, on a plan of its own."""
    plan = "INSERT INTO plan (name, kind, interim_seconds) VALUES (:login, 'internet', 300) RETURNING id"
    service = """INSERT INTO service (login, secret, plan_id, macs, router_ids, enabled, attributes, reply_octets)
        VALUES (:login, '', :plan, '{}', '{}', true, '[]', '') RETURNING id"""
    with engine.begin() as connection:
        plan_id = connection.scalar(text(plan), {"login": login})
        return int(connection.scalar(text(service), {"login": login, "plan": plan_id}))


def instant(text_: str) -> datetime:
    """Return the instant written as 2026-01-01T10:00Z."""
    return datetime.fromisoformat(text_)
