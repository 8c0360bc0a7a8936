"""What the keeper of a router asks the database: its static services, its open sessions, and what it counted for us.

Rule: a service belongs to RADIUS as long as RADIUS has told of it lately; only one with an address of its own, of which
it has not, is static. What a router's API counted is told from RADIUS by its Acct-Session-Id.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.engine import Connection

from accounting.session import State
from domain.instants import Microseconds
from enforcement.polled_accounting import PREFIX, KnownSession
from enforcement.polled_readings import QUEUES, Source
from enforcement.session_truth import OpenSession
from storage.snapshot import REVISION

COUNTED_QUEUE = f"{PREFIX}{Source.QUEUE.value}-"
"""Begins the Acct-Session-Id of a line that a queue counts."""

_QUEUE_SOURCES = ", ".join(sorted(f"'{source.value}'" for source in QUEUES))
_US = "(extract(epoch FROM {}) * 1000000)::bigint"


class StaticService(NamedTuple):
    """A service whose line is configured, not dialled."""

    id: int
    login: str
    address: str
    macs: tuple[str, ...]


def revision(connection: Connection) -> int:
    """Return the revision of the configuration that is stored."""
    return int(connection.execute(text(REVISION)).scalar_one())


def static_services(connection: Connection, router_id: int, since: datetime) -> list[StaticService]:
    """Return the services with an address of their own, at this router or at any, without RADIUS since `since`."""
    rows = connection.execute(
        text("""SELECT s.id, s.login, text(s.address), s.macs FROM service AS s
            WHERE s.address IS NOT NULL AND (s.router_ids = '{}' OR :router = ANY(s.router_ids))
                AND NOT EXISTS (SELECT FROM session AS x WHERE x.state = 0 AND x.service_id = s.id
                    AND NOT starts_with(x.acct_session_id, :queue))
                AND NOT EXISTS (SELECT FROM session AS x WHERE x.login = s.login AND x.started_at > :since
                    AND NOT starts_with(x.acct_session_id, :queue))
            ORDER BY s.id"""),
        {"router": router_id, "queue": COUNTED_QUEUE, "since": since},
    )
    return [
        StaticService(service_id, login, address.removesuffix("/32"), tuple(macs))
        for service_id, login, address, macs in rows
    ]


def plan_logins(connection: Connection, router_id: int, plan_ids: Collection[int]) -> list[tuple[str, int]]:
    """Return (login, plan) of the services of these plans that may be at a router."""
    rows = connection.execute(
        text("""SELECT login, plan_id FROM service
            WHERE plan_id = ANY(:plans) AND (router_ids = '{}' OR :router = ANY(router_ids))"""),
        {"plans": [*plan_ids], "router": router_id},
    )
    return [(login, plan_id) for login, plan_id in rows]


def open_sessions(connection: Connection, router_id: int) -> list[OpenSession]:
    """Return the sessions that are open on a router."""
    rows = connection.execute(
        text(f"""SELECT id, acct_session_id, login, host(address), {_US.format("heard_at")} FROM session
            WHERE state = 0 AND router_id = :router"""),
        {"router": router_id},
    )
    return [
        OpenSession(session_id, acct_session_id, login, address, Microseconds(heard_us))
        for session_id, acct_session_id, login, address, heard_us in rows
    ]


def states(connection: Connection, router_id: int, acct_session_ids: Collection[str]) -> dict[str, State]:
    """Return how the newest session stands under each Acct-Session-Id of a router that is a single box."""
    rows = connection.execute(
        text("""SELECT k.id, s.state FROM unnest(CAST(:ids AS text[])) AS k(id) CROSS JOIN LATERAL (
                SELECT state FROM session WHERE router_id = :router AND nas = '' AND acct_session_id = k.id
                ORDER BY generation DESC LIMIT 1) AS s"""),
        {"router": router_id, "ids": list(acct_session_ids)},
    )
    return {acct_session_id: State(state) for acct_session_id, state in rows}


def service_logins(connection: Connection, logins: Collection[str]) -> set[str]:
    """Return those of `logins`, which are keys, that are services."""
    return set(connection.scalars(text("SELECT login FROM service WHERE login = ANY(:logins)"), {"logins": [*logins]}))


def counted_sessions(connection: Connection, router_id: int) -> list[KnownSession]:
    """Return, of each entry that a router's API counted, the newest session, unless it was stopped.

    One that silence closed is among them: its entry may have gone on counting while nobody asked. Of a queue, which
    stays, it is returned also when it was stopped.
    """
    rows = connection.execute(
        text(f"""SELECT acct_session_id, login, session_seconds, octets_up, octets_down, updated_us,
                state = {State.STOPPED.value} FROM (
                SELECT DISTINCT ON (split_part(acct_session_id, '-', 2), split_part(acct_session_id, '-', 3))
                    split_part(acct_session_id, '-', 2) AS source,
                    acct_session_id, login, session_seconds, octets_up, octets_down, state,
                    {_US.format("updated_at")} AS updated_us
                FROM session WHERE router_id = :router AND nas = '' AND acct_session_id >= '{PREFIX}'
                    AND acct_session_id < '{_after(PREFIX)}'
                ORDER BY split_part(acct_session_id, '-', 2), split_part(acct_session_id, '-', 3),
                    updated_at DESC, id DESC
            ) AS newest WHERE state <> {State.STOPPED.value} OR source IN ({_QUEUE_SOURCES})"""),
        {"router": router_id},
    )
    return [
        KnownSession(acct_session_id, login, seconds, octets_up, octets_down, Microseconds(updated_us), is_stopped)
        for acct_session_id, login, seconds, octets_up, octets_down, updated_us, is_stopped in rows
    ]


def was_counted(connection: Connection, router_id: int) -> bool:
    """Tell whether the queues of a router were ever counted."""
    return bool(
        connection.scalar(
            text(f"""SELECT EXISTS (SELECT FROM session WHERE router_id = :router AND nas = ''
                AND acct_session_id >= '{COUNTED_QUEUE}' AND acct_session_id < '{_after(COUNTED_QUEUE)}')"""),
            {"router": router_id},
        )
    )


def _after(prefix: str) -> str:
    """Return the first text behind all that begin with `prefix`, in the order of octets."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)
