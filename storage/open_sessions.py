"""What enforcement asks and says about open sessions as a whole.

Rule: questions go by the index of open sessions, page by page, so that neither the closed ones nor one large answer is
in the way. A session's row belongs to the packet path: one that a packet holds at this moment is left to it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.engine import Connection

from accounting.session import State
from storage.outbox import Topic

UNKNOWN_CAUSE = "NAS-Session-Unknown"
"""The terminate cause of sessions of which their NAS said that it has none such (Error-Cause 503)."""


def close_unknown(connection: Connection, session_ids: Collection[int]) -> int:
    """Close sessions provisionally that their NAS does not know; a late record revives them. Return how many."""
    statement = text(closing("state = 0", UNKNOWN_CAUSE))
    closed: int = connection.execute(statement, {"ids": list(session_ids)}).scalar_one()
    return closed


def closing(condition: str, cause: str) -> str:
    """Return the statement that closes those of the sessions `:ids` provisionally for which `condition` still holds.

    Its one value is how many were closed. Enforcement hears of each that has a line; a row that a packet holds stays.
    """
    return f"""WITH closed AS (
            UPDATE session SET state = {State.PROVISIONAL.value}, version = version + 1, stopped_at = updated_at,
                terminate_cause = '{cause}' WHERE id IN (
                    SELECT id FROM session WHERE id = ANY(:ids) AND {condition} FOR UPDATE SKIP LOCKED)
            RETURNING id, service_id
        ), told AS (
            INSERT INTO outbox (topic, service_id, session_id)
            SELECT '{Topic.STOPPED.value}', closed.service_id, closed.id
            FROM closed JOIN line ON line.session_id = closed.id
        )
        SELECT count(*) FROM closed"""


def octets(connection: Connection, session_ids: Collection[int]) -> dict[int, int]:
    """Return the octets, up and down together, that sessions have reported."""
    rows = connection.execute(
        text("SELECT id, octets_up + octets_down AS octets FROM session WHERE id = ANY(:ids)"),
        {"ids": list(session_ids)},
    )
    return {row.id: row.octets for row in rows}


def still_open(connection: Connection, session_ids: Collection[int]) -> set[int]:
    """Return those of the sessions that are open."""
    return set(
        connection.scalars(
            text("SELECT id FROM session WHERE id = ANY(:ids) AND state = 0"), {"ids": list(session_ids)}
        )
    )


def change_all(connection: Connection) -> int:
    """Put every service with an open session into the outbox; return how many."""
    return connection.execute(
        text(f"""INSERT INTO outbox (topic, service_id)
            SELECT '{Topic.TERMS.value}', service_id FROM (
                SELECT DISTINCT service_id FROM session WHERE state = 0 AND service_id > 0 ORDER BY service_id
            ) AS open""")
    ).rowcount


def change_opened(connection: Connection, since: datetime, topic: Topic) -> int:
    """Put services into the outbox with an open session that began after `since` and has no line; return how many."""
    return connection.execute(
        text("""INSERT INTO outbox (topic, service_id)
            SELECT :topic, service_id FROM (
                SELECT DISTINCT service_id FROM session AS s
                WHERE state = 0 AND service_id > 0 AND started_at > :since
                    AND NOT EXISTS (SELECT FROM line AS l WHERE l.session_id = s.id)
                ORDER BY service_id
            ) AS open"""),
        {"topic": topic.value, "since": since},
    ).rowcount


def forget_due(connection: Connection, service_ids: Collection[int], now: datetime) -> None:
    """Let no line of these services be due any more: what was not computed anew has no open session."""
    connection.execute(
        text("UPDATE line SET recompute_at = NULL WHERE service_id = ANY(:ids) AND recompute_at <= :now"),
        {"ids": list(service_ids), "now": now},
    )


@dataclass(frozen=True, slots=True)
class NamedSession:
    """An open session, by everything that it was called."""

    id: int
    router_id: int
    nas: str
    login: str
    acct_session_id: str
    address: str | None
    nas_port_id: str | None
    multi_session_id: str | None


@dataclass(frozen=True, slots=True)
class Names:
    """What a session is looked for by; None is not asked for, `login` and `mac` as they are stored."""

    login: str | None = None
    acct_session_id: str | None = None
    address: str | None = None
    mac: str | None = None
    nas_port_id: str | None = None
    multi_session_id: str | None = None


def find(connection: Connection, names: Names, router_ids: Collection[int], limit: int) -> list[NamedSession]:
    """Return open sessions on these routers that fit every name given; at least one has to be."""
    asked = {field.name: getattr(names, field.name) for field in fields(names)}
    given = {name: value for name, value in asked.items() if value is not None}
    if not given:
        return []
    conditions = " AND ".join(f"{name} = :{name}" for name in given).replace(":address", "CAST(:address AS inet)")
    rows = connection.execute(
        text(f"""SELECT id, router_id, nas, login, acct_session_id, host(address) AS address, nas_port_id,
                multi_session_id
            FROM session WHERE state = 0 AND router_id = ANY(:routers) AND {conditions} LIMIT :limit"""),
        {**given, "routers": list(router_ids), "limit": limit},
    )
    return [NamedSession(**row._mapping) for row in rows]
