"""What happened and is not yet acted upon: the outbox between the transactions that change lines and enforcement.

Rule: a row is written in the transaction in which its cause is committed, and deleted in the one that acts upon it, so
nothing is lost and what was interrupted is done again. NOTIFY only wakes; the rows tell.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from sqlalchemy import text
from sqlalchemy.engine import Connection

CHANNEL = "caudal_outbox"
"""The channel that is notified with every commit that adds a row."""


class Topic(Enum):
    """What happened; the values are stored."""

    CROSSED = "crossed"
    """A session reached its wake_octets: usage is about to change, or changed, what its service may do."""
    OPENED = "opened"
    STOPPED = "stopped"
    CHANGED = "changed"
    """A service, which may have had another plan before; without service, what all of them go by."""
    TERMS = "terms"
    """What a service may do on the plan that it had before: override, state of the account, the plan itself."""
    GRANTED = "granted"
    """The same, by a top-up that was bought."""
    AGAIN = "again"
    """A change is to be looked at once more, for sessions whose login was under way; not before `happened_at`."""
    FOREIGN = "foreign"
    """Another system has changed a session by CoA, or may have; not before `happened_at`."""


_LATER = [Topic.AGAIN.value, Topic.FOREIGN.value]
"""What may be written before its time has come."""


@dataclass(frozen=True, slots=True)
class Event:
    """One row; `happened_at` is when it was written, a moment before it was committed."""

    id: int
    happened_at: datetime
    topic: Topic
    service_id: int | None
    session_id: int | None


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits in the outbox."""

    events: int
    oldest_at: datetime | None


def take(connection: Connection, limit: int) -> list[Event]:
    """Delete and return the oldest events, in order; they come back when the caller's transaction does not commit."""
    rows = connection.execute(
        text("""DELETE FROM outbox WHERE id = ANY(ARRAY(
                SELECT id FROM outbox WHERE topic <> ALL(:later) OR happened_at <= clock_timestamp()
                ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED))
            RETURNING id, happened_at, topic, service_id, session_id"""),
        {"limit": limit, "later": _LATER},
    )
    return [
        Event(event_id, happened_at, Topic(topic), service_id, session_id)
        for event_id, happened_at, topic, service_id, session_id in sorted(rows)
    ]


def add(connection: Connection, topic: Topic, service_ids: Iterable[int | None]) -> None:
    """Write an event for each service, and notify at commit; None stands for all services."""
    ids = list(service_ids)
    if ids:
        connection.execute(
            text(f"""WITH told AS (
                INSERT INTO outbox (topic, service_id) SELECT :topic, id FROM unnest(CAST(:ids AS bigint[])) AS u(id))
                SELECT pg_notify('{CHANNEL}', '')"""),
            {"topic": topic.value, "ids": ids},
        )


def look_again(connection: Connection, service_ids: Iterable[int | None], later: timedelta) -> None:
    """Write that changes of services, None for all, are to be looked at once more by then; nobody is notified."""
    ids = list(service_ids)
    if ids:
        connection.execute(
            text("""INSERT INTO outbox (topic, service_id, happened_at)
                SELECT :topic, id, clock_timestamp() + :later FROM unnest(CAST(:ids AS bigint[])) AS u(id)"""),
            {"topic": Topic.AGAIN.value, "ids": ids, "later": later},
        )


def backlog(connection: Connection) -> Backlog:
    """Return how many events wait, and since when; what is not due yet does not wait."""
    statement = text("SELECT count(*), min(happened_at) FROM outbox WHERE topic <> ALL(:later)")
    return Backlog(*connection.execute(statement, {"later": _LATER}).one())


def expect_foreign(connection: Connection, session_id: int, within: timedelta) -> int | None:
    """Write that another system is about to change an open session; return the event, None without such a session.

    It is looked at when `within` is over, or as `settle_foreign` says.
    """
    event_id: int | None = connection.scalar(
        text("""INSERT INTO outbox (topic, service_id, session_id, happened_at)
            SELECT :topic, service_id, id, clock_timestamp() + :within FROM session WHERE id = :session AND state = 0
            RETURNING id"""),
        {"topic": Topic.FOREIGN.value, "session": session_id, "within": within},
    )
    return event_id


def settle_foreign(connection: Connection, event_id: int, *, happened: bool) -> None:
    """Have an event of `expect_foreign` looked at now, and notify at commit; or forget it: nothing was changed."""
    if not happened:
        connection.execute(text("DELETE FROM outbox WHERE id = :id"), {"id": event_id})
        return
    connection.execute(
        text(f"""WITH told AS (UPDATE outbox SET happened_at = clock_timestamp() WHERE id = :id)
            SELECT pg_notify('{CHANNEL}', '')"""),
        {"id": event_id},
    )
